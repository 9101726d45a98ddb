"""Rows of one key that were inserted in several channels: which parked changes go where an operator says whose row stays. Pure.

Guards I1 and I3: what belongs to a row that is given up never changes the one that stays, also where it was moved to another key; what
belongs to any other row is never given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cdc.apply.parking import parked_change
from sinks.contract import CONFLICT, ParkedRow


def is_rival(insert: ParkedRow, rows: Iterable[ParkedRow]) -> bool:
    """Whether a parked change is an insert that met another row of its key, or waits behind one that did."""
    (key, *_) = insert.keys
    return is_insert(insert) and any(row.reason == CONFLICT and key in row.keys for row in (insert, *rows))


def given_up_with(insert: ParkedRow, rows: Iterable[ParkedRow]) -> list[ParkedRow]:
    """The later changes of a row whose insert is dropped, up to where its source makes another row of the key."""
    (key, *_) = insert.keys
    found = []
    for row in _in_order(rows, insert.source):
        if _place(row) <= _place(insert) or row.keys[0] != key:
            continue
        if is_insert(row):
            break
        found.append(row)
        if len(row.keys) > 1:
            key = row.keys[1]
        elif _operation(row) == "delete":
            break
    return found


def giving_way_to(insert: ParkedRow, rows: Sequence[ParkedRow]) -> list[ParkedRow]:
    """What an insert makes untrue that is written over the row of its key: other sources' changes of that key, and its own source's earlier
    ones, with what became of those rows.
    """
    (contested, *_) = insert.keys
    found = []
    for source in sorted({row.source for row in rows}):
        keys = {contested}  # where rows live that give way
        for row in _in_order(rows, source):
            if source == insert.source and _place(row) >= _place(insert):
                break
            key, moved = row.keys[0], row.keys[1] if len(row.keys) > 1 else None
            if key != contested and (is_insert(row) or key not in keys) and moved != contested:
                keys.discard(key)  # a row of its own
                continue
            found.append(row)
            if key != contested and (moved is not None or _operation(row) == "delete"):
                keys.discard(key)
            if moved is not None:
                keys.add(moved)
    return found


def is_insert(row: ParkedRow) -> bool:
    return _operation(row) == "insert"


def _operation(row: ParkedRow) -> str:
    return parked_change(row).change.op


def _in_order(rows: Iterable[ParkedRow], source: str) -> list[ParkedRow]:
    return sorted((row for row in rows if row.source == source), key=_place)


def _place(row: ParkedRow) -> tuple[int, int]:
    return row.order, row.index
