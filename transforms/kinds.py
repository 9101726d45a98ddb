"""Kinds: the exact Python form that a value has between two steps of a column's way to its field.

A column starts with the kind of its channel type, every transform says what kind it makes of what kind, and a field ends with
the kind of its dictionary type. Steps are only joined where the kinds fit, so that a misfit is found when a mapping is
compiled and not when a row comes.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from transforms import json_text
from transforms.specs import FieldTypeName

Kind: TypeAlias = Literal[
    "text", "integer", "decimal", "float", "boolean", "date", "time", "datetime", "instant", "duration", "bytes",
    "json", "uuid", "set",
]  # fmt: skip

# One step for one value that is never None; it raises RefusedValueError for what it cannot hold.
Step: TypeAlias = Callable[[Any], Any]

PYTHON_CLASS: Final[dict[Kind, type]] = {
    "text": str,
    "integer": int,
    "decimal": decimal.Decimal,
    "float": float,
    "boolean": bool,
    "date": dt.date,
    "time": dt.time,
    "datetime": dt.datetime,
    "instant": dt.datetime,
    "duration": dt.timedelta,
    "bytes": bytes,
    "json": str,
    "uuid": uuid.UUID,
    "set": tuple,
}


_LENGTH: Final = re.compile(
    r"(-?)(?:PT(?=.)(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})(?:\.([0-9]{1,6}))?S)?"
    r"|([0-9]{1,3}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,6}))?)"
)
SUCH_AS: Final[dict[Kind, str]] = {
    "date": ", such as 2024-02-29",
    "time": ", such as 23:59:59",
    "datetime": ", such as 2024-02-29T23:59:59",
    "instant": ", such as 2024-02-29T23:59:59Z or with +08:00",
    "duration": ", such as 01:30:00 or PT1H30M0S",
}


def kind_of_field(field_type: FieldTypeName) -> Kind:
    """Return the kind that a dictionary type's values have; a reference has that of the column which holds it."""
    if field_type == "enum":
        return "text"
    if field_type == "reference":
        raise ValueError("a reference has the kind of its column")
    return field_type


def from_literal(kind: Kind, literal: object) -> object:
    """Make a value of `kind` of what an operator wrote in YAML; ValueError where it cannot be one.

    An unquoted `0` or `true` is a number or a boolean in YAML, whatever the column is: it is read as the column needs it.
    """
    wrong = ValueError(f"{literal!r} is not a value of kind {kind}{SUCH_AS.get(kind, '')}")
    text = _spelling(literal)
    try:
        match kind:
            case "text":
                made: object = text
            case "integer":
                made = int(literal) if isinstance(literal, bool) else int(text)
            case "decimal":
                made = decimal.Decimal(text)
                if not decimal.Decimal(text).is_finite():
                    raise wrong
            case "float":
                made = float(text)
            case "boolean":
                made = {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            case "date":
                made = dt.date.fromisoformat(text)
            case "time":
                made = dt.time.fromisoformat(text)
            case "datetime":
                moment = dt.datetime.fromisoformat(text)
                if moment.tzinfo is not None:
                    raise wrong
                made = moment
            case "instant":
                moment = dt.datetime.fromisoformat(text)
                if moment.tzinfo is None:
                    raise wrong
                made = moment.astimezone(dt.UTC)
            case "json":
                made = json_text.canonical(text)
            case "uuid":
                made = uuid.UUID(text)
            case "duration":
                made = _length_of_time(text)
            case "bytes" | "set":
                raise wrong
    except (ValueError, KeyError, ArithmeticError):
        raise wrong from None
    return made


def _length_of_time(text: str) -> dt.timedelta:
    """`PT1H30M0S` or `01:30:00`."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise ValueError
    minus, *iso, hours, minutes, seconds, fraction = found.groups()
    parts = [int(part or 0) for part in (iso[:3] if text.lstrip("-").startswith("P") else (hours, minutes, seconds))]
    micros = int(((iso[3] if text.lstrip("-").startswith("P") else fraction) or "").ljust(6, "0"))
    made = dt.timedelta(hours=parts[0], minutes=parts[1], seconds=parts[2], microseconds=micros)
    return -made if minus else made


def _spelling(literal: object) -> str:
    if isinstance(literal, bool):
        return "true" if literal else "false"
    if isinstance(literal, str | int | float | decimal.Decimal):
        return str(literal)
    if isinstance(literal, dt.datetime | dt.date | dt.time):
        return literal.isoformat()
    raise ValueError(f"{literal!r} is not a plain value")
