"""Text in MySQL's and MariaDB's character sets: bytes to text strictly, and what a character set can hold. Pure. Guards I6 (TRAPS.md P11).

Python's codecs of the same names differ from the servers in places, so the tables come from the servers themselves:
mysql_charsets.json, written by scripts/mysql_charsets.py. Both servers have the same tables. A code that a column keeps although
its character set has no character for it is refused, never replaced.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

Decode: TypeAlias = Callable[[bytes], str]

_TABLES: Final[dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
_NONE: Final = "\ufffe"  # as codecs.charmap_decode has it
_UNICODE: Final = {
    "utf8mb4": "utf-8", "utf8mb3": "utf-8", "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}  # fmt: skip
_LONGEST: Final = {
    "utf8mb4": 4,
    "utf8mb3": 3,
    "ucs2": 2,
    "utf16": 4,
    "utf16le": 4,
    "utf32": 4,
    "gb18030": 4,
    "ujis": 3,
    "eucjpms": 3,
}
_CHARACTERS: Final = {
    "sjis": rb"[\0-\x7f\xa1-\xdf]|[\x80-\xff].|.",
    "cp932": rb"[\0-\x7f\xa1-\xdf]|[\x80-\xff].|.",
    "ujis": rb"[\0-\x7f]|\x8f..|[\x80-\xff].|.",
    "eucjpms": rb"[\0-\x7f]|\x8f..|[\x80-\xff].|.",
    "gb18030": rb"[\0-\x7f]|[\x81-\xfe][0-9]..|[\x81-\xfe].|.",
}  # fmt: skip
_TWO_BYTES: Final = rb"[\0-\x7f]|[\x80-\xff].|."

CHARSETS: Final = frozenset({*_UNICODE, *_TABLES, "binary"})


def longest_character(charset: str) -> int:
    """Bytes of the longest character, as SHOW CHARACTER SET has it (Maxlen)."""
    return _LONGEST.get(charset, 1 if isinstance(_TABLES.get(charset, ""), str) else 2)


def exact_codec(charset: str) -> str | None:
    """The codec of Python that is exactly this character set; None where it needs more than a codec."""
    if charset in ("ascii", "binary"):  # text of an enum in a table of binary: nothing but ASCII is certain
        return "ascii"
    if charset in _TABLES:
        return str(_TABLES[charset]["codec"]) if _runs(charset) == [] else None
    return _UNICODE.get(charset) if charset != "ucs2" else None


@cache
def decoder(charset: str) -> Decode:
    """Bytes of a column to text; it raises UnicodeDecodeError. Raises LookupError for a character set that neither server has."""
    codec = exact_codec(charset)
    if codec is not None:
        return lambda data: data.decode(codec)
    if charset == "ucs2":
        return _ucs2
    table = _TABLES[charset]
    if isinstance(table, str):
        return lambda data: codecs.charmap_decode(data, "strict", table)[0]
    return _CodecWithExceptions(charset, table["codec"]).decode


def _ucs2(data: bytes) -> str:
    """UTF-16 without surrogates."""
    text = data.decode("utf-16-be")
    if len(text) != len(data) // 2:
        raise UnicodeDecodeError("ucs2", data, 0, len(data), "a surrogate")
    return text


def _runs(charset: str) -> list[tuple[str, str, int]] | None:
    table = _TABLES[charset]
    return None if isinstance(table, str) else table["runs"]


def _exceptions(charset: str) -> dict[bytes, str]:
    """Code -> character where the servers differ from Python's codec."""
    found = {}
    for first, start, count in _runs(charset) or ():
        size, number = len(first) // 2, int(first, 16)
        for k in range(count):
            found[(number + k).to_bytes(size, "big")] = start if start == _NONE else chr(ord(start) + k)
    return found


class _CodecWithExceptions:
    """Python's codec where its answer holds no character that is in doubt, else character by character."""

    def __init__(self, charset: str, codec: str) -> None:
        exceptions = _exceptions(charset)
        self._charset = charset
        self._codec = codec
        self._characters = _Characters(exceptions, codec)
        self._split = re.compile(_CHARACTERS.get(charset, _TWO_BYTES), re.DOTALL).findall
        doubtful = {code.decode(codec, "ignore") for code in exceptions} - {""}
        self._doubtful = re.compile(f"[{re.escape(''.join(sorted(doubtful)))}]").search if doubtful else None

    def decode(self, data: bytes) -> str:
        try:
            text = data.decode(self._codec)
        except UnicodeDecodeError:
            pass
        else:
            if self._doubtful is None or not self._doubtful(text):
                return text
        pieces = list(map(self._characters.__getitem__, self._split(data)))
        if _NONE in pieces:
            raise UnicodeDecodeError(self._charset, data, 0, len(data), "no character")
        return "".join(pieces)


class _Characters(dict[bytes, str]):
    """The characters of codes, each made once. U+FFFE for none."""

    def __init__(self, exceptions: dict[bytes, str], codec: str) -> None:
        super().__init__(exceptions)
        self._codec = codec

    def __missing__(self, code: bytes) -> str:
        try:
            made = code.decode(self._codec)
        except UnicodeDecodeError:
            made = _NONE
        if len(self) < 100_000:
            self[code] = made
        return made


@cache
def repertoire(charset: str) -> frozenset[str] | None:
    """The characters beyond ASCII that a column of this character set can hold; None where those are all of Unicode's, or all of
    three bytes in UTF-8. Of ASCII, `swe7` alone lacks some: `lacks_ascii`. Raises LookupError for an unknown character set.
    """
    if charset in _UNICODE or charset in ("gb18030", "binary"):
        return None
    table = _TABLES[charset]
    if isinstance(table, str):
        return frozenset(table) - {_NONE}
    decode = decoder(charset)
    codes = [bytes([a]) for a in range(256)]
    codes += [bytes([a, b]) for a in range(0x80, 256) for b in range(256)]
    if longest_character(charset) == 3:
        codes += [bytes([0x8F, a, b]) for a in range(0xA0, 256) for b in range(0xA0, 256)]
    found = set[str]()
    for code in codes:
        try:
            text = decode(code)
        except UnicodeDecodeError:
            continue
        if len(text) == 1:
            found.add(text)
    return frozenset(found)


def lacks_ascii(charset: str) -> bool:
    """Whether ASCII text may hold characters that this character set has not: MySQL's Swedish 7-bit set."""
    return charset == "swe7"
