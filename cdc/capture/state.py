"""What a capture knows at a place in its log: `seen`, its hybrid logical clock, parked keys. Pure. Guards I3 (stamps), I7.

ARCHITECTURE.md section 6: an echo is an acknowledgement; what it says moves `seen` and the clock, and the rows of datong_parked
in it tell which keys were set aside. The same log read from the same checkpoint gives the same states, so that changes
published again after Redis was lost carry the same stamps.
"""

from __future__ import annotations

from collections import Counter

from cdc.model import ApplyRecord, Checkpoint, Entry, Hlc, LogPart, Order, ParkedKey, Position, Seen


class CaptureState:
    """Moved by `absorb` for an echo and by `stamp` for a transaction of the channel's own users, in log order."""

    def __init__(self, channel: str, at: Checkpoint) -> None:
        self.channel = channel
        self.position = at.position
        self.hlc: Hlc = at.hlc
        self.seen: Seen = dict(at.seen)
        self.aside: dict[str, tuple[int, Seen]] = dict(at.aside)
        self._before: Seen = dict(at.seen)
        self._untold: dict[str, Seen | None] = dict(at.untold)
        self.ordinals: dict[str, int] = dict(at.ordinals)
        self.incarnation = at.incarnation

    def absorb(self, record: ApplyRecord | None, parked: tuple[ParkedKey, ...]) -> None:
        """Take in an apply transaction: at this place the channel had applied these sources up to there.

        Further parts of a large one come without the record. A key that it parks had seen what was applied before it.
        """
        if record is not None:
            self._before = dict(self.seen)
            for line in record.progress:
                self.seen[line.source] = max(self.seen.get(line.source, 0), line.seen)
                self.hlc = max(self.hlc, line.hlc)
        net = Counter[str]()  # a retry that fails takes a row out and puts it back: its key was aside all the time
        for row in parked:
            for key in row.key.split("\n"):
                net[key] += 1 if row.parked else -1
        for key, change in net.items():
            count, seen = self.aside.get(key, (0, self._before))
            if count + change > 0:
                self.aside[key] = (count + change, seen)
                self._untold[key] = seen
            elif self.aside.pop(key, None) is not None:
                self._untold[key] = None

    def stamp(self, part: LogPart) -> Hlc:
        """The clock of a user's transaction: its commit time, or just after everything it had seen. All parts share it."""
        if part.first == 0:
            self.hlc = max(part.committed_at, self.hlc + 1)
        return self.hlc

    def take_news(self) -> dict[str, Seen | None]:
        """Keys that were parked (with what they had seen) or released (None) since the last entry; the next entry says so."""
        news, self._untold = self._untold, {}
        return news

    def heartbeat(self, order: Order) -> Entry:
        """An entry without changes: it carries `seen` and the place on while the channel is quiet."""
        return Entry(self.channel, order, 0, 0, True, 0, self.hlc, "", dict(self.seen), self.take_news(), (), ())

    def checkpoint(self, last: tuple[Order, int], revision: str) -> Checkpoint:
        return Checkpoint(
            self.position,
            last[0],
            last[1],
            self.hlc,
            dict(self.seen),
            dict(self.aside),
            dict(self._untold),
            dict(self.ordinals),
            self.incarnation,
            revision,
        )


def first_checkpoint(position: Position, revision: str) -> Checkpoint:
    """The state of a channel that has never been read: nothing seen, at the log's present end."""
    return Checkpoint(position, position.order, 0, 0, {}, {}, {}, {}, "", revision)
