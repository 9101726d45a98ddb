"""What every way to write rows answers to, and the batches that all of them get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

from bench.harness.workload import COLUMNS, Row, row
from sinks.connections import Address

Op: TypeAlias = Literal["insert", "update", "delete"]

CHANGED: Final = ("status", "amount", "updated_at")  # the columns that an update writes, as in upd1000
# What the others' line of progress is with `--progress`: the least that a transaction has to say to be found in the log.
PROGRESS_TABLE: Final = "bench_progress"
MOVE_PROGRESS: Final = f"UPDATE {PROGRESS_TABLE} SET position = position + 1 WHERE source = 1"
MAKE_PROGRESS: Final = (
    f"CREATE TABLE IF NOT EXISTS {PROGRESS_TABLE} (source INT PRIMARY KEY, position BIGINT NOT NULL)",
    f"INSERT INTO {PROGRESS_TABLE} VALUES (1, 0)",
)
_PLACES: Final = tuple(COLUMNS.index(name) for name in CHANGED)


class Writer(Protocol):
    """One connection. Each call of `write` is one idempotent transaction; an insert of a row that exists updates it."""

    def prepared(self, op: Op, batch: Sequence[Any]) -> Sequence[Any]:
        """A batch in the form that `write` takes; outside the clock."""
        ...

    def write(self, op: Op, batch: Sequence[Any]) -> None: ...

    def close(self) -> None: ...


class Make(Protocol):
    """Opens a way to write. `progress`: every transaction also moves a line of progress, as our sink's do anyway."""

    def __call__(self, address: Address, *, progress: bool) -> Writer: ...


def batch_of(op: Op, first: int, rows: int, revision: int) -> list[Any]:
    """Whole rows for inserts; (changed values..., id) for updates; ids for deletes."""
    if op == "delete":
        return [(ident,) for ident in range(first, first + rows)]
    made: list[Row] = [row(ident, revision) for ident in range(first, first + rows)]
    if op == "insert":
        return made
    return [(*(one[place] for place in _PLACES), one[0]) for one in made]
