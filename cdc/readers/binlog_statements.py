"""What a statement in the binary log (a Query event) means for a row-based reader. Pure. Guards I6.

Data changes that are logged as statements carry no rows: they must be recognised, never passed over. The test errs on the side of
"may touch a wanted table": then the channel halts with a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from typing import Final

from cdc.readers.binlog_ddl import TableName


class Statement(Enum):
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    ROLLBACK_TO_SAVEPOINT = "rollback to savepoint"
    SAVEPOINT = "savepoint"
    XA_START = "xa start"
    XA_END = "xa end"
    XA_DECISION = "xa commit or rollback"
    TRUNCATE = "truncate"
    DDL = "ddl"
    HARMLESS = "harmless"
    DATA = "data"


_NOISE: Final = re.compile(r"\s+|/\*(?!!|M!)[\s\S]*?\*/|--[ \t][^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*M?!\d*|\*/|\(")
_WORD: Final = re.compile(r"[A-Za-z_]+")
_DDL: Final = frozenset({"ALTER", "CREATE", "DROP", "RENAME"})
_HARMLESS: Final = frozenset({
    "GRANT", "REVOKE", "SET", "ANALYZE", "OPTIMIZE", "REPAIR", "FLUSH", "INSTALL", "UNINSTALL", "CHANGE", "COMMENT", "USE",
    "RESET", "CHECK", "CHECKSUM", "",
})  # fmt: skip
_MADE_FROM_A_QUERY: Final = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMPORARY\s+)?TABLE\b.*\bSELECT\b", re.IGNORECASE | re.DOTALL
)
_HEAD_SIZE: Final = 4096
_LAST_NAME: Final = re.compile(r"(?:`((?:[^`]|``)*)`|([\w$]+))\s*$")


def classify(text: str) -> Statement:
    """By the first words; a statement that is not known may change data."""
    words = _first_words(text)
    first, second = words[0].upper(), words[1].upper()
    if first == "BEGIN" or (first, second) == ("START", "TRANSACTION"):
        return Statement.BEGIN
    if first == "COMMIT":
        return Statement.COMMIT
    if first == "ROLLBACK":
        return Statement.ROLLBACK_TO_SAVEPOINT if second == "TO" else Statement.ROLLBACK
    if first in ("SAVEPOINT", "RELEASE"):
        return Statement.SAVEPOINT
    if first == "XA":
        return {"START": Statement.XA_START, "BEGIN": Statement.XA_START, "END": Statement.XA_END}.get(
            second, Statement.XA_DECISION
        )
    if first == "TRUNCATE":
        return Statement.TRUNCATE
    if first in _DDL:
        return Statement.DATA if _MADE_FROM_A_QUERY.match(text.lstrip()) else Statement.DDL
    return Statement.HARMLESS if first in _HARMLESS else Statement.DATA


def savepoint_name(text: str) -> str:
    """The name that SAVEPOINT, RELEASE SAVEPOINT or ROLLBACK TO ends with; the servers do not tell upper from lower case in it."""
    match = _LAST_NAME.search(text)
    return (match[1] if match[1] is not None else match[2]).replace("``", "`").lower() if match else ""


def _first_words(text: str) -> tuple[str, str]:
    """The first two words, past white space, comments and parentheses."""
    words: list[str] = []
    at, head = 0, text[:_HEAD_SIZE]
    while at < len(head) and len(words) < 2:
        if noise := _NOISE.match(head, at):
            at = max(noise.end(), at + 1)
        elif word := _WORD.match(head, at):
            words.append(word.group())
            at = word.end()
        else:
            break
    first, second, *_ = [*words, "", ""]
    return first, second


def named_tables(text: str, schema: str, tables: Collection[TableName]) -> list[TableName]:
    """Those of `tables` that the statement names, run in `schema`; dropping a schema names all tables in it."""
    return [
        (owner, name)
        for owner, name in tables
        if (_names(text, name) and (owner == schema or _names(text, owner)))
        or (_names(text, owner) and _DROPS_SCHEMA.match(text))
    ]


def may_touch(text: str, schema: str, tables: Collection[TableName]) -> bool:
    """Whether a data change may reach one of the tables: by its name, or (a view, a routine) because it runs beside it."""
    return any(owner == schema or _names(text, owner) or _names(text, name) for owner, name in tables)


_DROPS_SCHEMA: Final = re.compile(r"\s*DROP\s+(?:DATABASE|SCHEMA)\b", re.IGNORECASE)


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE) is not None
