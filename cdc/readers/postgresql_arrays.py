"""The text that PostgreSQL prints for an array -> canonical JSON text. Pure. Guards I6.

Numbers are JSON's numbers, booleans its booleans, NULL null; elements of any other type are strings: their own text form. An array of
several dimensions is nested. What JSON cannot say (bounds that do not begin at 1, NaN, infinity, a negative zero) is Unrepresentable.

Format: PostgreSQL manual, "Array Input and Output Syntax". Elements are quoted where they hold braces, commas, quotes, backslashes
or blanks, are empty or spell NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cdc.readers.pgoutput_rows import Decode
from transforms import json_text
from transforms.values import Unrepresentable

_TOKEN: Final = re.compile(r'[{},]|"(?:[^"\\]++|\\.)*+"|[^{},"\\]+', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MARKS: Final = {"{": "[", "}": "]", ",": ","}
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_ZERO: Final = re.compile(r"-0*(?:\.0*)?(?:e[+-]?[0-9]+)?")
_NOT_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})

INTEGERS: Final = frozenset({"int2", "int4", "int8", "oid"})
NUMBERS: Final = frozenset({"numeric", "float4", "float8"})


class _NoJsonError(Exception):
    """An element that JSON cannot say; the text says why, without the element."""


def array_decoder(element: str) -> Decode:
    """The decoder of arrays whose elements are of type `element` (pg_type.typname of the base type)."""
    item = _item(element)

    def decode(text: bytes) -> str | Unrepresentable:
        try:
            written = text.decode()
        except UnicodeDecodeError:
            return Unrepresentable("text that is not valid UTF-8")
        if written.startswith("["):
            return Unrepresentable("an array whose bounds do not begin at 1")
        try:
            return json_text.canonical("".join(_pieces(written, item)))
        except _NoJsonError as error:
            return Unrepresentable(str(error))

    return decode


def _pieces(text: str, item: Callable[[str], str]) -> list[str]:
    pieces = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError("not an array")
        piece = found.group()
        at = found.end()
        if piece in _MARKS:
            pieces.append(_MARKS[piece])
        elif piece == "NULL":
            pieces.append("null")
        elif piece[0] == '"':
            pieces.append(item(_ESCAPED.sub(r"\1", piece[1:-1])))
        else:
            pieces.append(item(piece))
    return pieces


def _item(element: str) -> Callable[[str], str]:
    if element in INTEGERS:
        return _integer
    if element in NUMBERS:
        return _number
    if element == "bool":
        return _boolean
    if element == "bpchar":
        return lambda text: json_text.write(text.rstrip(" "))
    return json_text.write


def _integer(text: str) -> str:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("not an integer")
    return text


def _number(text: str) -> str:
    if text in _NOT_NUMBERS:
        raise _NoJsonError("NaN or infinity in an array")
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("not a number")
    if text[0] == "-" and _ZERO.fullmatch(text):
        raise _NoJsonError("a negative zero in an array")
    return text


def _boolean(text: str) -> str:
    if text not in ("t", "f"):
        raise ValueError("not a boolean")
    return "true" if text == "t" else "false"
