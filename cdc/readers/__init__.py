"""Readers: one channel's log, as committed transactions. The seam that every engine's reader fills.

Guards I1 and I6 (nothing unknown is skipped: it is decoded or the channel halts with a name and a position) and I7 (what
`confirm` was not told is never released). A reader owns its connection, its keep-alives and its reconnects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cdc.model import LogPart, Position


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to decode: (schema, table) pairs; everything else is skipped by its header.

    `deployment` and `target` (this channel's name) tell our own apply transactions from others. `part_rows` and `part_bytes`
    bound a part. `columns`, where given for a table, names the mapped columns: only a column of these may halt the channel
    by its type; others that cannot be decoded are ABSENT.
    `keys`, where given for a table, are the columns that find its rows: what the log must name of a row that changes or goes.
    A TRUNCATE of a wanted table halts the channel at its place, or is a notice alone where the table is in `ignore_truncate`.
    """

    deployment: str
    target: str
    tables: dict[tuple[str, str], frozenset[str]]
    part_rows: int = 10_000
    part_bytes: int = 8 << 20
    ignore_truncate: frozenset[tuple[str, str]] = frozenset()
    keys: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)


@dataclass(slots=True)
class LogBatch:
    """What one `read` found, in log order. `reached`: everything before it has been handed out (a transaction boundary).

    `caught_up`: nothing more was there when it was read. Rows of a transaction that is still being read are not held back:
    they come as parts.
    """

    parts: list[LogPart]
    reached: Position
    caught_up: bool
    notices: list[Notice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator should know, not a change: a TRUNCATE or DDL on a wanted table, an unmapped column that went."""

    event: str
    text: str
    order: int


@dataclass(frozen=True, slots=True)
class LogHead:
    """The source's own present end, and what it keeps for us. `gauges`: what else this engine can say of it, by name."""

    order: int
    retained_bytes: int
    oldest_kept: str
    gauges: Mapping[str, float] = field(default_factory=dict)


class Reader(Protocol):
    """Raises `TransientError` when the connection is lost (call `open` again with the last resume position), `HaltError`
    for what needs a person. Not thread-safe.
    """

    def open(self, position: Position | None) -> Position:
        """Connect, check the server (log format, same server, position still there) and start the stream.

        `position` None means the log's present end, which is answered and must be kept durably before anything is read.
        """
        ...

    def read(self, max_wait: float) -> LogBatch:
        """Answer what is there, at the latest after `max_wait` seconds; empty parts when nothing came.

        A batch ends at about 1,000 rows or 4 MiB, so that it is soon worked off. A connection that shows no sign of life
        for about twice the heartbeat is a TransientError.
        """
        ...

    def confirm(self, position: Position) -> None:
        """The source may discard what lies before it (PostgreSQL: flush position; MySQL: nothing to say)."""
        ...

    def head(self) -> LogHead:
        """Ask the server (over a second, short-lived or kept connection) for its log's end. Raises TransientError."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """`heartbeat_seconds`: how often the server shows a sign of life. `probe`: fault points of tests.

    `server_id` (MySQL, MariaDB): ours as a replica, unique per deployment and channel.
    `streaming` (PostgreSQL 14): have large transactions sent while they are open. What is held of them until they commit goes to files
    in `spill_folder` (None: the system's for temporary files) beyond `spill_after` bytes of memory.
    """

    heartbeat_seconds: float = 2.0
    server_id: int = 0
    streaming: bool = True
    spill_folder: Path | None = None
    spill_after: int = 32 << 20
    probe: Callable[[str], None] = field(default=lambda _point: None)
    # Keeps a decision once and for all: answers what was kept under a name before, else keeps and answers the proposal. Orders
    # must come out the same when a log is read again, so where a server's numbering was taken up has to be remembered.
    remember: Callable[[str, str], str] = field(default=lambda _name, proposal: proposal)
