"""Finding the rows of people that are there before we create one: nobody's yet, and named by a unique column. Guards I1, I3.

A row that this channel's own users have just made, or that was there before the service, is the person's then, instead of a second
one. Only what is unique finds a row, and never one that has another identifier of that person in a different value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from cdc.identity.directory import Directory
from cdc.identity.identifiers import Normaliser
from cdc.identity.words import LocalKey, OneID
from sinks.contract import PeopleSink, RowWrite
from sinks.runs import canonical
from transforms.compiled import ColumnCodec, CompiledMapping
from transforms.values import ChannelValue, RefusedValueError

_Identifying: TypeAlias = tuple[str, Callable[[ChannelValue], object]]  # a column, and the one form of its values


class Matching:
    """One applier's."""

    def __init__(self, people: PeopleSink, directory: Directory) -> None:
        self._people = people
        self._directory = directory

    def found(
        self,
        compiled: CompiledMapping,
        writes: Sequence[RowWrite],
        people: Mapping[int, OneID],
        made: Mapping[LocalKey, OneID],
    ) -> dict[int, tuple[ChannelValue, ...]]:
        """The keys of rows that are there already and nobody else's (`people`: whom each write is to make; `made`: whose rows this
        transaction has made): by the columns that the mapping names in `match`, else by each identifying column that is unique here,
        where no other one contradicts.
        """
        matches, identifying = _matches(compiled)
        keys = tuple(codec.column for codec in compiled.key)
        columns = tuple(column for column, _ in identifying)
        found: dict[int, tuple[ChannelValue, ...]] = {}
        for match in matches:
            wanted = {write.ref: values_of(write, match) for write in writes if write.ref not in found}
            asked = {ref: values for ref, values in wanted.items() if None not in values}
            if not asked:
                continue
            rows = self._people.look_up(compiled.table, match, list(asked.values()), (*keys, *columns))
            by_value = {_folded(row[: len(match)]): row[len(match) :] for row in rows}
            for write in writes:
                row = by_value.get(_folded(asked[write.ref])) if write.ref in asked else None
                if row is not None and _agree(identifying, values_of(write, columns), row[len(keys) :]):
                    found[write.ref] = row[: len(keys)]
        if not found:
            return found
        locals_ = {ref: local_key(compiled, key) for ref, key in found.items()}
        owners = self._directory.owners(compiled.spec.entity.name, list(locals_.values())) | dict(made)
        # Of several who find one row, it is the first one's.
        return {ref: key for ref, key in found.items() if owners.setdefault(locals_[ref], people[ref]) == people[ref]}

    def read_back(
        self, compiled: CompiledMapping, writes: Sequence[RowWrite], keys: list[tuple[ChannelValue, ...] | None]
    ) -> list[tuple[ChannelValue, ...] | None]:
        """Keys that the server did not tell, by `match`."""
        match = compiled.spec.match
        if None not in keys or not match:
            return keys
        columns = tuple(codec.column for codec in compiled.key)
        rows = self._people.look_up(compiled.table, match, [values_of(write, match) for write in writes], columns)
        by_value = {_folded(row[: len(match)]): row[len(match) :] for row in rows}
        return [by_value.get(_folded(values_of(write, match))) if key is None else key
                for write, key in zip(writes, keys, strict=True)]  # fmt: skip


def values_of(write: RowWrite, columns: Sequence[str]) -> tuple[ChannelValue, ...]:
    values = dict(zip(write.columns, write.values, strict=True))
    return tuple(values.get(column) for column in columns)


def _matches(compiled: CompiledMapping) -> tuple[list[tuple[str, ...]], tuple[_Identifying, ...]]:
    """Groups of columns to find a row by, strongest first, and the columns that must not contradict: all that identify, or of
    columns that the mapping names those which are stronger.
    """
    identity = compiled.spec.entity.identity
    assert identity is not None
    by_field = {codec.field: codec for codec in compiled.columns}
    normaliser = Normaliser(identity)
    identifying = [
        (by_field[name].column, _normal(by_field[name], normaliser, name)) for name in identity.by if name in by_field
    ]
    columns = [column for column, _ in identifying]
    if match := compiled.spec.match:
        strongest = min((columns.index(column) for column in match if column in columns), default=0)
        return [match], tuple(identifying[:strongest])
    unique = [(column,) for column in columns if (column,) in compiled.table.unique_keys]
    return list[tuple[str, ...]](unique), tuple(identifying) if unique else ()


def _normal(codec: ColumnCodec, normaliser: Normaliser, field: str) -> Callable[[ChannelValue], object]:
    """How a column's value identifies: a server may hold two openids for equal that differ in case, and they are two people's."""

    def normal(value: ChannelValue) -> object:
        try:
            text = codec.decode(value)
        except RefusedValueError:
            return value
        return normaliser.normal(field, str(text)) or text

    return normal


def _agree(identifying: Sequence[_Identifying], values: Sequence[ChannelValue], row: Sequence[ChannelValue]) -> bool:
    return all(
        one is None or other is None or normal(one) == normal(other)
        for (_, normal), one, other in zip(identifying, values, row, strict=True)
    )


def _folded(values: Sequence[ChannelValue]) -> tuple[ChannelValue, ...]:
    return tuple(map(canonical, values))


def local_key(compiled: CompiledMapping, key: tuple[ChannelValue, ...]) -> LocalKey:
    return tuple(codec.decode(value) for codec, value in zip(compiled.key, key, strict=True))
