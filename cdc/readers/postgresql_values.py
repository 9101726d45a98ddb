"""The text that PostgreSQL prints for a value -> its one exact Python form (`transforms.values`). Pure. Guards I6.

Sessions are pinned (TRAPS.md G2), so one text form per type is expected: ISO dates, UTC, hex bytea, shortest floats. A value
that exists in PostgreSQL and has no exact form here (infinity, BC, years beyond 9999, NaN in a numeric; TRAPS.md G5) becomes
`Unrepresentable`; a text that is not of its type raises ValueError. Nothing is ever bent.

Of char(n) the padding is not a part of the value (manual, "Character Types"), so it is taken off, as a cast to text does.
"""

from __future__ import annotations

import binascii
import datetime as dt
import uuid
from decimal import Decimal, InvalidOperation
from typing import Final

from cdc.readers.pgoutput_rows import Decode
from transforms.json_text import canonical
from transforms.tables import POSTGRESQL_TEXTS
from transforms.values import ChannelValue, Unrepresentable

_BOOLEANS: Final = {b"t": True, b"f": False}
_INFINITIES: Final = (b"infinity", b"-infinity")
_NOT_UTF8: Final = Unrepresentable("text that is not valid UTF-8")
_DATE_LENGTH: Final = 10
_DASH: Final = ord("-")


def decode_boolean(text: bytes) -> bool:
    try:
        return _BOOLEANS[text]
    except KeyError:
        raise ValueError("not a boolean") from None


def decode_text(text: bytes) -> str | Unrepresentable:
    try:
        return text.decode()
    except UnicodeDecodeError:  # a database with encoding SQL_ASCII holds any bytes
        return _NOT_UTF8


def decode_padded(text: bytes) -> str | Unrepresentable:
    return decode_text(text.rstrip(b" "))


def decode_numeric(text: bytes) -> Decimal | Unrepresentable:
    try:
        number = Decimal(text.decode("ascii"))
    except InvalidOperation:
        raise ValueError("not a numeric") from None
    if number.is_finite():
        return number
    return Unrepresentable("NaN in a numeric" if number.is_nan() else "infinity in a numeric")


def decode_bytea(text: bytes) -> bytes:
    if text[:2] != b"\\x":
        raise ValueError("not a bytea in hex form")
    return binascii.unhexlify(text[2:])


def decode_date(text: bytes) -> dt.date | Unrepresentable:
    if len(text) == _DATE_LENGTH and text[4] == _DASH:
        return dt.date.fromisoformat(text.decode("ascii"))
    return _out_of_range(text, "date")


def decode_timestamp(text: bytes) -> dt.datetime | Unrepresentable:
    if len(text) > _DATE_LENGTH and text[4] == _DASH and text[-1] != ord("C"):
        value = dt.datetime.fromisoformat(text.decode("ascii"))
        if value.tzinfo is not None:
            raise ValueError("a timestamp without zone has one")
        return value
    return _out_of_range(text, "timestamp")


def decode_timestamptz(text: bytes) -> dt.datetime | Unrepresentable:
    if len(text) > _DATE_LENGTH and text[4] == _DASH and text[-1] != ord("C"):
        value = dt.datetime.fromisoformat(text.decode("ascii"))
        if value.tzinfo is dt.UTC:
            return value
        return value.astimezone(dt.UTC) if value.tzinfo is not None else _no_zone()
    return _out_of_range(text, "timestamptz")


def decode_time(text: bytes) -> dt.time | Unrepresentable:
    if text == b"24:00:00":
        return Unrepresentable("24:00:00, the end of a day, in a time")
    value = dt.time.fromisoformat(text.decode("ascii"))
    if value.tzinfo is not None:
        raise ValueError("a time without zone has one")
    return value


def decode_interval(text: bytes) -> str | Unrepresentable:
    """ISO 8601, as pinned: P1Y2M3DT4H5M6.5S."""
    if text.startswith(b"P"):
        return text.decode("ascii")
    if text in _INFINITIES:
        return Unrepresentable("infinity in an interval")
    raise ValueError("not an interval in ISO 8601")


def decode_json(text: bytes) -> str | Unrepresentable:
    try:
        return canonical(text)
    except ValueError as error:
        return Unrepresentable(str(error))


def decode_uuid(text: bytes) -> uuid.UUID:
    return uuid.UUID(text.decode("ascii"))


DECODERS: Final[dict[str, Decode]] = {
    "int2": int,
    "int4": int,
    "int8": int,
    "oid": int,
    "numeric": decode_numeric,
    "float4": float,
    "float8": float,
    "bool": decode_boolean,
    "text": decode_text,
    "varchar": decode_text,
    "bpchar": decode_padded,
    "name": decode_text,
    "citext": decode_text,
    "char": decode_text,
    "bytea": decode_bytea,
    "date": decode_date,
    "timestamp": decode_timestamp,
    "timestamptz": decode_timestamptz,
    "time": decode_time,
    "json": decode_json,
    "jsonb": decode_json,
    "uuid": decode_uuid,
    "interval": decode_interval,
    **dict.fromkeys(POSTGRESQL_TEXTS, decode_text),
}
"""By pg_type.typname of the base type; an enum's values are texts. What is not here is refused by name: money (its text depends on a
locale), composites, geometric types, pg_lsn, xid and the reg types among them.
"""


class NewLabelError(Exception):
    """An enum's value that the catalog did not know when it was asked; it is raised until `remember` was called."""

    def __init__(self, seen: set[bytes], label: bytes) -> None:
        super().__init__("a label that the catalog did not know")
        self._seen = seen
        self._label = label

    def remember(self) -> None:
        """It is a label, whatever the catalog says now: it was added lately, or renamed since."""
        self._seen.add(self._label)


def enum_decoder(labels: tuple[str, ...], seen: set[bytes]) -> Decode:
    """Decode an enum's label; one object per label.

    A label that is neither in the catalog nor in `seen` raises NewLabelError.
    """
    known: dict[bytes, str] = {label.encode(): label for label in labels}

    def decode(text: bytes) -> ChannelValue:
        label = known.get(text)
        if label is None:
            if text not in seen:
                raise NewLabelError(seen, text)
            return decode_text(text)
        return label

    return decode


def _out_of_range(text: bytes, name: str) -> Unrepresentable:
    if text in _INFINITIES:
        return Unrepresentable(f"infinity in a {name}")
    if text.endswith(b" BC"):
        return Unrepresentable(f"a year before Christ in a {name}")
    if text[4:5].isdigit() and text[:5].isdigit():
        return Unrepresentable(f"a year beyond 9999 in a {name}")
    raise ValueError(f"not a {name}")


def _no_zone() -> dt.datetime:
    raise ValueError("a timestamptz without a zone")
