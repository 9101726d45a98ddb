"""From row changes in a channel's form to changes in the dictionary's form. Pure. Guards I6 (nothing bent), L4 (no-ops drop).

A row that cannot be decoded becomes a change with `refused` set: appliers park it, nobody skips it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cdc.model import Change, Layout, RowChange
from transforms import compile_mapping
from transforms.compiled import ColumnCodec
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import ABSENT, ChannelValue, RefusedValueError, WireValue

Row = tuple[ChannelValue, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    at: int  # its place in the row
    field: str
    decode: Callable[[ChannelValue], WireValue]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one mapping reads the rows of one table layout."""

    mapping: str
    entity: str
    columns: tuple[_Column, ...]
    key: tuple[_Column, ...]


class Layouts:
    """The layouts of one entry, numbered as they appear."""

    def __init__(self) -> None:
        self._numbers: dict[Layout, int] = {}

    def number(self, layout: Layout) -> int:
        return self._numbers.setdefault(layout, len(self._numbers))

    def all(self) -> tuple[Layout, ...]:
        return tuple(self._numbers)


class Decoder:
    """Decodes rows by the enabled mappings of a channel; compiles once per table layout that the log shows."""

    def __init__(self, mappings: Sequence[MappingSpec], default_schema: str) -> None:
        self._mappings: dict[tuple[str, str], list[MappingSpec]] = {}
        for spec in mappings:
            self._mappings.setdefault((spec.schema or default_schema, spec.table), []).append(spec)
        self._plans: dict[int, tuple[Table, tuple[_Plan, ...]]] = {}

    def decode(self, rows: Iterable[RowChange], layouts: Layouts) -> list[Change]:
        """The changes of one entry. Raises transforms.MappingRefusedError when the table no longer fits a mapping."""
        changes: list[Change] = []
        for row in rows:
            for plan in self._plans_of(row.table):
                change = _change(plan, row, layouts)
                if change is not None:
                    changes.append(change)
        return changes

    def _plans_of(self, table: Table) -> tuple[_Plan, ...]:
        known = self._plans.get(id(table))
        if known is not None and known[0] is table:
            return known[1]
        plans = tuple(_plan(spec, table) for spec in self._mappings.get((table.schema, table.name), ()))
        self._plans[id(table)] = (table, plans)
        return plans


def _plan(spec: MappingSpec, table: Table) -> _Plan:
    compiled = compile_mapping(spec, table, capture=True, apply=False)
    places = {column.name: at for at, column in enumerate(table.columns)}

    def columns(codecs: Sequence[ColumnCodec]) -> tuple[_Column, ...]:
        return tuple(_Column(places[codec.column], codec.field, codec.decode) for codec in codecs)

    return _Plan(spec.name, spec.entity.name, columns(compiled.columns), columns(compiled.key))


def _change(plan: _Plan, row: RowChange, layouts: Layouts) -> Change | None:
    """None: an update that changes no mapped column."""
    before, after = row.before, row.after
    chosen = _chosen(plan, row)
    if row.op == "update" and not chosen:
        return None
    key: tuple[WireValue, ...] = ()
    try:
        key = tuple(column.decode(_key_value(column, before, after)) for column in plan.key)
        values = tuple(column.decode(after[column.at]) for column in chosen) if after is not None else ()
    except RefusedValueError as error:
        number = layouts.number(Layout(plan.mapping, plan.entity, ()))
        return Change(number, row.op, row.index, key, (), (), str(error))
    number = layouts.number(Layout(plan.mapping, plan.entity, tuple(column.field for column in chosen)))
    return Change(number, row.op, row.index, key, values, _before_values(chosen, before) if row.op == "update" else ())


def _chosen(plan: _Plan, row: RowChange) -> tuple[_Column, ...]:
    """The columns whose values the change carries."""
    before, after = row.before, row.after
    if after is None:
        return ()
    if row.op == "insert" or before is None:
        return tuple(column for column in plan.columns if after[column.at] is not ABSENT)
    return tuple(
        column
        for column in plan.columns
        if after[column.at] is not ABSENT
        and (before[column.at] is ABSENT or not _same(before[column.at], after[column.at]))
    )


def _same(one: ChannelValue, other: ChannelValue) -> bool:
    """Equal in the channel's own eyes: 1 and True differ, as do 0.0 and -0.0; 1.0 and 1.00 of a decimal do not."""
    if one.__class__ is not other.__class__:
        return False
    if isinstance(one, float):
        return one.hex() == other.hex() if isinstance(other, float) else False
    return one == other


def _key_value(column: _Column, before: Row | None, after: Row | None) -> ChannelValue:
    """A key column's value before the change; the log leaves it out of the old tuple only where it did not change."""
    for image in (before, after):
        if image is not None and image[column.at] is not ABSENT:
            return image[column.at]
    raise RefusedValueError(column.field, "the log does not carry this key column")


def _before_values(chosen: tuple[_Column, ...], before: Row | None) -> tuple[WireValue, ...]:
    """The values before, of the same fields; empty where the log does not have all of them or one has no exact form."""
    if before is None or any(before[column.at] is ABSENT for column in chosen):
        return ()
    try:
        return tuple(column.decode(before[column.at]) for column in chosen)
    except RefusedValueError:
        return ()  # what was there before could not be represented; what is there now can
