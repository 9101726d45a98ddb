"""Where a target's progress and parked changes are kept: in its own tables, or (bookkeeping `none`) in the hub store. Guards I1, I2, I7.

With the tables, effects are exactly-once: progress moves in the transaction that writes. Without, delivery is at least once
with idempotent writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from cdc.apply.parking import pack_row, unpack_row
from cdc.change_log import NOWHERE, ChangeLog, EntryId
from cdc.errors import HaltError
from cdc.loop_guard import GuardRecord, LoopGuard
from cdc.model import ProgressRow
from cdc.store import Applied, Store
from sinks.contract import ParkedRow, Progress, Sink

MAX_PARKED: Final = 10_000
_NEVER: Final = Progress(0, 0, complete=True, hlc=0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Start:
    """`known`: the lines of the target's table as they are; `passed`: up to where each stream needs not be read again; `joined`: where the
    streams ended that a new target begins to read. What lies before may be in its tables already, which were copied from another channel's.
    """

    known: dict[str, Progress]
    passed: dict[str, Progress]
    joined: dict[str, EntryId]


class Bookkeeping:
    """One target's books, wherever they are."""

    def __init__(
        self,
        sink: Sink,
        store: Store,
        guard: LoopGuard,
        deployment: str,
        target: str,
        kind: Literal["table", "none"],
        incarnation: str,
    ) -> None:
        """`incarnation`: the server's start, where transaction identities begin anew with it (MySQL); else empty."""
        self._sink = sink
        self._store = store
        self._guard = guard
        self._deployment = deployment
        self._target = target
        self.in_table = kind == "table"
        self._incarnation = incarnation

    def take_over(self) -> int:
        """Become the one writer: whoever wrote before is fenced from now on. Answers the epoch."""
        return self._sink.take_over(self._deployment, self._target) if self.in_table else 0

    def resume(self, sources: Sequence[str], change_log: ChangeLog) -> Start:
        """Where to go on, per source. Raises HaltError where progress and change log do not fit together."""
        stored = self._store.applied(self._target)
        known = (
            self._sink.progress(self._deployment)
            if self.in_table
            else {s: _progress(a.passed) for s, a in stored.items()}
        )
        known = {source: at for source, at in known.items() if source in sources}
        passed = {source: self._place(source, known.get(source), stored.get(source)) for source in sources}
        is_new = not known and not stored
        for source, trimmed in change_log.trimmed(sources).items():
            at = passed[source]
            if (at.order, at.end) == NOWHERE:  # nobody kept it for this target, so it is new: it joins here
                passed[source] = Progress(trimmed[0], trimmed[1], complete=True, hlc=0)
            if NOWHERE < (at.order, at.end) < trimmed:
                raise HaltError(
                    "CHANGE_LOG_GAP",
                    f"{self._target}: changes of {source} between {at.order}-{at.end} and {trimmed[0]}-{trimmed[1]} are no longer in Redis",
                    f"run `datong resync` for the mappings of {self._target}",
                )
        self._forget_rolled_back(known)
        joined = self._joined(sources, change_log, passed, is_new=is_new)  # decided while the target is known to be new
        self.save(passed, known)
        return Start(known, passed, joined)

    def _joined(
        self, sources: Sequence[str], change_log: ChangeLog, passed: Mapping[str, Progress], *, is_new: bool
    ) -> dict[str, EntryId]:
        """Where the streams ended when this target was new, of those that it has not read as far; decided at its first start."""
        streams = {source: change_log.published(source) for source in sources} if is_new else {}
        ends = {source: stream.last for source, stream in streams.items() if stream is not None}
        kept = self._store.decisions.joined(self._target, ends)
        return {s: end for s, end in kept.items() if s in passed and (passed[s].order, passed[s].end) < end}

    def _place(self, source: str, known: Progress | None, stored: Applied | None) -> Progress:
        if stored is None:
            if known is not None and known.order > 0:
                raise HaltError(
                    "CHECKPOINT_MISSING",
                    f"{self._target}: its progress table knows {source}, the hub store does not",
                    "is store.url the one of before? restore it, or start over with `datong remove` and `datong run`",
                )
            return known or _NEVER
        at = known or _NEVER
        if self.in_table and (at.order, at.end) < stored.written:
            raise HaltError(
                "TARGET_RESTORED",
                f"{self._target}: its progress for {source} is {at.order}-{at.end}, behind {stored.written[0]}-{stored.written[1]} confirmed before",
                f"was it restored from a backup? run `datong resync` for the mappings of {self._target}",
            )
        passed = _progress(stored.passed)
        return passed if (passed.order, passed.end) > (at.order, at.end) else at

    def _forget_rolled_back(self, known: Mapping[str, Progress]) -> None:
        """Remove loop-guard records of transactions that certainly did not happen: what they would have made true is not."""
        gone = [
            identity for identity, record in self._guard.records().items() if self._rolled_back(identity, record, known)
        ]
        if gone:
            log.info("rolled_back_records_forgotten", count=len(gone))
            self._guard.forget(gone)

    def _rolled_back(self, identity: str, guarded: GuardRecord, known: Mapping[str, Progress]) -> bool:
        if not self.in_table:
            return self._sink.committed(identity) is False
        if self._incarnation and guarded.incarnation != self._incarnation:
            return (
                True  # from before the server's restart: nothing will ask for it by that identity again, the log tells
            )
        for line in guarded.record.progress:
            at = known.get(line.source, _NEVER)
            if (at.order, at.end) < (line.order, line.end):
                return True
        return False

    def save(self, passed: Mapping[str, Progress], known: Mapping[str, Progress]) -> None:
        """Keep in the hub store what is durably passed: the safe cut is told by it."""
        rows = []
        for source, at in passed.items():
            written = known.get(source, _NEVER)
            rows.append(
                Applied(ProgressRow(source, at.order, at.end, at.complete, at.hlc), (written.order, written.end))
            )
        self._store.save_applied(self._target, rows)

    def parked(self) -> list[ParkedRow]:
        """All that waits here, in the order in which it came."""
        if self.in_table:
            rows = self._sink.parked(self._deployment)
        else:
            rows = [unpack_row(packed) for packed in self._store.parked(self._target).values()]
        return sorted(rows, key=lambda row: (row.since, row.source, row.order, row.index))

    def park(self, rows: Sequence[ParkedRow], already: int) -> None:
        """Keep changes that wait, in the open transaction (or, without a table, durably before it commits)."""
        if not rows:
            return
        if already + len(rows) > MAX_PARKED:
            raise HaltError(
                "TOO_MANY_PARKED",
                f"{self._target}: more than {MAX_PARKED} changes are parked, the last reason: {rows[-1].reason}: {rows[-1].error}",
                "mend the cause, then `datong parked retry`",
            )
        if self.in_table:
            self._sink.park(rows)
        else:
            self._store.park(self._target, {row.id: pack_row(row) for row in rows})

    def unpark(self, rows: Sequence[ParkedRow]) -> None:
        """Take changes out that have been written, in the same transaction."""
        ids = [row.id for row in rows]
        if ids and self.in_table:
            self._sink.unpark(ids)

    def unparked(self, rows: Sequence[ParkedRow]) -> None:
        """After the commit: without a table, only now may the hub store forget them."""
        if rows and not self.in_table:
            self._store.unpark(self._target, [row.id for row in rows])


def _progress(row: ProgressRow) -> Progress:
    return Progress(row.order, row.end, row.complete, row.hlc)
