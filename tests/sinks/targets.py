"""A database to write into, its sinks and lease, and the writes and tables that tests of sinks share."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sinks import open_sink
from sinks.connections import Address
from sinks.contract import (
    ParkedRow,
    Progress,
    ProgressMove,
    RowWrite,
    Sink,
    SinkOptions,
    TransactionHeader,
)
from tests.servers import MySQLDatabase, PostgreSQLDatabase, SQLiteDatabase
from tests.waiting import await_that
from transforms.tables import Engine, Table

SERVERS: tuple[Engine, ...] = ("mariadb", "mysql", "postgresql")


STAGED = "postgresql-staged"


DEPLOYMENT, TARGET = "coffee", "crm"


@dataclass
class Target:
    """A database to write into, and the sinks that a test has opened on it."""

    engine: Engine
    database: MySQLDatabase | PostgreSQLDatabase | SQLiteDatabase
    opened: list[Sink] = field(default_factory=list)

    @property
    def postgresql(self) -> bool:
        return self.engine == "postgresql"

    @property
    def server(self) -> Any:
        """The server of an engine that has one."""
        assert not isinstance(self.database, SQLiteDatabase)
        return self.database.server

    def address(self, port: int | None = None, user: str | None = None, password: str | None = None) -> Address:
        if isinstance(self.database, SQLiteDatabase):
            return Address("sqlite", "", 0, "", self.database.name)
        server = self.server
        return Address(
            self.engine,
            "127.0.0.1",
            port or server.port,
            user or server.admin_user,
            self.database.name,
            server.password if password is None else password,
        )

    def sink(self, port: int | None = None, **options: Any) -> Sink:
        sink = open_sink(self.address(port), SinkOptions(**{"lock_timeout_seconds": 1.0, **options}))
        self.opened.append(sink)
        sink.connect()
        return sink

    def ready(self, port: int | None = None, **options: Any) -> tuple[Sink, Lease]:
        """A connected sink that holds the lease."""
        sink = self.sink(port, **options)
        sink.prepare()
        return sink, Lease(sink, sink.take_over(DEPLOYMENT, TARGET))

    def await_a_lock_wait(self) -> None:
        """Until a session of this server waits for a row that another one holds."""
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            if self.postgresql
            else "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        )
        # InnoDB renews what it tells there only when it was not asked for a tenth of a second.
        await_that(lambda: self.execute(waiting), interval=0.2, message="a session that waits for a lock")

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.database.execute(statement, *parameters)]

    def create(self, definition: str, mysql: str | None = None) -> None:
        if self.engine == "sqlite":
            definition = definition.replace("bytea", "blob")
        self.execute(definition if self.engine in ("postgresql", "sqlite") or mysql is None else mysql)

    def table(self, name: str) -> Table:
        sink = self.sink()
        found = sink.describe(None, name)
        assert found is not None
        return found


def opened(engine: Engine, database: MySQLDatabase | PostgreSQLDatabase | SQLiteDatabase) -> Iterator[Target]:
    """A target whose sinks are closed afterwards: what a fixture yields from."""
    made = Target(engine, database)
    yield made
    for sink in made.opened:
        sink.close()


@dataclass
class Lease:
    """Makes headers one after another, as an applier does."""

    sink: Sink
    epoch: int
    known: Progress | None = None

    def header(self, rows: int = 1) -> TransactionHeader:
        order = self.known.order + 1 if self.known else 1
        now = Progress(order, 1, True, order * 10)
        move = ProgressMove("website", self.known, now)
        return TransactionHeader(DEPLOYMENT, TARGET, self.epoch, secrets.token_hex(16), rows, (move,))

    def begin(self, rows: int = 1) -> tuple[TransactionHeader, Callable[[], str]]:
        """Answers the header, and what tells the transaction's identity while it is open."""
        header = self.header(rows)
        self.sink.begin(header)
        return header, self.sink.identity

    def commit(self, header: TransactionHeader) -> None:
        self.sink.commit()
        self.known = header.moves[0].now

    def apply(self, writes: Sequence[RowWrite]) -> int:
        header, _ = self.begin(len(writes))
        affected = self.sink.write(writes)
        self.commit(header)
        return affected


@contextmanager
def writer_of_its_own(target: Target, *grants: str, known: Progress | None = None) -> Iterator[Lease]:
    """The lease of a PostgreSQL role that may use our tables and has `grants`, such as `SELECT ON items`; the role is gone afterwards."""
    user, password = f"writer_{secrets.token_hex(4)}", secrets.token_hex(8)
    target.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    try:
        for grant in ("SELECT, INSERT, UPDATE, DELETE ON datong_progress, datong_parked", *grants):
            target.execute(f"GRANT {grant} TO {user}")
        sink = open_sink(target.address(user=user, password=password), SinkOptions())
        target.opened.append(sink)
        sink.connect()
        yield Lease(sink, sink.take_over(DEPLOYMENT, TARGET), known)
    finally:
        for opened in target.opened:
            opened.close()
        target.execute(f"DROP OWNED BY {user}")
        target.execute(f"DROP ROLE {user}")


def insert(table: Table, ref: int = 0, /, key: Sequence[str] = ("id",), **values: Any) -> RowWrite:
    return RowWrite(
        table, "insert", tuple(key), tuple(values[k] for k in key), tuple(values), tuple(values.values()), ref
    )


def update(table: Table, key: object, ref: int = 0, /, **values: Any) -> RowWrite:
    return RowWrite(table, "update", ("id",), (key,), tuple(values), tuple(values.values()), ref)  # type: ignore[arg-type]


def delete(table: Table, key: object, ref: int = 0) -> RowWrite:
    return RowWrite(table, "delete", ("id",), (key,), (), (), ref)  # type: ignore[arg-type]


def counter(table: Table, key: object, ref: int = 0, /, **values: Any) -> RowWrite:
    """An update of which `quantity` is added."""
    added = tuple(number for number, column in enumerate(values) if column in ("quantity", "amount"))
    return RowWrite(table, "update", ("id",), (key,), tuple(values), tuple(values.values()), ref, added)  # type: ignore[arg-type]


def items(target: Target) -> Table:
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int)")
    return target.table("items")


def rows(target: Target, table: str = "items", order: str = "id") -> list[tuple[Any, ...]]:
    return target.execute(f"SELECT * FROM {table} ORDER BY {order}")


def phones(target: Target) -> Table:
    target.create("CREATE TABLE phones (id int PRIMARY KEY, phone varchar(20) UNIQUE, name varchar(20))")
    return target.table("phones")


def parked_row(number: int, **changed: Any) -> ParkedRow:
    row = ParkedRow(
        id=f"website.{number}", deployment=DEPLOYMENT, source="website", order=number, index=0, mapping="crm.items",
        entity="item", key_text=f'item/["{number}"]', reason="missing_row", error="it's \\ not there", since=123,
        change=bytes(range(256)),
    )  # fmt: skip
    return dataclasses.replace(row, **changed)
