"""Text of the binary log: bytes in a column's character set to str, strictly. Pure. Guards I6 (TRAPS.md P11).

MySQL's latin1 is Windows-1252 where that has a character, and the control character of the same number where it has none. All others:
`transforms.mysql_charsets`.
"""

from __future__ import annotations

import codecs
from typing import Final

from transforms.mysql_charsets import decoder

_HOLES: Final = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
LATIN1: Final = "".join(chr(b) if b in _HOLES else bytes([b]).decode("cp1252") for b in range(256))


def decode_latin1(data: bytes) -> str:
    return codecs.charmap_decode(data, "strict", LATIN1)[0]


def decode_text(data: bytes, charset: str | None) -> str:
    """Raises UnicodeDecodeError, or LookupError for a character set that is not known here."""
    return decoder(charset or "")(data)
