"""Many inserts of one shape by way of a temporary table: COPY takes them in, one statement merges them. Guards I6 and the target's speed.

COPY reads a value once, where `unnest` reads an array, keeps its elements apart and puts them together again: from some thousand rows on that
is cheaper for the server. The table is made once a session and emptied by every COMMIT; no log shows its rows.

No column of such a table is of a type that is not the server's own: PostgreSQL would not let its owner drop it. Those travel as text and
are cast. A cast to a domain would bend silently what its input refuses: rows with one are written by `unnest`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sinks.contract import RowWrite
from sinks.postgresql_binary import CopiedColumn
from sinks.postgresql_catalog import PostgreSQLColumn

STAGED_ROWS: Final = 2000  # from that on COPY is cheaper; found by measuring, see bench/README.md
MOST_TABLES: Final = 8  # of a session; every COMMIT that used one empties all

MOST_OF_A_ROW: Final = 4000  # characters and bytes, on average
_SAMPLE: Final = 50


@dataclass(frozen=True, slots=True)
class StagingTable:
    """`source` is what the merging statement reads, as `v`; `types` are of the columns, for the driver."""

    name: str
    create: str
    copy: str
    source: str
    types: tuple[str, ...]
    columns: tuple[CopiedColumn, ...]


def staging_table(of: str, names: Sequence[tuple[PostgreSQLColumn, str, CopiedColumn]]) -> StagingTable | None:
    """The temporary table for rows of table `of` with these columns, as they are called in the source; None: not to be staged."""
    if any(column.column.type.kind == "domain" for column, _, _ in names):
        return None
    definition = ", ".join(f"{alias} {copied.type}" for _, alias, copied in names)
    name = f"pg_temp.datong_{hashlib.sha256(f'{of} {definition}'.encode()).hexdigest()[:24]}"
    source = f"{name} AS v"
    if any(copied.is_cast for *_, copied in names):
        cast = [f"{a}::{column.bare_type} AS {a}" if copied.is_cast else a for column, a, copied in names]
        source = f"(SELECT {', '.join(cast)} FROM {name}) AS v"
    return StagingTable(
        name,
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({definition}) ON COMMIT DELETE ROWS",
        f"COPY {name} FROM STDIN (FORMAT binary)",
        source,
        tuple(copied.type for *_, copied in names),
        tuple(copied for *_, copied in names),
    )


def are_small(writes: Sequence[RowWrite]) -> bool:
    """Whether rows are small, by a sample: a large value would be compressed and stored twice."""
    sample = writes[:: max(1, len(writes) // _SAMPLE)]
    return sum(len(v) for w in sample for v in w.values if isinstance(v, str | bytes)) <= MOST_OF_A_ROW * len(sample)


class Staging:
    """Which temporary tables one session has. A transaction uses each once: it is not emptied before COMMIT."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self._ever: set[str] = set()
        self._there: set[str] = set()
        self._used: set[str] = set()

    def take(self, table: StagingTable) -> bool:
        """Whether this transaction may use the table for rows, which it then has."""
        if not self.allowed or table.name in self._used:
            return False
        if table.name not in self._ever and len(self._ever) >= MOST_TABLES:
            return False
        self._ever.add(table.name)
        self._used.add(table.name)
        return True

    def is_there(self, table: StagingTable) -> bool:
        return table.name in self._there

    def made(self, table: StagingTable) -> None:
        self._there.add(table.name)

    def begin(self) -> None:
        self._used.clear()

    def rolled_back(self) -> None:
        """What was made may have been undone; to make it again does no harm."""
        self._there.clear()
