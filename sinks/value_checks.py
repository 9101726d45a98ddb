"""Whether a value fits a column exactly: what databases would otherwise round, pad or cut without an error. Guards I6. Pure.

MySQL's strict mode rounds decimals to their scale with a mere note and fractional seconds with nothing at all, and cuts
trailing spaces; PostgreSQL rounds numerics and timestamps alike. So these are refused before they are written. Every check raises
`RefusedValueError`, whose text names column and type, never the value (I9).
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import struct
from collections.abc import Callable
from typing import NoReturn

from transforms.column_limits import shortest_of_four_bytes
from transforms.tables import Column
from transforms.values import ABSENT, RefusedValueError, Unrepresentable


def refuse(column: Column, reason: str) -> NoReturn:
    raise RefusedValueError(column.name, f"{reason} ({column.type})")


def refuse_type(column: Column, value: object) -> NoReturn:
    """A value of a Python type that this column's encoder does not take."""
    if value is ABSENT:
        raise TypeError(f"column {column.name}: ABSENT must never reach a sink")
    if isinstance(value, Unrepresentable):
        refuse(column, value.reason)
    refuse(column, f"cannot hold a value of type {type(value).__name__}")


def decimal_text(column: Column, value: decimal.Decimal) -> str:
    """All digits, no exponent; refused if the column would round or overflow."""
    if not value.is_finite():
        return refuse(column, "cannot hold NaN or infinity")
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale, precision = column.type.scale, column.type.precision
    if precision is not None and 0 <= -exponent <= (scale or 0) and len(digits) + exponent <= precision - (scale or 0):
        return format(value, "f")  # the usual case, cheaply
    if precision is not None:
        significant = "".join(map(str, digits)).lstrip("0")
        fraction = -exponent - (len(significant) - len(significant.rstrip("0")))  # negative: zeros before the point
        if significant and fraction > (scale or 0):  # PostgreSQL's numeric may have a negative scale
            refuse(column, f"{max(fraction, 0)} digits after the point do not fit")
        if significant and len(significant) + exponent > precision - (scale or 0):
            refuse(column, f"{len(significant) + exponent} digits before the point do not fit")
    elif exponent > 200_000 or len(digits) - exponent > 200_000:
        refuse(column, "too many digits")
    return format(value, "f")


def decimals_form(precision: int | None, scale: int) -> Callable[[str], object]:
    """Matches `str()` of decimals, joined by commas, that surely fit as they are; of others `decimal_text` decides each."""
    if precision is None:
        one = r"-?[0-9]{1,1000}(?:\.[0-9]{1,1000})?"
    elif 0 <= scale < precision:
        fraction = rf"(?:\.[0-9]{{1,{scale}}})?" if scale else ""
        one = rf"-?(?:0|[1-9][0-9]{{0,{precision - scale - 1}}}){fraction}"
    else:
        one = "(?!)"
    return re.compile(rf"{one}(?:,{one})*").fullmatch


def check_fraction(column: Column, microsecond: int, digits: int) -> None:
    """Refuse fractional seconds finer than the column keeps."""
    if microsecond % 10 ** (6 - digits):
        refuse(column, f"fractional seconds finer than {digits} digits do not fit")


def check_text(column: Column, value: str, *, limit: int | None, padded: bool) -> None:
    """Refuse text longer than the column, or with trailing spaces where the column's padding would lose them."""
    if limit is not None and len(value) > limit:
        refuse(column, f"text of {len(value)} characters does not fit")
    if padded and value.endswith(" "):
        refuse(column, "trailing spaces would be lost")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse(column, "a lone surrogate is not text")


def single_of(column: Column, value: float) -> float:
    """The 4-byte float that a finite value stands for: itself, or the one of which it is the shortest decimal. Else refused."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        refuse(column, "out of the range of 4 bytes")
    single: float = struct.unpack("<f", packed)[0]
    if value in (single, shortest_of_four_bytes(value)):
        return single
    return refuse(column, "does not fit in 4 bytes exactly")


def in_utc(column: Column, value: dt.datetime) -> dt.datetime:
    """An aware datetime as UTC without zone; refused where it has none, or is outside years 1 to 9999."""
    if value.tzinfo is None:
        refuse(column, "needs a point in time, this one has no zone")
    try:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    except OverflowError:
        refuse(column, "out of range")


def without_zone(column: Column, value: dt.datetime) -> dt.datetime:
    if value.tzinfo is not None:
        refuse(column, "holds no zone, this value has one")
    return value
