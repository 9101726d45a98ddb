"""Decisions about people as entries of the change log: one stream of their own, numbered by the hub store. Guards I3, I4.

Every applier reads that stream beside those of the channels, and keeps its place in its own progress table: so a decision is carried
out exactly once in each target, in the decisions' order; and what a channel changes after it had carried one out waits, in every
other target, until that one has too (`seen`, like anything else that a channel had applied). Truth is in the hub store: a stream
that was flushed is filled again from there, by whichever capture notices first.
"""

from __future__ import annotations

import time
from typing import Final

import structlog

from cdc.change_log import ChangeLog
from cdc.identity.registry import Registry
from cdc.identity.words import Decision
from cdc.model import IDENTITY_SOURCE, Change, Entry, Layout

EVERY_SECONDS: Final = 0.5
_TOLD: Final = ("merge", "split", "undo")  # joins change no row, a forgetting changes none in any channel

log = structlog.get_logger()


class EventPublisher:
    """One capture's. Any number of them may do it at once: a number is in the stream once."""

    def __init__(self, registry: Registry, change_log: ChangeLog) -> None:
        self._registry = registry
        self._change_log = change_log
        self._at = 0.0

    def publish_when_due(self) -> bool:
        """Answer whether it was due: time to look at the hub store. Raises TransientError."""
        now = time.monotonic()
        if now - self._at < EVERY_SECONDS:
            return False
        self._at = now
        self._publish()
        return True

    def _publish(self) -> None:
        with self._registry.reading() as rows:
            last = rows.one(
                "SELECT MAX(seq) FROM datong_identity_event WHERE deployment = ?", self._registry.deployment
            )[0]
            if not last:
                return
            end = self._change_log.identity_end()
            if end >= last:
                return
            sql = (
                "SELECT seq, kind, entity, kept, gone, at, undoes FROM datong_identity_event"
                " WHERE deployment = ? AND seq > ? ORDER BY seq"
            )
            found = rows.all(sql, self._registry.deployment, end)
        entries = [_entry(*row) for row in found if row[1] in _TOLD]
        self._change_log.append_identity(entries)
        for entry in entries:
            log.info("identity_decision_published", seq=entry.order, kind=entry.changes[0].values[0])


def _entry(seq: int, kind: str, entity: str, kept: int, gone: int, at: float, undoes: int | None) -> Entry:
    layout = Layout(IDENTITY_SOURCE, entity, ("kind", "gone", "undoes"))
    change = Change(0, "update", 0, (kept,), (kind, gone, undoes or 0))
    committed_at = round(at * 1e6)
    return Entry(
        IDENTITY_SOURCE, seq, 0, 1, True, committed_at, committed_at, f"identity {seq}", {}, {}, (layout,), (change,)
    )


def decision_of(entry: Entry) -> Decision:
    """What an entry of that stream says."""
    (change,) = entry.changes
    kind, gone, undoes = change.values
    return Decision(entry.order, kind, entry.layouts[0].entity, change.key[0], gone, undoes)
