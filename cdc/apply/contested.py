"""Rows of one key that were inserted in several channels: which parked changes go where an operator says whose row stays. Pure.

Guards I1 and I3: what belongs to a row that is given up never changes the one that stays, also where it was moved to another key.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc.apply.parking import parked_change
from sinks.contract import ParkedRow


def given_up_with(insert: ParkedRow, rows: Sequence[ParkedRow]) -> list[ParkedRow]:
    """The later changes of a row whose insert is dropped, up to where its source inserts the key again."""
    keys, found = set(insert.keys), []
    for row in _in_order(rows, insert.source):
        if _place(row) <= _place(insert) or keys.isdisjoint(row.keys):
            continue
        if is_insert(row):
            keys.difference_update(row.keys)
            continue
        found.append(row)
        keys.update(row.keys)
    return found


def giving_way_to(insert: ParkedRow, rows: Sequence[ParkedRow]) -> list[ParkedRow]:
    """What an insert makes untrue that is written over the row of its key: other sources' changes of that key, and its own source's earlier ones."""
    found = []
    for source in sorted({row.source for row in rows}):
        keys = set(insert.keys)
        for row in _in_order(rows, source):
            if keys.isdisjoint(row.keys) or (source == insert.source and _place(row) >= _place(insert)):
                continue
            found.append(row)
            keys.update(row.keys)
    return found


def is_insert(row: ParkedRow) -> bool:
    return parked_change(row).change.op == "insert"


def _in_order(rows: Sequence[ParkedRow], source: str) -> list[ParkedRow]:
    return sorted((row for row in rows if row.source == source), key=_place)


def _place(row: ParkedRow) -> tuple[int, int]:
    return row.order, row.index
