"""Canonical JSON text: two texts that mean the same, from any engine, come out equal. Guards I3, I6.

Keys sorted, no whitespace, non-ASCII kept, of duplicate keys the last. Integers keep every digit; a number written with a
fraction or an exponent stays a non-integer and is normalised (1.50 -> 1.5, 1e2 -> 100.0, 1e300 -> 1e+300), so that what
PostgreSQL's jsonb and MySQL's doubles print of one value is one text. Nothing is ever rounded: numbers are never floats.
`NaN`, `Infinity`, lone surrogates, nesting beyond `MAX_DEPTH` and all that is not JSON raise ValueError.
"""

from __future__ import annotations

import decimal
import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final, NoReturn

import msgspec

MAX_DEPTH: Final = 1000
# Up to this depth the standard library's recursive parser is used; beyond it, one with a stack of its own.
_RECURSIVE_DEPTH: Final = 100
_BRACKETS_AND_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)  # possessive: linear
_NUMBERS_AND_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_MANY_DIGITS: Final = re.compile(r"[0-9][0-9.]{15}|[0-9]e[+-]")
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# Between these powers of ten a number is written plainly, beyond them with an exponent (as IEEE doubles are printed).
_PLAIN_FROM: Final = -7
_PLAIN_TO: Final = 20
_LONGEST_INT: Final = 18  # digits that fit 64 bits whatever they are; longer ones stay text


def canonical(text: str | bytes) -> str:
    """Return the canonical form of one JSON document; ValueError names no content of it."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("the JSON text is not valid UTF-8") from None
    try:
        if text.count("[") + text.count("{") <= _RECURSIVE_DEPTH or _depth(text) <= _RECURSIVE_DEPTH:
            return write(_DECODER.decode(text))
        return _canonical_deep(text)
    except UnicodeEncodeError:
        raise ValueError("the JSON text holds a lone surrogate") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos}") from None


def read(text: str) -> Any:
    """A document as dicts, lists and scalars for `write`: numbers that Python's would not hold exactly stay text."""
    return _DECODER.decode(text)


def holds_nul(canonical_text: str) -> bool:
    """Say whether a string in the text holds U+0000, which PostgreSQL's jsonb refuses."""
    return "\\u0000" in canonical_text and _NUL.search(canonical_text) is not None


def beyond_doubles(canonical_text: str) -> bool:
    """Say whether the text holds a number that MySQL's json, with 64-bit integers and doubles, would round."""
    if _MANY_DIGITS.search(canonical_text) is None:
        return False
    return any(
        _rounded(match.group()) for match in _NUMBERS_AND_STRINGS.finditer(canonical_text) if match.group()[0] != '"'
    )


def _rounded(number: str) -> bool:
    if number.lstrip("-").isdigit():
        return not -(2**63) <= int(number[:30]) < 2**64 or len(number) > 20
    as_double = float(number)
    return as_double in (float("inf"), float("-inf")) or _fraction_text(repr(as_double)) != number


def write(value: object) -> str:
    """The canonical text of what `read` gave, or a part of it."""
    return msgspec.json.encode(value, order="sorted").decode("utf-8")


def _depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKETS_AND_STRINGS.finditer(text):
        sign = match.group()
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise ValueError(f"the JSON text is nested deeper than {MAX_DEPTH}")
    return deepest


def _integer(text: str) -> int | msgspec.Raw:
    if len(text) <= _LONGEST_INT:
        return int(text)
    return msgspec.Raw(text.encode("ascii"))


def _fraction(text: str) -> msgspec.Raw:
    return msgspec.Raw(_fraction_text(text).encode("ascii"))


def _fraction_text(text: str) -> str:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("a JSON number's exponent is out of range") from None
    sign, digit_tuple, exponent = number.as_tuple()
    if not isinstance(exponent, int) or not number:
        return "0.0"  # jsonb knows no negative zero
    digits = "".join(map(str, digit_tuple))
    stripped = digits.rstrip("0")
    exponent += len(digits) - len(stripped)
    point = len(stripped) + exponent  # digits before the decimal point
    minus = "-" if sign else ""
    if not _PLAIN_FROM <= point - 1 <= _PLAIN_TO:
        rest = f".{stripped[1:]}" if len(stripped) > 1 else ""
        return f"{minus}{stripped[0]}{rest}e{point - 1:+d}"
    if exponent >= 0:
        return f"{minus}{stripped}{'0' * exponent}.0"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{stripped}"
    return f"{minus}{stripped[:point]}.{stripped[point:]}"


def _refuse_constant(_text: str) -> NoReturn:
    raise ValueError("the JSON text holds NaN or Infinity")


_DECODER: Final = json.JSONDecoder(parse_float=_fraction, parse_int=_integer, parse_constant=_refuse_constant)


class _Open:
    """An array or object whose end has not been read yet: its finished parts as canonical text."""

    __slots__ = ("items", "key", "members")

    def __init__(self, is_object: bool) -> None:
        self.items: list[str] = []
        self.members: dict[str, str] | None = {} if is_object else None
        self.key = ""

    def add(self, text: str) -> None:
        if self.members is None:
            self.items.append(text)
        else:
            self.members[self.key] = text

    def close(self) -> str:
        if self.members is None:
            return f"[{','.join(self.items)}]"
        return "{" + ",".join(f"{write(key)}:{self.members[key]}" for key in sorted(self.members)) + "}"


def _canonical_deep(text: str) -> str:
    """The same canonical form without recursion, for deep nesting."""
    stack: list[_Open] = []
    at = _skip(text, 0)
    while True:
        # a value starts at `at`
        sign = text[at : at + 1]
        done: str | None = None
        if sign in ("{", "["):
            stack.append(_Open(sign == "{"))
            at = _skip(text, at + 1)
            if text[at : at + 1] == ("}" if sign == "{" else "]"):
                at += 1
                done = stack.pop().close()
            elif sign == "{":
                at = _member(text, at, stack[-1])
                continue
            else:
                continue
        else:
            done, at = _scalar(text, at)
        # a value has ended at `at`: hand it to what is open, and close what closes
        while True:
            at = _skip(text, at)
            if not stack:
                if at != len(text):
                    raise json.JSONDecodeError("Extra data", text, at)
                return done
            top = stack[-1]
            top.add(done)
            sign = text[at : at + 1]
            if sign == ",":
                at = _skip(text, at + 1)
                if top.members is not None:
                    at = _member(text, at, top)
                break
            if sign != ("]" if top.members is None else "}"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at += 1
            done = stack.pop().close()


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _member(text: str, at: int, into: _Open) -> int:
    """Read `"key":` and return where its value starts."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    into.key, at = _string(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return _skip(text, at + 1)


def _string(text: str, at: int) -> tuple[str, int]:
    found: tuple[Any, int] = scanstring(text, at + 1, True)
    return str(found[0]), found[1]


def _scalar(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] == '"':
        value, end = _string(text, at)
        return write(value), end
    for word in ("true", "false", "null"):
        if text.startswith(word, at):
            return word, at + len(word)
    if text.startswith(("NaN", "Infinity", "-Infinity"), at):
        _refuse_constant(text)
    match = _NUMBER.match(text, at)
    if match is None:
        raise json.JSONDecodeError("Expecting value", text, at)
    whole, fraction, exponent = match.groups()
    if fraction is None and exponent is None:
        return ("0" if whole == "-0" else whole), match.end()
    return _fraction_text(match.group()), match.end()
