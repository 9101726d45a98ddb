"""In which order entries of several streams are applied: each source in its own, and never an effect before its cause. Pure.

Guards I4 (order), I5 (a transaction in one piece, up to a bound) and I8 (what is held is bounded).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdc.change_log import EntryId
from cdc.model import Entry, Order, folded

HELD_BYTES = 32 << 20  # of one source: a transaction above it is applied in pieces, whatever its number of rows


@dataclass(slots=True)
class _Queue:
    entries: deque[tuple[Entry, int]] = field(default_factory=deque)
    changes: int = 0
    size: int = 0


class Delivery:
    """Holds what was read and not applied yet. `start` says, per source, the last order that is applied completely."""

    def __init__(self, target: str, start: Mapping[str, Order], max_rows: int, held_bytes: int = HELD_BYTES) -> None:
        self._target = target
        self._folded = dict(start)
        self._max_rows = max_rows
        self._held_bytes = min(held_bytes, HELD_BYTES)
        self._queues: dict[str, _Queue] = {source: _Queue() for source in start}

    def add(self, source: str, entries: Iterable[tuple[Entry, int]]) -> None:
        queue = self._queues[source]
        for entry, size in entries:
            queue.entries.append((entry, size))
            queue.changes += len(entry.changes)
            queue.size += size

    def hungry(self) -> list[str]:
        """The sources of which more may be read: the others hold enough."""
        return [s for s, q in self._queues.items() if q.changes < self._max_rows and q.size < self._held_bytes]

    def take(self) -> list[Entry]:
        """The next batch: whole transactions, at most about `max_rows` changes; a larger one alone and in pieces."""
        taken: list[Entry] = []
        self._take_turns()
        room = self._max_rows
        moved = True
        while moved and room > 0:
            moved = False
            for queue in self._queues.values():
                held = queue.changes
                while room > 0 and self._next(queue, room, taken):
                    room -= held - queue.changes
                    held = queue.changes
                    moved = True
        return taken

    def waiting_since(self) -> int | None:
        """The commit time (microseconds) of the oldest transaction that is held; None when nothing is."""
        times = [next((e.committed_at for e, _ in q.entries if e.end), None) for q in self._queues.values()]
        return min((at for at in times if at is not None), default=None)

    def holds(self) -> bool:
        return any(queue.entries for queue in self._queues.values())

    def waits_for(self) -> str:
        """Which cause the first entry that is held back waits for, as text for an operator; empty where none is."""
        for queue in self._queues.values():
            if queue.entries:
                entry = queue.entries[0][0]
                for source, order in entry.seen.items():
                    if self._folded.get(source, order) < order:
                        return f"{entry.channel} at {entry.order} waits for {source} up to {order}"
        return ""

    def _take_turns(self) -> None:
        """The source that came first the last time comes last: no backlog starves the others."""
        if self._queues:
            first = next(iter(self._queues))
            self._queues[first] = self._queues.pop(first)

    def _next(self, queue: _Queue, room: int, taken: list[Entry]) -> bool:
        """Take one transaction's parts from the front of a queue, if it is ready and fits."""
        entries = queue.entries
        if not entries:
            return False
        first, packed = entries[0]
        if first.seen and not self._ready(first):
            return False
        if first.last and (len(first.changes) <= room or not taken):  # most transactions are one entry
            entries.popleft()
            taken.append(first)
            queue.changes -= len(first.changes)
            queue.size -= packed
            self._fold(first)
            return True
        count = changes = size = 0
        complete = False
        for entry, packed in queue.entries:
            count += 1
            changes += len(entry.changes)
            size += packed
            if entry.last or changes >= self._max_rows or size >= self._held_bytes:
                complete = True
                break
        if not complete or (changes > room and taken):
            return False
        taken += [entries.popleft()[0] for _ in range(count)]
        queue.changes -= changes
        queue.size -= size
        self._fold(taken[-1])
        return True

    def _fold(self, last: Entry) -> None:
        order = folded(last.order, last.end, complete=last.last)
        self._folded[last.channel] = max(self._folded[last.channel], order)

    def _ready(self, entry: Entry) -> bool:
        """Whether everything that its channel had seen has been delivered; a channel that is not a source does not count."""
        return all(
            self._folded.get(source, order) >= order
            for source, order in entry.seen.items()
            if source not in {entry.channel, self._target}
        )


def entry_id(entry: Entry) -> EntryId:
    return (entry.order, entry.end)
