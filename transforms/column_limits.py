"""What a column can hold, per kind: checks that refuse a value before a server would bend it (I6).

Each function returns the steps that a value of its kind has to pass on its way into the column. A limit that the catalog does
not tell (None) is not checked: the server's strict mode is behind it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import math
import struct
from operator import attrgetter
from typing import Any, Final, NoReturn

from transforms.batches import Vectored, between, gate
from transforms.fields import EXACT
from transforms.json_text import beyond_doubles, holds_nul
from transforms.kinds import Step
from transforms.tables import ColumnType
from transforms.text_limits import as_catalogs_show, at_most
from transforms.values import RefusedValueError, masked

_INTEGER_BITS: Final = {
    "tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64, "int2": 16, "int4": 32, "int8": 64,
}  # fmt: skip
BLOB_BYTES: Final = {"tinyblob": 255, "blob": 65_535, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1}
_LONGEST_TIME: Final = dt.timedelta(hours=838, minutes=59, seconds=59)
# MySQL manual, "The DATE, DATETIME, and TIMESTAMP Types": the range of timestamp. Zero seconds is the zero date.
_TIMESTAMP_FIRST: Final = dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
_TIMESTAMP_LAST: Final = dt.datetime(2038, 1, 19, 3, 14, 7, 999999, tzinfo=dt.UTC)


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def integer_bounds(column_type: ColumnType) -> tuple[int, int] | None:
    """The least and the greatest whole number that a column holds; None where it is not a column of whole numbers."""
    if column_type.engine == "sqlite":  # 64 bits, whatever the column is called
        return (-(2**63), 2**63 - 1) if column_type.name in _INTEGER_BITS else None
    if column_type.name == "bit":  # PostgreSQL's is a text of so many digits
        return 0, 2 ** (column_type.length or 1) - 1
    if column_type.name == "oid":
        return 0, 2**32 - 1
    bits = _INTEGER_BITS.get(column_type.name)
    if bits is None:
        return None
    return (0, 2**bits - 1) if column_type.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def integer(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.name == "year":
        return [_year(where)]
    bounds = integer_bounds(column_type)
    assert bounds is not None, column_type  # its kind is integer
    least, most = bounds

    def step(value: int) -> int:
        if least <= value <= most:
            return value
        _refuse(where, value, f"is outside {least} to {most}")

    return [gate(step, between(least, most))]


def _year(where: str) -> Step:
    def step(value: int) -> int:
        if value == 0 or 1901 <= value <= 2155:
            return value
        _refuse(where, value, "is neither 0 nor a year from 1901 to 2155")

    return step


def exact_decimal(column_type: ColumnType, where: str) -> list[Step]:
    precision = column_type.precision
    scale = column_type.scale or 0
    if precision is None:
        if column_type.engine == "postgresql":
            return [_numeric(where)]
        precision = 10
    quantum = decimal.Decimal(1).scaleb(-scale)
    whole_digits = precision - scale
    unsigned = column_type.unsigned

    def step(value: decimal.Decimal) -> decimal.Decimal:
        if not value.is_finite():
            _refuse(where, value, "is not a finite number")
        try:
            exact = value.quantize(quantum, context=EXACT)
        except decimal.Inexact:
            _refuse(where, value, f"has more than {scale} decimals")
        except decimal.InvalidOperation:
            _refuse(where, value, "has too many digits")
        if exact and exact.adjusted() >= whole_digits:
            _refuse(where, value, f"has more than {whole_digits} digits before the point")
        if unsigned and exact < 0:
            _refuse(where, value, "is negative")
        return exact

    bound = decimal.Decimal(1).scaleb(whole_digits)
    quantize = EXACT.quantize

    def many(values: list[Any]) -> list[Any]:
        with contextlib.suppress(ArithmeticError):  # infinity, NaN, too many digits: the value says it itself
            made = [quantize(value, quantum) for value in values]
            if min(made) >= 0 and max(made) < bound:
                return made
        return list(map(step, values))

    return [Vectored(step, many)]


def _numeric(where: str) -> Step:
    """PostgreSQL manual, "Numeric Types": up to 131072 digits before the point, 16383 after it."""

    def step(value: decimal.Decimal) -> decimal.Decimal:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            _refuse(where, value, "is not a finite number")
        if exponent < -16_383 or value.adjusted() >= 131_072:
            _refuse(where, value, "has more digits than a numeric holds")
        return value

    return step


def floating(column_type: ColumnType, where: str) -> list[Step]:
    steps: list[Step] = []
    if column_type.engine != "postgresql":
        steps.append(_finite(where))
    if column_type.name in ("float", "float4"):
        steps.append(_four_bytes(where))
    if column_type.unsigned:
        steps.append(_not_negative(where))
    if column_type.engine != "postgresql" and column_type.precision is not None:
        steps.append(_declared_digits(column_type.precision, column_type.scale or 0, where))
    return steps


def _declared_digits(precision: int, scale: int, where: str) -> Step:
    """MySQL's float(precision, scale) rounds like a decimal."""
    limit = 10.0 ** (precision - scale)

    def step(value: float) -> float:
        if round(value, scale) != value or abs(value) >= limit:
            _refuse(where, value, f"has more digits than ({precision},{scale})")
        return value

    return step


def _finite(where: str) -> Step:
    def step(value: float) -> float:
        if not math.isfinite(value):
            _refuse(where, value, "is not a finite number")
        return value

    return step


def _not_negative(where: str) -> Step:
    def step(value: float) -> float:
        if value < 0:
            _refuse(where, value, "is negative")
        return value

    return step


def _four_bytes(where: str) -> Step:
    def step(value: float) -> float:
        if math.isfinite(value) and shortest_of_four_bytes(value) != value:
            _refuse(where, value, "has more digits than a 4-byte float holds")
        return value

    return step


def shortest_of_four_bytes(value: float) -> float | None:
    """Return the float with the shortest decimal among those that are the same 4 bytes as `value`; None beyond their range."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        return None
    exact: float = struct.unpack("<f", packed)[0]
    for digits in range(1, 9):
        candidate = float(f"{exact:.{digits}g}")
        try:
            if struct.pack("<f", candidate) == packed:
                return candidate
        except OverflowError:
            continue
    return float(f"{exact:.9g}")


def binary(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.name == "binary":
        return [_exactly(column_type.length or 1, where)]
    if column_type.name == "vector":
        return [_vector(column_type.length, where)]
    limit = BLOB_BYTES.get(column_type.name, column_type.length)
    return [] if limit is None or column_type.engine == "postgresql" else [at_most(limit, "bytes", where)]


def _vector(limit: int | None, where: str) -> Step:
    """MySQL's vector: at least one finite 4-byte float."""

    def step(value: bytes) -> bytes:
        if not value or len(value) % 4 or (limit is not None and len(value) > limit):
            _refuse(where, value, "is not a vector of this column: 4-byte floats")
        if not all(map(math.isfinite, struct.unpack(f"<{len(value) // 4}f", value))):
            _refuse(where, value, "holds a float that is not finite")
        return value

    return step


def _exactly(length: int, where: str) -> Step:
    def step(value: bytes) -> bytes:
        if len(value) != length:
            _refuse(where, value, f"has not exactly {length} bytes: the column would pad or cut it")
        return value

    return step


def json(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.name == "jsonb":

        def without_nul(value: str) -> str:
            if holds_nul(value):
                raise RefusedValueError(where, r"the JSON text holds \u0000, which jsonb does not store")
            return value

        return [without_nul]
    if column_type.engine == "mysql":

        def in_doubles(value: str) -> str:
            if beyond_doubles(value):
                raise RefusedValueError(where, "the JSON text holds a number that MySQL would round")
            return value

        return [in_doubles]
    return []


def labels(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.labels is None:
        return []
    order = {label: at for at, label in enumerate(column_type.labels)}

    def step(value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(sorted(value, key=lambda label: order[label if label in order else as_catalogs_show(label)]))
        except KeyError:
            _refuse(where, ",".join(value), "holds a label that this set does not have")

    return [step]


def fraction_digits(column_type: ColumnType) -> int:
    """The digits of a second's fraction that a column of times keeps."""
    if column_type.scale is not None:
        return column_type.scale
    return 6 if column_type.engine == "postgresql" else 0


def _fraction(column_type: ColumnType, where: str) -> list[Step]:
    digits = fraction_digits(column_type)
    if digits >= 6:
        return []
    unit = 10 ** (6 - digits)

    def step(value: Any) -> Any:
        micros = value.microseconds if value.__class__ is dt.timedelta else value.microsecond
        if micros % unit:
            _refuse(where, value, f"has more than {digits} digits of a second")
        return value

    part = attrgetter(
        "microseconds" if column_type.engine != "postgresql" and column_type.name == "time" else "microsecond"
    )
    return [gate(step, lambda values: not any(map(part, values)))]


def clock(column_type: ColumnType, where: str) -> list[Step]:
    return _fraction(column_type, where)


def duration(column_type: ColumnType, where: str) -> list[Step]:
    def step(value: dt.timedelta) -> dt.timedelta:
        if abs(value) > _LONGEST_TIME:
            _refuse(where, value, "is longer than 838:59:59")
        return value

    return [step, *_fraction(column_type, where)]


def instant(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.engine == "postgresql":
        return _fraction(column_type, where)

    def step(value: dt.datetime) -> dt.datetime:
        if not _TIMESTAMP_FIRST <= value <= _TIMESTAMP_LAST:
            _refuse(where, value, "is outside what a timestamp holds (1970 to 2038)")
        return value

    return [gate(step, between(_TIMESTAMP_FIRST, _TIMESTAMP_LAST)), *_fraction(column_type, where)]
