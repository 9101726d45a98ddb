"""What a server itself makes of every code of a character set: the source of `transforms/mysql_charsets.json`, and its test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymysql.cursors import Cursor

UNICODE_SETS = frozenset({"utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32"})
_AT_ONCE = 10_000


def character_sets(cursor: Cursor) -> dict[str, int]:
    """Every character set of the server but `binary`, with its longest character in bytes."""
    cursor.execute("SHOW CHARACTER SET")
    return {str(row[0]): int(row[3]) for row in cursor.fetchall() if row[0] != "binary"}


def codes_of(charset: str, longest: int) -> Iterator[bytes]:
    """Every code that may be one character; of gb18030's four bytes, those outside Unicode's supplementary planes."""
    yield from (bytes([a]) for a in range(256))
    if charset in UNICODE_SETS:
        return
    if longest >= 2:
        yield from (bytes([a, b]) for a in range(0x80, 256) for b in range(256))
    if longest == 3:
        yield from (bytes([0x8F, a, b]) for a in range(0xA0, 256) for b in range(0xA0, 256))
    if longest == 4:
        leads = range(0x81, 0x85)  # the Basic Multilingual Plane ends with 8431A439
        digits = range(0x30, 0x3A)
        yield from (bytes([a, b, c, d]) for a in leads for b in digits for c in range(0x81, 255) for d in digits)


def ask_characters(cursor: Cursor, charset: str, codes: list[bytes]) -> dict[bytes, str | None]:
    """Code -> its character as CONVERT says; None for one that a column keeps but that is no character.

    Codes that a column of this character set does not take, or takes as several characters, are left out.
    """
    cursor.execute("SET sql_mode = ''")
    cursor.execute("DROP TEMPORARY TABLE IF EXISTS codes")
    cursor.execute(
        f"CREATE TEMPORARY TABLE codes (code VARBINARY(4), held VARCHAR(8) CHARACTER SET {charset}) ENGINE=MyISAM"
    )
    found: dict[bytes, str | None] = {}
    for at in range(0, len(codes), _AT_ONCE):
        values = ",".join(f"(X'{code.hex()}',X'{code.hex()}')" for code in codes[at : at + _AT_ONCE])
        cursor.execute(f"INSERT IGNORE INTO codes VALUES {values}")
    cursor.execute(
        "SELECT code, CAST(held AS BINARY), CAST(CONVERT(held USING utf8mb4) AS BINARY), CHAR_LENGTH(held) FROM codes"
    )
    rows: Any = cursor.fetchall()
    for code, held, character, length in rows:
        if held == code and length == 1:
            found[code] = _character(charset, code, character.decode("utf-8"))
    return found


def _character(charset: str, code: bytes, answer: str) -> str | None:
    """The server says `?` where it has no character, of big5 and tis620 U+FFFD; gb18030 and Unicode have a code of that character."""
    if (answer == "\ufffd" and charset not in {"gb18030", *UNICODE_SETS}) or (
        answer == "?" and code.strip(b"\0") != b"?"
    ):
        return None
    return answer
