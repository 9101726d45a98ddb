"""Numbers: `decimal` and `integer` read them out of text, `scale` moves the decimal point."""

from __future__ import annotations

import decimal
import re
from typing import Annotated, Any, Final

import pydantic

from transforms.conversions import whole
from transforms.fields import EXACT, plain
from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, TransformRefusedError, require

_DECIMAL: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,1000}")


def _decimal(parameter: None, kind: Kind, context: Context) -> Built:
    del parameter
    require(kind, ("text",), "decimal")
    refuse = context.refuse
    # A field with a scale is written with exactly that many decimals: 19.90.
    quantum = None if context.field.scale is None else decimal.Decimal(1).scaleb(-context.field.scale)

    def decode(value: str) -> decimal.Decimal:
        if _DECIMAL.fullmatch(value) is None:
            refuse(value, "is not a decimal number")
        return decimal.Decimal(value)

    def encode(value: decimal.Decimal) -> str:
        if not value.is_finite():
            refuse(value, "is not a finite number")
        if quantum is not None:
            try:
                value = value.quantize(quantum, context=EXACT)
            except (decimal.Inexact, decimal.InvalidOperation):
                refuse(value, f"has more decimals than field {context.field.name}")
        return format(value, "f")

    return Built("decimal", decode, encode)


def _integer(parameter: None, kind: Kind, context: Context) -> Built:
    del parameter
    require(kind, ("text", "decimal"), "integer")
    if kind == "decimal":
        return Built("integer", whole(context.where), decimal.Decimal)
    refuse = context.refuse

    def decode(value: str) -> int:
        if _INTEGER.fullmatch(value) is None:
            refuse(value, "is not an integer")
        return int(value)

    return Built("integer", decode, str)


class Digits(pydantic.BaseModel):
    """By how many decimal places the column's unit is smaller than the field's; negative where it is larger."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    digits: Annotated[int, pydantic.Field(strict=True, ge=-18, le=18)]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"digits": written} if isinstance(written, int) else written


def _scale(parameter: Digits, kind: Kind, context: Context) -> Built:
    require(kind, ("integer", "decimal"), "scale")
    digits = parameter.digits
    if digits == 0:
        raise TransformRefusedError("transform scale by 0 digits does nothing: remove it")
    if digits < 0 and kind == "integer":
        factor = 10**-digits
        return Built("integer", lambda value: value * factor, _divide(factor, context))
    to_integer = whole(context.where)

    def decode(value: Any) -> decimal.Decimal:
        return plain(decimal.Decimal(value).scaleb(-digits, context=EXACT))

    def encode(value: decimal.Decimal) -> Any:
        moved = plain(value.scaleb(digits, context=EXACT))
        return to_integer(moved) if kind == "integer" else moved

    return Built("decimal", decode, encode)


def _divide(factor: int, context: Context) -> Any:
    refuse = context.refuse

    def step(value: int) -> int:
        quotient, rest = divmod(value, factor)
        if rest:
            refuse(value, f"is not a multiple of {factor}")
        return quotient

    return step


TRANSFORMS: Final = (
    Transform("decimal", "Text such as 19.90 to an exact decimal; written with the field's scale.", None, _decimal),
    Transform("integer", "Text such as 42, or a decimal without a fraction, to an integer.", None, _integer),
    Transform(
        "scale",
        "Moves the decimal point exactly: `scale: 2` reads cents (1990) as units (19.90); `scale: -2` the other way.",
        Digits,
        _scale,
        example="2",
    ),
)
