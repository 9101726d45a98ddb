"""What the dictionary promises, against the columns that have to take it, where a mapping alone cannot tell: refused before a row comes. Guards I6.

`transforms.compile` compares declared bounds with one column. Here is what changes behind its back or depends on others: a value of an
enum that the PostgreSQL enum does not have (yet), when a session begins; and the integer of which nothing is declared. An integer without `maximum` promises what 32 bits hold, up to
2147483647, unless the columns that it is captured from are all known to hold less. Nothing else has such a promise: a text, a decimal
or a moment of which nothing is declared is refused value by value. So is what lies beyond 32 bits, and below zero in a column that is
unsigned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from transforms.capacity import ANOTHER_WORD, Misfit, whole_bounds
from transforms.compiled import Problem
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec
from transforms.tables import Column, Table

PROMISED: Final = 2**31 - 1
_MOST_OF: Final = {"year": 2155, "bool": 1}

Source = tuple[MappingSpec, Table | None]  # None: the table could not be looked at


def promising(spec: MappingSpec, table: Table) -> bool:
    """Whether `unkept` may have something to say, so that the sources have to be looked at."""
    return any(True for _ in (*_narrow(spec, table), *_lacking(spec, table)))


def unkept(spec: MappingSpec, table: Table, sources: Sequence[Source]) -> list[Problem]:
    """The columns of a mapping that applies which cannot hold what their fields promise. `sources`: who captures its entity elsewhere."""
    found = [
        (column, field, misfit)
        for column, field, room in _narrow(spec, table)
        if (misfit := _misfit(field, room, sources)) is not None
    ]
    return [
        Problem(f"mappings.{spec.name}.columns.{column.name}", misfit.told(column.name, column.type, field))
        for column, field, misfit in (*found, *_lacking(spec, table))
    ]


def _written(spec: MappingSpec, table: Table) -> Iterator[tuple[Column, FieldSpec]]:
    """The columns that take a field's values as they are."""
    for column_spec in spec.columns if spec.applies else ():
        field, column = spec.entity.field(column_spec.field), table.column(column_spec.column)
        if field is not None and column is not None and _as_it_is(column_spec):
            yield column, field


def _narrow(spec: MappingSpec, table: Table) -> Iterator[tuple[Column, FieldSpec, int]]:
    for column, field in _written(spec, table):
        if field.type == "integer" and field.maximum is None:
            bounds = whole_bounds(column.type.base or column.type)
            if bounds is not None and bounds[1] < PROMISED:
                yield column, field, bounds[1]


def _lacking(spec: MappingSpec, table: Table) -> Iterator[tuple[Column, FieldSpec, Misfit]]:
    for column, field in _written(spec, table):
        column_type = column.type.base or column.type
        if column_type.engine == "postgresql" and column_type.labels and field.type in ("enum", "set"):
            missing = [value for value in field.values or () if value not in column_type.labels]
            if missing:
                yield column, field, Misfit(f"{field.type} with {', '.join(missing)}", ANOTHER_WORD)


def _misfit(field: FieldSpec, room: int, sources: Sequence[Source]) -> Misfit | None:
    promised = [
        _promise(column_spec, table if spec.enabled else None)
        for spec, table in sources
        for column_spec in spec.columns
        if spec.captures and column_spec.field == field.name
    ]
    known = [most for most in promised if most is not None]
    most = min(PROMISED, max(known)) if known else None if promised else PROMISED
    if most is None or most <= room:
        return None
    return Misfit(f"integer up to {most}", f"add `maximum: {room}`")


def _promise(column_spec: ColumnSpec, table: Table | None) -> int | None:
    """The greatest number that comes from a column; None where that could not be seen, or is switched off."""
    if table is None or (column := table.column(column_spec.column)) is None:
        return None
    column_type = column.type.base or column.type
    if not _as_it_is(column_spec):
        return PROMISED
    bounds = whole_bounds(column_type)
    return bounds[1] if bounds is not None else _MOST_OF.get(column_type.name, PROMISED)


def _as_it_is(column_spec: ColumnSpec) -> bool:
    return all(step.name == "default" for step in column_spec.transforms)
