"""Apply: consume all streams, write each batch in one marked transaction, report progress. Guards I1 to I6.

The conflict stage of ARCHITECTURE.md section 6 has its place between `Delivery.take` and `BatchMaker.make`: entries in causal
order come in, what is to be written goes out. Until it is there, of two concurrent edits of one key the last to arrive stays.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import structlog

from cdc.apply.awaiting import Awaiting
from cdc.apply.batch import Batch, BatchMaker, moves
from cdc.apply.bookkeeping import Bookkeeping
from cdc.apply.delivery import Delivery, entry_id
from cdc.apply.encoding import Encoder
from cdc.apply.orphans import Orphans
from cdc.apply.parked_lines import ParkedLines
from cdc.apply.parking import ParkedKeys
from cdc.apply.people import People
from cdc.apply.people_plan import Planner
from cdc.apply.release import Hooks, Release
from cdc.apply.skips import Skips
from cdc.change_log import ChangeLog, EntryId
from cdc.control import Control
from cdc.lease import Lease
from cdc.loop_guard import GuardRecord, LoopGuard
from cdc.model import ApplyRecord, ProgressRow, folded
from cdc.store import Store
from sinks.contract import Progress, Rejected, ServerIdentity, Sink, TransactionHeader
from transforms.compiled import CompiledMapping
from transforms.tables import Engine

POLL_SECONDS: Final = 0.2
PROGRESS_SECONDS: Final = 1.0
READ_PACKS: Final = 16
READ_BYTES: Final = 1 << 20  # at once, by the size of those before: in memory an entry is many times its packed size
MOST_READS: Final = 32
NOTHING: Final[Mapping[str, Progress]] = MappingProxyType({})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """`sources`: every other channel that captures, mapped here or not: their order is what causality is told by.

    `held_bytes` bounds what is held of one source; `captured`: this target's log is read by a capture, which takes the loop
    guard's records out again.
    """

    deployment: str
    target: str
    sources: tuple[str, ...]
    max_rows: int
    held_bytes: int
    engine: Engine
    bookkeeping: Literal["table", "none"]
    captured: bool
    probe: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ApplyParts:
    """What an applier works with; `cdc.roles` opens and closes them."""

    sink: Sink
    server: ServerIdentity
    encoder: Encoder
    describe: Callable[[], Iterable[CompiledMapping]]
    change_log: ChangeLog
    guard: LoopGuard
    store: Store
    lease: Lease
    people: People | None = None
    planner: Planner | None = None


class Applier:
    """One session: from the target's own progress until it is told to end, or an error ends it."""

    def __init__(self, parts: ApplyParts, options: ApplyOptions, control: Control) -> None:
        self._parts = parts
        self._options = options
        self._control = control
        self._books = Bookkeeping(
            parts.sink, parts.store, parts.guard, options.deployment, options.target, options.bookkeeping,
            parts.server.incarnation if options.engine == "mysql" else "",
        )  # fmt: skip
        self._epoch = self._books.take_over()
        start = self._books.resume(options.sources, parts.change_log)
        self._known = start.known
        self._passed = start.passed
        self._joining = start.joined
        parts.encoder.writes_over = bool(start.joined)
        self._waiting = ParkedKeys(self._books.parked())
        self._skips = Skips(parts.store, options.target)
        self._skips.look(start.passed)
        self._maker = BatchMaker(options.deployment, parts.encoder, self._waiting, parts.planner, self._skips)
        hooks = Hooks(parts.describe, control.beat)
        self._release = Release(
            parts.sink, parts.encoder, self._books, self._waiting, self._transact, hooks, parts.people
        )
        self._orphans = Orphans(self._release, self._books.parked())
        self._release.parked_anew.append(self._orphans.add)
        self._awaiting: Awaiting | None = None
        if parts.people is not None and parts.planner is not None:
            parts.people.recover(options.deployment, options.target)
            self._awaiting = Awaiting(parts.planner, parts.people, self._release, self._books.parked())
            self._release.parked_anew.append(self._awaiting.add)
        delivered = {s: folded(at.order, at.end, complete=at.complete) for s, at in start.passed.items()}
        self._delivery = Delivery(options.target, delivered, options.max_rows, options.held_bytes)
        self._at: dict[str, EntryId] = {source: (at.order, at.end) for source, at in start.passed.items()}
        self._pack_bytes = READ_BYTES // 4  # of those that were read last, on average
        self._unwritten: dict[str, Progress] = {}  # moved past entries of which nothing is mapped here
        self._saved: dict[str, Progress] = dict(start.passed)
        self._progress_at = 0.0
        self._parked_lines = ParkedLines()
        log.info("apply_resumed", positions={s: f"{at[0]}-{at[1]}" for s, at in self._at.items()}, epoch=self._epoch)

    def run(self) -> None:
        """Work until the control says to end: read what is there, put causes before effects, write it, report."""
        with closing(self._parked_lines):
            while self._control.turn():
                self._obey()  # first: a retry or a drop may be what the batch that halts us needs
                self._read()
                entries = self._delivery.take()
                if entries:
                    if self._awaiting is not None:
                        self._awaiting.release_before(entries)
                    self._write(self._maker.make(entries, self._known))
                if self._awaiting is not None:
                    self._awaiting.release_when_due()
                self._orphans.retry_when_due()
                self._write_progress_when_due()
                self._parked_lines.tell_when_due()
                self._report(busy=bool(entries))
        self._save_progress()

    def _read(self) -> None:
        after = {source: self._at[source] for source in self._delivery.hungry()}
        if not after:
            return
        wait = POLL_SECONDS if not self._delivery.holds() else 0.01
        for _ in range(MOST_READS):
            count = max(1, min(READ_PACKS, READ_BYTES // max(1, self._pack_bytes)))
            found = self._parts.change_log.read(after, count, wait)
            for delivered in found:
                self._delivery.add(delivered.source, delivered.entries)
                self._at[delivered.source] = entry_id(delivered.entries[-1][0])
                self._pack_bytes = sum(size for _, size in delivered.entries) // delivered.packs
            # A few packs at a time, since one may hold megabytes; more only of what gave all that was asked for.
            more = {d.source for d in found if d.packs == count} & set(self._delivery.hungry())
            after, wait = {source: self._at[source] for source in more}, 0.0
            if not after:
                return

    # -- one batch, in one transaction of the target

    def _write(self, batch: Batch) -> None:
        """Write a batch whole; if a row is rejected, again row by row, parking what cannot be stored.

        Any other error ends the session: the next one begins at what the target's own table says.
        """
        if batch.people is not None and batch.people.dropped:
            log.info("forgotten_dropped", changes=batch.people.dropped)
        if batch.skipped:
            self._skips.begin(batch.skipped)
        if batch.empty:
            self._unwritten |= batch.written
        else:
            self._write_rows(batch, self._unwritten | batch.written)
            self._unwritten = {}
        self._passed |= batch.reached
        if self._joining:
            self._join()
        if batch.skipped or not self._books.in_table:
            self._save_progress()
        if batch.skipped:
            self._control.facts.skipped += self._skips.done(batch.skipped)
        if self._skips:
            self._skips.settle(self._passed)

    def _join(self) -> None:
        """A new target has read what its tables may have held already: from now on a row that an insert meets is another one."""
        for source, last in list(self._joining.items()):
            at = self._passed[source]
            if (at.order, at.end) >= last:
                del self._joining[source]
        self._parts.encoder.writes_over = bool(self._joining)

    def _write_rows(self, batch: Batch, written: Mapping[str, Progress]) -> None:
        sink, people = self._parts.sink, self._parts.people
        if people is not None:
            batch.moves = [write for decision in batch.decisions for write in people.moving.writes_of(decision)]
        rows = batch.rows
        parked = list(batch.parked)

        def whole() -> None:
            sink.write(batch.moves)
            if people is not None and batch.people is not None:
                people.write(batch.people)
            else:
                sink.write(batch.writes)
            self._books.park(parked, len(self._waiting))

        def singly() -> None:
            for refused in sink.write_singly(batch.moves):
                log.warning("reference_not_moved", error=refused.error, hint="its row has changed meanwhile")
            if people is not None and batch.people is not None:
                rejections = people.write_singly(batch.people, list(batch.people.places()))
            else:
                rejections = sink.write_singly(batch.writes)
            parked.extend(self._maker.park(batch, rejections))
            self._books.park(parked, len(self._waiting))

        try:
            self._transact(rows, whole, written)
        except Rejected as error:
            log.warning(
                "batch_rejected", rows=rows, code=error.code, error=str(error), hint="trying row by row",
                alike=str(error),
            )  # fmt: skip
            sink.rollback()
            self._transact(2 * rows, singly, written)  # what is set aside first is written twice
        if people is not None and batch.people is not None:
            people.committed()
        self._waiting.add(parked)
        self._orphans.add(parked)
        if self._awaiting is not None:
            self._awaiting.add(parked)
        self._parked_lines.tell(parked)
        self._control.facts.rows += rows - (len(parked) - len(batch.parked))
        self._control.facts.transactions += batch.transactions

    def _transact(self, rows: int, write: Callable[[], None], written: Mapping[str, Progress] = NOTHING) -> None:
        """BEGIN, the compare-and-set, the rows, the loop guard, COMMIT - in this order (ARCHITECTURE.md section 5)."""
        sink, options = self._parts.sink, self._options
        steps = moves(self._known, written)
        header = TransactionHeader(options.deployment, options.target, self._epoch, secrets.token_hex(16), rows, steps)
        self._parts.lease.check()
        sink.begin(header)
        before = sink.rows_written
        write()
        if self._parts.people is None:  # their new rows are not written by `write`
            rows = min(rows, sink.rows_written - before)
        options.probe("loop_guard.before_register")
        if options.captured:
            self._parts.guard.register(
                sink.identity(), GuardRecord(self._parts.server.incarnation, _record(header, rows))
            )
        options.probe("loop_guard.after_register")
        options.probe("sink.before_commit")
        self._parts.lease.check()
        sink.commit()
        options.probe("sink.after_commit")
        self._known |= {step.source: step.now for step in steps}

    # -- what needs no rows

    def _write_progress_when_due(self) -> None:
        """Once a second: the target's table moves past what is not mapped here, the hub store past everything."""
        now = time.monotonic()
        if now - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = now
        self._save_progress()
        self._parts.sink.ping()

    def _save_progress(self) -> None:
        if self._unwritten and self._books.in_table:
            self._transact(0, _nothing, self._unwritten)
            self._unwritten = {}
        if self._passed != self._saved:
            self._options.probe("checkpoint.before")
            self._parts.lease.check()
            self._books.save(self._passed, self._known)
            self._options.probe("checkpoint.after")
            self._saved = dict(self._passed)

    def _obey(self) -> None:
        """Retry or drop parked changes, take up transactions to skip, where an operator asked for it."""
        if not (commands := self._control.take_commands()):
            return
        for command in commands:
            if command.command == "skip":
                self._skips.look(self._passed)
            else:
                self._release.obey(command)
            self._parts.store.command_done(command)
        self._orphans.renew(self._books.parked())

    def _report(self, *, busy: bool) -> None:
        facts = self._control.facts
        since = self._delivery.waiting_since()
        facts.lag_seconds = 0.0 if since is None else max(0.0, time.time() - since / 1e6)
        facts.parked = len(self._waiting)
        facts.positions = {source: f"{at.order}-{at.end}" for source, at in self._passed.items()}
        self._control.state("running" if busy or self._delivery.holds() else "idle", self._delivery.waits_for())


def _record(header: TransactionHeader, rows: int) -> ApplyRecord:
    lines = tuple(ProgressRow(m.source, m.now.order, m.now.end, m.now.complete, m.now.hlc) for m in header.moves)
    return ApplyRecord(header.deployment, header.target, header.epoch, header.token, rows, lines)


def _nothing() -> None:
    """A transaction that moves progress only."""
