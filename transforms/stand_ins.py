"""Columns that stand in for real ones while no catalog is known: the widest of each kind. Pure."""

from __future__ import annotations

import zoneinfo
from typing import Final

from transforms.columns import ColumnRefusedError
from transforms.compile import column_codec
from transforms.compiled import ColumnCodec
from transforms.kinds import Kind, kind_of_field
from transforms.registry import KindRefusedError, TransformRefusedError
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec
from transforms.tables import Column, ColumnType

# The widest column of each kind: what a mapping is tried with while no catalog is known.
STAND_INS: Final[dict[Kind, ColumnType]] = {
    "text": ColumnType("postgresql", "text"),
    "integer": ColumnType("postgresql", "int8"),
    "decimal": ColumnType("postgresql", "numeric"),
    "float": ColumnType("postgresql", "float8"),
    "boolean": ColumnType("postgresql", "bool"),
    "date": ColumnType("postgresql", "date"),
    "time": ColumnType("postgresql", "time"),
    "datetime": ColumnType("postgresql", "timestamp"),
    "instant": ColumnType("postgresql", "timestamptz"),
    "bytes": ColumnType("postgresql", "bytea"),
    "json": ColumnType("postgresql", "jsonb"),
    "uuid": ColumnType("postgresql", "uuid"),
    "duration": ColumnType("mysql", "time", scale=6),
}


def stand_in(spec: MappingSpec, column: ColumnSpec, field: FieldSpec) -> tuple[ColumnCodec, Kind] | None:
    """The column as the first kind of column that the transforms take, and that kind; None where none can be made up."""
    zone = zoneinfo.ZoneInfo(spec.time_zone)
    for kind in _kinds(column, field):
        try:
            codec = column_codec(spec, column, Column(column.column, STAND_INS[kind]), zone, apply=True)
        except (ColumnRefusedError, TransformRefusedError):
            continue
        return codec, kind
    return None


def refusal(spec: MappingSpec, column: ColumnSpec, field: FieldSpec) -> TransformRefusedError | None:
    """What a transform says against every kind of column, if that is no matter of its kind."""
    zone = zoneinfo.ZoneInfo(spec.time_zone)
    said: TransformRefusedError | None = None
    for kind in _kinds(column, field):
        try:
            column_codec(spec, column, Column(column.column, STAND_INS[kind]), zone, apply=spec.applies)
        except KindRefusedError:
            continue
        except TransformRefusedError as error:
            said = said or error
        except ColumnRefusedError:
            continue
        else:
            return None
    return said


def _kinds(column: ColumnSpec, field: FieldSpec) -> list[Kind]:
    own = kind_of_field(field.type)
    kinds: list[Kind] = [own] if not column.transforms else ["text", "integer", own, *STAND_INS]
    return [kind for kind in dict.fromkeys(kinds) if kind in STAND_INS]
