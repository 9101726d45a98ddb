"""Whole columns of values for COPY in binary: checked here, packed by psycopg's C code. Guards I6 and the target's speed.

What the server's own types of a fixed form need is their binary form: to read a timestamp's text costs the server and us several times as
much. All others travel as text and are cast, with the text that `sinks.postgresql_texts` makes, which also says what is refused and why.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sinks.postgresql_arrays import ElementsEncoder, is_encodable
from sinks.value_checks import refuse
from sinks.value_texts import are_without_escapes
from transforms.tables import Column

_Values: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
# Whether values, all of the column's class and none of them None, are surely exact in it. Of others the text encoder decides.
_Check: TypeAlias = Callable[[Sequence[Any]], bool]


@dataclass(frozen=True, slots=True)
class CopiedColumn:
    """`type` is what travels; `values` answers it for a whole column, or raises RefusedValueError. `is_cast`: text, to be cast."""

    type: str
    values: _Values
    is_cast: bool


def copied_column(column: Column, encode: ElementsEncoder) -> CopiedColumn:
    """How a column (of a domain: of its base type) is copied; `encode` makes its array elements."""
    kind = column.type
    name = kind.name if kind.kind == "base" else ""
    if name in ("text", "varchar", "bpchar"):
        return CopiedColumn(
            "text", _native(str, _texts(kind.length, padded=name == "bpchar"), encode), is_cast=name != "text"
        )
    if name in _INTEGER_BITS:
        return CopiedColumn(name, _integers(column, _INTEGER_BITS[name], encode), is_cast=False)
    if name in ("timestamp", "timestamptz"):
        zone = dt.UTC if name == "timestamptz" else None
        digits = 6 if kind.scale is None else kind.scale
        return CopiedColumn(name, _native(dt.datetime, _timestamps(zone, digits), encode), is_cast=False)
    if name in _CLASSES:
        return CopiedColumn(name, _native(_CLASSES[name], _always, encode), is_cast=False)
    if name == "numeric":  # psycopg's C code takes three times as long to pack one as Python to write its digits
        return CopiedColumn("text", lambda values: _numbers(encode(values)), is_cast=True)
    return CopiedColumn("text", lambda values: list(map(_plain, encode(values))), is_cast=True)


def _numbers(elements: list[str]) -> Sequence[str | None]:
    return [None if element == "NULL" else element for element in elements] if "NULL" in elements else elements


def _plain(element: str) -> str | None:
    """An array's element as the text that it stands for."""
    if element[0] != '"':
        return None if element == "NULL" else element
    inner = element[1:-1]
    if "\\" not in inner:
        return inner
    return "\\".join(part.replace('\\"', '"') for part in inner.split("\\\\"))


def _native(python_class: type, check: _Check, encode: ElementsEncoder) -> _Values:
    usual = {python_class}

    def values_of(values: Sequence[Any]) -> Sequence[Any]:
        classes = set(map(type, values))
        present = values
        if type(None) in classes:
            present = [value for value in values if value is not None]
            classes.discard(type(None))
        if present and (classes != usual or not check(present)):
            encode(values)
        return values

    return values_of


def _integers(column: Column, bits: int, encode: ElementsEncoder) -> _Values:
    """The driver packs the lowest bytes of any number: the range is checked here."""
    most = 1 << (bits - 1)
    only_integers = {int}

    def values_of(values: Sequence[Any]) -> Sequence[Any]:
        present = values
        if set(map(type, values)) != only_integers:
            encode(values)
            present = [value for value in values if value is not None]
        if present and not (-most <= min(present) and max(present) < most):
            refuse(column, "out of range")
        return values

    return values_of


def _always(_values: Sequence[Any]) -> bool:
    return True


def _texts(limit: int | None, *, padded: bool) -> _Check:
    def check(values: Sequence[Any]) -> bool:
        if limit is not None and max(map(len, values)) > limit:
            return False
        if padded and any(value.endswith(" ") for value in values):
            return False
        if are_without_escapes(values) is not None:
            return True
        joined = "".join(values)
        return "\0" not in joined and is_encodable(joined)

    return check


def _timestamps(zone: dt.tzinfo | None, digits: int) -> _Check:
    unit = 10 ** (6 - digits)

    def check(values: Sequence[Any]) -> bool:
        if {value.tzinfo for value in values} != {zone}:
            return False
        return unit == 1 or not any(value.microsecond % unit for value in values)

    return check


_INTEGER_BITS: Final = {"int2": 16, "int4": 32, "int8": 64}
_CLASSES: Final = {"float8": float, "bool": bool, "bytea": bytes, "date": dt.date, "uuid": uuid.UUID}
