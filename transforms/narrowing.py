"""What one column of a field may hold and another one cannot: told by `check --explain` and doctor, where both catalogs are known. Guards I6.

Nothing is bent where such a value comes: it is parked. Here an operator is told beforehand, with what to declare instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transforms.capacity import Misfit, bytes_room, largest, longest_text, text_room, told, whole_bounds
from transforms.column_limits import fraction_digits
from transforms.mysql_charsets import CHARSETS
from transforms.specs import FieldSpec
from transforms.tables import ColumnType

_ALL_OF_UNICODE: Final = frozenset({"utf8mb4", "utf16", "utf16le", "utf32", "gb18030"})
_DOUBLES: Final = frozenset({"double", "real", "float8"})
_SINGLES: Final = frozenset({"float", "float4"})
_CLOCKS: Final = frozenset({"time", "timetz", "datetime", "timestamp", "timestamptz"})


def narrower(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    """Where a target's column is narrower than what a source's column and the field's own bounds let through."""
    source, target = source.base or source, target.base or target
    return next((found for look in _LOOKS if (found := look(field, source, target)) is not None), None)


def _whole(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    of_source, bounds = whole_bounds(source), whole_bounds(target)
    if field.type != "integer" or of_source is None or bounds is None:
        return None
    least, most = largest(field, of_source)
    if most > bounds[1]:
        return Misfit(f"integer up to {most}", f"add `maximum: {bounds[1]}`")
    if least < bounds[0]:
        return Misfit(f"integer down to {least}", f"add `minimum: {bounds[0]}`")
    return None


def _long(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    if field.type not in ("text", "bytes"):
        return None
    room_of = text_room if field.type == "text" else bytes_room
    unit = "characters" if field.type == "text" else "bytes"
    room = room_of(target)
    if room is None:
        return None
    own = longest_text(field) if field.type == "text" else field.max_length
    longest = min((n for n in (own, room_of(source)) if n is not None), default=None)
    if longest is not None and longest <= room:
        return None
    holds = f"{field.type} of any length" if longest is None else f"{field.type} up to {longest} {unit}"
    return Misfit(holds, f"add `max_length: {room}`")


def _characters(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    charset = target.charset
    if field.type not in ("text", "enum") or charset is None or charset not in CHARSETS or charset in _ALL_OF_UNICODE:
        return None
    if source.charset in (charset, "ascii") or charset == "binary" or field.values is not None:
        return None
    return Misfit(f"characters outside {charset}", "keep to those of that character set")


def _digits(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    if field.type != "decimal" or field.precision is not None or target.precision is None:
        return None
    room = target.scale or 0
    mend = f"add `precision: {target.precision}, scale: {room}`"
    if source.name == "numeric" and source.precision is None:
        return Misfit("decimal of any size", mend)
    if source.precision is None:
        return None
    scale = source.scale or 0
    if scale > room or source.precision - scale > target.precision - room:
        return Misfit(told(source.precision, scale), mend)
    return None


def _floats(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    if field.type != "float":
        return None
    if source.name in _DOUBLES and target.name in _SINGLES:
        return Misfit("float of more than 7 digits", "round in the source")
    bounded = field.minimum is not None and field.maximum is not None  # the field refuses NaN and infinity itself
    if source.engine == "postgresql" != target.engine and source.name in _DOUBLES | _SINGLES and not bounded:
        return Misfit("NaN and infinity", "keep to finite numbers")
    return None


def _moments(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    if source.name not in _CLOCKS and source.name != "date":
        return None
    of_mysql = target.engine in ("mysql", "mariadb")
    if of_mysql and target.name == "timestamp" and not (source.name == "timestamp" and source.engine != "postgresql"):
        return Misfit("points in time before 1970 or after 2038", "keep to those years")
    if (
        source.name == "time"
        and source.engine != "postgresql"
        and target.engine == "postgresql"
        and target.name == "time"
    ):
        return Misfit("lengths of time below zero or of a day and more", "keep to times of day")
    if field.type in ("time", "datetime", "instant", "duration") and source.name in _CLOCKS and target.name in _CLOCKS:
        given, kept = fraction_digits(source), fraction_digits(target)
        if given > kept:
            return Misfit(f"fractions of a second with {given} digits", f"keep to {kept} in the source")
    return None


def _documents(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    if field.type == "json" and target.engine == "mysql" and target.name == "json" and source.engine != "mysql":
        return Misfit("numbers beyond 64 bits or of more digits than a double", "write such numbers as texts")
    return None


_LOOKS: Final[tuple[Callable[[FieldSpec, ColumnType, ColumnType], Misfit | None], ...]] = (
    _whole, _long, _characters, _digits, _floats, _moments, _documents,
)  # fmt: skip
