"""Changes that are parked because another row is not there, or still is: they are tried again by themselves (CASES.md K8). Guards I1.

A row comes before its parent where they come from two channels, or where the parent is not mapped; a parent is deleted before its last
child. The other row may be written by us, by this channel's users or by an operator's retry, so the clock decides, not an event: soon
at first, then ever less often, and not for ever - after `GIVE_UP_SECONDS` a person has to say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from cdc.apply.release import Release
from sinks.contract import FOREIGN_KEY, ParkedRow

FIRST_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 30.0
GIVE_UP_SECONDS: Final = 24 * 3600.0
MOST_AT_ONCE: Final = 200


class Orphans:
    """The parked changes of one target that a foreign key refused, each with the time at which it is tried again."""

    def __init__(self, release: Release, parked: Iterable[ParkedRow]) -> None:
        self._release = release
        self._since: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self.add(parked)

    def add(self, rows: Iterable[ParkedRow]) -> None:
        for row in rows:
            if row.reason == FOREIGN_KEY:
                self._since[row.id] = row.since / 1e6
                self._plan(row.id)

    def renew(self, parked: Iterable[ParkedRow]) -> None:
        """What waits may have become something else: an operator tried or dropped it."""
        self._since.clear()
        self._due.clear()
        self.add(parked)

    def retry_when_due(self) -> None:
        """Try what is due, a bounded number at once, those that have waited longest for it first."""
        if not self._due:
            return
        now = time.time()
        due = sorted((at, ident) for ident, at in self._due.items() if at <= now)[:MOST_AT_ONCE]
        if not due:
            return
        self._release.retry_together({ident for _, ident in due})
        still = {row.id for row in self._release.parked() if row.reason == FOREIGN_KEY}
        for _, ident in due:
            if ident in still:
                self._plan(ident)
            else:
                del self._since[ident], self._due[ident]

    def _plan(self, ident: str) -> None:
        """The next time lies a quarter of its age ahead."""
        now = time.time()
        age = max(0.0, now - self._since[ident])
        if age < GIVE_UP_SECONDS:
            self._due[ident] = now + min(LONGEST_SECONDS, max(FIRST_SECONDS, age / 4))
        else:
            self._due.pop(ident, None)
            self._since.pop(ident)
