"""What a column can hold against what a field may hold: told when a mapping is compiled, not when the first such value comes. Guards I6.

A bound that nobody declared is not guessed: such a value is refused when it comes. `fits` compares a field's own words with one column;
`narrower` compares the two columns at the ends of a field, where both catalogs are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transforms.column_limits import integer_bounds
from transforms.specs import FieldSpec
from transforms.tables import ColumnType
from transforms.text_limits import as_catalogs_show

_SIZED_TEXT: Final = ("char", "varchar", "bpchar")
_SIZED_BYTES: Final = ("binary", "varbinary")


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
    if field.type == "decimal" and field.precision is not None and column_type.precision is not None:
        scale, room = field.scale or 0, column_type.scale or 0
        if scale > room or field.precision - scale > column_type.precision - room:
            return Misfit(
                f"decimal with {field.precision - scale} digits before and {scale} after the point",
                f"add `precision: {column_type.precision}, scale: {room}`",
            )
    if field.type == "text" and column_type.name in _SIZED_TEXT and _beyond(field.max_length, column_type.length):
        return Misfit(f"text up to {field.max_length} characters", f"add `max_length: {column_type.length}`")
    if field.type == "bytes" and column_type.name in _SIZED_BYTES and _beyond(field.max_length, column_type.length):
        return Misfit(f"bytes up to {field.max_length}", f"add `max_length: {column_type.length}`")
    # A label may come to a PostgreSQL enum at any time, and the server itself refuses what is none.
    if field.type in ("enum", "set") and column_type.labels is not None and column_type.engine != "postgresql":
        known = column_type.labels
        missing = [v for v in field.values or () if v not in known and as_catalogs_show(v) not in known]
        if missing:
            return Misfit(f"{field.type} with {', '.join(missing)}", "add a transform (enum), take the value out,")
    return None


def _beyond(declared: int | None, room: int | None) -> bool:
    return declared is not None and room is not None and declared > room


def _integers(field: FieldSpec, column_type: ColumnType) -> Misfit | None:
    bounds = integer_bounds(column_type)
    if bounds is None:
        return None
    least, most = bounds
    if field.maximum is not None and field.maximum > most:
        return Misfit(f"integer up to {field.maximum}", f"add `maximum: {most}`")
    if field.minimum is not None and field.minimum < least:
        return Misfit(f"integer down to {field.minimum}", f"add `minimum: {least}`")
    return None


def narrower(field: FieldSpec, source: ColumnType, target: ColumnType) -> Misfit | None:
    """Where a target's column is narrower than what a source's column and the field's own bounds let through."""
    source, target = source.base or source, target.base or target
    if field.type == "integer" and (of_source := integer_bounds(source)) and integer_bounds(target):
        least = of_source[0] if field.minimum is None else max(of_source[0], int(field.minimum))
        most = of_source[1] if field.maximum is None else min(of_source[1], int(field.maximum))
        bounds = integer_bounds(target)
        assert bounds is not None
        if most > bounds[1]:
            return Misfit(f"integer up to {most}", f"add `maximum: {bounds[1]}`")
        if least < bounds[0]:
            return Misfit(f"integer down to {least}", f"add `minimum: {bounds[0]}`")
    if field.type == "text" and target.name in _SIZED_TEXT and target.length is not None:
        lengths = [
            n for n in (field.max_length, source.length if source.name in _SIZED_TEXT else None) if n is not None
        ]
        longest = min(lengths, default=None)
        if longest is None or longest > target.length:
            holds = "text of any length" if longest is None else f"text up to {longest} characters"
            return Misfit(holds, f"add `max_length: {target.length}`")
    if (
        field.type == "decimal"
        and field.precision is None
        and source.precision is not None
        and target.precision is not None
    ):
        scale, room = source.scale or 0, target.scale or 0
        if scale > room or source.precision - scale > target.precision - room:
            return Misfit(
                f"decimal with {source.precision - scale} digits before and {scale} after the point",
                f"add `precision: {target.precision}, scale: {room}`",
            )
    return None
