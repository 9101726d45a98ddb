"""Kinds: the exact Python form that a value has between two steps of a column's way to its field.

A column starts with the kind of its channel type, every transform says what kind it makes of what kind, and a field ends with
the kind of its dictionary type. Steps are only joined where the kinds fit, so that a misfit is found when a mapping is
compiled and not when a row comes.
"""

from __future__ import annotations

import datetime as dt
import decimal
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
    wrong = ValueError(f"{literal!r} is not a value of kind {kind}")
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
            case "bytes" | "duration" | "set":
                raise wrong
    except (ValueError, KeyError, ArithmeticError):
        raise wrong from None
    return made


def _spelling(literal: object) -> str:
    if isinstance(literal, bool):
        return "true" if literal else "false"
    if isinstance(literal, str | int | float | decimal.Decimal):
        return str(literal)
    if isinstance(literal, dt.datetime | dt.date | dt.time):
        return literal.isoformat()
    raise ValueError(f"{literal!r} is not a plain value")
