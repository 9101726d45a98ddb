"""Grouping consecutive writes for one statement, never changing their order. Guards I4. Pure.

A run is a stretch of consecutive writes of the same table, operation and columns; a *segment* is a part of a run that one
statement may write at once. `Pack` says when a segment has to wait until what was sent before it has been answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from sinks.contract import RowWrite
from transforms.values import ChannelValue

RowKey: TypeAlias = tuple[str, str, tuple[str, ...], tuple[ChannelValue, ...]]


def runs(writes: Sequence[RowWrite]) -> Iterator[list[RowWrite]]:
    """Split into runs, in order."""
    run: list[RowWrite] = []
    for write in writes:
        if run and not _alike(run[0], write):
            yield run
            run = []
        run.append(write)
    if run:
        yield run


def _alike(one: RowWrite, other: RowWrite) -> bool:
    return (
        (one.table is other.table or one.table == other.table)
        and one.op == other.op
        and one.columns == other.columns
        and one.key_columns == other.key_columns
        and one.deltas == other.deltas
        and one.only == other.only
        and one.fresh == other.fresh
        and one.lenient == other.lenient
    )


def canonical(value: ChannelValue) -> ChannelValue:
    """Equal for all values that some collation may hold for equal: too much is only slower, too little would reorder."""
    return value.casefold().rstrip() if isinstance(value, str) else value


def row_keys(write: RowWrite) -> tuple[RowKey, ...]:
    """The rows that a write touches: the one it finds and, if it moves the key, the one it makes."""
    table, key = write.table, write.key
    if len(key) != 1 or isinstance(key[0], str):
        key = tuple(map(canonical, key))
    here: RowKey = (table.schema, table.name, write.key_columns, key)
    if write.op != "update" or not moves_key(write):
        return (here,)
    values = dict(zip(write.columns, write.values, strict=True))
    there = tuple(canonical(values.get(column, old)) for column, old in zip(write.key_columns, write.key, strict=True))
    moved: RowKey = (table.schema, table.name, write.key_columns, there)
    return (here,) if moved == here else (here, moved)


def moves_key(write: RowWrite) -> bool:
    """Whether an update writes columns of its own key."""
    return write.op == "update" and any(column in write.key_columns for column in write.columns)


def segments(
    run: Sequence[RowWrite], *, most: int, distinct: bool, alone: bool, size: Callable[[RowWrite], int], most_bytes: int
) -> Iterator[list[RowWrite]]:
    """Cut a run into segments of at most `most` rows and about `most_bytes`.

    `distinct`: no key twice in a segment (a statement may not touch a row twice). `alone`: every row by itself.
    """
    segment: list[RowWrite] = []
    keys: set[RowKey] = set()
    total = 0
    for write in run:
        bytes_ = size(write)
        own = row_keys(write) if distinct else ()
        full = alone or len(segment) >= most or total + bytes_ > most_bytes or any(key in keys for key in own)
        if segment and full:
            yield segment
            segment, keys, total = [], set(), 0
        segment.append(write)
        keys.update(own)
        total += bytes_
    if segment:
        yield segment


class Pack:
    """The rows of what is sent together: a statement on one of them waits for the answers, so a miss can be looked into."""

    def __init__(self) -> None:
        self._keys: set[RowKey] = set()
        self._first: Sequence[RowWrite] | None = None

    def admits(self, writes: Sequence[RowWrite]) -> bool:
        """Whether none of these rows is in the pack; then they are."""
        if self._first is None and not self._keys:
            self._first = writes  # most packs are one statement: its keys are named only when there is a second
            return True
        if self._first is not None:
            self._keys.update(key for write in self._first for key in row_keys(write))
            self._first = None
        own = [key for write in writes for key in row_keys(write)]
        if not self._keys.isdisjoint(own):
            return False
        self._keys.update(own)
        return True

    def clear(self) -> None:
        self._keys.clear()
        self._first = None
