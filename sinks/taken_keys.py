"""Which unique keys of a refused row are taken, and by which rows: what is asked of the target, and how it is told. Pure.

A database that refuses a row for a unique key names one key, though the row may meet several rows at once (CASES.md K4, K7). Each
engine renders a `Search` as one query. Only what is certain is told: an index on expressions, on a part of the rows or of a column, or one with
a value that the database computes is left to the database's own words. Guards I9: rows are named in lines apart from the error, and masked
wherever somebody may read along (`told`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from sinks.contract import Rejected, RowWrite
from transforms.values import ChannelValue

_HELD: Final = " is held by row "
_MASK: Final = "***"
_LONGEST: Final = 80  # characters of a value that names a row
_PLAIN: Final = re.compile(r"[\w.:+-]+")

Origin: TypeAlias = Literal["given", "standing", "new"]


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index on whole columns, by which rows can be found. `nulls_equal`: NULLS NOT DISTINCT; `collations`: one for each
    column where a query has to name them.
    """

    name: str
    columns: tuple[str, ...]
    nulls_equal: bool = False
    collations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _one_line(f"unique key {self.name} ({', '.join(self.columns)})")


@dataclass(frozen=True, slots=True)
class Part:
    """What the refused row would hold in one column of an index.

    given: `value`. standing: what its row holds, which is left alone. new: `value` if there is no such row yet, else as standing.
    """

    column: str
    origin: Origin
    value: ChannelValue = None


@dataclass(frozen=True, slots=True)
class Search:
    """For a row that is not the write's own and holds the same in all columns of an index."""

    index: UniqueIndex
    parts: tuple[Part, ...]


def searches(write: RowWrite, indexes: Sequence[UniqueIndex]) -> list[Search]:
    """What there is to look for. A column that an insert leaves to its default is not known: it finds only what stands."""
    given = dict(zip(write.columns, write.values, strict=True))
    added = {write.columns[number] for number in write.deltas}
    new = dict(write.fresh)
    found: list[Search] = []
    for index in indexes:
        if given.keys().isdisjoint(index.columns) or not added.isdisjoint(index.columns):
            continue
        parts = tuple(
            Part(column, "given", given[column])
            if column in given
            else Part(column, "new", new[column])
            if column in new
            else Part(column, "standing")
            for column in index.columns
        )
        if index.nulls_equal or all(part.value is not None for part in parts if part.origin == "given"):
            found.append(Search(index, parts))
    return found


def row_columns(write: RowWrite, primary_key: Sequence[str]) -> tuple[str, ...]:
    """By which columns a row of the write's table is named: those of its primary key, and those of the mapping's."""
    return tuple(dict.fromkeys((*primary_key, *write.key_columns)))


def row_name(columns: Sequence[str], values: Sequence[object]) -> str:
    """`id=17`, `shop=2, code="a b"`: one line, long values shortened."""
    if not columns:
        return "(it has no primary key)"
    return ", ".join(f"{_one_line(column)}={_value_text(value)}" for column, value in zip(columns, values, strict=True))


def _value_text(value: object) -> str:
    text = f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return text if _PLAIN.fullmatch(text) else msgspec.json.encode(text).decode()


def explained(refusal: Rejected, taken: Sequence[tuple[UniqueIndex, str]]) -> Rejected:
    """The refusal with a line for every key that is taken."""
    lines = tuple(f"{index}{_HELD}{row}" for index, row in taken)
    return Rejected(str(refusal), refusal.code, reason=refusal.reason, ref=refusal.ref, taken=lines)


def told(error: str, taken: Sequence[str], *, reveal: bool = False) -> str:
    """All that is known of a refusal, in one line; the rows in the way are masked unless they are to be shown."""
    return "; ".join((error, *(line if reveal else _without_row(line) for line in taken)))


def _without_row(line: str) -> str:
    key, held, _ = line.partition(_HELD)
    return f"{key}{held}{_MASK}" if held else _MASK


def _one_line(text: str) -> str:
    return " ".join(text.split())
