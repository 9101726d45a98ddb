"""A database's error message with names kept and row values left out, in one line. Guards I9. Pure.

MySQL and PostgreSQL quote values and names alike, so a message is not masked but made anew: our own words for the code, and
the names (column, key, constraint, table) found where that code's message has them.
"""

from __future__ import annotations

import re
from typing import Final

import psycopg

# What we say of a code whose message may hold a row's values; `_NAMES` finds the names in it.
_MYSQL_WORDS: Final[dict[int, str]] = {
    1022: "duplicate key",
    1062: "duplicate key",
    1169: "duplicate key",
    1586: "duplicate key",
    1048: "NULL in a column that must not be NULL",
    1364: "no value for a column without default",
    1264: "out of range",
    1265: "the value does not fit",
    1292: "not a valid value of its type",
    1366: "not a valid value of its type or character set",
    1367: "not a valid value of its type",
    1411: "not a valid value of its type",
    1406: "too long",
    1690: "out of range",
    1242: "another row has this key, which the column's collation holds for equal, or one of its unique values",
    1365: "another row has this key or one of its unique values, or a trigger or generated column divides by zero",
    1526: "the table has no partition for the row",
    1644: "raised by a trigger",
    3140: "not valid JSON",
    3141: "not valid JSON",
}
# Codes whose message names objects and accounts only.
_MYSQL_HARMLESS: Final = frozenset({
    1040, 1044, 1045, 1046, 1049, 1053, 1054, 1114, 1129, 1130, 1142, 1143, 1146, 1205, 1213, 1216, 1217, 1227, 1290, 1317, 1356,
    1451, 1452, 1698, 1792, 1836, 1906, 1927, 1969, 2002, 2003, 2006, 2013, 2014, 2026, 3024, 3105, 3819, 4025, 1820, 1862, 4151,
})  # fmt: skip
_NAMES: Final = (
    re.compile(r"(?P<kind>for column) (?P<name>'[^']+'|`[^`]+`(?:\.`[^`]+`)*) at row \d+$"),
    re.compile(r"(?P<kind>for key) (?P<name>'[^']+')$"),
    re.compile(r"^(?P<kind>Column|Field) (?P<name>'[^']+') (?:cannot be null|doesn't have a default value)$"),
)

# Classes whose primary message names objects and settings, never row values.
_POSTGRESQL_HARMLESS: Final = ("08", "0A", "23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57")
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')


def mysql_message(code: int, text: str) -> str:
    """One line for a MySQL or MariaDB error."""
    if code in _MYSQL_HARMLESS:
        return f"{' '.join(text.split())[:300]} ({code})"
    words = _MYSQL_WORDS.get(code, f"the database answers error {code}")
    names = next((found for pattern in _NAMES if (found := pattern.search(text))), None)
    where = f" {names['kind'].lower()} {names['name']}" if names else ""
    return f"{words}{where} ({code})"


def postgresql_message(error: psycopg.Error) -> str:
    """One line for a PostgreSQL error that carries an SQLSTATE: its DETAIL and HINT, which quote rows, are left out."""
    diagnostics = error.diag
    sqlstate = error.sqlstate or ""
    primary = " ".join((diagnostics.message_primary or "").split())[:300]
    if diagnostics.source_function == "exec_stmt_raise" or sqlstate[:2] in ("P0", "38", "39"):
        primary = "raised by a trigger or function"
    elif sqlstate[:2] not in _POSTGRESQL_HARMLESS:
        primary = _QUOTED.sub('"***"', primary) if sqlstate[:2] == "22" else type(error).__name__
    named = (
        ("table", diagnostics.table_name),
        ("column", diagnostics.column_name),
        ("constraint", diagnostics.constraint_name),
    )
    names = "".join(f", {kind} {name}" for kind, name in named if name and f'"{name}"' not in primary)
    return f"{primary}{names} ({sqlstate})"
