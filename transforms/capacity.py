"""What a column can hold against what a field may hold: told when a mapping is compiled, not when the first such value comes. Guards I6.

A bound that nobody declared is not guessed: such a value is refused when it comes. `fits` compares a field's own words with one column;
`transforms.narrowing` compares the two columns at the ends of a field, where both catalogs are known.
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from typing import Final

from transforms.column_limits import BLOB_BYTES, integer_bounds
from transforms.specs import FieldSpec
from transforms.tables import ColumnType
from transforms.text_limits import TEXT_BYTES, as_catalogs_show

BARE_UUID: Final = 32  # characters of a UUID without dashes
ANOTHER_WORD: Final = "add a transform (enum), take the value out,"
_SIZED_TEXT: Final = ("char", "varchar", "bpchar")
_SIZED_BYTES: Final = ("binary", "varbinary")
_FLOAT_DIGITS: Final = {
    "float": 6,
    "float4": 6,
    "double": 15,
    "real": 15,
    "float8": 15,
}  # decimals that always come back


@dataclass(frozen=True, slots=True)
class Misfit:
    """`holds`: what the field may hold, in words; `mend`: what to declare instead."""

    holds: str
    mend: str

    def told(self, column: str, column_type: ColumnType, field: FieldSpec) -> str:
        return f"column {column} {column_type} cannot hold field {field.name}: {self.holds} - {self.mend} or widen the column"


def fits(field: FieldSpec, column_type: ColumnType) -> Misfit | None:
    """Where a field's declared bounds go beyond a column that takes its values as they are."""
    column_type = column_type.base or column_type  # of a domain
    if field.type == "integer":
        return _integers(field, column_type)
    if field.type == "decimal" and field.precision is not None:
        return _decimals(field.precision, field.scale or 0, column_type)
    if field.type == "text":
        return _longer("text up to {} characters", longest_text(field), text_room(column_type))
    if field.type == "bytes":
        return _longer("bytes up to {}", field.max_length, bytes_room(column_type))
    if field.type in ("enum", "set"):
        return _words(field, column_type)
    if field.type == "uuid":
        return _uuids(column_type)
    return None


def _uuids(column_type: ColumnType) -> Misfit | None:
    room, octets = text_room(column_type), bytes_room(column_type)
    if (room is not None and room < 36 and room != BARE_UUID) or (octets is not None and octets < 16):
        return Misfit("uuid", "take char(36), char(32) (without dashes) or binary(16),")
    return None


def longest_text(field: FieldSpec) -> int | None:
    """The longest text that a field's own words allow, None where they do not say."""
    declared = [n for n in (field.max_length, max(map(len, field.values or ()), default=None)) if n is not None]
    return min(declared, default=None)


def text_room(column_type: ColumnType) -> int | None:
    """The longest text that a column may hold, in characters; None where nothing is declared. Of some it holds fewer."""
    if column_type.name in _SIZED_TEXT:
        return column_type.length
    return TEXT_BYTES.get(column_type.name) if column_type.engine in ("mysql", "mariadb") else None


def bytes_room(column_type: ColumnType) -> int | None:
    if column_type.name in _SIZED_BYTES:
        return column_type.length
    return BLOB_BYTES.get(column_type.name) if column_type.engine in ("mysql", "mariadb") else None


def whole_bounds(column_type: ColumnType) -> tuple[int, int] | None:
    """The whole numbers that a column of integers, or of decimals of a declared size, holds."""
    if column_type.precision is None or column_type.name not in ("decimal", "numeric"):
        return integer_bounds(column_type)
    most = 10 ** max(0, column_type.precision - (column_type.scale or 0)) - 1
    return (0 if column_type.unsigned else -most, most)


def _longer(what: str, declared: int | None, room: int | None) -> Misfit | None:
    if declared is None or room is None or declared <= room:
        return None
    return Misfit(what.format(declared), f"add `max_length: {room}`")


def _integers(field: FieldSpec, column_type: ColumnType) -> Misfit | None:
    bounds = whole_bounds(column_type)
    if bounds is None:
        return None
    least, most = bounds
    if field.maximum is not None and field.maximum > most:
        return Misfit(f"integer up to {field.maximum}", f"add `maximum: {most}`")
    if field.minimum is not None and field.minimum < least:
        return Misfit(f"integer down to {field.minimum}", f"add `minimum: {least}`")
    return None


def _decimals(precision: int, scale: int, column_type: ColumnType) -> Misfit | None:
    if (digits := _FLOAT_DIGITS.get(column_type.name)) is not None and column_type.engine != "sqlite":
        return Misfit(f"decimal of {precision} digits", f"add `precision: {digits}`") if precision > digits else None
    if (bounds := integer_bounds(column_type)) is not None:
        room = len(str(bounds[1])) - 1  # digits of which every number fits
        if scale or precision > room:
            return Misfit(told(precision, scale), f"add `precision: {room}, scale: 0`")
    if column_type.precision is not None:
        room = column_type.scale or 0
        if scale > room or precision - scale > column_type.precision - room:
            return Misfit(told(precision, scale), f"add `precision: {column_type.precision}, scale: {room}`")
    return None


def told(precision: int, scale: int) -> str:
    return f"decimal with {precision - scale} digits before and {scale} after the point"


def _words(field: FieldSpec, column_type: ColumnType) -> Misfit | None:
    # A label may come to a PostgreSQL enum at any time: `transforms.promises` looks where a session begins.
    if column_type.engine == "postgresql" and column_type.kind == "enum":
        return None
    if column_type.labels is not None:
        known = column_type.labels
        missing = [v for v in field.values or () if v not in known and as_catalogs_show(v) not in known]
        return Misfit(f"{field.type} with {', '.join(missing)}", ANOTHER_WORD) if missing else None
    return None


def largest(field: FieldSpec, bounds: tuple[int, int]) -> tuple[int, int]:
    """The whole numbers that a column of these bounds gives a field."""
    least, most = bounds
    if field.minimum is not None:
        least = max(least, int(field.minimum.to_integral_value(decimal.ROUND_CEILING)))
    if field.maximum is not None:
        most = min(most, int(field.maximum.to_integral_value(decimal.ROUND_FLOOR)))
    return least, most
