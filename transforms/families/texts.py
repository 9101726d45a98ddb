"""Text: `prefix`, `suffix`, `replace`, and `trim`, `lower`, `upper`, which are one-way unless `both` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import pydantic

from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, TransformRefusedError, require

NonEmpty = Annotated[str, pydantic.Field(min_length=1, strict=True)]


def _prefix(parameter: str, kind: Kind, context: Context) -> Built:
    require(kind, ("text",), "prefix")
    length, refuse = len(parameter), context.refuse

    def decode(value: str) -> str:
        if not value.startswith(parameter):
            refuse(value, f"does not start with '{parameter}'")
        return value[length:]

    return Built("text", decode, lambda value: parameter + value)


def _suffix(parameter: str, kind: Kind, context: Context) -> Built:
    require(kind, ("text",), "suffix")
    length, refuse = len(parameter), context.refuse

    def decode(value: str) -> str:
        if not value.endswith(parameter):
            refuse(value, f"does not end with '{parameter}'")
        return value[:-length]

    return Built("text", decode, lambda value: value + parameter)


def _replace(parameter: dict[str, str], kind: Kind, context: Context) -> Built:
    """Each text by another. With a way back only where the value proves that nothing is lost; that is tried per value."""
    require(kind, ("text",), "replace")
    pairs = list(parameter.items())
    refuse = context.refuse

    def forth(value: str) -> str:
        for old, new in pairs:
            value = value.replace(old, new)
        return value

    if any(not new for _, new in pairs):
        return Built("text", forth, None)

    def back(value: str) -> str:
        for old, new in reversed(pairs):
            value = value.replace(new, old)
        return value

    def decode(value: str) -> str:
        made = forth(value)
        if back(made) != value:
            refuse(value, "holds text that the replacement could not bring back")
        return made

    def encode(value: str) -> str:
        made = back(value)
        if forth(made) != value:
            refuse(value, "holds text that the replacement could not bring back")
        return made

    return Built("text", decode, encode)


def _truncate(parameter: int, kind: Kind, context: Context) -> Built:
    del context
    require(kind, ("text", "bytes"), "truncate")
    return Built(kind, lambda value: value[:parameter], None)


def _one_form(name: str, change: Callable[[str], str]) -> Callable[[Literal["both"] | None, Kind, Context], Built]:
    """Brings a text to one form. Where the column came from is lost; `both` says that the column is to hold that form too."""

    def build(parameter: Literal["both"] | None, kind: Kind, context: Context) -> Built:
        require(kind, ("text",), name)
        if parameter is None:
            return Built("text", change, None)
        if context.is_key:
            raise TransformRefusedError(
                f"transform {name}: field {context.field.name} is in the entity's key, and two rows here would be one there"
            )
        return Built("text", change, change)

    return build


TRANSFORMS: Final = (
    Transform(
        "prefix",
        "Text that stands before every value in the column: `prefix: SKU-`.",
        NonEmpty,
        _prefix,
        example="SKU-",
    ),
    Transform(
        "suffix", "Text that stands after every value in the column: `suffix: 元`.", NonEmpty, _suffix, example="元"
    ),
    Transform(
        "replace",
        "Replaces texts: `replace: {/: -}`. One-way where something is replaced by nothing.",
        Annotated[dict[NonEmpty, str], pydantic.Field(min_length=1)],
        _replace,
        example="{/: -}",
    ),
    Transform(
        "truncate",
        "Keeps the first characters (bytes of binary): `truncate: 64`. One-way.",
        Annotated[int, pydantic.Field(strict=True, ge=1)],
        _truncate,
        invertible=False,
        example="64",
    ),
    Transform(
        "trim",
        "Drops spaces around the value. One-way; `trim: both` writes the same form back.",
        Literal["both"] | None,
        _one_form("trim", str.strip),
        example="both",
    ),
    Transform(
        "lower",
        "Lower case. One-way; `lower: both` writes the same form back.",
        Literal["both"] | None,
        _one_form("lower", str.lower),
        example="both",
    ),
    Transform(
        "upper",
        "Upper case. One-way; `upper: both` writes the same form back.",
        Literal["both"] | None,
        _one_form("upper", str.upper),
        example="both",
    ),
)
