"""Finding the rows that a database refuses, inside one transaction. Guards I1 and I4. No driver here.

Writes are tried in savepoints, in order, a stretch at a time; a stretch that is refused is rolled back to its savepoint and
halved, down to the single row. The outcome is the same as row by row, at a few savepoints for each refused row. Later
writes of a refused row's key, also under the key that a refused move would have given it, are not tried: they wait.

Rows that the database lets in together only (they exchange a unique value) would be told apart by a row among them that is really refused. So
those which were refused as duplicates are tried once more together.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from sinks.contract import Rejected, Rejection, RowWrite
from sinks.runs import RowKey, row_keys

STRETCH: Final = 128
WAITING: Final = "waiting"


def write_apart(
    writes: Sequence[RowWrite], attempt: Callable[[Sequence[RowWrite]], None], together: Container[str] = ()
) -> list[Rejection]:
    """Write all that can be written; answer the rest in the order of `writes`.

    `attempt` writes a stretch within a savepoint of its own, and raises Rejected with that savepoint rolled back. Its other
    errors end everything. Rows that were refused with a code of `together` are tried together at last.
    """
    rejections, waits_for = _apart(writes, attempt)
    refused = {number for number, rejection in rejections.items() if rejection.code in together}
    # What waits for a row that was refused for anything else goes nowhere without it: it would change another row.
    behind = {number for number, causes in waits_for.items() if causes <= refused}
    for mutual in (refused | behind, refused) if behind else (refused,):
        if not refused or len(mutual) < 2:
            continue
        try:
            attempt([writes[number] for number in sorted(mutual)])
        except Rejected:
            continue
        rest = [writes[number] for number in sorted(rejections.keys() - mutual)]
        return write_apart(rest, attempt, together)
    return [rejections[number] for number in sorted(rejections)]


def _apart(
    writes: Sequence[RowWrite], attempt: Callable[[Sequence[RowWrite]], None]
) -> tuple[dict[int, Rejection], dict[int, frozenset[int]]]:
    """What was not written, by place; and for each write that waits, the places of the refused ones that it waits for."""
    blocked: dict[RowKey, frozenset[int]] = {}  # by which refused writes
    rejections: dict[int, Rejection] = {}
    waits_for: dict[int, frozenset[int]] = {}
    numbered = list(enumerate(writes))
    todo = [numbered[start : start + STRETCH] for start in range(0, len(numbered), STRETCH)]
    todo.reverse()
    while todo:
        stretch = todo.pop()
        # What waits because of this stretch is kept apart until it is settled: halves of it are looked at again, and a
        # write must not wait for a later one.
        now_blocked, waiting = dict(blocked), dict[int, frozenset[int]]()
        tried: list[tuple[int, RowWrite]] = []
        for number, write in stretch:
            keys = row_keys(write, exact=True)
            causes = frozenset[int]().union(*(now_blocked.get(key, ()) for key in keys))
            if not causes:
                tried.append((number, write))
            else:
                _block(now_blocked, keys, causes)
                waiting[number] = causes
        try:
            if tried:
                attempt([write for _, write in tried])
        except Rejected as refusal:
            if len(tried) > 1:
                middle = len(stretch) // 2
                todo += [stretch[middle:], stretch[:middle]]
                continue
            number, write = tried[0]
            _block(now_blocked, row_keys(write, exact=True), frozenset((number,)))
            rejections[number] = Rejection.of(refusal, write.ref)
        blocked = now_blocked
        for number in waiting:
            rejections[number] = Rejection(writes[number].ref, WAITING, "an earlier change of this row waits", "")
        waits_for |= waiting
    return rejections, waits_for


def _block(blocked: dict[RowKey, frozenset[int]], keys: Sequence[RowKey], causes: frozenset[int]) -> None:
    for key in keys:
        blocked[key] = blocked.get(key, frozenset()) | causes
