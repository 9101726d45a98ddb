"""Grouping consecutive writes for one statement, never changing their order. Guards I4. Pure.

A run is a stretch of consecutive writes of the same table, operation and columns. For fewer statements, see `sinks.arranging`.
"""

from __future__ import annotations

import itertools
import operator
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from sinks.contract import RowWrite
from transforms.values import ChannelValue

FIRST_ROWS: Final = 120  # of a large group's first statement: the server is to begin soon
MOST_ROWS: Final = 500  # of any, and half as many again of the last: the next is made while the server works on one
# Rows that go in one round trip: a key is made in no time, so nothing is won by beginning early.
MOST_DELETES: Final = 5000
_GROWTH: Final = 3  # a row takes the server a few times as long as us
_WHOLE: Final = 300  # below that another round trip costs more than beginning early gains

_ALIKE: Final = operator.attrgetter(
    "table", "op", "key_columns", "columns", "deltas", "only", "fresh", "lenient", "anew"
)
RowKey: TypeAlias = tuple[str, str, tuple[str, ...], tuple[ChannelValue, ...]]


def runs(writes: Sequence[RowWrite]) -> list[Sequence[RowWrite]]:
    """Split into runs, in order."""
    if not writes:
        return []
    # Most batches are one run, whose writes hold the very same objects; to see that costs a third of comparing them.
    table, op, key_columns, columns, deltas, only, fresh, lenient, anew = _ALIKE(writes[0])
    if op == "delete":  # which have nothing else
        same = [
            True
            for write in writes
            if write.op is op and write.table is table and write.key_columns is key_columns and write.only is only
        ]
        return [writes] if len(same) == len(writes) else _unlike(writes)
    same = [
        True
        for write in writes
        if write.table is table
        and write.op is op
        and write.columns is columns
        and write.key_columns is key_columns
        and write.deltas is deltas
        and write.only is only
        and write.fresh is fresh
        and write.lenient is lenient
        and write.anew is anew
    ]
    return [writes] if len(same) == len(writes) else _unlike(writes)


def _unlike(writes: Sequence[RowWrite]) -> list[Sequence[RowWrite]]:
    return [list(alike) for _, alike in itertools.groupby(writes, key=_ALIKE)]


def slices(rows: int) -> Iterator[slice]:
    """How a group is cut into statements: while the server works on one, a larger one is made."""
    start, size = 0, FIRST_ROWS if rows > _WHOLE else rows
    while start < rows:
        end = start + size if rows - start > size * 3 // 2 else rows
        yield slice(start, end)
        start, size = end, min(MOST_ROWS, size * _GROWTH)


def canonical(value: ChannelValue) -> ChannelValue:
    """Equal for all values that some collation may hold for equal: too much is only slower, too little would reorder."""
    if not isinstance(value, str):
        return value
    if not value.isascii():  # é is e with an accent, which many collations do not look at
        value = "".join([c for c in unicodedata.normalize("NFKD", value.casefold()) if not unicodedata.combining(c)])
    return value.casefold().rstrip()


def row_keys(write: RowWrite, *, exact: bool = False) -> tuple[RowKey, ...]:
    """The rows that a write touches: the one it finds and, if it moves the key, the one it makes.

    `exact`: as the keys are written; else as some collation may hold them for equal.
    """
    table, key = write.table, write.key
    if not exact and (len(key) != 1 or isinstance(key[0], str)):
        key = tuple(map(canonical, key))
    here: RowKey = (table.schema, table.name, write.key_columns, key)
    if write.op != "update" or not moves_key(write):
        return (here,)
    values = dict(zip(write.columns, write.values, strict=True))
    there = tuple(values.get(column, old) for column, old in zip(write.key_columns, write.key, strict=True))
    if not exact:
        there = tuple(map(canonical, there))
    moved: RowKey = (table.schema, table.name, write.key_columns, there)
    return (here,) if moved == here else (here, moved)


def moves_key(write: RowWrite) -> bool:
    """Whether an update writes columns of its own key."""
    return write.op == "update" and any(column in write.key_columns for column in write.columns)


def in_strict_order(writes: Sequence[RowWrite]) -> Iterator[list[RowWrite]]:
    """Split into groups of which no write overtakes another; no row is twice in one."""
    for run in runs(writes):
        group: list[RowWrite] = []
        keys: set[RowKey] = set()
        for write in run:
            own = row_keys(write)
            if not keys.isdisjoint(own):
                yield group
                group, keys = [], set()
            group.append(write)
            keys.update(own)
        yield group
