"""Which tables a DDL statement empties, drops or renames: rows that go without row events. Pure. Guards I1 and I6.

Only as much of the grammar as that takes; both servers' comments, executable ones included, and both kinds of quoted names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

TableName: TypeAlias = tuple[str, str]  # schema, table; an empty table means every one of the schema


@dataclass(frozen=True, slots=True)
class TableChange:
    """`emptied`: rows went, the table stays. `dropped`: it is gone. `moved`: renamed, in this order."""

    emptied: list[TableName] = field(default_factory=list)
    dropped: list[TableName] = field(default_factory=list)
    moved: list[tuple[TableName, TableName]] = field(default_factory=list)


_TOKEN: Final = re.compile(
    r"""(?P<noise>\s+|/\*(?!!|M!)[\s\S]*?\*/|--(?=[ \t\n])[^\n]*|\#[^\n]*|/\*M?!\d*|\*/)
    |`(?P<quoted>(?:[^`]|``)*)`
    |"(?P<doubly>(?:[^"\\]|\\.|"")*)"
    |(?P<string>'(?:[^'\\]|\\.|'')*')
    |(?P<word>[\w$]+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_PARTITION_VERBS: Final = frozenset({"TRUNCATE", "DROP", "EXCHANGE", "CONVERT"})


class _Tokens:
    """The words of a statement, comments left out. `""` as a word is the end."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def peek(self, ahead: int = 0) -> str:
        """The next word in upper case; names in quotes are not words."""
        at = self._at + ahead
        if at >= len(self._tokens):
            return ""
        is_name, token = self._tokens[at]
        return "`" if is_name else token.upper()

    def skip(self, *words: str) -> bool:
        if self.peek() in words:
            self._at += 1
            return True
        return False

    def next(self) -> str:
        """The next token as it is written, quotes taken off."""
        at = self._at
        self._at += 1
        return self._tokens[at][1] if at < len(self._tokens) else ""

    def table(self, schema: str) -> TableName:
        name = self.next()
        if self.peek() == ".":
            self._at += 1
            return name, self.next()
        return schema, name

    @property
    def ended(self) -> bool:
        return self._at >= len(self._tokens)


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind in ("quoted", "doubly"):
            mark = "`" if kind == "quoted" else '"'
            yield True, match[kind].replace(mark * 2, mark)
        elif kind != "noise":
            yield False, match.group()


def table_changes(text: str, schema: str) -> TableChange:
    """Which tables a DDL statement, run in `schema`, empties, drops or renames. Temporary tables are none."""
    tokens, change = _Tokens(text), TableChange()
    verb = tokens.next().upper()
    if verb == "TRUNCATE":
        tokens.skip("TABLE")
        change.emptied.append(tokens.table(schema))
    elif verb == "DROP":
        _dropped(tokens, schema, change)
    elif verb == "RENAME" and tokens.skip("TABLE", "TABLES"):
        _renamed(tokens, schema, change)
    elif verb == "ALTER":
        while tokens.skip("ONLINE", "IGNORE"):
            pass
        if tokens.skip("TABLE"):
            _altered(tokens, schema, change)
    elif verb == "CREATE" and tokens.skip("OR"):
        tokens.skip("REPLACE")
        if tokens.skip("TABLE"):
            change.emptied.append(tokens.table(schema))
    return change


def _dropped(tokens: _Tokens, schema: str, change: TableChange) -> None:
    if tokens.skip("DATABASE", "SCHEMA"):
        if tokens.skip("IF"):
            tokens.skip("EXISTS")
        change.dropped.append((tokens.next(), ""))
    elif tokens.skip("TABLE", "TABLES"):
        if tokens.skip("IF"):
            tokens.skip("EXISTS")
        change.dropped.append(tokens.table(schema))
        while tokens.skip(","):
            change.dropped.append(tokens.table(schema))


def _renamed(tokens: _Tokens, schema: str, change: TableChange) -> None:
    if tokens.skip("IF"):
        tokens.skip("EXISTS")
    while not tokens.ended:
        old = tokens.table(schema)
        while not tokens.ended and not tokens.skip("TO"):
            tokens.next()  # MariaDB: WAIT n, NOWAIT
        change.moved.append((old, tokens.table(schema)))
        tokens.skip(",")


def _altered(tokens: _Tokens, schema: str, change: TableChange) -> None:
    if tokens.skip("IF"):
        tokens.skip("EXISTS")
    table, depth = tokens.table(schema), 0
    while not tokens.ended:
        word = tokens.peek()
        depth += (word == "(") - (word == ")")
        tokens.next()
        if depth:
            continue
        following = tokens.peek()
        if word == "RENAME" and following not in ("COLUMN", "INDEX", "KEY"):
            tokens.skip("TO", "AS", "=")
            change.moved.append((table, tokens.table(schema)))
        elif (word in _PARTITION_VERBS and following in ("PARTITION", "TABLE")) or (
            word in ("DISCARD", "IMPORT") and following in ("TABLESPACE", "PARTITION")
        ):
            change.emptied.append(table)
            if word == "CONVERT" and tokens.skip("TABLE"):  # MariaDB: that table becomes a partition
                change.dropped.append(tokens.table(schema))
        elif word == "WITH" and tokens.skip("TABLE"):  # EXCHANGE PARTITION p WITH TABLE ...
            change.emptied.append(tokens.table(schema))
