"""Finding the rows that a database refuses, inside one transaction. Guards I1 and I4. No driver here.

Writes are tried in savepoints, in order, a stretch at a time; a stretch that is refused is rolled back to its savepoint and
halved, down to the single row. The outcome is the same as row by row, at a few savepoints for each refused row. Later
writes of a refused row's key, also under the key that a refused move would have given it, are not tried: they wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sinks.contract import Rejected, Rejection, RowWrite
from sinks.runs import RowKey, row_keys

STRETCH: Final = 128
WAITING: Final = "waiting"


def write_apart(writes: Sequence[RowWrite], attempt: Callable[[Sequence[RowWrite]], None]) -> list[Rejection]:
    """Write all that can be written; answer the rest in the order of `writes`.

    `attempt` writes a stretch within a savepoint of its own, and raises Rejected with that savepoint rolled back. Its other
    errors end everything.
    """
    blocked: set[RowKey] = set()
    rejections: dict[int, Rejection] = {}
    numbered = list(enumerate(writes))
    todo = [numbered[start : start + STRETCH] for start in range(0, len(numbered), STRETCH)]
    todo.reverse()
    while todo:
        stretch = todo.pop()
        # What waits because of this stretch is kept apart until it is settled: halves of it are looked at again, and a
        # write must not wait for a later one.
        now_blocked, waiting = set(blocked), dict[int, Rejection]()
        tried: list[tuple[int, RowWrite]] = []
        for number, write in stretch:
            keys = row_keys(write, exact=True)
            if now_blocked.isdisjoint(keys):
                tried.append((number, write))
            else:
                now_blocked.update(keys)
                waiting[number] = Rejection(write.ref, WAITING, "an earlier change of this row waits", "")
        try:
            if tried:
                attempt([write for _, write in tried])
        except Rejected as refusal:
            if len(tried) > 1:
                middle = len(stretch) // 2
                todo += [stretch[middle:], stretch[:middle]]
                continue
            number, write = tried[0]
            now_blocked.update(row_keys(write, exact=True))
            rejections[number] = Rejection(write.ref, refusal.reason, str(refusal), refusal.code)
        blocked = now_blocked
        rejections |= waiting
    return [rejections[number] for number in sorted(rejections)]
