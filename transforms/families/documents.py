"""Parts of a JSON document: `json_path`. One-way: the rest of the document is not in the field."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import pydantic

from transforms import json_text
from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, require

Step = str | int
Form = Literal["text", "integer", "decimal", "float", "boolean", "json"]
_STEP: Final = re.compile(r"""\.([^.\[\]"'\s]+)|\["([^"]+)"\]|\['([^']+)'\]|\[([0-9]{1,6})\]""")


def parse_path(written: str) -> tuple[Step, ...]:
    """`$.profile.names[0]["full name"]` as its steps: text for a member, a number for an element. ValueError says what is wrong."""
    if not written.startswith("$"):
        raise ValueError("the path must begin with $")
    steps: list[Step] = []
    at = 1
    while at < len(written):
        found = _STEP.match(written, at)
        if found is None:
            raise ValueError(
                f'the path is not understood at character {at + 1}: it has .name, ["name"] and [number] only'
            )
        steps.append(int(found[4]) if found[4] is not None else found[1] or found[2] or found[3])
        at = found.end()
    if not steps:
        raise ValueError("the path leads nowhere: $ is the whole document")
    return tuple(steps)


class JsonPath(pydantic.BaseModel):
    """`json_path: $.a.b` is short for `json_path: {path: $.a.b}`. `form`: what is there, by default what the field is."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, pydantic.Field(strict=True)]
    form: Form | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"path": written} if isinstance(written, str) else written

    @pydantic.field_validator("path")
    @classmethod
    def _understood(cls, written: str) -> str:
        parse_path(written)
        return written


def _follow(document: object, steps: tuple[Step, ...]) -> object:
    """What is at the path; None where nothing is: a missing member and JSON's null are both no value."""
    for step in steps:
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        elif isinstance(step, int) and isinstance(document, list):
            document = document[step] if step < len(document) else None
        else:
            return None
    return document


def _json_path(parameter: JsonPath, kind: Kind, context: Context) -> Built:
    require(kind, ("json", "text"), "json_path")
    steps = parse_path(parameter.path)
    own: dict[Kind, Form] = {
        "integer": "integer", "decimal": "decimal", "float": "float", "boolean": "boolean", "json": "json",
    }  # fmt: skip
    form: Form = parameter.form or own.get(context.target, "text")
    take = _TAKERS[form]
    read = json_text.read if form == "json" else _exactly
    refuse = context.refuse

    def decode(value: str) -> Any:
        try:
            document = read(value)
        except (ValueError, RecursionError):
            refuse(value, "is not valid JSON")
        found = _follow(document, steps)
        if found is None:
            return None
        try:
            return take(found)
        except (TypeError, ValueError):
            refuse(value, f"holds a {type(found).__name__} at {parameter.path}, not a {form}")

    return Built(form, decode, None, gives_null=True)


def _only(*classes: type) -> Callable[[object], Any]:
    def take(found: object) -> object:
        if found.__class__ not in classes:
            raise TypeError
        return found

    return take


def _decimal(found: object) -> decimal.Decimal:
    return decimal.Decimal(_only(int, decimal.Decimal)(found))


def _float(found: object) -> float:
    exact = _decimal(found)
    made = float(exact)
    if decimal.Decimal(repr(made)) != exact:
        raise ValueError("more digits than a float holds")
    return made


def _exactly(text: str) -> Any:
    return json.loads(text, parse_float=decimal.Decimal)


_TAKERS: Final[dict[Form, Callable[[object], Any]]] = {
    "text": _only(str), "integer": _only(int), "decimal": _decimal, "float": _float, "boolean": _only(bool), "json": json_text.write,
}  # fmt: skip

TRANSFORMS: Final = (
    Transform(
        "json_path",
        "One value out of a JSON document: `json_path: $.profile.nickname`. What is not there is NULL. One-way.",
        JsonPath,
        _json_path,
        invertible=False,
        example="$.profile.nickname",
    ),
)
