"""Counts the row events that a database's own log holds: the independent witness of "no loop" (rule I2).

Equal rows do not prove that no change went round in a circle; the log does. The binlog is read through
python-mysql-replication and PostgreSQL through `test_decoding`, which share no code with Datong's readers.

It must never miss an event silently: a compressed transaction, which that library would skip, raises UncountedEvents.
Statement-based logging holds no row events and is not counted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import psycopg
import pymysql
from psycopg.rows import TupleRow
from pymysql.connections import Connection
from pymysql.cursors import Cursor
from pymysqlreplication.binlogstream import BinLogStreamReader
from pymysqlreplication.event import NotImplementedEvent, PreviousGtidsEvent
from pymysqlreplication.row_event import (
    DeleteRowsEvent,
    PartialUpdateRowsEvent,
    RowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL

BOOKKEEPING = frozenset({"datong_progress", "datong_parked"})

# MySQL's TRANSACTION_PAYLOAD_EVENT, and MariaDB's compressed QUERY and row events (log_event.h of each).
_COMPRESSED = frozenset({40, *range(165, 172)})
_NAME = r'"(?:[^"]|"")*"|[^".: ]+'
_DECODED = re.compile(rf"table ({_NAME})\.({_NAME}): (INSERT|UPDATE|DELETE):")

Table = tuple[str, str]


class UncountedEvents(RuntimeError):
    """The log holds events whose rows this counter cannot see."""


@dataclass(frozen=True, slots=True)
class RowEvents:
    """How many rows were written, by kind."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0

    @property
    def total(self) -> int:
        return self.inserts + self.updates + self.deletes

    def __add__(self, other: RowEvents) -> RowEvents:
        return RowEvents(self.inserts + other.inserts, self.updates + other.updates, self.deletes + other.deletes)


class RowEventCounter(Protocol):
    """Counts from the moment it is made; a context manager, as it may hold a connection and a slot."""

    def take(self) -> Mapping[Table, RowEvents]:
        """Row events per (schema, table) committed since the last `take`, Datong's own tables left out."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def row_event_counter(server: MariaDB | MySQL | PostgreSQL, database: str) -> RowEventCounter:
    """A counter over one database of a server. For MariaDB and MySQL the schema of a table is the database."""
    if isinstance(server, PostgreSQL):
        return PostgreSQLRowEventCounter(server, database)
    return BinlogRowEventCounter(server, database)


class BinlogRowEventCounter:
    """Reads the server's binlog between two of its positions."""

    def __init__(self, server: MariaDB | MySQL, database: str) -> None:
        self._server = server
        self._database = database
        self._position = self._end_of_log()

    def take(self) -> Mapping[Table, RowEvents]:
        end = self._end_of_log()
        counts = _sum(self._events(self._position, end))
        self._position = end
        return counts

    def close(self) -> None:
        """Nothing is held between two calls of `take`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_of_log(self) -> tuple[str, int]:
        statement = "SHOW BINARY LOG STATUS" if isinstance(self._server, MySQL) else "SHOW MASTER STATUS"
        with self._server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
        if row is None:
            raise UncountedEvents(f"{self._server} writes no binlog: set log_bin")
        return str(row[0]), int(row[1])

    def _events(self, start: tuple[str, int], end: tuple[str, int]) -> Iterator[tuple[Table, RowEvents]]:
        if start == end:
            return
        settings = {
            "host": self._server.host,
            "port": self._server.port,
            "user": self._server.admin_user,
            "password": self._server.password,
            "charset": "utf8mb4",
        }
        stream = BinLogStreamReader(  # type: ignore[no-untyped-call]
            connection_settings=settings,
            server_id=0x7F000000 + secrets.randbelow(1 << 24),
            resume_stream=True,
            log_file=start[0],
            log_pos=start[1],
            filter_non_implemented_events=False,
            ignored_events=[PreviousGtidsEvent],  # holds no rows, and the library cannot read one with tagged GTIDs
            enable_logging=False,
            pymysql_wrapper=_connect,
        )
        try:
            for event in stream:
                if (stream.log_file, stream.log_pos) > end:
                    return
                if isinstance(event, NotImplementedEvent) and event.event_type in _COMPRESSED:
                    raise UncountedEvents(
                        f"{self._server}: compressed transaction before {stream.log_file}:{stream.log_pos}; "
                        "switch binlog compression off to count"
                    )
                if isinstance(event, RowsEvent) and event.schema == self._database:
                    yield (event.schema, event.table), _row_events(event)
        finally:
            stream.close()  # type: ignore[no-untyped-call]


class PostgreSQLRowEventCounter:
    """Reads a temporary slot with `test_decoding`; the slot is gone when the connection is."""

    def __init__(self, server: PostgreSQL, database: str) -> None:
        self._slot = f"datong_count_{secrets.token_hex(6)}"
        self._connection: psycopg.Connection[TupleRow] = server.connect(database)
        self._connection.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding', true)", [self._slot])

    def take(self) -> Mapping[Table, RowEvents]:
        # The first characters name table and operation; the rest of the row may be megabytes.
        rows = self._connection.execute(
            "SELECT left(data, 400) FROM pg_logical_slot_get_changes(%s, NULL, NULL, 'skip-empty-xacts', '1')",
            [self._slot],
        )
        return _sum(_decoded(text) for (text,) in rows)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(**settings: Any) -> Connection[Cursor]:
    """The library names a database by PyMySQL's old word `db`, which PyMySQL warns of."""
    if "db" in settings:
        settings["database"] = settings.pop("db")
    return pymysql.connect(**settings)


def _row_events(event: RowsEvent) -> RowEvents:
    rows = len(event.rows)
    if isinstance(event, WriteRowsEvent):
        return RowEvents(inserts=rows)
    if isinstance(event, UpdateRowsEvent | PartialUpdateRowsEvent):
        return RowEvents(updates=rows)
    if isinstance(event, DeleteRowsEvent):
        return RowEvents(deletes=rows)
    raise UncountedEvents(f"unknown row event {type(event).__name__}")


def _decoded(text: str) -> tuple[Table, RowEvents] | None:
    found = _DECODED.match(text)
    if found is None:
        return None  # BEGIN, COMMIT, TRUNCATE: no row events
    schema, table, operation = found.groups()
    kinds = {"INSERT": RowEvents(inserts=1), "UPDATE": RowEvents(updates=1), "DELETE": RowEvents(deletes=1)}
    return (_unquoted(schema), _unquoted(table)), kinds[operation]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _sum(events: Iterable[tuple[Table, RowEvents] | None]) -> Mapping[Table, RowEvents]:
    counts: dict[Table, RowEvents] = {}
    for event in events:
        if event and event[0][1] not in BOOKKEEPING:
            counts[event[0]] = counts.get(event[0], RowEvents()) + event[1]
    return counts
