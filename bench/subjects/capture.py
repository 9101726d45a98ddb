"""Subject datong-capture: the whole capture as the service runs it - read, drop echoes, map, publish to Redis, checkpoint - nothing applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.harness.meter import Meter
from bench.harness.subject import Outcome, Task, serve
from bench.harness.workload import COLUMNS, row
from bench.subjects.checking import check, from_wire, workload_of
from bench.subjects.ours import CHANNEL, configuration_of
from cdc.addresses import redis_address
from cdc.change_log import NOWHERE, ChangeLog
from cdc.child import collect_seldom
from cdc.control import Control
from cdc.faults import Faults
from cdc.lease import Lease
from cdc.model import Change, Entry
from cdc.sessions import open_capture
from cdc.store import Store
from config.models import Configuration


class Until(Control):
    """Ends the session once so many rows are published."""

    def __init__(self, rows: int, meter: Meter) -> None:
        super().__init__("capture", CHANNEL, None, lambda: False)
        self._until = rows
        self._meter = meter

    def turn(self, *, at_boundary: bool = True) -> bool:
        self._meter.sample()
        self.stop_requested = self.facts.rows >= self._until
        return super().turn(at_boundary=at_boundary)


def prepare(task: Task) -> None:
    """A first start, which takes the log's present end."""
    _session(task, 0)


def run(task: Task) -> Outcome:
    workload = workload_of(task)
    outcome = _session(task, workload.rows)
    rows, ids, sampled = _published(configuration_of(task), workload.op)
    check(task, rows, ids, sampled)
    return outcome


def _session(task: Task, rows: int) -> Outcome:
    configuration, meter = configuration_of(task), Meter()
    store = Store(configuration.store.url.get_secret_value(), configuration.deployment)
    store.open()
    lease = Lease(redis_address(configuration), configuration.deployment, f"capture.{CHANNEL}")
    control = Until(rows, meter)
    try:
        control.load_counters(store)
        control.facts.rows = 0
        if (holder := lease.acquire()) is not None:
            raise RuntimeError(f"the lease is held by {holder}")
        with open_capture(configuration, CHANNEL, store, lease, control, Faults(control.role, "")) as session:
            collect_seldom()
            meter.start()
            session.run()
            return meter.stop(control.facts.rows)
    finally:
        lease.release()
        store.close()


def _published(configuration: Configuration, op: str) -> tuple[int, int, list[tuple[int, tuple[Any, ...]]]]:
    """What the change log holds: the number of changes, the sum of their ids, and every thousandth as a whole row."""
    rows = ids = 0
    sampled: list[tuple[int, tuple[Any, ...]]] = []
    for entry in _entries(ChangeLog(redis_address(configuration), configuration.deployment)):
        for change in entry.changes:
            if change.op != op or change.refused:
                raise ValueError(f"row {rows} was published as {change.op}, refused: {change.refused}")
            ids += change.key[0]
            if rows % 1000 == 0:
                sampled.append((rows, _whole(entry, change)))
            rows += 1
    return rows, ids, sampled


def _whole(entry: Entry, change: Change) -> tuple[Any, ...]:
    """All ten values after the change; an update carries only those that it changed, the others are the key's own."""
    fields = entry.layouts[change.layout].fields
    carried = dict(zip(fields, change.values, strict=True))
    if change.op == "update" and set(fields) != {"status", "amount", "updated_at"}:
        raise ValueError(f"an update of {sorted(fields)}")
    first = dict(zip(COLUMNS, row(change.key[0]), strict=True))
    known = {name: first[name] for name in COLUMNS if name not in carried}
    placeholders = {"amount": "0", "created_at": "2026-01-01T00:00:00", "updated_at": "2026-01-01T00:00:00Z"}
    made = dict(zip(COLUMNS, from_wire([carried.get(n, placeholders.get(n)) for n in COLUMNS]), strict=True))
    return tuple({**made, **known}.values())


def _entries(change_log: ChangeLog) -> Iterator[Entry]:
    place = NOWHERE
    while delivered := change_log.read({CHANNEL: place}, 200, 0):
        for entry, _size in delivered[0].entries:
            place = (entry.order, entry.end)
            if not entry.is_heartbeat:
                yield entry


if __name__ == "__main__":
    serve(prepare, run)
