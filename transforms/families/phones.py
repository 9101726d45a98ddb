"""Phone numbers: a region's spellings to E.164, and back in one declared style. Google's library decides what a number is.

Its metadata knows every region's plan; a number that it does not call valid is refused. Parsing costs about 30 us, so the usual
form of a Chinese mobile number goes a short way; a test holds that to the library over its whole range.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import phonenumbers
import pydantic
from phonenumbers import PhoneNumberFormat

from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, require

Style = Literal["national", "international", "e164", "dashed"]
# What may stand in a number besides digits. Letters and extensions would be lost in E.164, so they are refused.
_ALLOWED: Final = re.compile(r"[+\uff0b]?[0-9\uff10-\uff19 \-.()/\u00a0\u2010-\u2015\uff08\uff09\uff0d]{2,40}")
_NOT_DIGITS: Final = re.compile(r"[^0-9]+")
_CHINESE_MOBILE: Final = re.compile(r"1(?:[38][0-9]|4[57]|[59][0-35-9]|6[25-7]|7[0-35-8])[0-9]{8}")
_CHINESE_SPELLING: Final = re.compile(r"(?:\+86 ?)?(1[0-9]{2})([ -]?)([0-9]{4})\2([0-9]{4})")
_CHINESE_LANDLINE: Final = re.compile(r"(10|2[0-9])([0-9]{8})|([3-9][0-9]{2})([0-9]{7,8})")


def _known_region(written: str) -> str:
    if written not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"there is no region '{written}': two capital letters, such as CN")
    return written


class PhoneStyle(pydantic.BaseModel):
    """`phone: CN` is short for `phone: {region: CN, style: national}`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    region: Annotated[str, pydantic.AfterValidator(_known_region)]
    style: Style = "national"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"region": written} if isinstance(written, str) else written


def to_e164(text: str, region: str = "CN") -> str | None:
    """Return a number in E.164, None where it is not one. A number of another region begins with its country code."""
    if region == "CN" and (usual := _CHINESE_SPELLING.fullmatch(text)):
        digits = usual[1] + usual[3] + usual[4]
        if _CHINESE_MOBILE.fullmatch(digits):
            return "+86" + digits
    if _ALLOWED.fullmatch(text) is None:
        return None
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number) or (number.italian_leading_zero and number.country_code == 86):
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def written(e164: str, region: str, style: Style) -> str:
    """Write a number that is valid E.164. One of another country is always written as E.164: it would not be read again else."""
    if style == "e164":
        return e164
    number = phonenumbers.parse(e164)
    if number.country_code != phonenumbers.country_code_for_region(region):
        return e164
    if region == "CN" and (chinese := _chinese(e164[3:], style)) is not None:
        return chinese
    if style == "international":
        return phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    return _NOT_DIGITS.sub("" if style == "national" else "-", national).strip("-")


def _chinese(national: str, style: Style) -> str | None:
    """The customary forms: 138-0000-0000 and 010-62345678; None for other kinds of numbers (400, 800)."""
    if _CHINESE_MOBILE.fullmatch(national):
        area, groups = "", [national[:3], national[3:7], national[7:]]
    elif (found := _CHINESE_LANDLINE.fullmatch(national)) and not national.startswith(("400", "800")):
        area, groups = found[1] or found[3], [found[2] or found[4]]
    else:
        return None
    match style:
        case "international":
            return " ".join(["+86", *([area] if area else []), *groups])
        case "dashed":
            return "-".join([*(["0" + area] if area else []), *groups])
    return ("0" + area if area else "") + "".join(groups)


def _phone(parameter: PhoneStyle, kind: Kind, context: Context) -> Built:
    require(kind, ("text", "integer"), "phone")
    region, style = parameter.region, parameter.style
    refuse = context.refuse

    def decode(value: Any) -> str:
        number = to_e164(str(value), region)
        if number is None:
            refuse(value, f"is not a phone number of region {region}")
        return number

    def encode(value: str) -> str:
        if region == "CN" and value[:3] == "+86" and _CHINESE_MOBILE.fullmatch(value, 3):
            return value if style == "e164" else _chinese(value[3:], style) or value
        if value[:1] != "+" or to_e164(value, region) != value:
            refuse(value, "is not a phone number in E.164")
        made = written(value, region, style)
        if to_e164(made, region) != value:
            refuse(value, f"cannot be written as {style} and read again")
        return made

    def encode_integer(value: str) -> int:
        number = encode(value)
        if not number.isdigit() or number.startswith("0"):
            refuse(value, "cannot be written as an integer")
        return int(number)

    return Built("text", decode, encode_integer if kind == "integer" else encode)


TRANSFORMS: Final = (
    Transform(
        "phone",
        "A region's phone numbers to E.164, back in a style: `phone: {region: CN, style: dashed}`; `phone: CN` is national.",
        PhoneStyle,
        _phone,
        example="CN",
    ),
)
