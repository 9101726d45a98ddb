"""Letting go: checkpoints, the safe cut, and what the source and the change log may forget. Guards I7 and I8.

The source is told only what the hub store durably says: a checkpoint that every target wanting this channel has applied. A target
further behind than `max_behind` is detached, so that one dead channel does not fill the other databases' disks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from cdc.change_log import NOWHERE, ChangeLog, EntryId
from cdc.model import Checkpoint, Position
from cdc.readers import Reader
from cdc.store import Store

CHECKPOINT_SECONDS: Final = 1.0
BEHIND_SECONDS: Final = 5.0  # between two looks for those that are too far behind
STILL_SECONDS: Final = 15.0  # longer than a batch takes

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReleaseOptions:
    """`wanted_by`: the targets whose progress holds this channel's cut. `max_bytes`, `max_seconds`: how far one may be behind."""

    channel: str
    wanted_by: frozenset[str]
    max_bytes: int
    max_seconds: float
    probe: Callable[[str], None]


class Release:
    """One capture's letting go."""

    def __init__(self, options: ReleaseOptions, store: Store, change_log: ChangeLog, reader: Reader) -> None:
        self._options = options
        self._store = store
        self._change_log = change_log
        self._reader = reader
        self._saved: Position | None = None
        self._cut_order = -1
        self._trimmed = NOWHERE
        self._checkpoint_at = 0.0
        self._behind_at = time.monotonic()
        self._behind_since: dict[str, float] = {}  # by target: when it was first seen to have something to move to

    def due(self) -> bool:
        return time.monotonic() - self._checkpoint_at >= CHECKPOINT_SECONDS

    def checkpoint(self, state: Checkpoint) -> None:
        """Keep a candidate for the safe cut: everything before it is published."""
        if state.position == self._saved:
            return
        self._options.probe("checkpoint.before")
        self._store.save_checkpoint(self._options.channel, state)
        self._options.probe("checkpoint.after")
        self._saved = state.position

    def advance(self, last: EntryId, retained_bytes: int) -> None:
        """Move the safe cut as far as the slowest target allows, then trim the stream and tell the source."""
        self._checkpoint_at = time.monotonic()
        wanted_by = self._options.wanted_by - self._detached(last, retained_bytes)
        applied = self._store.least_applied(self._options.channel, wanted_by)
        applied = last if applied is None else min(applied, last)
        if applied > self._trimmed:  # also within a large transaction: its pieces make room for what follows
            self._change_log.trim(self._options.channel, applied)
            self._trimmed = applied
        cut = self._store.advance_cut(self._options.channel, wanted_by)
        if cut is None or cut.position.order == self._cut_order:
            return
        self._options.probe("capture.before_release")
        self._reader.confirm(cut.position)
        self._options.probe("source_ack.after")
        self._cut_order = cut.position.order

    def _detached(self, last: EntryId, retained_bytes: int) -> frozenset[str]:
        """The targets that are out of the cut; takes out those that are too far behind now."""
        detached = frozenset(self._store.detached())
        now = time.monotonic()
        if now - self._behind_at < BEHIND_SECONDS:
            return detached
        self._behind_at = now
        options = self._options
        behind = self._store.laggards(options.channel, options.wanted_by - detached, last)
        self._behind_since = {target: self._behind_since.get(target, now) for target in behind}
        for target, moved_at in behind.items():
            # A source that was quiet for days is nobody's standing still: not from when there was nothing to move to.
            still_for = min(time.time() - moved_at, now - self._behind_since[target])
            # The bytes are the fault of whoever stands still, not of those that are a batch behind.
            too_many = retained_bytes > options.max_bytes and still_for > STILL_SECONDS
            if too_many or still_for > options.max_seconds:
                reason = (
                    f"has not moved for {still_for / 3600:.1f} h while {options.channel} keeps {retained_bytes} bytes of log for it,"
                    " which is more than max_behind: detached"
                )
                self._store.detach(target, reason)
                self._store.audit("datong", "channel.detach", target, after=reason)
                log.error("channel_detached", target=target, reason=reason)
                detached |= {target}
        return detached
