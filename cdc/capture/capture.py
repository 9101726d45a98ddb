"""Capture: read the log, drop echoes, decode, publish; then let the source forget what everybody has. Guards I1, I2, I4, I7.

It never writes to the channel, never skips what it does not understand, and tells the source only what the hub store durably says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec import structs

from cdc import sabotage
from cdc.capture.decoding import Decoded, Decoder
from cdc.capture.echoes import Echoes
from cdc.capture.people import People
from cdc.capture.release import Release, ReleaseOptions
from cdc.capture.state import CaptureState, first_checkpoint
from cdc.change_log import ChangeLog, EntryId
from cdc.control import Control
from cdc.errors import ChangeLogLostError, HaltError
from cdc.lease import Lease
from cdc.loop_guard import LoopGuard
from cdc.model import Checkpoint, Entry, LogPart, Position
from cdc.readers import LogBatch, Reader
from cdc.store import Store
from transforms.tables import Engine

POLL_SECONDS: Final = 0.2
HEAD_SECONDS: Final = 2.0
ROOM_SECONDS: Final = 0.2
NOTICES_KEPT: Final = 5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """`max_bytes`: this stream's share of the change log. `incarnation`: the server's start, where that matters (MySQL).

    `after_ddl` looks again at what was looked at before the start, since a table has changed.
    """

    channel: str
    engine: Engine
    incarnation: str
    log_carries_record: bool
    max_bytes: int
    heartbeat_seconds: float
    release: ReleaseOptions
    revision: str
    probe: Callable[[str], None]
    after_ddl: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class CaptureParts:
    """What a capture works with; `cdc.roles` opens and closes them."""

    reader: Reader
    decoder: Decoder
    change_log: ChangeLog
    guard: LoopGuard
    store: Store
    lease: Lease
    people: People | None = None


class Capture:
    """One session: from a position until it is told to end at a boundary, or an error ends it."""

    def __init__(self, parts: CaptureParts, options: CaptureOptions, control: Control) -> None:
        self._parts = parts
        self._options = options
        self._control = control
        checkpoint, self._last = self._resume()
        self._state = CaptureState(options.channel, checkpoint)
        self._begin_incarnation()
        self._echoes = Echoes(
            parts.guard, self._state, control, engine=options.engine, log_carries_record=options.log_carries_record
        )
        self._open_order: int | None = None  # the transaction of which only a part has been read
        self._before_open = checkpoint  # the state at that transaction's beginning
        self._assembled = -1  # the transaction of the entry that was assembled last
        self._published_at = 0.0
        self._published = checkpoint
        self._release = Release(options.release, parts.store, parts.change_log, parts.reader)
        self._head_at = 0.0
        self._measured_at = 0.0
        # Where the reader is, and since when it stands there.
        self._reached: tuple[Position, float] = (checkpoint.position, time.monotonic())
        self._committed_at = time.time_ns() // 1000  # of the last part that was read

    def run(self) -> None:
        """Work until the control says to end, at a transaction boundary."""
        while self._control.turn(at_boundary=self._open_order is None):
            if not self._has_room():
                continue
            batch = self._parts.reader.read(POLL_SECONDS)
            self._tell_notices(batch)
            self._echoes.ask(batch.parts)
            decoded = self._parts.decoder.decode([part.rows for part in batch.parts])
            if self._parts.people is not None:
                self._parts.people.resolve(batch.parts, decoded)
            entries = [e for part, of in zip(batch.parts, decoded, strict=True) if (e := self._assemble(part, of))]
            if self._open_order is None:
                self._state.position = batch.reached
            self._publish(entries)
            self._release_when_due()
            self._report(batch)
        self._options.probe("shutdown.mid_flush")
        self._release.checkpoint(self._published)

    # -- where to begin

    def _resume(self) -> tuple[Checkpoint, EntryId]:
        """Open the reader where the change log ends; where Redis was lost, at the safe cut; the first time, at the log's end."""
        channel, store, change_log = self._options.channel, self._parts.store, self._parts.change_log
        published, cut = change_log.published(channel), store.safe_cut(channel)
        if cut is None:
            if published is not None:
                raise HaltError(
                    "CHECKPOINT_MISSING",
                    f"{channel}: the hub store has no checkpoint, but Redis has changes of this deployment up to {published.state.position.native}",
                    "is store.url the one of before? restore it, or start over with `datong remove` and `datong run`",
                )
            start = self._parts.reader.open(None)
            checkpoint = first_checkpoint(start, self._options.revision)
            store.save_checkpoint(channel, checkpoint, is_cut=True)
            log.info(
                "capture_first_start",
                channel=channel,
                position=start.native,
                hint="what was there before is not copied",
            )
            return checkpoint, change_log.start(channel, self._parts.lease.holder, checkpoint)
        if published is not None and published.last >= (cut.last_order, cut.last_end):
            checkpoint, last = published.state, published.last
        else:
            if not self._options.log_carries_record:
                raise self._guard_lost(cut.position)
            log.warning(
                "change_log_lost",
                channel=channel,
                hint="publishing again from the safe cut",
                position=cut.position.native,
            )
            self._control.alarm("change_log_lost")
            store.drop_checkpoints_after(channel, cut.position.order)
            checkpoint, last = cut, change_log.start(channel, self._parts.lease.holder, cut)
        opened = self._parts.reader.open(checkpoint.position)
        log.info("capture_resumed", channel=channel, position=opened.native)
        return _at(checkpoint, opened), last

    def _guard_lost(self, position: Position) -> HaltError:
        channel = self._options.channel
        return HaltError(
            "LOOP_GUARD_LOST",
            f"{channel}: Redis was lost, or the server restarted, and with it which transactions after {position.native} are"
            " our own: this log does not tell (MySQL with bookkeeping: none)",
            f"compare its tables with another channel's, stop the service, run `datong remove {channel}`, and start it again:"
            " it goes on from then; or use bookkeeping: table",
        )

    def _begin_incarnation(self) -> None:
        """A server that started anew counts its threads anew. Raises HaltError where only Redis knew whose they were."""
        state, options, guard = self._state, self._options, self._parts.guard
        restarted = state.incarnation != options.incarnation
        if not options.log_carries_record:
            begins = not state.incarnation
            if not begins and (not guard.is_marked() or (restarted and guard.records())):
                raise self._guard_lost(state.position)
            guard.mark()
        if restarted:
            state.ordinals.clear()
            state.incarnation = options.incarnation

    # -- one transaction, or a part of one

    def _assemble(self, part: LogPart, decoded: Decoded) -> Entry | None:
        """The entry to publish of a part; None for an echo, for what no mapping wants and for what is published already."""
        begins = part.order != self._open_order
        if begins and not part.last:
            self._before_open = self._state.checkpoint(self._last, self._options.revision)
        self._open_order = None if part.last else part.order
        self._state.position = part.resume
        self._committed_at = part.committed_at
        record = self._echoes.record_of(part)
        if (record is not None and begins) or part.parked:
            self._state.absorb(record if begins else None, part.parked)
        if record is not None:
            self._control.facts.echoes += part.last
            return None
        hlc = self._state.stamp(part)
        if (part.order, part.end) <= self._last:
            return None
        published = self._last[1] if part.order == self._last[0] else 0  # of a heartbeat at the same place: 0
        if decoded.error is not None:
            raise HaltError(
                "SCHEMA_CHANGED",
                f"{self._options.channel} at {part.resume.native}: {decoded.error}",
                "edit the mapping to fit the table",
            )
        changes = decoded.changes
        if part.first < published:
            changes = [change for change in changes if change.index >= published]
        if sabotage.ACTIVE.kind:
            changes = sabotage.tampered(changes, sabotage.ACTIVE)
        self._options.probe("capture.decoded")
        if not changes and not (part.last and (published or part.order == self._assembled)):
            return None
        self._assembled = part.order
        self._control.facts.transactions += part.last
        self._control.facts.rows += len(changes)
        first = max(part.first, published)
        state = self._state
        return Entry(
            state.channel, part.order, first, part.end, part.last, part.committed_at, hlc, part.transaction,
            dict(state.seen), state.take_news(), tuple(decoded.layouts), tuple(changes),
        )  # fmt: skip

    # -- handing on, and letting go

    def _has_room(self) -> bool:
        """Wait while this channel's share of the change log is full: the source's own log is the buffer then (I8).

        Also notices, quiet or not, that Redis no longer holds what was published. Raises ChangeLogLostError.
        """
        now = time.monotonic()
        if now - self._measured_at < ROOM_SECONDS:
            return True
        measure = self._parts.change_log.measure(self._options.channel)
        if measure is None or measure.last != self._last:
            raise ChangeLogLostError(f"Redis no longer holds what {self._options.channel} published up to {self._last}")
        if measure.bytes < self._options.max_bytes:
            self._measured_at = now
            return True
        self._control.state("running", "the change log is full: waiting for the slowest applier")
        self._control.facts.lag_seconds = max(0.0, time.time() - self._committed_at / 1e6)
        self._release_when_due()
        time.sleep(ROOM_SECONDS)
        return False

    def _publish(self, entries: list[Entry]) -> None:
        now = time.monotonic()
        moved = self._state.position.order > self._published.position.order
        if not entries and (
            not moved or self._open_order is not None or now - self._published_at < self._options.heartbeat_seconds
        ):
            return
        if not entries:
            entries = [self._state.heartbeat(self._state.position.order)]
        self._parts.lease.check()
        self._options.probe("capture.before_publish")
        checkpoint = self._checkpoint((entries[-1].order, entries[-1].end))
        change_log, holder = self._parts.change_log, self._parts.lease.holder
        passed = self._echoes.passed
        self._last = change_log.publish(self._options.channel, holder, self._last, entries, checkpoint, passed)
        self._options.probe("capture.after_publish")
        passed.clear()
        self._published_at = now
        self._published = checkpoint

    def _checkpoint(self, last: EntryId) -> Checkpoint:
        """The state to go on from. Within a transaction that is its beginning: it will be read again, and stamped again."""
        if self._open_order is None:
            return self._state.checkpoint(last, self._options.revision)
        return structs.replace(self._before_open, last_order=last[0], last_end=last[1])

    def _release_when_due(self) -> None:
        if self._release.due():
            # Only what is published may be let go of: a restart begins at what Redis holds, and the source must still have that.
            self._release.checkpoint(self._published)
            self._release.advance(self._last, self._control.facts.retained_bytes)

    # -- facts

    def _tell_notices(self, batch: LogBatch) -> None:
        for notice in batch.notices:
            log.warning(notice.event, text=notice.text, order=notice.order)
            facts = self._control.facts
            facts.notices = (*facts.notices, f"{notice.event}: {notice.text}")[-NOTICES_KEPT:]
        if any(notice.event == "ddl_seen" for notice in batch.notices):
            self._options.after_ddl()

    def _report(self, batch: LogBatch) -> None:
        now, facts = time.monotonic(), self._control.facts
        if batch.reached != self._reached[0]:
            self._reached = (batch.reached, now)
        if now - self._head_at >= HEAD_SECONDS:
            self._head_at = now
            head = self._parts.reader.head()
            facts.retained_bytes = head.retained_bytes
            facts.numbers["source_behind_bytes"] = max(0, head.order - batch.reached.order)
            facts.numbers.update(head.gauges)
        facts.position = batch.reached.native
        stands_still = now - self._reached[1]
        if facts.numbers.get("source_behind_bytes") and stands_still > HEAD_SECONDS:
            facts.lag_seconds = stands_still  # the source goes on and we see nothing of it
        elif batch.caught_up:
            facts.lag_seconds = 0.0
        elif batch.parts:
            facts.lag_seconds = max(0.0, time.time() - self._committed_at / 1e6)
        self._control.state("idle" if batch.caught_up and not batch.parts else "running")


def _at(checkpoint: Checkpoint, position: Position) -> Checkpoint:
    """A reader may go on under another server's name for the same place (a fail-over continued by GTID)."""
    return checkpoint if checkpoint.position == position else structs.replace(checkpoint, position=position)
