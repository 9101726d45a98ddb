"""Canonical JSON text -> the text of a PostgreSQL array, which the reader turns into the same JSON again. Pure. Guards I6.

What the array could not hold exactly is refused: a text where a number belongs, a number with more digits than a float, a row of
another length than its neighbours (PostgreSQL's arrays are boxes), an empty array inside another.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from sinks.value_checks import refuse
from transforms.tables import Column
from transforms.values import ChannelValue

_Write: TypeAlias = Callable[[ChannelValue], str]

_INTEGERS: Final = frozenset({"int2", "int4", "int8", "oid"})
_FLOATS: Final = frozenset({"float4", "float8"})
_PLAIN_TEXTS: Final = frozenset({"text", "varchar", "bpchar", "name", "char", "citext"})
_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\"})
_MOST_DIMENSIONS: Final = 6


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


_DECODER: Final = json.JSONDecoder(parse_float=_Number, parse_int=_Number)


def array_literal(column: Column, element: Column, write: _Write) -> Callable[[str], str]:
    """`write` makes an element's text, as it stands between braces, of its channel value; `element` is the column of such."""

    def literal(text: str) -> str:
        try:
            value = _DECODER.decode(text)
        except ValueError:
            return refuse(column, "cannot hold what is not JSON")
        if not isinstance(value, list):
            return refuse(column, "holds JSON arrays only")
        if value:
            _check_box(column, value)
        return array(value)

    def array(values: list[Any]) -> str:
        return "{" + ",".join([array(v) if isinstance(v, list) else item(v) for v in values]) + "}"

    def item(value: object) -> str:
        if value is None:
            return "NULL"
        made = _channel_value(element, value)
        if made is None:
            refuse(column, f"an element of type {type(value).__name__.strip('_').lower()} does not fit")
        if isinstance(made, str) and element.type.kind == "base" and element.type.name not in _PLAIN_TEXTS:
            if "\0" in made:
                refuse(column, "cannot hold the character U+0000")
            return f'"{made.translate(_ESCAPES)}"'  # its own text form: the server reads it
        return write(made)

    return literal


def _check_box(column: Column, value: list[Any]) -> None:
    """Rows of one length at every depth, and values at the last depth only."""
    level: list[Any] = value
    for _ in range(_MOST_DIMENSIONS):
        inside = [item for item in level if isinstance(item, list)]
        if not inside:
            return
        if len(inside) != len(level) or len({len(item) for item in inside}) != 1 or not inside[0]:
            refuse(column, "arrays within an array must be of one length, and not empty")
        level = [item for row in inside for item in row]
    refuse(column, f"has more than {_MOST_DIMENSIONS} dimensions")


def _channel_value(element: Column, value: object) -> ChannelValue:
    """The element in its channel form; of a type without one here, its text. None: it does not fit."""
    name = element.type.name if element.type.kind == "base" else ""
    if name == "bool":
        return value if isinstance(value, bool) else None
    if name not in _INTEGERS and name not in _FLOATS and name != "numeric":
        return str(value) if isinstance(value, str) and not isinstance(value, _Number) else None
    if not isinstance(value, _Number):
        return None
    number = decimal.Decimal(value)
    if name == "numeric":
        return number
    if name in _INTEGERS:
        # Two digits over the widest type: more of them would be slow to make.
        return int(number) if number == number.to_integral_value() and number.adjusted() < 21 else None
    made = float(value)
    return made if decimal.Decimal(repr(made)) == number else None
