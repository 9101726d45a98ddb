"""Values in PostgreSQL's text form, as elements of array literals: they travel as parameters, never as SQL. Guards I6.

One statement takes a column of a whole segment as one array parameter (`unnest`). The session's settings are pinned, so the text
forms mean one thing (TRAPS.md G2). An encoder is compiled once per column, and refuses what the column cannot hold exactly.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from sinks.postgresql_array_literals import array_literal
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
from transforms.tables import POSTGRESQL_TEXTS, Column
from transforms.values import ChannelValue

Encoder: TypeAlias = Callable[[ChannelValue], str]

_ESCAPES: Final = str.maketrans({'"': '\\"', "\\": "\\\\"})


def quote_name(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def array_text(elements: Iterable[str]) -> str:
    """Encoded elements as one array literal."""
    return "{" + ",".join(elements) + "}"


def text_encoder(column: Column) -> Encoder:
    """Compile the encoder of one column (of a domain: of its base type).

    Raises LookupError for a column of a type that no encoder knows.
    """
    if column.type.kind == "enum":
        return _label(column)
    if column.type.kind == "range":
        return _text(column)
    if column.type.kind == "array" and column.type.element is not None:
        return _array(column, replace(column, type=column.type.element))
    make = _MAKERS.get(column.type.name) if column.type.kind == "base" else None
    if make is None:
        raise LookupError(f"column {column.name}: type {column.type} ({column.type.kind}) cannot be written yet")
    return make(column)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"' if '"' in text or "\\" in text else f'"{text}"'


def _integer(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is int:
            return str(value)
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
    single = column.type.name == "float4"

    def encode(value: ChannelValue) -> str:
        if type(value) is not float:
            return "NULL" if value is None else refuse_type(column, value)
        if math.isnan(value):
            return "NaN"
        if single and math.isfinite(value):
            value = single_of(column, value)
        return repr(value)

    return encode


def _boolean(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is bool:
            return "t" if value else "f"
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _text(column: Column) -> Encoder:
    limit = column.type.length
    padded = column.type.name == "bpchar"

    def encode(value: ChannelValue) -> str:
        if type(value) is not str:
            return "NULL" if value is None else refuse_type(column, value)
        check_text(column, value, limit=limit, padded=padded)
        if "\0" in value:
            refuse(column, "cannot hold the character U+0000")
        return _quoted(value)

    return encode


def _json(column: Column) -> Encoder:
    text = _text(column)

    def encode(value: ChannelValue) -> str:
        return text(value)

    return encode


def _label(column: Column) -> Encoder:
    quoted = {label: _quoted(label) for label in column.type.labels or ()}

    def encode(value: ChannelValue) -> str:
        if type(value) is not str:
            return "NULL" if value is None else refuse_type(column, value)
        text = quoted.get(value)
        return text if text is not None else refuse(column, "no such label")

    return encode


def _bytes(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is bytes:
            return f'"\\\\x{value.hex()}"'
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _uuid(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if isinstance(value, uuid.UUID):
            return str(value)
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _date(column: Column) -> Encoder:
    def encode(value: ChannelValue) -> str:
        if type(value) is dt.date:
            return value.isoformat()
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _timestamp(column: Column) -> Encoder:
    zoned = column.type.name == "timestamptz"
    convert = in_utc if zoned else without_zone
    zone = "+00" if zoned else ""
    digits = 6 if column.type.scale is None else column.type.scale

    def encode(value: ChannelValue) -> str:
        if type(value) is not dt.datetime:
            return "NULL" if value is None else refuse_type(column, value)
        plain = convert(column, value)
        if digits < 6:
            check_fraction(column, plain.microsecond, digits)
        return plain.isoformat() + zone

    return encode


def _time(column: Column) -> Encoder:
    digits = 6 if column.type.scale is None else column.type.scale

    def encode(value: ChannelValue) -> str:
        if type(value) is not dt.time:
            return "NULL" if value is None else refuse_type(column, value)
        if value.tzinfo is not None:
            refuse(column, "holds no zone, this value has one")
        check_fraction(column, value.microsecond, digits)
        return value.isoformat()

    return encode


def _array(column: Column, element: Column) -> Encoder:
    """JSON text as an array's own text, in quotes: it is cast to the column's type by the statement."""
    literal = array_literal(column, element, text_encoder(element))

    def encode(value: ChannelValue) -> str:
        if type(value) is str:
            return _quoted(literal(value))
        return "NULL" if value is None else refuse_type(column, value)

    return encode


def _interval(column: Column) -> Encoder:
    """Of a length of time, or of an interval's own text."""

    def encode(value: ChannelValue) -> str:
        if type(value) is str:
            return _quoted(value)
        if type(value) is dt.timedelta:
            return f'"{value // dt.timedelta(microseconds=1)} microseconds"'
        return "NULL" if value is None else refuse_type(column, value)

    return encode


_MAKERS: Final[dict[str, Callable[[Column], Encoder]]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integer),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "char", *POSTGRESQL_TEXTS), _text),
    **dict.fromkeys(("json", "jsonb"), _json),
    "numeric": _decimal,
    "float4": _float,
    "float8": _float,
    "bool": _boolean,
    "bytea": _bytes,
    "uuid": _uuid,
    "date": _date,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "time": _time,
    "interval": _interval,
}
