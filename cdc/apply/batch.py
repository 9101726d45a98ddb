"""One batch: what to write of some entries, what to park, and how far it carries the target. Pure but for the clock of parking.

Guards I1 (every change is written, parked, or not mapped here) and I4 (nothing overtakes a parked change of its key).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdc.apply.encoding import Encoder, Outcome
from cdc.apply.parking import ParkedKeys, keys_of, parked_row
from cdc.apply.people_plan import PeoplePlan, Planner
from cdc.apply.skips import Skipped, Skips
from cdc.errors import HaltError
from cdc.identity.events import decision_of
from cdc.identity.words import Decision
from cdc.model import IDENTITY_SOURCE, Change, Entry, Layout
from sinks.contract import ParkedRow, Progress, ProgressMove, Rejection, RowWrite
from sinks.taken_keys import told
from transforms.specs import MappingSpec
from transforms.values import RefusedValueError


@dataclass(slots=True)
class Batch:
    """`writes` carry as `ref` their place in `origins`. `reached` is, per source, the last entry; `moves` what the target's
    table is to say: entries with changes only, heartbeats are never written down (ARCHITECTURE.md section 6, rule 7).
    """

    writes: list[RowWrite] = field(default_factory=list)
    origins: list[tuple[Entry, Layout, Change]] = field(default_factory=list)
    parked: list[ParkedRow] = field(default_factory=list)
    reached: dict[str, Progress] = field(default_factory=dict)
    written: dict[str, Progress] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)  # the keys of `parked`
    transactions: int = 0
    decisions: list[Decision] = field(default_factory=list)  # about people, whose references move before anything else
    moves: list[RowWrite] = field(default_factory=list)  # what those mean here; the applier finds it
    skipped: list[Skipped] = field(default_factory=list)  # entries of transactions that an operator left out
    people: PeoplePlan | None = None  # instead of `writes`, where people or references to them are written here
    # What is parked is as old as this and its place in `origins`, so that it waits in the order in which it came.
    since: int = 0

    def park(self, row: ParkedRow) -> None:
        self.parked.append(row)
        self.waiting.update(row.keys)

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return len(self.writes) + len(self.moves) + (len(self.people) if self.people is not None else 0)

    @property
    def empty(self) -> bool:
        return not self.rows and not self.parked and not self.decisions


class BatchMaker:
    """Turns entries into a batch by a target's encoder and the keys that wait there."""

    def __init__(
        self,
        deployment: str,
        encoder: Encoder,
        waiting: ParkedKeys,
        planner: Planner | None = None,
        skips: Skips | None = None,
    ) -> None:
        self._deployment = deployment
        self._encoder = encoder
        self._waiting = waiting
        self._planner = planner
        self._skips = skips

    def make(self, entries: Sequence[Entry], known: Mapping[str, Progress]) -> Batch:
        """Raises HaltError where a mapping with `on_error: halt` meets a change that it would have to park."""
        batch = Batch(since=max(time.time_ns() // 1000, self._waiting.latest + 1))
        taken = batch.origins
        reached: dict[str, Entry] = {}
        written: dict[str, Entry] = {}
        maps = self._encoder.maps
        for entry in entries:
            channel = entry.channel
            reached[channel] = entry
            if not entry.end:  # a heartbeat
                continue
            at = written.get(channel) or known.get(channel)
            done = at.end if at is not None and at.order == entry.order else 0
            written[channel] = entry
            if channel == IDENTITY_SOURCE:
                batch.decisions.append(decision_of(entry))
                continue
            layouts = entry.layouts
            if self._skips and (channel, entry.order) in self._skips:
                batch.skipped.append(self._skipped(entry, done))
                continue
            for change in entry.changes:
                if change.index >= done:
                    layout = layouts[change.layout]
                    if layout.entity in maps:
                        taken.append((entry, layout, change))
        batch.reached = {channel: _progress(entry) for channel, entry in reached.items()}
        batch.written = {channel: _progress(entry) for channel, entry in written.items()}
        if self._planner is not None and any(self._planner.concerns(layout) for _, layout, _ in taken):
            return self._with_people(batch, self._planner)
        outcomes = self._encoder.encode_all([(layout, change) for _, layout, change in taken])
        counted = None
        waiting, writes = bool(self._waiting), batch.writes
        for place, outcome in enumerate(outcomes):
            entry = taken[place][0]
            if waiting or batch.waiting or isinstance(outcome, RefusedValueError):
                is_written = self._add(batch, place, outcome)
            else:
                writes += outcome
                is_written = bool(outcome)
            if is_written and entry is not counted and entry.last:
                counted = entry
                batch.transactions += 1
        return batch

    def _skipped(self, entry: Entry, done: int) -> Skipped:
        layouts = [entry.layouts[change.layout] for change in entry.changes if change.index >= done]
        specs = [spec for layout in layouts if (spec := self._encoder.mapping_of(layout)) is not None]
        return Skipped(entry, tuple(sorted({spec.name for spec in specs})), len(specs))

    def _with_people(self, batch: Batch, planner: Planner) -> Batch:
        """What is to be written can only be said in the transaction: the keys of new rows come from the server."""

        def park(at: int, reason: str, error: str) -> None:
            batch.park(self._parked(batch, Rejection(at, reason, error, "")))

        def waits(at: int) -> bool:
            _, layout, change = batch.origins[at]
            spec = self._encoder.mapping_of(layout)
            assert spec is not None
            return bool(self._waiting or batch.waiting) and self._waits(batch, spec, layout, change)

        batch.people = planner.plan([(layout, change) for _, layout, change in batch.origins], waits, park)
        written = {id(batch.origins[at][0]) for at in batch.people.places() if batch.origins[at][0].last}
        batch.transactions += len(written)
        return batch

    def park(self, batch: Batch, rejections: Sequence[Rejection]) -> list[ParkedRow]:
        """The rows to park for what the sink rejected; their keys wait from now on."""
        # A change may have several writes: it is parked once, with what was said first.
        first: dict[int, Rejection] = {}
        for rejection in rejections:
            first.setdefault(rejection.ref, rejection)
        return [self._parked(batch, rejection) for _, rejection in sorted(first.items())]

    def _add(self, batch: Batch, at: int, outcome: Outcome) -> bool:
        """Whether the change is written."""
        _, layout, change = batch.origins[at]
        spec = self._encoder.mapping_of(layout)
        assert spec is not None  # what nothing maps is not taken
        if (self._waiting or batch.waiting) and self._waits(batch, spec, layout, change):
            batch.park(self._parked(batch, Rejection(at, "waiting", "an earlier change of this key is parked", "")))
        elif isinstance(outcome, RefusedValueError):
            batch.park(self._parked(batch, Rejection(at, "refused", str(outcome), "")))
        else:
            batch.writes += outcome
            return bool(outcome)
        return False

    def _waits(self, batch: Batch, spec: MappingSpec, layout: Layout, change: Change) -> bool:
        """Whether the change's key, or the one that it moves its row to, has an earlier change parked."""
        keys = keys_of(layout, change, spec.entity.key)
        return any(key in self._waiting or key in batch.waiting for key in keys)

    def _parked(self, batch: Batch, refusal: Rejection) -> ParkedRow:
        entry, layout, change = batch.origins[refusal.ref]
        spec = self._encoder.mapping_of(layout)
        assert spec is not None  # it was encoded by one
        if spec.on_error == "halt" and refusal.reason != "waiting":
            raise HaltError(
                "ROW_REJECTED",
                f"mapping {spec.name}: a change of {entry.channel} at {entry.order} (transaction {entry.transaction}) cannot be written ({refusal.reason}): {told(refusal.error, refusal.taken)}",
                "mend the row or the table, set on_error: park, or leave out the whole transaction: "
                f"`datong skip {spec.channel} --source {entry.channel} --position {entry.order}`",
            )
        row = parked_row(self._deployment, entry, layout, change, spec.entity.key, refusal.reason, refusal.error)
        # The mapping of this channel: the one that could not write it.
        return replace(row, mapping=spec.name, since=batch.since + refusal.ref, taken=refusal.taken)


def _progress(entry: Entry) -> Progress:
    return Progress(entry.order, entry.end, entry.last, entry.hlc)


def moves(known: Mapping[str, Progress], written: Mapping[str, Progress]) -> tuple[ProgressMove, ...]:
    """The compare-and-sets that carry a target's table from what is known to what a batch makes true."""
    return tuple(
        ProgressMove(source, known.get(source), now)
        for source, now in sorted(written.items())
        if source not in known or (known[source].order, known[source].end) != (now.order, now.end)
    )
