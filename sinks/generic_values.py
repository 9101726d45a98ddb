"""Values as SQLite keeps them. Guards I6: what a column's affinity would bend is refused.

SQLite gives a column an affinity by its declared type (https://www.sqlite.org/datatype3.html): a decimal of a NUMERIC column becomes a
float, which keeps 15 digits; NaN becomes NULL; a float's negative zero loses its sign. Dates are text in ISO form.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from sinks.value_checks import check_text, refuse, refuse_type, without_zone
from transforms.sqlite_columns import KINDS, MOST_DIGITS
from transforms.tables import Column
from transforms.values import ChannelValue

Encoder: TypeAlias = Callable[[ChannelValue], Any]


def value_encoder(column: Column) -> Encoder:
    """Compile the encoder of one column. Raises LookupError for a column of a type that is not known."""
    kind = KINDS.get(column.type.name)
    if kind is None:
        raise LookupError(f"column {column.name}: type {column.type} cannot be written")
    make = _MAKERS[kind]

    def encode(value: ChannelValue) -> Any:
        return None if value is None else make(column, value)

    return encode


def _integer(column: Column, value: ChannelValue) -> int:
    if type(value) is not int:
        refuse_type(column, value)
    if not -(2**63) <= value < 2**63:
        refuse(column, "an integer has 64 bits at most")
    return value


def _boolean(column: Column, value: ChannelValue) -> int:
    return int(value) if type(value) is bool else refuse_type(column, value)


def _decimal(column: Column, value: ChannelValue) -> str:
    if type(value) is int:
        value = decimal.Decimal(value)
    if type(value) is not decimal.Decimal:
        refuse_type(column, value)
    if not value.is_finite() or len(value.normalize(decimal.Context(prec=1000)).as_tuple().digits) > MOST_DIGITS:
        refuse(column, f"more than {MOST_DIGITS} digits do not fit")
    return format(value, "f") if -300 < value.adjusted() < 300 else refuse(column, "out of range")


def _float(column: Column, value: ChannelValue) -> float:
    if type(value) is not float:
        refuse_type(column, value)
    if math.isnan(value):
        refuse(column, "cannot hold NaN")
    if value == 0 and math.copysign(1, value) < 0:
        refuse(column, "cannot hold a negative zero")
    return value


def _text(column: Column, value: ChannelValue) -> str:
    if type(value) is not str:
        refuse_type(column, value)
    check_text(column, value, limit=column.type.length, padded=False)
    return value


def _bytes(column: Column, value: ChannelValue) -> bytes:
    return value if type(value) is bytes else refuse_type(column, value)


def _date(column: Column, value: ChannelValue) -> str:
    return value.isoformat() if type(value) is dt.date else refuse_type(column, value)


def _datetime(column: Column, value: ChannelValue) -> str:
    if type(value) is not dt.datetime:
        refuse_type(column, value)
    return without_zone(column, value).isoformat(" ")


_MAKERS: Final[dict[str, Callable[[Column, ChannelValue], Any]]] = {
    "integer": _integer,
    "boolean": _boolean,
    "decimal": _decimal,
    "float": _float,
    "text": _text,
    "bytes": _bytes,
    "date": _date,
    "datetime": _datetime,
}
