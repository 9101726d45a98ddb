"""Values: the one exact Python form per type, on both sides of a mapping. Guards I6 (loud).

*Channel values* are what a reader hands on and a sink takes, one exact form per column class, the same whatever the
server or its session settings:

    integer, bit, year    int
    decimal, numeric      decimal.Decimal (exact digits, scale kept)
    float, double, real   float (a 4-byte float is the float with the shortest decimal that gives the same 4 bytes: 0.1)
    boolean               bool (PostgreSQL; MySQL's tinyint(1) is an int)
    text, enum            str
    set                   tuple[str, ...] in the order of the definition
    binary, blob, bytea   bytes
    date                  datetime.date
    time (PostgreSQL)     datetime.time
    time (MySQL)          datetime.timedelta (it may be negative and longer than a day)
    datetime, timestamp without zone (PostgreSQL)    naive datetime.datetime
    timestamp (MySQL), timestamptz                   aware datetime.datetime in UTC
    json, jsonb           str: canonical JSON text (see `transforms.json_text`)
    uuid                  uuid.UUID
    array (PostgreSQL)    str: canonical JSON text, nested; numbers, booleans and null as JSON's, other elements as their text
    interval              str: ISO 8601 as PostgreSQL writes it (P1Y2M3DT4H5M6.5S)
    range, bit, inet, hstore, tsvector and the like (PostgreSQL)   str: PostgreSQL's own text (`transforms.tables.POSTGRESQL_TEXTS`)
    domain (PostgreSQL)   as the type under it
    geometry (MySQL, MariaDB)   bytes as stored: the SRID in four bytes, little-endian, then WKB in the axis order of the storage
    vector (MySQL)        bytes: 4-byte floats, little-endian
    inet4, inet6 (MariaDB)      str as MariaDB writes them (`transforms.inet`)

`None` is NULL. `ABSENT` says that the log did not carry the column at all (an unchanged TOAST value, a minimal row
image): leave it alone, never NULL. `Unrepresentable` is a value that exists in the channel and has no exact form here
(0000-00-00, infinity, NaN in a numeric): it travels to the place where it can be parked, it is never bent.

*Wire values* are a field's value inside a change in the change log: plain msgpack types (None, bool, int, float, str,
bytes, list). `transforms.fields` converts.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias


class Absent(Enum):
    """The type of `ABSENT`, so that a type checker tells it from every value."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Unrepresentable:
    """A column's value that has no exact form; `reason` says why without quoting the value of a person's data."""

    reason: str


ChannelValue: TypeAlias = (
    int
    | float
    | bool
    | str
    | bytes
    | decimal.Decimal
    | dt.datetime
    | dt.date
    | dt.time
    | dt.timedelta
    | uuid.UUID
    | tuple[str, ...]
    | Unrepresentable
    | Absent
    | None
)
WireValue: TypeAlias = None | bool | int | float | str | bytes | list[str]


class RefusedValueError(ValueError):
    """A value that a transform, a field or a column cannot hold; the change is parked with this reason (I6).

    `reason` names the column or field and the constraint; a value in it is shortened and masked by `masked`.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


def masked(value: object, keep: int = 2) -> str:
    """Show a value's length and its first characters only, a quarter of it at most: enough to find it, not enough to leak it (I9)."""
    text = _written(value)
    if not text:
        return "an empty value"
    keep = min(keep, len(text) // 4)
    return f"{text[:keep]}***({len(text)})" if keep else "*" * len(text)


def _written(value: object) -> str:
    """As a person would write it, without Python's own words."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)
