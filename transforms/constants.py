"""Constants of a mapping - `where`, `on_insert`, `on_delete: {set: ...}` - as values of their columns. Guards I6.

What an operator writes is read as the column's type needs it, and refused when the mapping is compiled where the column could not
hold it. Captured values are compared with it exactly: a text with its case, a number by its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transforms.columns import ColumnRefusedError, column_ends
from transforms.fields import compose
from transforms.kinds import PYTHON_CLASS, Kind, from_literal
from transforms.tables import Column, Table
from transforms.values import ABSENT, ChannelValue, RefusedValueError, Unrepresentable


@dataclass(frozen=True, slots=True)
class Constant:
    """A column's value. `matches` says whether a captured value is it; RefusedValueError where the log does not carry the column."""

    column: str
    value: ChannelValue
    matches: Callable[[ChannelValue], bool]


def constants(
    written: Mapping[str, object], table: Table, *, writes: bool
) -> tuple[list[Constant], list[tuple[str, str]]]:
    """The constants of a table's columns, and what is wrong with others, by column. `writes`: they are written into it."""
    made: list[Constant] = []
    wrong: list[tuple[str, str]] = []
    for name, literal in written.items():
        column = table.column(name)
        if column is None:
            wrong.append((name, f"no column '{name}' in table {table}"))
            continue
        try:
            made.append(_constant(column, literal, writes=writes))
        except ColumnRefusedError as error:
            wrong.append((name, str(error)))
        except RefusedValueError as error:
            wrong.append((name, f"{error.where} cannot hold the constant {literal!r}: {error.reason}"))
    return made, wrong


def _constant(column: Column, literal: object, *, writes: bool) -> Constant:
    ends = column_ends(column)
    if writes and column.generated:
        raise ColumnRefusedError(f"column {column.name} is computed by the server and cannot be written")
    if literal is None:
        if writes and not column.nullable:
            raise ColumnRefusedError(f"column {column.name} is NOT NULL")
        return Constant(column.name, None, _is_null(ends.where))
    value = _value(ends.kind, literal, column.name)
    write = compose(list(ends.writing))
    if write is not None:
        value = write(value)
    read = compose([ends.own_form, *ends.reading])
    assert read is not None
    return Constant(column.name, value, _equals(value, read, ends.where))


def _value(kind: Kind, literal: object, column: str) -> Any:
    try:
        if kind == "bytes" and isinstance(literal, str):
            return literal.encode()
        if kind == "set" and isinstance(literal, str):
            return tuple(literal.split(",")) if literal else ()
        return from_literal(kind, literal)
    except ValueError as error:
        raise ColumnRefusedError(f"column {column}: {error}") from None


def _is_null(where: str) -> Callable[[ChannelValue], bool]:
    def matches(value: ChannelValue) -> bool:
        if value is ABSENT:
            raise RefusedValueError(where, "the log does not carry it")
        return value is None

    return matches


def _equals(constant: Any, read: Callable[[Any], Any], where: str) -> Callable[[ChannelValue], bool]:
    python_class = constant.__class__

    def matches(value: ChannelValue) -> bool:
        if value is ABSENT:
            raise RefusedValueError(where, "the log does not carry it")
        if value is None or isinstance(value, Unrepresentable) or value.__class__ is not python_class:
            return False
        return bool(read(value) == constant)

    return matches


def opposite(constant: Constant, column: Column) -> Constant | None:
    """What a column of `on_delete: {set: ...}` holds for a row that lives: 0 against 1, else NULL; None where neither can be."""
    kind = column_ends(column).kind
    if kind in ("integer", "boolean") and constant.value in (0, 1):
        alive = PYTHON_CLASS[kind](1 - int(bool(constant.value)))
        return Constant(column.name, alive, lambda value: value == alive)
    if column.nullable and constant.value is not None:
        return Constant(column.name, None, lambda value: value is None)
    return None
