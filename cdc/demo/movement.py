"""Makes traffic on all three sides and watches it arrive on the others, in threads, for the interactive demo.

What is shown comes from the channels' own tables: the watcher SELECTs the rows that something is awaited of, and notes when they
come. No counter of the service is asked.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from cdc.demo.arrivals import Arrivals
from cdc.demo.business import KINDS, SIDES, Key, Order, SideName, Thing, key_of
from cdc.demo.expectation import Row, key_value, thing
from cdc.demo.record import Committed, Record
from cdc.demo.sides import Side, UnexpectedRowCount
from cdc.demo.stage import Stage
from cdc.demo.workload import Plan

PAUSES: Final[dict[SideName, float]] = {
    "website": 0.22,
    "miniapp": 0.16,
    "crm": 0.4,
}  # mean seconds between transactions
_POLL_SECONDS: Final = 0.002
_STALE_EVERY_SECONDS: Final = 1.0


@dataclass(slots=True)
class Second:
    """What was seen since the last look."""

    moved: Counter[tuple[SideName, SideName]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    order: Key | None = None  # an order that came along
    waiting: int = 0
    oldest: float = 0.0


class Movement:
    """Runs while it is entered. `look` answers what moved; an error in a thread is raised there."""

    def __init__(self, stage: Stage, record: Record, seed: int) -> None:
        self._stage = stage
        self._record = record
        self._seed = seed
        self._stop = threading.Event()
        self._open = threading.Lock()  # held by whoever commits; and by `paused`, so that nobody does
        self._committed: queue.SimpleQueue[Committed] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._second = Second()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._watch)
        for side in SIDES:
            self._spawn(lambda side=side: self._trade(side))  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def look(self) -> Second:
        """What moved since the last call."""
        if self._errors:
            raise self._errors[0]
        with self._lock:
            second, self._second = self._second, Second(waiting=self._second.waiting, oldest=self._second.oldest)
        return second

    def compare(self, patience_seconds: float) -> tuple[int, list[str]] | None:
        """Hold the traffic, wait until nothing is under way, and compare the sides with each other, value by value.

        Answer how many things there are and which of them differ; None where something stays under way.
        """
        with self._open:
            deadline = time.monotonic() + patience_seconds
            while not self._all_arrived():
                if time.monotonic() > deadline or self._stop.is_set():
                    return None
                time.sleep(0.02)
            with ExitStack() as stack:
                sides = [stack.enter_context(self._stage.connect(side)) for side in SIDES]
                return _compare(sides)

    def _all_arrived(self) -> bool:
        with self._lock:
            return self._committed.empty() and self._second.waiting == 0

    def _spawn(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - `look` raises it in the main thread
                if not self._stop.is_set():
                    self._errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- traffic

    def _trade(self, side: SideName) -> None:
        chance = random.Random(f"{self._seed}/{side}")  # noqa: S311 - a workload, not a secret
        plan = Plan(side, chance)
        with self._stage.connect(side) as connected:
            while not self._stop.wait(chance.expovariate(1 / PAUSES[side])):
                transaction = plan.everyday()
                with self._open:
                    try:
                        connected.write(transaction)
                    except UnexpectedRowCount:  # somebody who is looking on changed it by hand: leave it to them
                        plan.forget(transaction)
                        continue
                    for committed in self._record.commit(side, transaction):
                        self._committed.put(committed)
                plan.done(transaction)

    # -- watching

    def _watch(self) -> None:
        arrivals = Arrivals(self._record)
        looked_at_stale = 0.0
        with ExitStack() as stack:
            sides = {side: stack.enter_context(self._stage.connect(side)) for side in SIDES}
            pause = _POLL_SECONDS
            while not self._stop.wait(pause):
                began = time.monotonic()
                with self._lock:  # nobody may find the queue empty and nothing awaited in between
                    while not self._committed.empty():
                        arrivals.expect(self._committed.get())
                    self._second.waiting = arrivals.count()
                for side in SIDES:
                    self._look_at(side, sides[side], arrivals)
                now = time.monotonic()
                if now - looked_at_stale > _STALE_EVERY_SECONDS:
                    looked_at_stale = now
                    _settle_stale(sides, arrivals, now)
                with self._lock:
                    self._second.waiting = arrivals.count()
                    self._second.oldest = arrivals.oldest(now)
                pause = max(_POLL_SECONDS, time.monotonic() - began)  # a backlog must not make us the load

    def _look_at(self, side: SideName, connected: Side, arrivals: Arrivals) -> None:
        for kind, keys in arrivals.wanted(side):
            rows = connected.read(kind, keys)
            for arrival in arrivals.saw(side, keys, rows, time.monotonic()):
                with self._lock:
                    self._second.moved[arrival.source, arrival.target] += 1
                    self._second.seconds.append(arrival.seconds)
                    if arrival.key.kind is Order:
                        self._second.order = arrival.key


def _settle_stale(sides: dict[SideName, Side], arrivals: Arrivals, now: float) -> None:
    for side in SIDES:
        stale = arrivals.stale(side, now)
        for source in SIDES:
            for kind in KINDS:
                keys = [key for came_from, key in stale if came_from == source and key.kind is kind]
                if not keys:
                    continue
                there, here = sides[source].read(kind, keys), sides[side].read(kind, keys)
                for key in keys:
                    if _thing(source, key, there) == _thing(side, key, here):
                        arrivals.settle(side, key)


def _thing(side: SideName, key: Key, rows: Mapping[str, Row]) -> Thing | None:
    found = rows.get(key_value(side, key))
    return None if found is None else thing(side, key.kind, found)


def _compare(sides: Sequence[Side]) -> tuple[int, list[str]]:
    count, differing = 0, set()
    for kind in KINDS:
        contents = [{thing(side.name, kind, found) for found in side.read(kind).values()} for side in sides]
        everything = set().union(*contents)
        count += len(contents[0])
        common = contents[0].intersection(*contents[1:])
        differing |= {str(key_of(it)) for it in everything - common}
    return count, sorted(differing)
