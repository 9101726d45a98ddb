"""Unique values that pass from row to row where the order of rows offers no way: they are set aside first. Guards I1, I5. Pure.

A source that checks its constraints late, or has none, lets two rows exchange a unique value, all rows move up one place, keys
trade places. Here no row can be written first. So the values that updates are to replace are replaced by NULL, or by one that nobody
has, and then all is written in its order: within one transaction only the end is seen.

Where that is refused too (a CHECK, a foreign key, a column that takes neither) the rows are what they were: refused.
"""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import structs

from sinks.arranging import TableFacts
from sinks.contract import RowWrite
from sinks.runs import moves_key, row_keys
from transforms.tables import Column, Table
from transforms.values import ChannelValue

_BITS = {
    "tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64, "int2": 16, "int4": 32, "int8": 64,
}  # fmt: skip
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "bpchar", "citext"})
_BINARIES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bytea"})
_LONGEST = 32


def with_values_aside(writes: Sequence[RowWrite], facts: Callable[[Table], TableFacts]) -> list[RowWrite] | None:
    """The writes, and before them what sets unique values aside; None where none of them is an update that replaces one."""
    # Where a move was refused its place is taken: the row that a later move takes from there is another one.
    times = Counter(row_keys(write)[0] for write in writes)
    # An insert that is to make its row is held against the row that is there, as that is.
    held = {row_keys(write)[0] for write in writes if write.anew}
    before: list[RowWrite] = []
    after: list[RowWrite] = []
    for write in writes:
        row = row_keys(write)[0]
        plain = (
            write.op == "update" and not write.only and (times[row] == 1 or not moves_key(write)) and row not in held
        )
        made = _aside(write, facts(write.table)) if plain else None
        if made is None:
            after.append(write)
            continue
        before.append(made)
        key = dict(zip(made.columns, made.values, strict=True))
        now = tuple(key.get(column, old) for column, old in zip(write.key_columns, write.key, strict=True))
        after.append(structs.replace(write, key=now))
    return [*before, *after] if before else None


def _aside(write: RowWrite, facts: TableFacts) -> RowWrite | None:
    unique = facts.unique_besides(write.key_columns)
    deltas = {write.columns[number] for number in write.deltas}
    columns = [
        column
        for column in write.columns
        if column not in deltas and ("" in unique or column in unique or column in write.key_columns)
    ]
    values = [_placeholder(write.table.column(column), key=column in write.key_columns) for column in columns]
    chosen = [(column, value) for column, value in zip(columns, values, strict=True) if value is not _NONE]
    if not chosen:
        return None
    names, replaced = zip(*chosen, strict=True)
    return structs.replace(write, columns=names, values=replaced, deltas=(), lenient=False)


_NONE = object()


def _placeholder(column: Column | None, *, key: bool) -> ChannelValue | object:
    """NULL, or a value that hardly anybody has; `_NONE` where neither is to be had."""
    if column is None or column.generated:
        return _NONE
    if column.nullable and not key:
        return None
    kind = column.type.base or column.type
    if kind.name in _BITS and kind.kind == "base":
        bits = _BITS[kind.name]
        top = (1 << bits if kind.unsigned else 1 << (bits - 1)) - 1
        return top - secrets.randbelow(top // 4) if kind.unsigned else -1 - secrets.randbelow(top // 4) - top // 2
    length = _LONGEST if kind.length is None else min(_LONGEST, kind.length)
    if kind.name in _TEXTS:
        return secrets.token_hex(length)[:length]
    if kind.name in _BINARIES:
        return secrets.token_bytes(length if kind.length is None or kind.name != "binary" else kind.length)
    return uuid.uuid4() if kind.name == "uuid" else _NONE
