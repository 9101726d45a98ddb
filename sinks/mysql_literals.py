"""Values as MySQL and MariaDB literals: the one place where a row value becomes SQL. Guards I6 and against injection.

A text goes between quotes only if it holds no quote, backslash or control character; else it goes as hexadecimal digits. So
no literal means anything else under ANSI_QUOTES, NO_BACKSLASH_ESCAPES or any other sql_mode. The connection's character set is utf8mb4,
in which no byte of a longer character is a quote. An encoder is compiled once per column, and refuses what the column cannot hold.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import math
import re
import uuid
from collections.abc import Callable
from typing import Final, TypeAlias

from sinks.value_checks import (
    check_fraction,
    check_text,
    decimal_text,
    in_utc,
    refuse,
    refuse_type,
    single_of,
    without_zone,
)
from transforms.tables import GEOMETRIES, Column
from transforms.text_limits import as_catalogs_show
from transforms.values import ChannelValue

Encoder: TypeAlias = Callable[[ChannelValue], str]

_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "bit"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "inet4", "inet6"})
_BINARIES: Final = frozenset(
    {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector", *GEOMETRIES}
)
_PLAIN: Final = re.compile(r"[^'\\\x00-\x1f\x7f\ud800-\udfff]*").fullmatch
_MOST_TIME_MICROSECONDS: Final = (838 * 3600 + 59 * 60 + 59) * 1_000_000


@functools.lru_cache(4096)
def quote_name(name: str) -> str:
    """An identifier in backticks."""
    return f"`{name.replace('`', '``')}`"


def is_plain(text: str) -> bool:
    """Whether a text may go between quotes as it is: no quote, backslash, control character or lone surrogate in it."""
    if (
        text.isprintable()
    ):  # then it has neither control characters nor surrogates, and this is the cheapest way to know
        return "'" not in text and "\\" not in text
    return _PLAIN(text) is not None


def text_literal(text: str) -> str:
    """A text as a literal that is safe under every sql_mode. Raises UnicodeEncodeError for a lone surrogate."""
    if is_plain(text):
        return f"'{text}'"
    return f"_utf8mb4 X'{text.encode().hex()}'"


def literal_encoder(column: Column) -> Encoder:
    """Compile the encoder of one column; it raises `RefusedValueError` for what the column cannot hold exactly.

    Raises LookupError for a column of a type that no encoder knows.
    """
    encode = _encoder(column)
    return _with_value(column, encode) if column.value_of_null else encode


def _with_value(column: Column, encode: Encoder) -> Encoder:
    """Of a column that must hold a value, and into which the server would put one of its own instead of NULL: AUTO_INCREMENT takes a number,
    TIMESTAMP the present time. What else is NOT NULL the server refuses itself, unless a trigger fills it.
    """

    def given(value: ChannelValue) -> str:
        return encode(value) if value is not None else refuse(column, "it must not be NULL")

    return given


def _encoder(column: Column) -> Encoder:
    name = column.type.name
    if name in _INTEGERS:
        return _integer(column)
    make = _MAKERS.get(name)
    if make is not None:
        return make(column)
    if name in _TEXTS:
        return _text(column)
    if name in _BINARIES:
        return _bytes(column)
    raise LookupError(f"column {column.name}: type {column.type} cannot be written yet")


def _integer(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is int or type(value) is bool:
            return str(int(value))
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _year(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is int:
            if value == 0 or 1901 <= value <= 2155:
                return str(value)
            refuse(column, "a year is 0 or 1901 to 2155")
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _decimal(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is int:
            value = decimal.Decimal(value)
        if type(value) is decimal.Decimal:
            return decimal_text(column, value)
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _float(column: Column) -> Encoder:
    single = column.type.name == "float"
    scale = column.type.scale
    unsigned_zero = column.type.engine == "mariadb"

    def encode(value: ChannelValue) -> str:
        if type(value) is not float:
            return "NULL" if value is None else refuse_type(column, value)
        if not math.isfinite(value):
            refuse(column, "cannot hold NaN or infinity")
        if unsigned_zero and value == 0 and math.copysign(1, value) < 0:
            refuse(column, "MariaDB cannot hold a negative zero")
        if scale is not None and round(value, scale) != value:
            refuse(column, "more digits after the point do not fit")
        if single:
            value = single_of(column, value)  # its shortest decimal may be above the largest that the server takes
        text = repr(value)
        return text if "e" in text else f"{text}e0"  # without an exponent it would be a decimal, whose zero has no sign

    return encode


def _text(column: Column) -> Encoder:
    kind = column.type
    limit = kind.length if kind.name in ("char", "varchar") else None
    padded = kind.name == "char"

    def encode(value: ChannelValue) -> str:
        if type(value) is not str:
            return "NULL" if value is None else refuse_type(column, value)
        check_text(column, value, limit=limit, padded=padded)
        return text_literal(value)

    return encode


def _json(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is not str:
            return "NULL" if value is None else refuse_type(column, value)
        check_text(column, value, limit=None, padded=False)
        return text_literal(value)

    return encode


def _uuid(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if isinstance(value, uuid.UUID):
            return f"'{value}'"
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _bytes(column: Column) -> Encoder:
    limit = column.type.length
    padded = column.type.name == "binary"

    def encode(value: ChannelValue) -> str:
        if type(value) is not bytes:
            return "NULL" if value is None else refuse_type(column, value)
        if limit is not None and len(value) > limit:
            refuse(column, f"{len(value)} bytes do not fit")
        if padded and len(value) != limit:
            refuse(column, f"{len(value)} bytes would be padded")
        return f"X'{value.hex()}'"

    return encode


def _label(column: Column) -> Encoder:
    literals = {label: text_literal(label) for label in column.type.labels or ()}

    def encode(value: ChannelValue) -> str:
        if type(value) is not str:
            return "NULL" if value is None else refuse_type(column, value)
        if (literal := literals.get(value)) is not None:
            return literal
        return text_literal(value) if as_catalogs_show(value) in literals else refuse(column, "no such label")

    return encode


def _set(column: Column) -> Encoder:
    labels = frozenset(column.type.labels or ())

    def encode(value: ChannelValue) -> str:
        if type(value) is not tuple:
            return "NULL" if value is None else refuse_type(column, value)
        if not labels.issuperset(value) and not labels.issuperset(map(as_catalogs_show, value)):
            refuse(column, "no such label")
        return text_literal(",".join(value))

    return encode


def _date(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is dt.date:
            return f"'{value.isoformat()}'"
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _datetime(column: Column) -> Encoder:
    convert = in_utc if column.type.name == "timestamp" else without_zone
    digits = column.type.scale or 0

    def encode(value: ChannelValue) -> str:
        if type(value) is not dt.datetime:
            return "NULL" if value is None else refuse_type(column, value)
        plain = convert(column, value)
        if digits < 6:
            check_fraction(column, plain.microsecond, digits)
        return f"'{plain.isoformat(' ')}'"

    return encode


def _time(column: Column) -> Encoder:
    digits = column.type.scale or 0

    def encode(value: ChannelValue) -> str:
        if type(value) is dt.time and value.tzinfo is None:
            value = dt.timedelta(
                hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
            )
        if type(value) is not dt.timedelta:
            return "NULL" if value is None else refuse_type(column, value)
        total = value // dt.timedelta(microseconds=1)
        if abs(total) > _MOST_TIME_MICROSECONDS:
            refuse(column, "a time is at most 838:59:59")
        seconds, micro = divmod(abs(total), 1_000_000)
        check_fraction(column, micro, digits)
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        return f"'{'-' if total < 0 else ''}{hour:02d}:{minute:02d}:{second:02d}.{micro:06d}'"

    return encode


_MAKERS: Final[dict[str, Callable[[Column], Encoder]]] = {
    "year": _year,
    "decimal": _decimal,
    "numeric": _decimal,
    "float": _float,
    "double": _float,
    "json": _json,
    "uuid": _uuid,
    "enum": _label,
    "set": _set,
    "date": _date,
    "datetime": _datetime,
    "timestamp": _datetime,
    "time": _time,
}
