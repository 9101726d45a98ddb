"""Commit to visible: transactions of one row at a steady pace on one side, and a look at the other side every millisecond.

One connection commits, so ids are seen in order. A latency is the time from the COMMIT's answer to the SELECT that shows the row;
what the look itself costs (a third of a millisecond, and what the sleep overshoots) is in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bench.harness.arrival import NotArrived, Target
from bench.harness.servers import DATABASE, Database
from cdc.demo.servers import PostgreSQL

_LOOK_SECONDS: Final = 0.001
_PATIENCE_SECONDS: Final = 20.0


class Pacer(threading.Thread):
    """Commits statements so many times a second; `committed` holds when each was answered. A late one is not made up for in a burst."""

    def __init__(self, server: Database, statements: Iterator[str], count: int, per_second: float) -> None:
        super().__init__(daemon=True)
        self._server, self._statements, self._count, self._pause = server, statements, count, 1 / per_second
        self.committed: list[float] = []
        self.error = ""

    def run(self) -> None:
        try:
            connection: Any = self._server.connect(DATABASE)
            with connection:
                send = self._sender(connection)
                due = time.monotonic()
                for _ in range(self._count):
                    time.sleep(max(0.0, due - time.monotonic()))
                    send(next(self._statements))
                    now = time.monotonic()
                    self.committed.append(now)
                    due = max(due + self._pause, now - 10 * self._pause)
        except Exception as error:  # noqa: BLE001 - told by whoever waits for the rows
            self.error = f"committing at a steady pace failed: {type(error).__name__}: {error}"

    def _sender(self, connection: Any) -> Callable[[str], object]:
        if isinstance(self._server, PostgreSQL):
            return lambda text: connection.execute(text.removeprefix("BEGIN; ").removesuffix("; COMMIT"), prepare=False)
        return connection.query  # type: ignore[no-any-return]


def measure(
    server: Database, target: Target, table: str, statements: Iterator[str], first: int, count: int, per_second: float
) -> dict[str, float]:
    """Commit rows `first`, `first` + 1, ... and see each arrive. Raises NotArrived."""
    pacer = Pacer(server, statements, count, per_second)
    seen: list[float] = []
    last = first + count - 1
    newest, deadline = first - 1, time.monotonic() + count / per_second + _PATIENCE_SECONDS
    pacer.start()
    while newest < last:
        found = target.ask(f"SELECT id FROM {table} WHERE id > {newest} ORDER BY id")
        now = time.monotonic()
        for (ident,) in found:
            if ident != newest + 1:
                raise NotArrived(f"row {ident} became visible right after row {newest}")
            newest = ident
            seen.append(now)
        if pacer.error or now > deadline:
            raise NotArrived(pacer.error or f"{newest - first + 1} of {count} rows became visible")
        time.sleep(_LOOK_SECONDS)
    pacer.join()
    # A row may be seen before the thread that committed it has had its answer.
    millis = sorted(max(0.0, there - here) * 1000 for here, there in zip(pacer.committed, seen, strict=True))
    return {
        "transactions_per_second": round((count - 1) / (pacer.committed[-1] - pacer.committed[0]), 1),
        "p50_ms": round(millis[len(millis) // 2], 2),
        "p99_ms": round(millis[min(len(millis) - 1, len(millis) * 99 // 100)], 2),
    }
