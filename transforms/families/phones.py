"""Phone numbers: a region's national spellings to E.164, and back in one declared style.

China (CN): mobile numbers are 11 digits from 13 to 19; landlines have an area code after the trunk prefix 0 (10 and 20 to 29
with 8 digits, all others of three digits with 7 or 8). Whatever is neither is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

import pydantic

from transforms.kinds import Kind
from transforms.registry import Built, Context, Transform, require

Style = Literal["national", "international", "e164", "dashed"]
_SEPARATORS: Final = re.compile(r"[ \-.()\u00a0\u2010-\u2015]+")
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
# After the trunk prefix: the first digit of a local number is never 0 or 1.
_LANDLINE: Final = re.compile(r"(10|2[0-9])([2-9][0-9]{7})|([3-9][0-9]{2})([2-9][0-9]{6,7})")
_COUNTRY: Final = "+86"


class PhoneStyle(pydantic.BaseModel):
    """`phone: CN` is short for `phone: {region: CN, style: national}`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    region: Literal["CN"]
    style: Style = "national"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, written: object) -> object:
        return {"region": written} if isinstance(written, str) else written


def to_e164(text: str) -> str | None:
    """Return a Chinese number in E.164, None where it is not one."""
    digits = _SEPARATORS.sub("", text)
    if digits.startswith("+"):
        if not digits.startswith(_COUNTRY):
            return None
        return _national(digits[3:], trunk_required=False)
    if digits.startswith("0086"):
        return _national(digits[4:], trunk_required=False)
    if (number := _national(digits, trunk_required=True)) is not None:
        return number
    return _national(digits[2:], trunk_required=False) if digits.startswith("86") else None


def _national(digits: str, trunk_required: bool) -> str | None:
    if _MOBILE.fullmatch(digits):
        return _COUNTRY + digits
    if digits.startswith("0"):
        digits = digits[1:]
    elif trunk_required:
        return None
    return _COUNTRY + digits if _LANDLINE.fullmatch(digits) else None


def _parts(e164: str) -> tuple[str, str]:
    """Area code and local number; a mobile number has no area code."""
    match = _LANDLINE.fullmatch(e164[3:])
    if match is None:
        return "", e164[3:]
    return match[1] or match[3], match[2] or match[4]


def _written_national(e164: str) -> str:
    area, local = _parts(e164)
    return f"0{area}{local}" if area else local


def _written_international(e164: str) -> str:
    area, local = _parts(e164)
    return f"+86 {area} {local}" if area else f"+86 {local[:3]} {local[3:7]} {local[7:]}"


def _written_dashed(e164: str) -> str:
    area, local = _parts(e164)
    return f"0{area}-{local}" if area else f"{local[:3]}-{local[3:7]}-{local[7:]}"


_WRITERS: Final[dict[Style, Callable[[str], str]]] = {
    "national": _written_national,
    "international": _written_international,
    "e164": str,
    "dashed": _written_dashed,
}


def _phone(parameter: PhoneStyle, kind: Kind, context: Context) -> Built:
    require(kind, ("text", "integer"), "phone")
    write = _WRITERS[parameter.style]
    refuse = context.refuse

    def decode(value: Any) -> str:
        number = to_e164(str(value))
        if number is None:
            refuse(value, "is not a phone number of region CN")
        return number

    def encode(value: str) -> str:
        if to_e164(value) != value:
            refuse(value, "is not a phone number of region CN in E.164")
        return write(value)

    def encode_integer(value: str) -> int:
        written = encode(value)
        if not written.isdigit() or written.startswith("0"):
            refuse(value, "cannot be written as an integer")
        return int(written)

    return Built("text", decode, encode_integer if kind == "integer" else encode)


TRANSFORMS: Final = (
    Transform(
        "phone",
        "A region's phone numbers to E.164, back in a style: `phone: {region: CN, style: dashed}`; `phone: CN` is national.",
        PhoneStyle,
        _phone,
    ),
)
