"""A mapping compiled once against a table's real columns: the functions that decode and encode its rows.

`transforms.compile_mapping` makes one. Capture uses `decode` (channel value -> wire value of the field), apply uses
`encode` (wire value -> channel value). Both raise `RefusedValueError`; neither ever bends a value (I6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transforms.constants import Constant
from transforms.kinds import Kind
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import ChannelValue, WireValue


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, at a path such as `mappings.website.orders.columns.state`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class MappingRefusedError(ValueError):
    """A mapping that does not fit the table or the dictionary; all its problems at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ColumnCodec:
    """`decode_many` and `encode_many` take a column of a batch. They may give back the list that they were given, and they raise
    for the batch: which value it was is asked one by one. `random`: where `decode` gives something else for one value each time,
    which transform does it and what to write instead.
    """

    column: str
    field: str
    kind: Kind  # of the column's values
    decode: Callable[[ChannelValue], WireValue]
    encode: Callable[[WireValue], ChannelValue]
    decode_many: Callable[[list[ChannelValue]], list[WireValue]]
    encode_many: Callable[[list[WireValue]], list[ChannelValue]]
    random: str | None = None


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """`columns` in the order of the mapping; `key` are the codecs of the columns that find a row, in entity.key's order.

    A row is the mapping's if it has all of `where`, and counts as deleted if it has all of `deleted`. `on_insert` is for rows that
    are created, `alive` for every row that is inserted: what the columns of `deleted` hold then. `contested`: rows are
    inserted in several channels, so that an insert may meet another row of its key (CASES.md K4, K10).
    """

    spec: MappingSpec
    table: Table
    columns: tuple[ColumnCodec, ...]
    key: tuple[ColumnCodec, ...]
    where: tuple[Constant, ...] = ()
    deleted: tuple[Constant, ...] = ()
    on_insert: tuple[Constant, ...] = ()
    alive: tuple[Constant, ...] = ()
    contested: bool = False
