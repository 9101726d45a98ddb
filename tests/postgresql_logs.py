"""A database whose log is read, with an admin session and readers that are closed after the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from cdc.errors import HaltError
from cdc.model import LogPart, RowChange
from cdc.readers import LogBatch, Notice, ReaderOptions, Wanted
from cdc.readers.pgoutput import lsn_number
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.connections import Address, connect_postgresql
from tests.servers import PostgreSQLDatabase
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that

Proxies = Callable[[str, int], TcpProxy]
# Defaults of a server that no session of ours may depend on.
HOSTILE = (
    "DateStyle = 'German, DMY'", "bytea_output = 'escape'", "TimeZone = 'Asia/Kathmandu'", "extra_float_digits = 0",
    "IntervalStyle = 'sql_standard'", "search_path = 'pg_catalog'", "client_encoding = 'LATIN1'",
    "default_transaction_read_only = on", "standard_conforming_strings = off",
)  # fmt: skip


class Log:
    """A database, an admin session in it, and readers of its log that are closed after the test."""

    def __init__(self, database: PostgreSQLDatabase, stack: contextlib.ExitStack) -> None:
        self.database = database
        self.server = database.server
        self.session: psycopg.Connection[Any] = stack.enter_context(connect_postgresql(self.address()))
        self._stack = stack
        self.notices: list[Notice] = []
        self.deployment = database.name  # slots are the whole server's: the name keeps tests apart

    def address(self, port: int | None = None, user: str | None = None, password: str | None = None) -> Address:
        return Address(
            "postgresql", "127.0.0.1", port or self.server.port, user or self.server.admin_user, self.database.name,
            password or self.server.password,
        )  # fmt: skip

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        cursor = self.session.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, statement: str, *parameters: object) -> Any:
        return self.execute(statement, *parameters)[0][0]

    def transaction(self, *statements: str) -> None:
        with self.session.transaction():
            for statement in statements:
                self.execute(statement)

    def reader(
        self,
        tables: dict[str, str],
        *,
        address: Address | None = None,
        options: ReaderOptions | None = None,
        part_rows: int = 10_000,
        publish: bool = True,
        ignore_truncate: bool = False,
        key: str | None = None,
    ) -> PostgreSQLReader:
        """A reader of `tables`: name -> mapped columns; its publication is made by its own statements."""
        mapped = {("public", t): frozenset(c.split()) for t, c in tables.items()}
        ignored = frozenset(mapped) if ignore_truncate else frozenset[tuple[str, str]]()
        keys = dict.fromkeys(mapped, frozenset({key})) if key is not None else {}
        wanted = Wanted(self.deployment, "c", mapped, part_rows=part_rows, ignore_truncate=ignored, keys=keys)
        reader = PostgreSQLReader(address or self.address(), wanted, options or ReaderOptions())
        self._stack.callback(reader.close)
        if publish:
            self.publish(reader)
        return reader

    def publish(self, reader: PostgreSQLReader) -> None:
        with contextlib.suppress(HaltError):
            reader._check_publication()
            return
        with pytest.raises(HaltError, match="PUBLICATION_INCOMPLETE") as caught:
            reader._check_publication()
        for statement in caught.value.mend.removeprefix("run ").split("; "):
            self.execute(statement)
        reader._check_publication()

    def opened(self, tables: dict[str, str], **more: Any) -> PostgreSQLReader:
        reader = self.reader(tables, **more)
        reader.open(None)
        return reader

    def read_until(self, reader: PostgreSQLReader, enough: Callable[[list[LogPart]], bool]) -> list[LogPart]:
        """Read until `enough(parts)`; what else came is in `notices`."""
        parts: list[LogPart] = []

        def step() -> bool:
            batch = reader.read(0.2)
            parts.extend(batch.parts)
            self.notices.extend(batch.notices)
            return enough(parts)

        await_that(step, message=lambda: f"parts; there are {len(parts)}", interval=0)
        return parts

    def read_to_end(self, reader: PostgreSQLReader) -> list[LogPart]:
        """Everything up to the log's present end."""
        target = lsn_number(self.one("SELECT pg_current_wal_insert_lsn()::text"))
        self.execute("SELECT pg_logical_emit_message(true, 'marker', '')")  # flushes, and is beyond it
        parts: list[LogPart] = []
        last: list[LogBatch] = []

        def step() -> bool:
            batch = reader.read(0.2)
            parts.extend(batch.parts)
            self.notices.extend(batch.notices)
            last[:] = [batch]
            return batch.reached.order >= target

        await_that(step, message=lambda: f"the log's end {target}; at {last[0].reached.order}", interval=0)
        return parts

    def rows(self, reader: PostgreSQLReader) -> list[RowChange]:
        return [row for part in self.read_to_end(reader) for row in part.rows]

    def slot(self, reader: PostgreSQLReader, column: str) -> Any:
        return self.one(f"SELECT {column} FROM pg_replication_slots WHERE slot_name = %s", reader.slot)

    def confirmed(self, reader: PostgreSQLReader) -> int:
        return lsn_number(self.slot(reader, "confirmed_flush_lsn::text"))

    def free(self, reader: PostgreSQLReader) -> None:
        await_that(lambda: not self.slot(reader, "active"), message="the slot to be free")


def patient(reader: PostgreSQLReader) -> PostgreSQLReader:
    """Its keep-alives stay as frequent as its heartbeat says, yet no silence is a failure: a machine may stall."""
    reader._patience = 60.0
    reader._calm_from = 1 << 63  # beyond every log's end: the usual patience is never due again
    return reader


@pytest.fixture
def log(postgresql_db: PostgreSQLDatabase) -> Iterator[Log]:
    with contextlib.ExitStack() as stack:
        yield Log(postgresql_db, stack)
