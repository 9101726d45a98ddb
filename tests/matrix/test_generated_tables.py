"""Random tables, rows and transactions: what a reader hands on of each is what a plain SELECT says after each statement (I6).

Seeded: a failing run prints its seed, DATONG_SEED repeats it. The long form is a soak test.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cdc.model import RowChange
from cdc.readers import ReaderOptions, Wanted
from cdc.readers.mysql import MySQLReader
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.connections import Address
from tests.matrix import shows
from tests.matrix.generated import MYSQL, POSTGRESQL, may_be_odd, read_as_shown
from tests.servers import MySQLDatabase, PostgreSQLDatabase
from tests.waiting import await_that

ENGINES = ("mariadb", "mysql", "postgresql")
WRITER = {
    "mysql": "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ALLOW_INVALID_DATES', time_zone = '+00:00', NAMES utf8mb4",
    "postgresql": shows.VIEW_POSTGRESQL,
}

Shown = tuple[str | None, ...]


@dataclass(slots=True)
class Written:
    """One row's change as the user's own session saw it."""

    table: str
    op: str
    before: Shown | None
    after: Shown | None
    statement: str


@dataclass(slots=True)
class RandomTable:
    name: str
    engine: str
    types: list[str]
    makers: list[Any]
    rows: dict[int, Shown] = field(default_factory=dict)
    next_id: int = 1

    @property
    def kinds(self) -> list[str]:
        return [shows.kind_of(self.engine, declared) for declared in self.types]

    def create(self) -> str:
        columns = ", ".join(f"c{at} {declared} NULL" for at, declared in enumerate(self.types))
        return f"CREATE TABLE {self.name} (id BIGINT PRIMARY KEY, {columns})"

    def select(self, ident: int) -> str:
        shown = [shows.shown(self.engine, declared, f"c{at}") for at, declared in enumerate(self.types)]
        return f"SELECT {', '.join(shown)} FROM {self.name} WHERE id = {ident}"

    def literal(self, chance: random.Random, at: int) -> str:
        return "NULL" if chance.random() < 0.1 else str(self.makers[at](chance))


def random_table(chance: random.Random, engine: str, name: str) -> RandomTable:
    catalogue = POSTGRESQL if engine == "postgresql" else MYSQL
    made = [chance.choice(catalogue)(chance) for _ in range(chance.choice((1, 8, 12)))]
    return RandomTable(name, engine, [declared for declared, _ in made], [maker for _, maker in made])


class Writer:
    """Random transactions; each change is recorded with the row as SELECT shows it at once."""

    def __init__(self, cursor: Any, engine: str, chance: random.Random) -> None:
        self._cursor = cursor
        self._encode = engine == "postgresql"
        self._chance = chance
        self.written: list[Written] = []

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement.encode() if self._encode else statement)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def transaction(self, tables: list[RandomTable]) -> None:
        chance = self._chance
        kept = [dict(table.rows) for table in tables]
        self.execute("BEGIN")
        tried = [self._change(chance.choice(tables)) for _ in range(chance.choice((1, 1, 3, 10)))]
        changes = [change for change in tried if change is not None]
        if chance.random() < 0.15:
            self.execute("ROLLBACK")
            for table, rows in zip(tables, kept, strict=True):
                table.rows = rows
            return
        self.execute("COMMIT")
        self.written += changes

    def _change(self, table: RandomTable) -> Written | None:
        chance = self._chance
        what = chance.choice(("insert", "insert", "update", "update", "delete")) if table.rows else "insert"
        if what == "insert":
            ident, table.next_id = table.next_id, table.next_id + 1
            values = ", ".join(table.literal(chance, at) for at in range(len(table.types)))
            statement = f"INSERT INTO {table.name} VALUES ({ident}, {values})"
        else:
            ident = chance.choice([*table.rows])
            statement = f"DELETE FROM {table.name} WHERE id = {ident}"
            if what == "update":
                chosen = chance.sample(range(len(table.types)), chance.randint(1, len(table.types)))
                sets = ", ".join(f"c{at} = {table.literal(chance, at)}" for at in chosen)
                statement = f"UPDATE {table.name} SET {sets} WHERE id = {ident}"
        before = table.rows.pop(ident, None)
        self.execute(statement)
        after = None
        if what != "delete":
            (row,) = self.execute(table.select(ident))
            shown = zip(table.types, map(shows.text_of, row), strict=True)
            after = table.rows[ident] = tuple(shows.readable(table.engine, declared, text) for declared, text in shown)
        if what == "update" and before == after and not self._encode:
            return None  # MySQL logs no update that changes nothing
        return Written(table.name, what, before, after, statement)


@pytest.mark.parametrize("engine", ENGINES)
def test_random_rows_are_read_as_a_select_shows_them(engine: str, request: pytest.FixtureRequest) -> None:
    read_random_rows(engine, request, seconds=2.5)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
def test_random_rows_for_minutes(engine: str, request: pytest.FixtureRequest) -> None:
    read_random_rows(engine, request, seconds=240)


def read_random_rows(engine: str, request: pytest.FixtureRequest, seconds: float) -> None:
    seed = int(os.environ.get("DATONG_SEED", random.randrange(2**32)))
    print("seed", seed)
    database = request.getfixturevalue(f"{engine}_db")
    chance = random.Random(seed)
    until, compared, round_number = time.monotonic() + seconds, 0, 0
    while not compared or time.monotonic() < until:
        round_number += 1
        tables = [random_table(chance, engine, f"r{round_number}_{at}") for at in range(2)]
        written, read = one_round(database, engine, tables, chance)
        problems = differences({table.name: table for table in tables}, written, read)
        assert not problems, f"seed {seed}:\n" + "\n".join(problems[:20])
        compared += len(written)
    print(compared, "changes in", round_number, "rounds")
    assert compared > 10


def one_round(
    database: MySQLDatabase | PostgreSQLDatabase, engine: str, tables: list[RandomTable], chance: random.Random
) -> tuple[list[Written], list[RowChange]]:
    connection = database.connect()
    try:
        with connection.cursor() as cursor:
            writer = Writer(cursor, engine, chance)
            writer.execute(WRITER["postgresql" if engine == "postgresql" else "mysql"])
            for table in tables:
                writer.execute(table.create())
                if engine == "postgresql":
                    writer.execute(f"ALTER TABLE {table.name} REPLICA IDENTITY FULL")
            with _reader(database, engine, tables) as reader:
                for _ in range(30):
                    writer.transaction(tables)
                read: list[RowChange] = []

                def step() -> bool:
                    read.extend(row for part in reader.read(0.2).parts for row in part.rows)
                    return len(read) >= len(writer.written)

                await_that(
                    step, timeout=30, interval=0, message=lambda: f"{len(writer.written)} rows; {len(read)} came"
                )
            return writer.written, read
    finally:
        connection.close()


@contextmanager
def _reader(database: Any, engine: str, tables: list[RandomTable]) -> Iterator[MySQLReader | PostgreSQLReader]:
    server = database.server
    address = Address(engine, "127.0.0.1", server.port, server.admin_user, database.name, server.password)  # type: ignore[arg-type]
    schema = "public" if engine == "postgresql" else database.name
    mapped = {(schema, t.name): frozenset(["id", *(f"c{at}" for at in range(len(t.types)))]) for t in tables}
    # No silence of a server ends a reading here: values are the subject, and a machine may stall.
    options = ReaderOptions(heartbeat_seconds=60.0, server_id=random.randrange(10**6, 10**9))
    reader: MySQLReader | PostgreSQLReader
    if engine == "postgresql":
        reader = PostgreSQLReader(address, Wanted(tables[0].name, database.name, mapped), options)
        names = ", ".join(t.name for t in tables)
        database.execute(f"CREATE PUBLICATION {reader.slot} FOR TABLE {names} WITH (publish_via_partition_root)")
    else:
        reader = MySQLReader(address, Wanted("house", "shop", mapped), options)
    try:
        reader.open(None)
        yield reader
    finally:
        reader.close()
        if isinstance(reader, PostgreSQLReader):
            _drop_slot(database, reader.slot)


def _drop_slot(database: PostgreSQLDatabase, name: str) -> None:
    """Every round has a slot of its own, and a server has not many. Its walsender lets go of it some time after the reader's end."""
    slot = "FROM pg_replication_slots WHERE slot_name = %s"
    await_that(lambda: not database.execute(f"SELECT 1 {slot} AND active", name), message=f"slot {name} to be free")
    database.execute(f"SELECT pg_drop_replication_slot(slot_name) {slot}", name)


def differences(tables: dict[str, RandomTable], written: list[Written], read: list[RowChange]) -> list[str]:
    found = [] if len(written) == len(read) else [f"{len(written)} changes were written, {len(read)} read"]
    for want, have in zip(written, read, strict=False):
        if (want.table, want.op) != (have.table.name, have.op):
            return [
                *found,
                f"{want.op} of {want.table} was read as {have.op} of {have.table.name}: {want.statement[:200]}",
            ]
        for image, shown, values in (("before", want.before, have.before), ("after", want.after, have.after)):
            if shown is None or values is None:
                if shown is not values:
                    found.append(f"{want.op} {image} is {values!r:.100}: {want.statement[:200]}")
                continue
            table = tables[want.table]
            for at, (declared, kind) in enumerate(zip(table.types, table.kinds, strict=True)):
                column = have.table.column(f"c{at}")
                assert column is not None
                value = values[have.table.columns.index(column)]
                if not _agree(kind, declared, shown[at], read_as_shown(kind, value)):
                    found.append(
                        f"{want.op} {image} {declared}: shown as {shown[at]!r:.150}, read as {value!r:.150}; {want.statement[:100]}"
                    )
    return found


def _agree(kind: str, declared: str, shown: str | None, read: str | None) -> bool:
    if read == "unrepresentable" or may_be_odd(kind, declared, shown):
        return read == "unrepresentable" and may_be_odd(kind, declared, shown)
    if kind == "bits" and shown is not None and read is not None:
        return int(shown, 2) == int(read, 2)
    if declared.startswith("char(") and shown is not None and read is not None:
        return shown.rstrip(" ") == read.rstrip(" ")  # PostgreSQL pads; `columns` takes it off
    return shows.same(kind, shown, read)
