"""What of a workload has arrived on a target, told by plain SELECTs there, and whether it is what was written.

A target is a database of a server; a table of the standard workload stands in it for each workload. Nothing here knows how rows get there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bench.harness.servers import Database
from bench.harness.workload import Workload, row
from cdc.demo.servers import PostgreSQL

_POLL_SECONDS: Final = 0.005
_SAMPLES: Final = 50


class NotArrived(RuntimeError):
    """Rows are missing, too many or not as they were written; one line."""


@dataclass(frozen=True, slots=True)
class Timing:
    """`rows` that became visible in `seconds`; those that the first look found are in neither."""

    rows: int
    seconds: float


class Target:
    """One connection that only looks, every statement in a transaction of its own."""

    def __init__(self, server: Database, connection: Any) -> None:
        self._connection = connection
        later = "updated_at - created_at"
        self._revision = (
            f"CAST(EXTRACT(EPOCH FROM {later}) AS BIGINT)"
            if isinstance(server, PostgreSQL)
            else "TIMESTAMPDIFF(SECOND, created_at, updated_at)"
        )

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return [tuple(found) for found in cursor.fetchall()]

    def has(self, table: str, ident: int, revision: int) -> bool:
        """Whether a row is there, at that revision or a later one."""
        return bool(self.ask(f"SELECT 1 FROM {table} WHERE id = {ident} AND {self._revision} >= {revision}"))

    def progress(self, table: str, workload: Workload) -> int:
        """How many of the workload's row changes are visible."""
        counted = "COUNT(*)" if workload.op == "insert" else f"SUM({self._revision})"
        ((found,),) = self.ask(f"SELECT {counted} FROM {table}")
        return int(found or 0)

    def time(
        self,
        table: str,
        workload: Workload,
        began: float,
        seconds: float,
        alive: Callable[[], str],
        at_first: Callable[[], object] = lambda: None,
    ) -> Timing:
        """From the first row that is seen to the last one. `began`: when the work may have begun; `alive` says what went wrong, if
        anything; `at_first` is called once, when the first row has been seen.

        Where all came at once there is nothing between the first and the last: then it is timed from `began`.
        Raises NotArrived after `seconds`.
        """
        first, last = workload.expected(0), workload.expected(workload.rows - 1)
        self._await(lambda: self.has(table, *first), seconds, alive)
        at_first()
        since = time.monotonic()
        before = self.progress(table, workload)
        self._await(lambda: self.has(table, *last), seconds, alive)
        ended = time.monotonic()
        if before >= workload.rows:
            return Timing(workload.rows, ended - began)
        return Timing(workload.rows - before, ended - since)

    def check(self, table: str, workload: Workload) -> None:
        """Every row is there, once and at its last revision; whole rows from all over the table equal what was written."""
        count = workload.base or workload.rows
        (sums,) = self.ask(f"SELECT COUNT(*), SUM(id), SUM({self._revision}) FROM {table}")
        found = tuple(int(value or 0) for value in sums)
        revisions = workload.rows if workload.op == "update" else 0
        expected = (count, count * (count + 1) // 2, revisions)
        if found != expected:
            raise NotArrived(f"{table} holds (rows, sum of ids, sum of revisions) {found}, not {expected}")
        idents = sorted({1, count, *range(1, count + 1, max(1, count // _SAMPLES))})
        rows = {r[0]: r for r in self.ask(f"SELECT * FROM {table} WHERE id IN ({', '.join(map(str, idents))})")}
        for ident in idents:
            if rows.get(ident) != row(ident, self._last_revision(workload, ident)):
                raise NotArrived(f"{table}: the row {ident} is {rows.get(ident)}")

    @staticmethod
    def _last_revision(workload: Workload, ident: int) -> int:
        if workload.op == "insert":
            return 0
        rounds, rest = divmod(workload.rows, workload.base)
        return rounds + (ident <= rest)

    def _await(self, condition: Callable[[], bool], seconds: float, alive: Callable[[], str]) -> None:
        deadline, looked = time.monotonic() + seconds, 0
        while not condition():
            looked += 1
            if looked % 100 == 0 and (wrong := alive()):
                raise NotArrived(wrong)
            if time.monotonic() > deadline:
                raise NotArrived(f"rows did not arrive within {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)


@contextmanager
def looking_at(server: Database, database: str) -> Iterator[Target]:
    connection: Any = server.connect(database)
    with connection:
        yield Target(server, connection)
