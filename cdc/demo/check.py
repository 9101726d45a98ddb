"""`datong demo --check`: a workload through real databases, then the verdict, from outside the product. Guards I1, I2, I3.

Bounded: every wait has a deadline, and the service is killed rather than waited for. What it believes comes from plain SELECTs, from the
databases' own logs and from the workload's record; only rows_applied, echoes_dropped and parked are the service's own words.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeAlias

from cdc.demo.business import KINDS, SIDES, Kind, SideName, Step, Stock, Transaction
from cdc.demo.expectation import TABLES
from cdc.demo.people import People
from cdc.demo.record import Record
from cdc.demo.service import Service
from cdc.demo.sides import Side, UnexpectedRowCount
from cdc.demo.stage import DATABASES, Stage
from cdc.demo.verdict import Result, balance, differences
from cdc.demo.workload import Plan, marker_of, seed_things
from cdc.demo.write_counter import RowEventCounter, row_event_counter
from cdc.sabotage import VARIABLE

READY_SECONDS: Final = 36.0  # half a minute of it on a machine that has much else to do
WORK_SECONDS: Final = 18.0
PACE_SECONDS: Final = 0.05  # mean pause between two transactions of a side, in the second part
CONVERGE_SECONDS: Final = 12.0
LOOP_SECONDS: Final = 1.0  # how long a loop that we made ourselves may turn: each second of it takes several to count
LOOP_TRANSACTIONS: Final = 60
QUIET_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 5.0  # how long the logs may take to fall silent once the rows are as they should be
MARKER_PAUSE_SECONDS: Final = 0.05
MARKER_PATIENCE_SECONDS: Final = 5.0
SHOWN_DIFFERENCES: Final = 12

Commit: TypeAlias = Callable[[Transaction], None]


class OutOfTime(RuntimeError):
    """The check took longer than it may."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """`transactions`: random ones per side, after the script: two thirds as fast as they go, one third at an everyday pace."""

    seed: int
    transactions: int = 300
    sabotage: str | None = None
    keep: bool = False


def check(options: CheckOptions, result: Result) -> None:
    """Run it all and fill in the result; raises what went wrong where it could not even be judged."""
    began = time.monotonic()
    try:
        with Stage(keep=options.keep) as stage, ExitStack() as stack:
            say(f"seed {options.seed}; starting MariaDB twice, PostgreSQL and Redis in {stage.folder}")
            things = seed_things()
            stage.set_up(things)
            environment = dict(stage.environment)
            if options.sabotage:
                environment[VARIABLE] = f"{options.sabotage}:{stage.folder / 'sabotaged'}"
                say(f"sabotage: {options.sabotage}")
            service = Service(stage.configuration, environment, stage.admin_port, stage.token)
            stack.callback(service.kill)
            service.start()
            service.wait_until_ready(READY_SECONDS)
            say(f"the service is ready, {time.monotonic() - began:.1f} s after the start")
            record = Record()
            record.seed(things)
            _Check(options, stage, service, record, result, stack).run()
            service.stop()
    finally:
        result.seconds = time.monotonic() - began


@dataclass(slots=True)
class _Check:
    options: CheckOptions
    stage: Stage
    service: Service
    record: Record
    result: Result
    stack: ExitStack
    counted: Counter[tuple[SideName, Kind]] = field(default_factory=Counter)
    status: dict[str, Any] | None = None  # asked before the service was ended

    def run(self) -> None:
        # PostgreSQL's first: it is read fastest, and shows every turn of a loop.
        first_to_last: tuple[SideName, ...] = ("miniapp", "website", "crm")
        counters = {side: self.stack.enter_context(self._counter(side)) for side in first_to_last}
        readers = {side: self.stack.enter_context(self.stage.connect(side)) for side in SIDES}
        plans = {side: Plan(side, random.Random(f"{self.options.seed}/{side}")) for side in SIDES}  # noqa: S311
        self._work(plans, self._rush)
        say(f"{self._sizes()} in a rush; now at an everyday pace")
        people = None if self.options.sabotage else People(self.stage, self.options.seed)
        if people is not None:
            people.arrive()
        with _Markers(self.stage, self.record, self._disturbed) as markers:
            self._work(plans, self._stroll)
        self.result.latencies_ms = markers.latencies_ms
        self.result.transactions = self.record.transactions
        say(f"{self._sizes()} in all; waiting until all sides are equal")
        self._converge(readers)
        if people is not None:
            self._judge_people(people)
        try:
            self._until_quiet(counters)
        finally:
            self._judge_logs()  # what was counted until time was up counts
        self._judge_rows(self._differences(readers))
        self._ask_service()
        self.result.error = None

    def _counter(self, side: SideName) -> RowEventCounter:
        return row_event_counter(self.stage.server_of(side), DATABASES[side])

    # -- the workload

    @property
    def _transactions(self) -> int:
        return min(self.options.transactions, LOOP_TRANSACTIONS if self.options.sabotage == "loop" else 1_000_000)

    @property
    def _rushed(self) -> int:
        return self._transactions * 2 // 3

    def _sizes(self) -> str:
        return f"{self.record.transactions} transactions of {self.record.rows} row changes"

    def _work(self, plans: Mapping[SideName, Plan], work: Callable[[Plan, Commit], None]) -> None:
        """All sides at once, each on its own keys."""
        deadline = time.monotonic() + WORK_SECONDS

        def of_side(plan: Plan) -> None:
            with self.stage.connect(plan.side) as connected:

                def commit(transaction: Transaction) -> None:
                    if time.monotonic() > deadline:
                        raise OutOfTime(f"{plan.side}: the workload took longer than {WORK_SECONDS:.0f} s")
                    try:
                        connected.write(transaction)
                    except UnexpectedRowCount as error:
                        self._disturbed(error)
                        plan.forget(transaction)
                        return
                    self.record.commit(plan.side, transaction)
                    plan.done(transaction)

                work(plan, commit)

        with ThreadPoolExecutor(len(SIDES)) as pool:
            for future in [pool.submit(of_side, plan) for plan in plans.values()]:
                future.result()

    def _rush(self, plan: Plan, commit: Commit) -> None:
        """The script, then random transactions, as fast as they go."""
        for transaction in plan.script():
            commit(transaction)
        for _ in range(self._rushed):
            commit(plan.anything())

    def _stroll(self, plan: Plan, commit: Commit) -> None:
        for _ in range(self._transactions - self._rushed):
            time.sleep(plan.chance.expovariate(1 / PACE_SECONDS))
            commit(plan.anything())

    def _disturbed(self, error: UnexpectedRowCount) -> None:
        """A side's own row was changed under it: it goes on with others, and the verdict says what became of that one."""
        with self.record.lock:
            self.result.disturbed += 1
        say(str(error))

    # -- the verdict

    def _converge(self, readers: Mapping[SideName, Side]) -> None:
        """Wait until every side holds what the record says; a service that does not get there is asked for its words and ended."""
        patience = LOOP_SECONDS if self.options.sabotage == "loop" else CONVERGE_SECONDS
        deadline = time.monotonic() + patience
        while self._differences(readers) and self.service.pid() is not None:
            if time.monotonic() > deadline:
                say(f"not equal after {patience:.0f} s")
                self._end_service()
                return
            time.sleep(0.1)

    def _end_service(self) -> None:
        """End it where it would go on writing for ever; what it says of itself is asked before."""
        self.status = self.service.ask("/api/status")
        self.service.kill()

    def _differences(self, readers: Mapping[SideName, Side]) -> list[str]:
        contents = {(side, kind): readers[side].read(kind) for side in SIDES for kind in KINDS}
        found = list(differences(self.record, contents))
        self.result.lost = sum(difference.verdict == "lost" for difference in found)
        self.result.diverged = sum(difference.verdict == "diverged" for difference in found)
        return [str(difference) for difference in found]

    def _judge_rows(self, found: Sequence[str]) -> None:
        rows = len(self.record.present())
        for line in found[:SHOWN_DIFFERENCES]:
            say(line)
        if found:
            say(f"{len(found)} rows are not as the workload left them")
        else:
            say(f"all three sides hold the same {rows} rows, value by value")

    def _judge_people(self, people: People) -> None:
        try:
            people.mingle(CONVERGE_SECONDS)
        except TimeoutError as error:
            say(str(error))
        verdict = people.judge(CONVERGE_SECONDS)
        self.result.identities, self.result.references_translated = verdict.identities, verdict.references
        self.result.misidentified = len(verdict.wrong)
        for line in verdict.wrong[:SHOWN_DIFFERENCES]:
            say(line)
        if not verdict.wrong:
            say(
                f"{verdict.identities} people are themselves on all sides, {verdict.references} references to them are right"
            )

    def _until_quiet(self, counters: Mapping[SideName, RowEventCounter]) -> None:
        """Count the logs until nothing was written for two seconds. Where they do not fall silent, end the service and count on."""
        deadline = time.monotonic() + (0.0 if self.options.sabotage == "loop" else SETTLE_SECONDS)
        self._count(counters)
        while True:
            time.sleep(QUIET_SECONDS)
            moved = self._count(counters)
            if not moved:
                return
            if time.monotonic() > deadline:
                say(f"still {moved} row events in {QUIET_SECONDS:.0f} s, although nobody writes: ending the service")
                self._end_service()
                self._count(counters)
                return

    def _count(self, counters: Mapping[SideName, RowEventCounter]) -> int:
        before = self.counted.total()
        for side, counter in counters.items():
            events = {table: found.total for (_, table), found in counter.take().items()}
            for kind in KINDS:
                self.counted[side, kind] += events.get(TABLES[side, kind].name, 0)
        return self.counted.total() - before

    def _judge_logs(self) -> None:
        balances = balance(self.record, self.counted)
        self.result.loops = sum(line.excess for line in balances)
        self.result.unlogged = sum(line.deficit for line in balances)
        for line in balances:
            if line.excess or line.deficit:
                say(str(line))
        if not self.result.loops and not self.result.unlogged:
            say(f"{self.counted.total()} row events in the three logs, each of them explained")

    def _ask_service(self) -> None:
        status = self.status or self.service.ask("/api/status")
        if status is None:
            raise RuntimeError("the service does not answer at its admin address")
        for channel in status["channels"].values():
            self.result.rows_applied += channel["apply"]["rows"]
            self.result.parked += channel["apply"]["parked"]
            self.result.echoes_dropped += channel["capture"]["echoes"]


class _Markers:
    """Times changes from COMMIT on one side to a SELECT on another, while it is entered: one marker row per side, by turns."""

    def __init__(self, stage: Stage, record: Record, disturbed: Callable[[UnexpectedRowCount], None]) -> None:
        self._stage = stage
        self._record = record
        self._disturbed = disturbed
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self.latencies_ms: list[float] = []

    def __enter__(self) -> Self:
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        try:
            self._running.result()
        finally:
            self._pool.shutdown()

    def _run(self) -> None:
        with self._connections() as sides:
            while True:
                for source in SIDES:
                    if self._stop.wait(MARKER_PAUSE_SECONDS):
                        return
                    self._time_one(source, sides)

    @contextmanager
    def _connections(self) -> Iterator[dict[SideName, Side]]:
        with ExitStack() as stack:
            yield {side: stack.enter_context(self._stage.connect(side)) for side in SIDES}

    def _time_one(self, source: SideName, sides: dict[SideName, Side]) -> None:
        key = marker_of(source)
        before = self._record.present()[key]
        assert isinstance(before, Stock)
        after = replace(before, quantity=before.quantity + 1)
        transaction = (Step(key, before, after),)
        try:
            sides[source].write(transaction)
        except UnexpectedRowCount as error:
            self._disturbed(error)
            return
        (committed,) = self._record.commit(source, transaction)
        waiting = [side for side in SIDES if side != source]
        while waiting and time.monotonic() < committed.at + MARKER_PATIENCE_SECONDS:
            for side in list(waiting):
                rows = sides[side].read(Stock, [key])
                if rows.get(key.name) == (key.name, after.quantity):
                    self.latencies_ms.append((time.monotonic() - committed.at) * 1000)
                    waiting.remove(side)
            time.sleep(0.001)


def say(text: str) -> None:
    """One line of progress; the result alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
