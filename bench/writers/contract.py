"""What every way to write rows answers to, and the batches that all of them get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

from bench.harness.workload import COLUMNS, Row, row

Op: TypeAlias = Literal["insert", "update", "delete"]

CHANGED: Final = ("status", "amount", "updated_at")  # the columns that an update writes, as in upd1000
_PLACES: Final = tuple(COLUMNS.index(name) for name in CHANGED)


class Writer(Protocol):
    """One connection. Each call of `write` is one idempotent transaction; an insert of a row that exists updates it."""

    def write(self, op: Op, batch: Sequence[Any]) -> None: ...

    def close(self) -> None: ...


def batch_of(op: Op, first: int, rows: int, revision: int) -> list[Any]:
    """Whole rows for inserts; (changed values..., id) for updates; ids for deletes."""
    if op == "delete":
        return [(ident,) for ident in range(first, first + rows)]
    made: list[Row] = [row(ident, revision) for ident in range(first, first + rows)]
    if op == "insert":
        return made
    return [(*(one[place] for place in _PLACES), one[0]) for one in made]
