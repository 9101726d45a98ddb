"""Leaving out whole source transactions at a target, because an operator said so. Guards I1: exactly those, exactly once, on record.

A request is checked here, by the one who knows how far the target is: what was applied is refused. `begin` makes it durable that a
transaction is being left out before progress passes it, `done` comes after: a crash between the two leaves it out again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from cdc.model import Entry, Order, folded
from cdc.skip_records import SkipRecord
from cdc.store import Store
from sinks.contract import Progress

log = structlog.get_logger()

_PASSED: Final = "it was applied before"
_PARTLY: Final = "it is applied in part: set on_error: park instead, and drop what is parked"
_UNKNOWN: Final = "there is no such transaction"


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry whose changes were not taken: `changes` of the mappings here, those before the target's progress not counted."""

    entry: Entry
    mappings: tuple[str, ...]
    changes: int


class Skips:
    """One target's, for one session."""

    def __init__(self, store: Store, target: str) -> None:
        self._store = store
        self._target = target
        self._pending: dict[tuple[str, Order], SkipRecord] = {}

    def __contains__(self, place: tuple[str, Order]) -> bool:
        return place in self._pending

    def __bool__(self) -> bool:
        return bool(self._pending)

    def look(self, passed: Mapping[str, Progress]) -> None:
        """Take up what was asked for since; at a boundary between two batches. What is behind the progress is settled at once."""
        self._pending = {(record.source, record.order): record for record in self._store.skips.pending(self._target)}
        self.settle(passed)

    def settle(self, passed: Mapping[str, Progress]) -> None:
        """Refuse what progress has passed without meeting it, and finish what a crash kept from being told."""
        for record in list(self._pending.values()):
            at = passed.get(record.source)
            if at is None:
                self._refuse(record, f"{self._target} takes nothing from {record.source}")
            elif folded(at.order, at.end, complete=at.complete) >= record.order:
                self._finish(record) if record.state == "skipping" else self._refuse(
                    record, _PASSED if at.order == record.order else f"{_PASSED}, or {_UNKNOWN}"
                )
            elif at.order == record.order and at.end and record.state == "requested":
                self._refuse(record, _PARTLY)

    def begin(self, skipped: Sequence[Skipped]) -> None:
        """Before progress passes them. From here on they are left out whatever happens."""
        for one in skipped:
            entry = one.entry
            record = self._pending[entry.channel, entry.order]
            counted = 0 if entry.end <= record.row_end else one.changes
            self._pending[entry.channel, entry.order] = msgspec.structs.replace(
                record,
                state="skipping",
                transaction=entry.transaction or record.transaction,
                mappings=tuple(sorted({*record.mappings, *one.mappings})),
                changes=record.changes + counted,
                row_end=max(record.row_end, entry.end),
            )
        self._store.skips.keep([self._pending[place] for place in _places(skipped)])

    def done(self, skipped: Sequence[Skipped]) -> int:
        """After progress has durably passed them; answers how many are passed to their end."""
        ended = [(one.entry.channel, one.entry.order) for one in skipped if one.entry.last]
        for place in ended:
            self._finish(self._pending[place])
        return len(ended)

    def _finish(self, record: SkipRecord) -> None:
        record = msgspec.structs.replace(record, state="done", done_at=time.time())
        after = f"transaction {record.transaction}: {record.changes} changes of {', '.join(record.mappings) or 'nothing mapped here'}"
        self._store.skips.settle(record, what="transaction skipped", after=after)
        log.warning(
            "transaction_skipped", source=record.source, position=record.order, transaction=record.transaction,
            changes=record.changes, mappings=list(record.mappings), who=record.who,
        )  # fmt: skip
        del self._pending[record.source, record.order]

    def _refuse(self, record: SkipRecord, why: str) -> None:
        refused = msgspec.structs.replace(record, state="refused", done_at=time.time(), outcome=why)
        self._store.skips.settle(refused, what="skip refused", after=why)
        log.warning("skip_refused", source=record.source, position=record.order, reason=why)
        del self._pending[record.source, record.order]


def _places(skipped: Sequence[Skipped]) -> list[tuple[str, Order]]:
    return list(dict.fromkeys((one.entry.channel, one.entry.order) for one in skipped))
