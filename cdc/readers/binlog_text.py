"""Text of the binary log: bytes in a column's character set to str, strictly. Pure. Guards I6 (TRAPS.md P11).

MySQL's latin1 is Windows-1252 where that has a character, and the control character of the same number where it has none.
"""

from __future__ import annotations

import codecs
from typing import Final

_HOLES: Final = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
LATIN1: Final = "".join(chr(b) if b in _HOLES else bytes([b]).decode("cp1252") for b in range(256))


def decode_latin1(data: bytes) -> str:
    return codecs.charmap_decode(data, "strict", LATIN1)[0]


def decode_text(data: bytes, charset: str | None) -> str:
    """Raises UnicodeDecodeError, or ValueError for a character set that is not known here."""
    if charset in ("utf8mb4", "utf8mb3"):
        return data.decode("utf-8")
    if charset == "latin1":
        return decode_latin1(data)
    if charset in ("ascii", "binary"):
        return data.decode("ascii")
    raise ValueError(f"character set {charset}")
