"""Which committed changes have arrived on the other sides, told by what plain SELECTs show there. Pure: rows and times come in.

A change has arrived where the row is as it was after that change, or after a later one of the same key. Where the row looks as it did
before (it was changed back meanwhile), nothing can be told from it, and such a change is never timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from cdc.demo.business import KINDS, SIDES, Key, Kind, SideName, Thing
from cdc.demo.expectation import Row, key_value, row
from cdc.demo.record import Committed, Record

STALE_SECONDS: Final = 2.0
MOST_KEYS: Final = 300  # asked for at once


@dataclass(frozen=True, slots=True)
class Arrival:
    """`seconds`: from the COMMIT to when it was seen."""

    source: SideName
    target: SideName
    key: Key
    seconds: float


@dataclass(slots=True)
class _Waiting:
    """Changes of one key that one side has not shown yet; `shown` is what it held before the first of them."""

    shown: Thing | None
    changes: list[Committed]


@dataclass(slots=True)
class Arrivals:
    """One thread's: `expect` what was committed, ask `wanted` what to look at, tell `saw` what was there."""

    record: Record
    waiting: dict[SideName, dict[Key, _Waiting]] = field(default_factory=lambda: {side: {} for side in SIDES})

    def expect(self, committed: Committed) -> None:
        for side in SIDES:
            if side != committed.side:
                before = self._state(committed.key, committed.version - 1)
                self.waiting[side].setdefault(committed.key, _Waiting(before, [])).changes.append(committed)

    def wanted(self, side: SideName) -> Iterator[tuple[Kind, list[Key]]]:
        """What to read on a side: the keys that something is awaited of, those first that were expected first."""
        for kind in KINDS:
            if keys := list(islice((key for key in self.waiting[side] if key.kind is kind), MOST_KEYS)):
                yield kind, keys

    def saw(self, side: SideName, keys: list[Key], rows: Mapping[str, Row], now: float) -> list[Arrival]:
        """What has arrived on a side, by the rows that it showed for these keys."""
        arrived: list[Arrival] = []
        for key in keys:
            waiting = self.waiting[side][key]
            found = rows.get(key_value(side, key))
            if found == self._row(side, waiting.shown):
                continue
            for at in range(len(waiting.changes) - 1, -1, -1):
                state = self._state(key, waiting.changes[at].version)
                if found == self._row(side, state):
                    done = waiting.changes[: at + 1]
                    arrived += [Arrival(change.side, side, key, now - change.at) for change in done]
                    waiting.shown = state
                    del waiting.changes[: at + 1]
                    break
            if not waiting.changes:
                del self.waiting[side][key]
        return arrived

    def stale(self, side: SideName, now: float) -> list[tuple[SideName, Key]]:
        """Some of the keys that have been waited for for so long that it is worth comparing with the side they came from."""
        old = (
            (waiting.changes[-1].side, key)
            for key, waiting in self.waiting[side].items()
            if now - waiting.changes[-1].at > STALE_SECONDS
        )
        return list(islice(old, MOST_KEYS))

    def settle(self, side: SideName, key: Key) -> None:
        """Both sides hold the same: whatever was waited for has come, or was changed back, or somebody else wrote."""
        self.waiting[side].pop(key, None)

    def count(self) -> int:
        """How many changes have not arrived yet, over all sides."""
        return sum(len(waiting.changes) for keys in self.waiting.values() for waiting in keys.values())

    def oldest(self, now: float) -> float:
        """For how many seconds the oldest of them has been waited for; 0 where there is none."""
        ages = [now - waiting.changes[0].at for keys in self.waiting.values() for waiting in keys.values()]
        return max(ages, default=0.0)

    def _state(self, key: Key, version: int) -> Thing | None:
        return self.record.histories[key][version]

    @staticmethod
    def _row(side: SideName, state: Thing | None) -> Row | None:
        return None if state is None else row(side, state)
