"""Codes that stand for something else: `enum`, `boolean`, `default`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import pydantic

from transforms.kinds import Kind, from_literal
from transforms.registry import Built, Context, KindRefusedError, Transform, TransformRefusedError, require

Scalar = bool | int | float | str
_CODE_KINDS: Final[tuple[Kind, ...]] = ("text", "integer", "boolean", "decimal")


def _literal(kind: Kind, value: object, name: str) -> Any:
    """A value of the column's kind; another column may have it."""
    try:
        return from_literal(kind, value)
    except ValueError as error:
        raise KindRefusedError(f"transform {name}: {error}") from None


def _enum(parameter: dict[Scalar, Scalar], kind: Kind, context: Context) -> Built:
    require(kind, _CODE_KINDS, "enum")
    target = context.target
    forth: dict[Any, Any] = {}
    back: dict[Any, Any] = {}
    for column_value, field_value in parameter.items():
        code = _literal(kind, column_value, "enum")
        try:
            meaning = from_literal(target, field_value)
        except ValueError as error:
            raise TransformRefusedError(f"transform enum: {error}") from None
        if context.field.values is not None and meaning not in context.field.values:
            raise TransformRefusedError(
                f"transform enum gives '{meaning}', which is not among the values of field {context.field.name}"
            )
        if code in forth:
            raise TransformRefusedError(f"transform enum names the column value {column_value!r} twice")
        forth[code] = meaning
        back.setdefault(meaning, code)
    refuse = context.refuse

    def decode(value: Any) -> Any:
        try:
            return forth[value]
        except KeyError:
            refuse(value, "is not one of the column values that the enum names")

    def encode(value: Any) -> Any:
        try:
            return back[value]
        except KeyError:
            refuse(value, "has no column value in the enum")

    # Two codes with one meaning cannot be told apart on the way back.
    return Built(target, decode, encode if len(back) == len(forth) else None)


class Spellings(pydantic.BaseModel):
    """How true and false are written in the column; of several the first is written back."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    true: list[Scalar] = pydantic.Field(min_length=1)
    false: list[Scalar] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _yaml_keys(cls, written: object) -> object:
        """Unquoted true and false are booleans as YAML keys; one spelling needs no list."""
        if not isinstance(written, dict):
            return written
        keyed = {
            {True: "true", False: "false"}.get(key, key) if isinstance(key, bool) else key: value
            for key, value in written.items()
        }
        return {key: value if isinstance(value, list) else [value] for key, value in keyed.items()}


def _boolean(parameter: Spellings | None, kind: Kind, context: Context) -> Built:
    require(kind, ("text", "integer"), "boolean")
    if parameter is None:
        parameter = Spellings(true=[True], false=[False])
    true = [_literal(kind, spelling, "boolean") for spelling in parameter.true]
    false = [_literal(kind, spelling, "boolean") for spelling in parameter.false]
    meanings = dict.fromkeys(true, True) | dict.fromkeys(false, False)
    if len(meanings) != len(set(true)) + len(set(false)):
        raise TransformRefusedError("transform boolean has one spelling for both true and false")
    refuse = context.refuse

    def decode(value: Any) -> bool:
        try:
            return meanings[value]
        except KeyError:
            refuse(value, "is not one of the spellings of true and false")

    def encode(value: bool) -> Any:
        return true[0] if value else false[0]

    return Built("boolean", decode, encode)


def _default(parameter: Scalar, kind: Kind, context: Context) -> Built:
    if kind in ("bytes", "set"):
        raise TransformRefusedError(f"transform default has no way to write a value of kind {kind}")
    del context
    return Built(kind, lambda value: value, lambda value: value, _literal(kind, parameter, "default"))


TRANSFORMS: Final = (
    Transform(
        "enum",
        "Column codes to the dictionary's words and back: `enum: {0: basic, 1: silver}`.",
        Annotated[dict[Scalar, Scalar], pydantic.Field(min_length=1), pydantic.Strict()],
        _enum,
        example="{0: basic, 1: silver}",
    ),
    Transform(
        "boolean",
        "Declared spellings of true and false: `boolean: {true: [Y, y], false: N}`; the first one is written.",
        Spellings | None,
        _boolean,
        example="{true: [Y, y], false: N}",
    ),
    Transform(
        "default",
        "What NULL in the column means: `default: 0`. A field without a value is refused on the way back.",
        Scalar,
        _default,
        example="0",
    ),
)
