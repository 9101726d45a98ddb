"""Bits between engines: MySQL keeps `bit(n)` as a number, PostgreSQL as a text of n digits. Both are one value, either way. Guards I6.

A number says nothing of leading zeros, so only columns of a fixed width can be one; `varbit` stays a text.
"""

from __future__ import annotations

from typing import NoReturn

from transforms.conversions import Conversion
from transforms.kinds import Kind, Step
from transforms.tables import ColumnType
from transforms.values import RefusedValueError, masked


def bit_conversion(column_type: ColumnType, target: Kind, where: str) -> Conversion | None:
    """How a column of bits becomes a field of another kind than its own; None for other columns and kinds."""
    plain = column_type.base or column_type
    if plain.name != "bit":
        return None
    width = plain.length or 1
    if plain.engine == "postgresql":
        if target == "integer":
            return Conversion(lambda value: int(value, 2), _digits(width, where))
        if target == "boolean" and width == 1:
            return Conversion(lambda value: value == "1", lambda value: "1" if value else "0")
    elif target == "text":
        return Conversion(lambda value: f"{value:0{width}b}", _number(width, where))
    return None


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def _digits(width: int, where: str) -> Step:
    def back(value: int) -> str:
        if not 0 <= value < 1 << width:
            _refuse(where, value, f"is outside 0 to {(1 << width) - 1}")
        return f"{value:0{width}b}"

    return back


def _number(width: int, where: str) -> Step:
    def back(value: str) -> int:
        if len(value) != width or not set(value) <= {"0", "1"}:
            _refuse(where, value, f"is not made of {width} digits 0 and 1")
        return int(value, 2)

    return back
