"""The workload's own record of what it committed: the truth that the databases are compared with. Guards I1, I3.

Only what a database has confirmed is noted. For each key all states it ever had, so that a row that stayed behind (a change was lost)
is told from one that never was so (a value was bent). Safe to use from several threads.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdc.demo.business import Key, SideName, Step, Thing, Transaction, key_of


@dataclass(frozen=True, slots=True)
class Committed:
    """One row change that a side's database confirmed. `number` counts that side's changes; `version` is the key's state after it."""

    side: SideName
    number: int
    key: Key
    version: int
    at: float  # time.monotonic(), just after COMMIT was answered


@dataclass(slots=True)
class Record:
    """`histories`: per key every state since the seed, the last one is the present; None is "no such row"."""

    histories: dict[Key, list[Thing | None]] = field(default_factory=dict)
    logged: Counter[tuple[SideName, type[Thing]]] = field(default_factory=Counter)
    silent: Counter[tuple[SideName, type[Thing]]] = field(default_factory=Counter)
    transactions: int = 0
    rows: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def seed(self, things: Iterable[Thing]) -> None:
        """What all sides held before the service began."""
        for thing in things:
            self.histories[key_of(thing)] = [thing]

    def commit(self, side: SideName, transaction: Transaction) -> list[Committed]:
        """Note a transaction that was committed just now."""
        at = time.monotonic()
        noted: list[Committed] = []
        with self.lock:
            self.transactions += 1
            for step in transaction:
                noted.extend(self._note(side, step, at))
        return noted

    def _note(self, side: SideName, step: Step, at: float) -> list[Committed]:
        if step.changes_nothing:
            self.silent[side, step.key.kind] += 1
            return []
        self.rows += 1
        self.logged[side, step.key.kind] += 1
        moved = step.new_key
        states = [(step.key, step.after)] if moved is None else [(step.key, None), (moved, step.after)]
        return [Committed(side, self.rows, key, self._append(key, state), at) for key, state in states]

    def _append(self, key: Key, state: Thing | None) -> int:
        history = self.histories.setdefault(key, [None])
        history.append(state)
        return len(history) - 1

    def present(self) -> Mapping[Key, Thing]:
        with self.lock:
            return {key: states[-1] for key, states in self.histories.items() if states[-1] is not None}
