"""Telling our own apply transactions from the users', by the log and by the loop guard. Guards I2.

Where the log carries the record (a line of datong_progress, a logical message, a comment) the log decides; Redis is asked as well
and only checked: a hit that the log does not confirm drops nothing and raises an alarm, a record that Redis does not know says
that Redis was lost. MySQL with bookkeeping `none` has only Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog
from msgspec import structs

from cdc import sabotage
from cdc.capture.state import CaptureState
from cdc.control import Control
from cdc.loop_guard import GuardRecord, LoopGuard
from cdc.model import ApplyRecord, LogPart
from sinks.bookkeeping import LEASE_TOKEN
from transforms.tables import Engine

MAX_THREADS = 256  # connections of ours whose transactions are counted; one is open at a time

log = structlog.get_logger()


class Echoes:
    """Recognises echoes in log order; counts, per MySQL connection of ours, how many of its transactions have been passed."""

    def __init__(
        self, guard: LoopGuard, state: CaptureState, control: Control, *, engine: Engine, log_carries_record: bool
    ) -> None:
        self._guard = guard
        self._state = state
        self._control = control
        self._by_thread = engine == "mysql"
        self._log_carries_record = log_carries_record
        self._found: dict[str, GuardRecord] = {}
        # The transaction whose parts are being read, its record, and its field in the guard.
        self._open: tuple[int, ApplyRecord | None] = (-1, None)
        self._passing = ""
        self._rows = 0
        self.passed: list[str] = []  # the guard's fields that are behind us once the state is published

    def ask(self, parts: Sequence[LogPart]) -> None:
        """Ask Redis once for all transactions of a batch."""
        self._found = self._guard.recognise(list(dict.fromkeys(self._candidates(parts))))

    def _candidates(self, parts: Sequence[LogPart]) -> list[str]:
        firsts = [part.identity for part in parts if part.identity and part.first == 0]
        if not self._by_thread:
            return firsts
        names = []
        times: Counter[str] = Counter()
        for thread in firsts:
            times[thread] += 1
            names.append(f"{thread}/{self._state.ordinals.get(thread, 0) + times[thread]}")
        return names

    def record_of(self, part: LogPart) -> ApplyRecord | None:
        """The apply record if this part belongs to an apply transaction of ours; None for a user's transaction."""
        if part.order != self._open[0]:
            # Most transactions: neither the log nor Redis has anything to say of them.
            nothing = part.record is None and not self._found
            self._open = (part.order, None if nothing else self._judge(part))
            self._rows = 0
        record = self._open[1]
        if part.last and self._passing:
            self.passed.append(self._passing)
            self._passing = ""
        if record is not None:
            self._rows += part.echo_rows or len(part.rows)
            if part.last and self._rows > record.rows:
                self._control.alarm("rows_of_triggers", self._rows - record.rows)
                log.warning("echo_holds_more_rows", transaction=part.transaction, wrote=record.rows, found=self._rows,
                            hint="a trigger wrote mapped rows inside our transaction; they are not replicated")  # fmt: skip
        return record

    def _judge(self, part: LogPart) -> ApplyRecord | None:
        if sabotage.ACTIVE.forgets_echo():
            return None
        identity = self._identity(part)
        hit = self._found.get(identity)
        record = part.record
        if record is None and hit is not None:
            if self._log_carries_record:
                self._control.alarm("unconfirmed_guard_hits")
                log.error("guard_hit_not_in_log", transaction=part.transaction, position=part.resume.native,
                          hint="is a proxy that shares sessions in front of this database? the transaction is replicated")  # fmt: skip
                return None
            record = hit.record
        if record is None:
            return None
        if record.token == LEASE_TOKEN:
            # Redis is not told of it, nor is it counted: what was found under this name is the same connection's next transaction.
            return record
        if hit is None:
            self._control.alarm("guard_misses")
            log.warning(
                "guard_lost",
                transaction=part.transaction,
                hint="Redis did not know this apply transaction; the log did",
            )
        else:
            self._passing = identity
            # The guard was told when all was written; the log before, so that it says how many at most.
            if hit.record.token == record.token:
                record = structs.replace(record, rows=min(record.rows, hit.record.rows))
        if self._by_thread and part.identity:
            self._count(part.identity)
        return record

    def _identity(self, part: LogPart) -> str:
        if self._by_thread and part.identity:
            return f"{part.identity}/{self._state.ordinals.get(part.identity, 0) + 1}"
        return part.identity

    def _count(self, thread: str) -> None:
        ordinals = self._state.ordinals
        passed = ordinals.pop(thread, 0) + 1
        ordinals[thread] = passed
        while len(ordinals) > MAX_THREADS:
            ordinals.pop(next(iter(ordinals)))
