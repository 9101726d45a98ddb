"""Single values of a row image: dates, times, floats, sets, text. Pure. Guards I6: what has no exact form is `Unrepresentable`.

Generated row decoders (`cdc.readers.binlog_rows`) inline the usual case and call these for the rest.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
import zlib
from typing import Final

from cdc.readers.binlog_events import MALFORMED, exactly
from cdc.readers.binlog_jsonb import json_text
from cdc.readers.binlog_text import decode_text
from transforms.inet import inet4_text, inet6_text
from transforms.json_text import canonical
from transforms.values import Unrepresentable

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ZERO_TIMESTAMP: Final = Unrepresentable("the timestamp 0000-00-00 00:00:00")
_float: Final = struct.Struct("<f")
_MICROS: Final = (1, 10_000, 100, 1)  # what a fraction of so many bytes counts
_DIGITS: Final = (6, 7, 8)  # six digits are always kept, so they end in zeros where fewer are enough
_DIGITS_OF_SUBNORMALS: Final = tuple(range(1, 9))
_LEAST_NORMAL: Final = 2.0**-126
_CACHED: Final = 20_000
_OLD_TIME_OFFSET: Final = (838 * 3600 + 59 * 60 + 59 + 1) * 1_000_000
_LARGEST: Final = 1 << 30  # of a value that was compressed


def _refused_date(what: str, year: int, month: int, day: int) -> Unrepresentable:
    if not (year or month or day):
        return Unrepresentable(f"the {what} 0000-00-00")
    if not (month and day):
        return Unrepresentable(f"a {what} whose month or day is 00")
    return Unrepresentable(f"a {what} that is not in the calendar")


class Dates(dict[int, "dt.date | Unrepresentable"]):
    """Packed 3-byte date -> date; dates repeat, so each is made once."""

    def __missing__(self, packed: int) -> dt.date | Unrepresentable:
        year, month, day = packed >> 9, packed >> 5 & 15, packed & 31
        made: dt.date | Unrepresentable
        try:
            made = dt.date(year, month, day)
        except ValueError:
            made = _refused_date("date", year, month, day)
        if len(self) >= _CACHED:
            self.clear()
        self[packed] = made
        return made


class Sets(dict[int, "tuple[str, ...]"]):
    """Bits of a SET -> its labels in the order of the definition."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = labels

    def __missing__(self, bits: int) -> tuple[str, ...]:
        if bits >> len(self._labels):
            raise ValueError("a SET with a bit beyond its labels")
        made = tuple(label for i, label in enumerate(self._labels) if bits >> i & 1)
        if len(self) >= _CACHED:
            self.clear()
        self[bits] = made
        return made


def datetime_value(packed: int, fraction_bytes: int) -> dt.datetime | Unrepresentable:
    """A DATETIME of 5 bytes and its fraction, big-endian as one integer."""
    clock = packed >> 8 * fraction_bytes
    month = clock >> 22 & 0x1FFFF
    year, month, day = month // 13, month % 13, clock >> 17 & 31
    micros = (packed & ((1 << 8 * fraction_bytes) - 1)) * _MICROS[fraction_bytes] if fraction_bytes else 0
    try:
        return dt.datetime(year, month, day, clock >> 12 & 31, clock >> 6 & 63, clock & 63, micros)  # noqa: DTZ001
    except ValueError:
        return _refused_date("datetime", year, month, day)


def timestamp_value(packed: int, fraction_bytes: int) -> dt.datetime | Unrepresentable:
    """A TIMESTAMP of 4 bytes (unsigned: MariaDB goes beyond 2038) and its fraction."""
    if not packed:
        return ZERO_TIMESTAMP
    micros = (packed & ((1 << 8 * fraction_bytes) - 1)) * _MICROS[fraction_bytes] if fraction_bytes else 0
    return EPOCH + dt.timedelta(0, packed >> 8 * fraction_bytes, micros)


def time_value(packed: int, fraction_bytes: int) -> dt.timedelta:
    """A TIME of 3 bytes and its fraction: one number, offset so that negative times sort first."""
    whole = packed - (0x800000 << 8 * fraction_bytes)
    size = abs(whole)
    clock = size >> 8 * fraction_bytes
    micros = (size & ((1 << 8 * fraction_bytes) - 1)) * _MICROS[fraction_bytes] if fraction_bytes else 0
    made = dt.timedelta(hours=clock >> 12 & 1023, minutes=clock >> 6 & 63, seconds=clock & 63, microseconds=micros)
    return -made if whole < 0 else made


def old_datetime_value(packed: int, digits: int, fraction: int) -> dt.datetime | Unrepresentable:
    """MariaDB's DATETIME before MySQL 5.6's format: decimal digits YYYYMMDDHHMMSS; with a fraction (`fraction` digits), one number that
    counts its smallest part (sql/field.cc, Field_datetime_hires).
    """
    if not fraction:
        clock, date, micros = digits % 1_000_000, digits // 1_000_000, 0
        year, month, day = date // 10_000, date // 100 % 100, date % 100
        hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    else:
        rest, micros = divmod(packed * 10 ** (6 - fraction), 1_000_000)
        rest, second = divmod(rest, 60)
        rest, minute = divmod(rest, 60)
        rest, hour = divmod(rest, 24)
        rest, day = divmod(rest, 32)
        year, month = divmod(rest, 13)
    try:
        return dt.datetime(year, month, day, hour, minute, second, micros)  # noqa: DTZ001
    except ValueError:
        return _refused_date("datetime", year, month, day)


def old_timestamp_value(packed: int, seconds: int, fraction: int) -> dt.datetime | Unrepresentable:
    """Seconds, little-endian; with a fraction, seconds and the fraction's digits, big-endian."""
    micros = 0
    if fraction:
        width = 8 * ((fraction + 1) // 2)
        seconds, micros = packed >> width, (packed & ((1 << width) - 1)) * 10 ** (6 - fraction)
    return EPOCH + dt.timedelta(0, seconds, micros) if seconds or micros else ZERO_TIMESTAMP


def old_time_value(packed: int, digits: int, fraction: int) -> dt.timedelta:
    """Decimal digits HHMMSS, signed, little-endian; with a fraction, its smallest parts, offset by the longest time, big-endian."""
    if fraction:
        unit = 10 ** (6 - fraction)
        return dt.timedelta(microseconds=packed * unit - _OLD_TIME_OFFSET)
    size = abs(digits)
    made = dt.timedelta(hours=size // 10_000, minutes=size // 100 % 100, seconds=size % 100)
    return -made if digits < 0 else made


def float_value(value: float) -> float:
    """The float with the shortest decimal that gives the same 4 bytes: 0.1, not 0.10000000149011612."""
    wanted = _float.pack(value)
    for digits in _DIGITS if abs(value) >= _LEAST_NORMAL else _DIGITS_OF_SUBNORMALS:
        shorter = float(f"{value:.{digits}g}")
        try:
            if _float.pack(shorter) == wanted:
                return shorter
        except OverflowError:
            continue  # rounded up beyond the largest 4-byte float
    return float(f"{value:.9g}")


def text_value(data: bytes, charset: str) -> str | Unrepresentable:
    try:
        return decode_text(data, charset)
    except UnicodeDecodeError:
        return Unrepresentable(f"text that is not valid {charset}")


def json_value(data: bytes) -> str:
    return canonical(json_text(data))


def careful_json_value(data: bytes) -> str | Unrepresentable:
    """As `json_value`, for a document that is well-formed in the log but not canonical JSON. Raises one of MALFORMED."""
    text = json_text(data)
    try:
        return canonical(text)
    except MALFORMED:
        return Unrepresentable("a JSON document without a canonical form")


def uuid_value(data: bytes) -> uuid.UUID:
    """MariaDB's uuid; trailing zeros are not in the log."""
    return uuid.UUID(bytes=data.ljust(16, b"\0"))


def inet4_value(data: bytes) -> str:
    return inet4_text(_padded(data, 4))


def inet6_value(data: bytes) -> str:
    return inet6_text(_padded(data, 16))


def _padded(data: bytes, size: int) -> bytes:
    """Trailing zeros are not in the log."""
    if len(data) > size:
        raise ValueError(f"an address of {len(data)} bytes")
    return data.ljust(size, b"\0")


def decompressed(data: bytes) -> bytes:
    """A value of a COMPRESSED column of MariaDB (sql/field_comp.cc): nothing for nothing; a byte 0 and the value as it is; or a byte
    of 0x80, 8 for zlib without its header, and the size of the length, then the length (big-endian) and the zlib data.
    """
    if not data:
        return data
    head = data[0]
    if head == 0:
        return data[1:]
    size = head & 7
    if head & 0xF0 != 0x80 or not 1 <= size <= 4:
        raise ValueError("not compressed with zlib")
    length = int.from_bytes(exactly(data, 1, size), "big")
    if length > _LARGEST:
        raise ValueError(f"{length} bytes in one value")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS if head & 8 else zlib.MAX_WBITS)
    plain = inflate.decompress(data[1 + size :], length + 1)
    if len(plain) != length:
        raise ValueError(f"{len(plain)} bytes instead of {length}")
    return plain
