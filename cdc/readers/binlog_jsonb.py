"""MySQL's binary JSON (a JSON column in a row image) to JSON text, exactly. Pure. Guards I6 (TRAPS.md P13).

Numbers keep every digit; opaque values come as MySQL prints them: decimals as numbers, times as strings, everything else as
`base64:typeN:...`. Bounds-checked; no document costs more work than it has bytes. Format: MySQL's sql-common/json_binary.h.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from decimal import Decimal
from typing import Final

from cdc.readers import binlog_types as types
from cdc.readers.binlog_events import exactly

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = 0, 1, 2, 3, 4
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING, _OPAQUE = 5, 6, 7, 8, 9, 10, 11, 12, 15
_LITERALS: Final = {0: "null", 1: "true", 2: "false"}
_NUMBERS: Final = {_INT16: "<h", _UINT16: "<H", _INT32: "<i", _UINT32: "<I", _INT64: "<q", _UINT64: "<Q"}
_DEEPEST: Final = 100  # MySQL's own limit
_double: Final = struct.Struct("<d").unpack_from


def json_text(data: bytes) -> str:
    """Raises one of MALFORMED. An empty value is what MySQL makes of a NULL that it had to store: the literal null."""
    if not data:
        return "null"
    return _Document(data).value(data[0], 1, 0)


class _Document:
    """`_left` is how many values may still come: each takes bytes of its own, so a crafted document cannot multiply."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)

    def value(self, kind: int, at: int, depth: int) -> str:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise ValueError("JSON that refers to itself")
        data = self._data
        if kind == _STRING:
            size, at = _length(data, at)
            return json.dumps(exactly(data, at, size).decode("utf-8"), ensure_ascii=False)
        if kind in _NUMBERS:
            return str(struct.unpack_from(_NUMBERS[kind], data, at)[0])
        if kind == _DOUBLE:
            number: float = _double(data, at)[0]
            if not math.isfinite(number):
                raise ValueError("a JSON number that is not finite")
            return repr(number)
        if kind == _LITERAL:
            return _literal(data[at])
        if kind == _OPAQUE:
            return _opaque(data, at)
        if kind in (_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY):
            return self._container(kind, at, depth)
        raise ValueError(f"JSON value of type {kind}")

    def _container(self, kind: int, start: int, depth: int) -> str:
        large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
        width = 4 if large else 2
        count = self._unsigned(start, width)
        is_object = kind in (_SMALL_OBJECT, _LARGE_OBJECT)
        at = start + 2 * width
        keys = []
        if is_object:
            for k in range(count):
                entry = at + k * (width + 2)
                size = self._unsigned(entry + width, 2)
                keys.append(exactly(self._data, start + self._unsigned(entry, width), size).decode("utf-8"))
            at += count * (width + 2)
        values = [self._entry(start, at + k * (width + 1), width, depth) for k in range(count)]
        if not is_object:
            return f"[{','.join(values)}]"
        members = (f"{json.dumps(key, ensure_ascii=False)}:{value}" for key, value in zip(keys, values, strict=True))
        return "{" + ",".join(members) + "}"

    def _entry(self, start: int, at: int, width: int, depth: int) -> str:
        """A value's type, then the value itself where it is small, else its offset from the container's start."""
        kind = self._data[at]
        inlined = (_LITERAL, _INT16, _UINT16) if width == 2 else (_LITERAL, _INT16, _UINT16, _INT32, _UINT32)
        place = at + 1 if kind in inlined else start + self._unsigned(at + 1, width)
        return self.value(kind, place, depth + 1)

    def _unsigned(self, at: int, width: int) -> int:
        return int.from_bytes(exactly(self._data, at, width), "little")


def _literal(number: int) -> str:
    if number not in _LITERALS:
        raise ValueError(f"JSON literal {number}")
    return _LITERALS[number]


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length of 1 to 5 bytes, seven bits each, the lowest first."""
    size = 0
    for k in range(5):
        byte = data[at + k]
        size |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return size, at + k + 1
    raise ValueError("a JSON length of more than 5 bytes")


def _opaque(data: bytes, at: int) -> str:
    kind = data[at]
    size, at = _length(data, at + 1)
    value = exactly(data, at, size)
    if kind == types.DECIMAL:
        return _decimal(value)
    if kind in (types.DATE, types.OLD_DATETIME, types.OLD_TIMESTAMP, types.OLD_TIME):
        return _time(kind, int.from_bytes(exactly(value, 0, 8), "little", signed=True))
    return f'"base64:type{kind}:{base64.b64encode(value).decode()}"'


def _decimal(value: bytes) -> str:
    precision, scale = value[0], value[1]
    return format(unpack_decimal(exactly(value, 2, len(value) - 2), precision, scale), "f")


def unpack_decimal(raw: bytes, precision: int, scale: int) -> Decimal:
    """A packed decimal, slowly; rows have generated code for it. Raises ValueError."""
    shape = types.form(types.DECIMAL, bytes([precision, scale]))
    if shape.size != len(raw):
        raise ValueError(f"decimal({precision},{scale}) in {len(raw)} bytes")
    number = int.from_bytes(raw, "big") ^ (1 << (8 * len(raw) - 1))
    negative = not raw[0] & 0x80
    if negative:
        number ^= (1 << (8 * len(raw))) - 1
    digits, place = "", 8 * len(raw)
    for size, width in types.decimal_parts(precision, scale):
        place -= 8 * size
        group = str(number >> place & ((1 << (8 * size)) - 1)).zfill(width)
        if len(group) > width:
            raise ValueError("a decimal with too many digits")
        digits += group
    unscaled = int(digits)
    return Decimal((int(negative and unscaled != 0), tuple(map(int, str(unscaled))), -scale))


def _time(kind: int, packed: int) -> str:
    sign = "-" if packed < 0 else ""
    packed = abs(packed)
    micros, clock = packed & 0xFFFFFF, packed >> 24
    second, minute = clock & 63, clock >> 6 & 63
    if kind == types.OLD_TIME:
        return f'"{sign}{clock >> 12 & 1023:02d}:{minute:02d}:{second:02d}.{micros:06d}"'
    month = clock >> 22
    date = f"{month // 13:04d}-{month % 13:02d}-{clock >> 17 & 31:02d}"
    if kind == types.DATE:
        return f'"{date}"'
    return f'"{date} {clock >> 12 & 31:02d}:{minute:02d}:{second:02d}.{micros:06d}"'
