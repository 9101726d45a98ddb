"""A channel's own keys as they stand in the hub store and in parked changes: integers, texts and UUIDs, without transforms.

The key of a person's row, and every column that refers to one, is read and written by these alone, so that both name a row the
same way whatever is mapped of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from transforms.columns import ColumnRefusedError, kind_of_column
from transforms.kinds import Kind
from transforms.specs import FieldSpec, FieldTypeName
from transforms.tables import Column, Table
from transforms.values import ChannelValue

_TYPES: Final[dict[Kind, FieldTypeName]] = {"integer": "integer", "text": "text", "uuid": "uuid"}


def local_field(name: str, column: Column, *, required: bool) -> FieldSpec:
    """The field that a key column is, or a reference. Raises ColumnRefusedError for a type that names no row."""
    kind = kind_of_column(column.type)
    if kind not in _TYPES:
        raise ColumnRefusedError(f"{column.type} cannot be a person's key here: integers, texts and UUIDs can")
    return FieldSpec(name, _TYPES[kind], required=required)


def channel_value(column: Column, text: str | None) -> ChannelValue:
    """A column's value out of its text form, as a SELECT gives it. Raises ColumnRefusedError, ValueError."""
    if text is None:
        return None
    kind = kind_of_column(column.type)
    if kind == "integer":
        return int(text)
    if kind == "uuid":
        return uuid.UUID(text)
    if kind == "text":
        return text
    raise ColumnRefusedError(f"{column.type} cannot identify a person: integers, texts and UUIDs can")


def channel_values(table: Table, columns: Sequence[str], texts: Sequence[object]) -> tuple[ChannelValue, ...]:
    """The values of some columns of a row, out of their text forms."""
    values: list[ChannelValue] = []
    for name, text in zip(columns, texts, strict=True):
        column = table.column(name)
        assert column is not None  # the server has just answered it
        values.append(channel_value(column, None if text is None else str(text)))
    return tuple(values)
