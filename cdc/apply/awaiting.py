"""Parked changes that wait for somebody's row: released, in their order, as soon as it is there. Guards I1, I4.

Whom they wait for is read off the parked changes themselves, so that a restart knows it. Our own writes tell at once; for a row that
this channel's own users make, the hub store is asked a few times a second while anybody is waited for, for all of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import structlog

from cdc.apply.parking import parked_change
from cdc.apply.people import People
from cdc.apply.people_plan import AWAITING, Awaited, Planner
from cdc.apply.release import Release
from cdc.model import Entry
from sinks.contract import ParkedRow

ASK_SECONDS: Final = 0.25
FOLLOW_SECONDS: Final = 0.5

log = structlog.get_logger()


class Awaiting:
    """Who is waited for at this target, and by which parked changes."""

    def __init__(self, planner: Planner, people: People, release: Release, parked: Iterable[ParkedRow]) -> None:
        self._planner = planner
        self._people = people
        self._release = release
        self._waits: dict[str, Awaited] = {}
        self._asked_at = 0.0
        self._followed_at = 0.0
        self.add(parked)

    def add(self, rows: Iterable[ParkedRow]) -> None:
        for row in rows:
            if row.reason in AWAITING:
                parked = parked_change(row)
                self._waits[row.id] = self._planner.awaited(parked.layout, parked.change)

    def release_before(self, entries: Iterable[Entry]) -> None:
        """What waits for somebody who has just turned out to be another one here goes before what is told of that one now."""
        if self._waits and any(self._planner.concern(la).is_person for entry in entries for la in entry.layouts):
            self._asked_at = 0.0
            self.release_when_due()

    def release_when_due(self) -> None:
        """Try again what nothing keeps any more."""
        now = time.monotonic()
        if now - self._followed_at >= FOLLOW_SECONDS:
            self._followed_at = now
            self._people.follow_generation()
        if not self._waits:
            self._people.released.clear()
            return
        if not self._people.released and now - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = now
        self._people.released.clear()
        settled = self._planner.settled(self._waits.values())
        ready = {i for i, w in self._waits.items() if w.own <= settled.own and w.referred <= settled.referred}
        if not ready:
            return
        self._release.retry(ready)
        for ident in ready:
            del self._waits[ident]
        # What still waits, for another reason or for somebody else, is parked anew under its id.
        self.add(self._release.parked())
        log.info("awaited_people_came", released=len(ready) - len(ready & self._waits.keys()))
