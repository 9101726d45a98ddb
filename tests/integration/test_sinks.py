"""One behaviour, three databases: what every sink does, whatever its engine."""

# ruff: noqa: DTZ001 - zone-less datetimes are values under test

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import random
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from sinks import open_sink, postgresql_staging
from sinks.connections import Address
from sinks.contract import (
    Fenced,
    Halt,
    ParkedRow,
    Progress,
    ProgressMove,
    Rejected,
    RowWrite,
    Sink,
    SinkOptions,
    TransactionHeader,
    Transient,
)
from tests.servers import MySQLDatabase, PostgreSQLDatabase, SQLiteDatabase
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that
from transforms.tables import Engine, Table
from transforms.values import ABSENT, Unrepresentable

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

    def begin(self, rows: int = 1) -> tuple[TransactionHeader, str]:
        header = self.header(rows)
        return header, self.sink.begin(header)

    def commit(self, header: TransactionHeader) -> None:
        self.sink.commit()
        self.known = header.moves[0].now

    def apply(self, writes: Sequence[RowWrite]) -> int:
        header, _ = self.begin(len(writes))
        affected = self.sink.write(writes)
        self.commit(header)
        return affected


@pytest.fixture(params=SERVERS)
def server_target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target with sessions, accounts, a network."""
    made = Target(request.param, request.getfixturevalue(f"{request.param}_db"))
    yield made
    for sink in made.opened:
        sink.close()


@pytest.fixture(params=[*SERVERS, STAGED, "sqlite"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """`STAGED`: PostgreSQL that takes every group of rows by COPY and a temporary table."""
    engine = request.param
    if engine == STAGED:
        engine = "postgresql"
        monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 1)
    made = Target(engine, request.getfixturevalue(f"{engine}_db"))
    yield made
    for sink in made.opened:
        sink.close()


@pytest.fixture(params=["mariadb", "mysql"])
def mysql_target(request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(request.param, request.getfixturevalue(f"{request.param}_db"))
    yield made
    for sink in made.opened:
        sink.close()


@pytest.fixture(params=["postgresql", STAGED])
def postgresql_target(
    request: pytest.FixtureRequest, postgresql_db: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    if request.param == STAGED:
        monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 1)
    made = Target("postgresql", postgresql_db)
    yield made
    for sink in made.opened:
        sink.close()


def insert(table: Table, ref: int = 0, /, key: Sequence[str] = ("id",), **values: Any) -> RowWrite:
    return RowWrite(
        table, "insert", tuple(key), tuple(values[k] for k in key), tuple(values), tuple(values.values()), ref
    )


def update(table: Table, key: object, ref: int = 0, /, **values: Any) -> RowWrite:
    return RowWrite(table, "update", ("id",), (key,), tuple(values), tuple(values.values()), ref)  # type: ignore[arg-type]


def delete(table: Table, key: object, ref: int = 0) -> RowWrite:
    return RowWrite(table, "delete", ("id",), (key,), (), (), ref)  # type: ignore[arg-type]


def items(target: Target) -> Table:
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int)")
    return target.table("items")


def rows(target: Target, table: str = "items", order: str = "id") -> list[tuple[Any, ...]]:
    return target.execute(f"SELECT * FROM {table} ORDER BY {order}")


def phones(target: Target) -> Table:
    target.create("CREATE TABLE phones (id int PRIMARY KEY, phone varchar(20) UNIQUE, name varchar(20))")
    return target.table("phones")


# --- writing


def test_inserts_updates_key_moves_and_deletes_happen_in_order(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply(
        [
            insert(table, id=1, name="a", quantity=1),
            insert(table, id=2, name="b", quantity=2),
            update(table, 1, name="A"),
            update(table, 1, id=3),
            insert(table, id=1, name="new", quantity=9),
            update(table, 3, quantity=30),
            delete(table, 2),
            insert(table, id=2, name="again", quantity=None),
            delete(table, 77),
        ]
    )
    assert rows(target) == [(1, "new", 9), (2, "again", None), (3, "A", 30)]


def test_many_versions_of_one_row_in_one_transaction_end_in_the_last(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply(
        [
            insert(table, id=1, name="a", quantity=0),
            *(update(table, 1, quantity=number) for number in range(1, 51)),
            insert(table, id=1, name="b", quantity=51),
            insert(table, id=1, name="c", quantity=52),
        ]
    )
    assert rows(target) == [(1, "c", 52)]


def test_an_insert_whose_key_exists_updates_all_its_columns(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="old", quantity=1) for number in range(5)])
    lease.apply([insert(table, id=number, name="new", quantity=2) for number in range(8)])
    assert rows(target) == [(number, "new", 2) for number in range(8)]


def test_a_large_batch_is_written_whole(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name=f"n{number}", quantity=number) for number in range(2500)])
    lease.apply([update(table, number, quantity=-number) for number in range(2500)])
    lease.apply([delete(table, number) for number in range(0, 2500, 2)])
    assert rows(target) == [(number, f"n{number}", -number) for number in range(1, 2500, 2)]


def test_composite_keys_find_their_rows(target: Target) -> None:
    target.create("CREATE TABLE order_lines (a int, b varchar(10), v int, PRIMARY KEY (a, b))")
    table = target.table("order_lines")
    assert table.primary_key == ("a", "b")
    _, lease = target.ready()

    def line(op: str, a: int, b: str, /, **values: Any) -> RowWrite:
        return RowWrite(table, op, ("a", "b"), (a, b), tuple(values), tuple(values.values()))  # type: ignore[arg-type]

    lease.apply([line("insert", a, b, a=a, b=b, v=0) for a in range(3) for b in "xyz"])
    lease.apply(
        [line("update", 1, "y", v=5), line("update", 2, "z", b="w"), line("delete", 0, "x"), line("delete", 0, "y")]
    )
    assert rows(target, "order_lines", "a, b") == [
        (0, "z", 0), (1, "x", 0), (1, "y", 5), (1, "z", 0), (2, "w", 0), (2, "x", 0), (2, "y", 0),
    ]  # fmt: skip


def test_a_second_unique_key_never_makes_an_insert_update_another_row(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=9, phone="138", name="nine")])
    header, _ = lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([insert(table, 70, id=7, phone="138", name="seven")])
    assert caught.value.ref == 70
    lease.sink.rollback()
    assert rows(target, "phones") == [(9, "138", "nine")]
    lease.apply([insert(table, id=9, phone="139", name="nine"), insert(table, id=7, phone="138", name="seven")])
    assert rows(target, "phones") == [(7, "138", "seven"), (9, "139", "nine")]
    assert header.rows == 1


def test_a_unique_value_may_pass_from_row_to_row_in_one_batch(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, phone="1", name="a"), insert(table, id=2, phone="2", name="b")])
    lease.apply(
        [
            delete(table, 1),
            insert(table, id=3, phone="1", name="c"),
            update(table, 3, phone="3"),
            update(table, 2, phone="1"),
            insert(table, id=4, phone="2", name="d"),
            update(table, 4, phone="4"),
            update(table, 2, phone="2"),
            update(table, 3, phone="1"),
        ]
    )
    assert rows(target, "phones") == [(2, "2", "b"), (3, "1", "c"), (4, "4", "d")]


def test_updates_of_unique_values_are_one_statement_and_row_by_row_only_where_they_meet(mysql_target: Target) -> None:
    """Rows that hand values on are written in their order, in whatever order a statement of many rows would take them."""
    target = mysql_target
    table = phones(target)
    _, lease = target.ready()

    def sent(writes: list[RowWrite]) -> int:
        """How many update statements the server got."""
        counter = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_update', 'Com_update_multi')"
        before = sum(int(value) for _, value in target.execute(counter))
        lease.apply(writes)
        return sum(int(value) for _, value in target.execute(counter)) - before - 1  # of the progress

    lease.apply([insert(table, id=n, phone=f"{n}", name="a") for n in range(200)])
    assert sent([update(table, n, phone=f"new {n}") for n in range(200)]) < 10
    assert sorted(row[1] for row in rows(target, "phones")) == sorted(f"new {n}" for n in range(200))

    # A chain: each takes what the one before it in the transaction has given up; the key's order is the other way round.
    chain = [update(table, n, phone=f"new {n - 1}" if n else "free") for n in range(200)]
    sent(chain)
    assert rows(target, "phones") == [(n, f"new {n - 1}" if n else "free", "a") for n in range(200)]
    back = [update(table, n, phone=f"new {n}") for n in range(199, -1, -1)]
    sent(back)
    assert rows(target, "phones") == [(n, f"new {n}", "a") for n in range(200)]

    # Two rows exchange theirs, as a source does it: over a third value. Other rows of the batch do not mind.
    lease.apply([
        *(update(table, n, phone=f"first {n}") for n in range(100, 150)), update(table, 1, phone="aside"), update(table, 2, phone="new 1"),
        update(table, 1, phone="new 2"), *(update(table, n, phone=f"last {n}") for n in range(150, 199)),
    ])  # fmt: skip
    assert rows(target, "phones")[:3] == [(0, "new 0", "a"), (1, "new 2", "a"), (2, "new 1", "a")]
    assert {row[1].split()[0] for row in rows(target, "phones")[100:199]} == {"first", "last"}


def test_unique_values_that_a_collation_holds_for_equal_are_refused_by_row(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE phones (id int PRIMARY KEY, phone varchar(20) COLLATE utf8mb4_unicode_ci UNIQUE, name varchar(20))"
    )
    table = target.table("phones")
    sink, lease = target.ready()
    lease.apply([insert(table, id=n, phone=f"{n}", name="a") for n in range(10)])
    # E takes the place of e only after that has gone, in the transaction's order.
    lease.apply([update(table, 1, phone="é"), update(table, 2, phone="2b"), update(table, 3, phone="3b")])
    lease.apply([update(table, 1, phone="gone"), update(table, 2, phone="E "), update(table, 3, phone="3c")])
    assert [row[1] for row in rows(target, "phones")][1:4] == ["gone", "E ", "3c"]
    clash = [update(table, 4, 40, phone="ß"), update(table, 5, 50, phone="x"), update(table, 6, 60, phone="SS")]
    lease.begin(3)
    with pytest.raises(Rejected) as caught:
        sink.write(clash)
    assert (caught.value.code, caught.value.ref) == ("1062", 60)
    sink.rollback()
    header, _ = lease.begin(3)
    assert [rejection.ref for rejection in sink.write_singly(clash)] == [60]
    lease.commit(header)
    assert [row[1] for row in rows(target, "phones")][4:7] == ["ß", "x", "6"]


def test_an_update_that_finds_no_row_is_refused_with_its_ref(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(table, id=2, name="b", quantity=1)])
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write(
            [update(table, 1, 11, name="x"), update(table, 5, 55, name="x"), update(table, 2, 22, name="x")]
        )
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 55)
    lease.sink.rollback()
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([update(table, 6, 66, name="x"), insert(table, id=6, name="later", quantity=0)])
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 66)
    lease.sink.rollback()


def test_an_update_to_equal_values_is_not_missing(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="a", quantity=1) for number in range(3)])
    lease.apply([update(table, 0, name="a"), update(table, 1, name="b"), update(table, 2, name="a", quantity=1)])
    assert [name for _, name, _ in rows(target)] == ["a", "b", "a"]


def test_a_missing_row_among_many_is_found(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="a", quantity=1) for number in range(1500)])
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([update(table, number, number, quantity=number) for number in range(1000, 2000)])
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 1500)
    lease.sink.rollback()
    assert {quantity for _, _, quantity in rows(target)} == {1}


def counter(table: Table, key: object, ref: int = 0, /, **values: Any) -> RowWrite:
    """An update of which `quantity` is added."""
    added = tuple(number for number, column in enumerate(values) if column in ("quantity", "amount"))
    return RowWrite(table, "update", ("id",), (key,), tuple(values), tuple(values.values()), ref, added)  # type: ignore[arg-type]


def test_counters_are_added_to_what_the_row_holds(target: Target) -> None:
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int, amount numeric(12,2))")
    table = target.table("items")
    sink, lease = target.ready()
    cents = decimal.Decimal("0.25")
    lease.apply([insert(table, id=n, name="a", quantity=n, amount=decimal.Decimal(1)) for n in range(300)])
    lease.apply([counter(table, n, quantity=10, amount=cents) for n in range(300)])
    lease.apply(
        [counter(table, 7, quantity=-3), counter(table, 7, quantity=-3), counter(table, 8, name="b", quantity=0)]
    )
    lease.apply(
        [
            update(table, 9, quantity=100),
            counter(table, 9, quantity=1, name="c"),
            counter(table, 9, name="d", quantity=1),
        ]
    )
    lease.apply([update(table, 10, quantity=None), counter(table, 10, quantity=5)])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [counter(table, 11, quantity=1), counter(table, 999, 1, quantity=1), counter(table, 12, 2, quantity=2**31 - 20)]
    )
    lease.commit(header)
    refused = [(1, "missing_row"), *([(2, "rejected")] if target.engine != "sqlite" else [])]
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == refused
    expected = {n: ["a", n + 10, decimal.Decimal("1.25")] for n in range(300)}
    expected[7][1], expected[8][0], expected[9][:2], expected[10][1] = 11, "b", ["d", 102], 5
    expected[11][1] += 1
    if (
        target.engine == "sqlite"
    ):  # whose integers have 64 bits, whatever they are called, and whose decimals are floats
        expected[12][1] += 2**31 - 20
        expected = {n: [name, quantity, float(amount)] for n, (name, quantity, amount) in expected.items()}
    assert {id_: list(others) for id_, *others in rows(target)} == expected


def test_rows_are_found_by_keys_of_every_collation(mysql_target: Target) -> None:
    target = mysql_target
    collations = [
        "utf8mb4 COLLATE utf8mb4_bin",
        "utf8mb4 COLLATE utf8mb4_unicode_ci",
        "latin1 COLLATE latin1_german2_ci",
        "utf8mb3",
    ]
    for number, collation in enumerate(collations):
        target.execute(f"CREATE TABLE c{number} (code varchar(20) CHARACTER SET {collation} PRIMARY KEY, v int, w int)")
        table = target.table(f"c{number}")
        sink, lease = target.ready()
        lease.known = sink.progress(DEPLOYMENT).get("website")
        keys = ["a", "Bé", "it's", "Müller", *(f"k{n}" for n in range(200))]
        lease.apply([RowWrite(table, "insert", ("code",), (key,), ("code", "v", "w"), (key, 1, 1)) for key in keys])
        lease.apply([RowWrite(table, "update", ("code",), (key,), ("v",), (n,)) for n, key in enumerate(keys)])
        assert dict(target.execute(f"SELECT code, v FROM c{number}")) == {key: n for n, key in enumerate(keys)}
        lease.apply([RowWrite(table, "delete", ("code",), (key,), (), ()) for key in keys[1:]])
        assert target.execute(f"SELECT code FROM c{number}") == [("a",)]
        sink.close()


def test_keys_that_differ_in_case_are_two_rows_or_the_second_is_refused(target: Target) -> None:
    """Never one row over the other: neither in a batch nor one after the other."""
    target.create("CREATE TABLE codes (code varchar(20) PRIMARY KEY, v int, u varchar(20) UNIQUE)")
    target.create("CREATE TABLE plain (code varchar(20) PRIMARY KEY, v int)")
    is_mysql = target.engine in ("mysql", "mariadb")
    sink, lease = target.ready()
    for name in ("codes", "plain"):
        table = target.table(name)
        writes = [
            RowWrite(table, "insert", ("code",), (key,), ("code", "v"), (key, n), n)
            for n, key in enumerate(["Abc", "abc", "other", "ABC"])
        ]
        if is_mysql:
            lease.begin()
            with pytest.raises(Rejected):
                sink.write(writes)
            sink.rollback()
            header, _ = lease.begin()
            refused = sink.write_singly(writes)
            lease.commit(header)
            assert [rejection.ref for rejection in refused] == [1, 3]
            lease.apply([writes[0]])  # again, and it finds itself
        else:
            lease.apply(writes)
            lease.apply(writes)
        there = {"Abc": 0, "other": 2} if is_mysql else {"Abc": 0, "abc": 1, "other": 2, "ABC": 3}
        assert {code: v for code, v, *_ in target.execute(f"SELECT code, v FROM {name}")} == there


def test_keys_that_a_collation_holds_for_equal_are_all_written(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE c (code varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci PRIMARY KEY, v int)"
    )
    table = target.table("c")
    sink, lease = target.ready()
    lease.apply([RowWrite(table, "insert", ("code",), ("resume",), ("code", "v"), ("resume", 1))])
    batch = [
        RowWrite(table, "update", ("code",), (key,), ("v",), (n,), n)
        for n, key in enumerate(["résumé", "resume", "RESUMÉ"])
    ]
    header, _ = lease.begin()
    try:
        sink.write(batch)
    except Rejected:
        sink.rollback()
        header, _ = lease.begin()
        assert sink.write_singly(batch) == []
    lease.commit(header)
    assert target.execute("SELECT v FROM c") == [(2,)]


def test_postgresql_finds_rows_by_their_key_in_a_table_that_grew(postgresql_target: Target) -> None:
    """A plan that is kept may have been made for an empty table: it must not read the whole table for every batch ever after."""
    target = postgresql_target
    target.create(
        "CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int) WITH (autovacuum_enabled = off)"
    )
    table = target.table("items")
    _, lease = target.ready()
    for _ in range(12):
        lease.apply([insert(table, id=n, name="a", quantity=1) for n in range(20)])
        target.execute("ANALYZE items")
        lease.apply([update(table, n, name="b") for n in range(20)])
        lease.apply([delete(table, n) for n in range(20)])
    target.execute("INSERT INTO items SELECT g, 'a', 1 FROM generate_series(1000, 21000) g")
    lease.apply([update(table, n, name="b") for n in range(1000, 2000)])
    lease.apply([delete(table, n) for n in range(1000, 6000)])
    lease.sink.close()  # which tells the server's statistics what it did
    read = "SELECT n_tup_del, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'items'"
    await_that(lambda: target.execute(read)[0][0] == 12 * 20 + 5000, message="the statistics lag")
    assert target.execute(read)[0][1] < 20_000


def test_postgresql_writes_nothing_that_changes_nothing(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute(
        "CREATE TABLE wide (id int PRIMARY KEY, j json, b jsonb, n numeric, f float8, c char(5), v varchar(9), t timestamptz(3))"
    )
    table = target.table("wide")
    _, lease = target.ready()
    moment = dt.datetime(2024, 5, 1, 12, 0, 0, 123000, dt.UTC)
    values: dict[str, Any] = {
        "j": '{"a":1}', "b": '{"a":1}', "n": decimal.Decimal("1.50"), "f": 0.0, "c": "ab", "v": "cd", "t": moment,
    }  # fmt: skip
    lease.apply([insert(table, id=1, **values)])
    version = target.execute("SELECT xmin::text, ctid::text FROM wide")
    lease.apply([insert(table, id=1, **values)])
    lease.apply([update(table, 1, **values)])
    assert target.execute("SELECT xmin::text, ctid::text FROM wide") == version
    for changed in ({"j": '{"a": 1}'}, {"n": decimal.Decimal("1.5")}, {"f": -0.0}):
        lease.apply([update(table, 1, **changed)])
        assert target.execute("SELECT xmin::text, ctid::text FROM wide") != version
        version = target.execute("SELECT xmin::text, ctid::text FROM wide")


def temporary_tables(target: Target) -> list[tuple[Any, ...]]:
    return target.execute("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")


@pytest.fixture
def staged(postgresql_db: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """PostgreSQL, with groups of three rows and more by COPY."""
    monkeypatch.setattr(postgresql_staging, "STAGED_ROWS", 3)
    made = Target("postgresql", postgresql_db)
    yield made
    for sink in made.opened:
        sink.close()


def test_a_large_group_goes_by_a_temporary_table_which_is_made_once(staged: Target) -> None:
    table = items(staged)
    sink, lease = staged.ready()
    lease.apply([insert(table, id=n, name="a", quantity=n) for n in (1, 2)])
    assert temporary_tables(staged) == []
    header, _ = lease.begin()
    sink.write([insert(table, id=n, name="b", quantity=n) for n in range(5)])
    sink.rollback()
    assert temporary_tables(staged) == []
    for name in "cde":
        header, _ = lease.begin()
        assert sink.write([insert(table, id=n, name=name, quantity=n) for n in range(5)]) == 5
        assert (
            sink.write([insert(table, id=n, name=name, quantity=n) for n in range(4, 9)]) == 4
        )  # the table holds rows
        assert sink.write([update(table, n, quantity=-1) for n in range(3)]) == 3
        lease.commit(header)
        assert [row[1] for row in rows(staged)] == [name] * 9
        assert len(temporary_tables(staged)) == 1
    assert lease.apply([delete(table, n) for n in range(20)]) == 9
    assert len(temporary_tables(staged)) == 1  # only inserts need one


def test_a_session_makes_only_so_many_temporary_tables(staged: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_staging, "MOST_TABLES", 1)
    table = items(staged)
    _, lease = staged.ready()
    lease.apply([insert(table, id=n, name="a", quantity=n) for n in range(5)])
    lease.apply([insert(table, id=n, quantity=7) for n in range(5)])
    assert {row[2] for row in rows(staged)} == {7}
    assert len(temporary_tables(staged)) == 1


def test_an_account_that_may_not_create_temporary_tables_writes_all_the_same(staged: Target) -> None:
    table = items(staged)
    user, password = "writer_" + secrets.token_hex(4), secrets.token_hex(8)
    staged.ready()
    staged.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    staged.execute(f"REVOKE TEMPORARY ON DATABASE {staged.database.name} FROM PUBLIC")
    staged.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user}")
    sink = open_sink(staged.address(user=user, password=password), SinkOptions())
    staged.opened.append(sink)
    sink.connect()
    lease = Lease(sink, sink.take_over(DEPLOYMENT, TARGET))
    assert lease.apply([insert(table, id=n, name="a", quantity=n) for n in range(5)]) == 5
    assert temporary_tables(staged) == []
    sink.close()
    staged.execute(f"DROP OWNED BY {user}")
    staged.execute(f"DROP ROLE {user}")


def test_a_database_that_refuses_to_create_a_temporary_table_is_written_without(staged: Target) -> None:
    table = items(staged)
    sink, lease = staged.ready()
    staged.execute(
        "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no DDL here'; END $$"
    )
    staged.execute("CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()")
    writes = [insert(table, id=n, name="a", quantity=n) for n in range(5)]
    lease.begin()
    with pytest.raises(Transient, match="without temporary tables"):
        sink.write(writes)
    sink.rollback()
    assert lease.apply(writes) == 5
    staged.execute("DROP EVENT TRIGGER no_ddl")


def test_no_log_shows_a_temporary_table(staged: Target) -> None:
    table = items(staged)
    _, lease = staged.ready()
    slot = "datong_test_" + secrets.token_hex(4)
    staged.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    staged.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    try:
        for name in "ab":
            lease.apply([insert(table, id=n, name=name, quantity=n) for n in range(5)])
        assert len(temporary_tables(staged)) == 1
        changes = staged.execute(
            f"SELECT data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything')"
        )
    finally:
        staged.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    seen = [bytes(data) for (data,) in changes]
    assert [one[:1] for one in seen if one[:1] != b"R"] == [
        b"B",
        b"I",
        *[b"I"] * 5,
        b"C",
        b"B",
        b"U",
        *[b"U"] * 5,
        b"C",
    ]
    described = {one[5:].split(b"\0")[1] for one in seen if one[:1] == b"R"}
    assert described == {b"items", b"datong_progress"}


def test_rows_of_large_values_are_not_staged(staged: Target) -> None:
    staged.execute("CREATE TABLE pages (id int PRIMARY KEY, body text)")
    table = staged.table("pages")
    _, lease = staged.ready()
    lease.apply([insert(table, id=n, body="x" * 10_000) for n in range(5)])
    assert temporary_tables(staged) == []
    lease.apply([insert(table, id=n, body="y" * 100) for n in range(5)])
    assert len(temporary_tables(staged)) == 1


def test_what_a_staged_column_cannot_hold_is_refused_with_its_ref(staged: Target) -> None:
    staged.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    staged.execute("CREATE DOMAIN small_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = staged.ready()
    for number, (kind, values) in enumerate(UNFIT_POSTGRESQL):
        staged.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = staged.table(f"v{number}")
        for value in values:
            lease.begin()
            with pytest.raises(Rejected) as refused:
                sink.write([insert(table, n, id=n, v=None if n < 4 else value) for n in range(5)])
            by_server = refused.value.code != ""  # which names no row
            assert refused.value.ref == (None if by_server else 4), (kind, refused.value)
            assert by_server or kind not in ("json", "jsonb", "small_amount")
            sink.rollback()
        assert rows(staged, f"v{number}") == []


def test_the_owner_of_a_type_may_drop_it_while_we_have_staged_its_values(staged: Target) -> None:
    staged.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    staged.execute("CREATE TABLE moods (id int PRIMARY KEY, m mood, ms mood[], ns int[], r int4range, b bit(3))")
    _, lease = staged.ready()
    table = staged.table("moods")
    lease.apply([insert(table, id=n, m="b", ms='["a",null]', ns="[[1,2],[3,4]]", r="[1,5)", b="101") for n in range(5)])
    lease.apply([insert(table, id=n, m="a", ms=None, ns="[[1,2],[3,4]]", r="[1,5)", b="111") for n in range(4)])
    assert len(temporary_tables(staged)) == 1
    seen = staged.execute("SELECT DISTINCT m::text, ms::text, ns::text, r::text, b::text FROM moods ORDER BY 1")
    assert seen == [("a", None, "{{1,2},{3,4}}", "[1,5)", "111"), ("b", "{a,NULL}", "{{1,2},{3,4}}", "[1,5)", "101")]
    staged.execute("DROP TABLE moods")
    staged.execute("DROP TYPE mood")


def test_absent_and_unrepresentable_values_are_never_written(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.begin()
    with pytest.raises(TypeError, match="ABSENT"):
        lease.sink.write([insert(table, id=1, name=ABSENT, quantity=1)])
    lease.sink.rollback()
    lease.sink.connect()
    lease.begin()
    with pytest.raises(Rejected, match="infinity") as caught:
        lease.sink.write([insert(table, 4, id=1, name="a", quantity=Unrepresentable("infinity"))])
    assert caught.value.ref == 4
    lease.sink.rollback()


# --- the apply record, the lease


def test_progress_is_what_the_last_committed_transaction_made_it(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    assert sink.progress(DEPLOYMENT) == {}
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    lease.apply([update(table, 1, quantity=2)])
    assert sink.progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}
    lease.begin()
    sink.rollback()
    sink.rollback()
    assert sink.progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}
    assert target.sink().progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}


def test_the_record_of_a_transaction_carries_its_token_and_row_count(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    header, _ = lease.begin(7)
    lease.sink.write([insert(table, id=1, name="a", quantity=1)])
    lease.commit(header)
    found = target.execute("SELECT token, row_count, epoch FROM datong_progress WHERE source = 'website'")
    assert found == [(header.token, 7, lease.epoch)]


def test_a_transaction_without_moves_marks_the_lease_line(target: Target) -> None:
    sink, lease = target.ready()
    header = dataclasses.replace(lease.header(3), moves=())
    sink.begin(header)
    sink.commit()
    assert target.execute("SELECT token, row_count FROM datong_progress WHERE source = ''") == [(header.token, 3)]
    sink.rollback()
    with pytest.raises(Fenced):
        sink.begin(dataclasses.replace(header, epoch=lease.epoch - 1, rows=0))


def test_a_writer_is_fenced_once_another_has_taken_over(target: Target) -> None:
    table = items(target)
    first, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    second, newer = target.ready()
    assert newer.epoch == lease.epoch + 1
    with pytest.raises(Fenced):
        lease.begin(0)
    with pytest.raises(Fenced):  # a first line checks the lease too
        move = ProgressMove("miniapp", None, Progress(1, 1, True, 1))
        first.begin(dataclasses.replace(lease.header(0), moves=(move,)))
    newer.known = second.progress(DEPLOYMENT)["website"]
    newer.apply([update(table, 1, name="b")])
    assert rows(target) == [(1, "b", 1)]


def test_a_line_that_moved_meanwhile_or_exists_already_fences(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    with pytest.raises(Fenced):
        stale.begin(0)
    with pytest.raises(Fenced):
        dataclasses.replace(lease, known=None).begin(0)
    lease.apply([update(table, 1, quantity=2)])


def test_what_a_fenced_writer_sent_along_is_never_written(target: Target) -> None:
    """The compare-and-set may go in one packet with the first rows: they are gone with it, and nothing can be written after them."""
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    for known in (Progress(0, 1, True, 0), None):
        stale = dataclasses.replace(lease, known=known)
        with pytest.raises(Fenced):
            stale.apply([insert(table, id=2, name="b", quantity=2), update(table, 1, name="b")])
        with pytest.raises((RuntimeError, Fenced)):
            sink.write([insert(table, id=3, name="c", quantity=3)])
        with pytest.raises((RuntimeError, Fenced)):
            sink.commit()
        sink.rollback()
        assert rows(target) == [(1, "a", 1)]
    lease.apply([update(table, 1, quantity=2)])
    assert rows(target) == [(1, "a", 2)]


def test_a_transaction_to_which_nothing_was_written_still_moves_progress(target: Target) -> None:
    sink, lease = target.ready()
    for wanted in (0, 5):
        header, _ = lease.begin(wanted)
        lease.commit(header)
        assert sink.progress(DEPLOYMENT) == {"website": lease.known}
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    with pytest.raises(Fenced):
        header, _ = stale.begin(5)
        sink.commit()
    sink.rollback()
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}


def test_concurrent_first_takeovers_get_different_epochs(server_target: Target) -> None:
    target = server_target
    target.sink().prepare()
    contenders = [target.sink(lock_timeout_seconds=20.0) for _ in range(6)]
    epochs: list[int] = []
    threads = [
        threading.Thread(target=lambda sink=sink: epochs.append(sink.take_over(DEPLOYMENT, TARGET)))
        for sink in contenders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]


def test_reading_progress_waits_for_a_transaction_that_is_still_open(server_target: Target) -> None:
    target = server_target
    items(target)
    sink, lease = target.ready()
    header, _ = lease.begin(0)
    other = target.sink(lock_timeout_seconds=20.0)
    answers: list[dict[str, Progress]] = []
    reader = threading.Thread(target=lambda: answers.append(other.progress(DEPLOYMENT)))
    reader.start()
    reader.join(0.5)
    assert reader.is_alive()
    lease.commit(header)
    reader.join(10)
    assert answers == [{"website": Progress(1, 1, True, 10)}]
    assert sink.progress(DEPLOYMENT) == answers[0]


def test_the_identity_of_a_transaction_is_what_its_engine_says(target: Target) -> None:
    items(target)
    sink, lease = target.ready()
    identities = []
    for number in range(3):
        header, identity = lease.begin()
        if number == 1:
            sink.rollback()
            header, identity = lease.begin()
        identities.append((header, identity))
        lease.commit(header)
    if target.engine in ("mariadb", "sqlite"):
        assert all(identity == header.token for header, identity in identities)
    elif target.engine == "mysql":
        threads, ordinals = zip(*(identity.split("/") for _, identity in identities), strict=True)
        assert (len(set(threads)), ordinals) == (1, ("1", "2", "3"))
    else:
        assert all(sink.committed(identity) for _, identity in identities)
        assert len({identity for _, identity in identities}) == 3


def test_mariadb_shows_the_token_in_the_annotation_of_the_first_statement(mariadb_db: MySQLDatabase) -> None:
    target = Target("mariadb", mariadb_db)
    table = items(target)
    _, lease = target.ready()
    header, _ = lease.begin()
    lease.sink.write([insert(table, id=1, name="a", quantity=1)])
    lease.commit(header)
    assert f"/*datong:{header.token}*/" in annotated(mariadb_db)
    target.opened[0].close()


def annotated(database: MySQLDatabase) -> str:
    """The text of all annotate events of the present binlog."""
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW MASTER STATUS")
        (file, *_), *_ = cursor.fetchall()
        cursor.execute(f"SHOW BINLOG EVENTS IN '{file}'")
        return "\n".join(str(row[5]) for row in cursor.fetchall() if row[2] == "Annotate_rows")


# --- parking


def parked_row(number: int, **changed: Any) -> ParkedRow:
    row = ParkedRow(
        id=f"website.{number}", deployment=DEPLOYMENT, source="website", order=number, index=0, mapping="crm.items",
        entity="item", key_text=f'item/["{number}"]', reason="missing_row", error="it's \\ not there", since=123,
        change=bytes(range(256)),
    )  # fmt: skip
    return dataclasses.replace(row, **changed)


def test_parked_rows_come_and_go_with_their_transaction(target: Target) -> None:
    sink, lease = target.ready()
    header, _ = lease.begin()
    sink.park([parked_row(2), parked_row(1)])
    sink.rollback()
    assert sink.parked(DEPLOYMENT) == []
    header, _ = lease.begin()
    sink.park([parked_row(10), parked_row(2), parked_row(1)])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [parked_row(1), parked_row(2), parked_row(10)]
    header, _ = lease.begin()
    sink.park([parked_row(1, reason="waiting")])
    sink.unpark([parked_row(2).id, "nobody"])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [parked_row(1, reason="waiting"), parked_row(10)]
    assert sink.parked("another") == []


# --- refused rows


def test_a_poison_row_among_a_thousand_is_found_and_later_changes_of_its_row_wait(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    batch: list[RowWrite] = [insert(table, number, id=number, name=f"n{number}", quantity=1) for number in range(1000)]
    batch[400] = insert(table, 400, id=400, name="x" * 41, quantity=1)
    batch += [
        update(table, 400, 2000, quantity=5),
        update(table, 401, 2001, quantity=5),
        update(table, 402, 2002, id=400),
        update(table, 402, 2003, quantity=6),
        delete(table, 403, 2004),
    ]
    lease.begin()
    with pytest.raises(Rejected):
        sink.write(batch)
    sink.rollback()
    header, _ = lease.begin()
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == [
        (400, "rejected"), (2000, "waiting"), (2002, "waiting"), (2003, "waiting"),
    ]  # fmt: skip
    assert "name" in rejections[0].error
    assert "xxx" not in rejections[0].error
    found = {id_: quantity for id_, _, quantity in rows(target)}
    assert found == {number: 5 if number == 401 else 1 for number in range(1000) if number not in (400, 403)}


def test_what_was_planned_once_outlives_a_transaction_that_was_rolled_back(target: Target) -> None:
    table = phones(target)
    sink, lease = target.ready()
    for number in range(8):  # statements that come often are prepared, by us or by the driver
        sink.ping()
        lease.apply([insert(table, id=number, phone=f"p{number}", name="n")])
    lease.begin()
    with pytest.raises(Rejected):
        sink.write([insert(table, id=100, phone="p1", name="n")])
    sink.rollback()
    header, _ = lease.begin()
    assert [refused.ref for refused in sink.write_singly([insert(table, 7, id=100, phone="p1", name="n")])] == [7]
    lease.commit(header)
    lease.apply([insert(table, id=100, phone="p100", name="n")])
    assert len(rows(target, "phones")) == 9


def test_rows_of_several_tables_are_written_one_by_one_after_a_refusal(target: Target) -> None:
    """After a refusal the catalogs are read again: not in the middle of what is under way."""
    table, other = items(target), phones(target)
    sink, lease = target.ready()
    batch = [insert(table, 1, id=1, name="a", quantity=1), insert(other, 2, id=1, phone="1", name="a"),
             insert(table, 3, id=2, name="x" * 50, quantity=1), insert(other, 4, id=2, phone="2", name="b")]  # fmt: skip
    lease.begin(4)
    with pytest.raises(Rejected):
        sink.write(batch)
    sink.rollback()
    header, _ = lease.begin(4)
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [3]
    assert (len(rows(target)), len(rows(target, "phones"))) == (1, 2)


def test_a_row_that_comes_back_within_a_batch_is_written_in_one_turn(target: Target) -> None:
    """What is asked after a round trip about rows that were not found must not be answered by a later statement of it."""
    table, other = items(target), phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(other, id=1, phone="1", name="a")])
    for turn in range(
        2
    ):  # rows that are not there are deleted and made again; an update that changes nothing is followed by others
        name = f"new {turn}"
        lease.apply([
            delete(table, 7), insert(table, id=7, name=name, quantity=turn), update(table, 1, name="a"), delete(table, 8),
            insert(table, id=8, name=name, quantity=8), update(other, 1, phone="1"), update(other, 1, name=name),
            update(other, 1, phone=f"1{turn}"), delete(other, 2), insert(other, id=2, phone="1", name=name), delete(table, 1),
            insert(table, id=1, name="a", quantity=1),
        ])  # fmt: skip
        assert rows(target) == [(1, "a", 1), (7, name, turn), (8, name, 8)]
        assert rows(target, "phones") == [(1, f"1{turn}", name), (2, "1", name)]
        lease.apply([delete(other, 2), update(other, 1, phone="1")])


def test_changes_under_the_new_key_of_a_refused_move_wait_too(target: Target) -> None:
    table = phones(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, phone="1", name="a"), insert(table, id=2, phone="2", name="b")])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [
            RowWrite(table, "update", ("id",), (1,), ("id", "phone"), (5, "2"), 1),
            update(table, 5, 2, name="x"),
            update(table, 2, 3, name="fine"),
        ]
    )
    lease.commit(header)
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == [(1, "rejected"), (2, "waiting")]
    assert rows(target, "phones") == [(1, "1", "a"), (2, "2", "fine")]


def test_every_kind_of_refusal_is_answered_without_the_rows_values(target: Target) -> None:
    target.create(
        "CREATE TABLE parents (id int PRIMARY KEY)",
    )
    target.create(
        "CREATE TABLE strict (id int PRIMARY KEY, n int NOT NULL, u varchar(30) UNIQUE, p int REFERENCES parents, s smallint,"
        " c int CHECK (c < 100), d date)",
        "CREATE TABLE strict_ (id int PRIMARY KEY, n int NOT NULL, u varchar(30) UNIQUE, p int, s smallint, c int, d date,"
        " FOREIGN KEY (p) REFERENCES parents (id), CHECK (c < 100))",
    )
    table = target.table("strict" if target.engine in ("postgresql", "sqlite") else "strict_")
    sink, lease = target.ready()
    fine: dict[str, Any] = {"n": 1, "u": None, "p": None, "s": 1, "c": 1, "d": None}
    canary = "SECRET13800138000"
    lease.apply([insert(table, id=1, **{**fine, "u": canary})])
    bad: list[dict[str, Any]] = [{"n": None}, {"u": canary}, {"p": 987654}, {"s": 987654}, {"c": 987654}]
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [insert(table, number, id=number, **{**fine, **one}) for number, one in enumerate(bad, 10)]
    )
    lease.commit(header)
    too_large = [13] if target.engine != "sqlite" else []
    assert [rejection.ref for rejection in rejections] == [10, 11, 12, *too_large, 14]
    for rejection in rejections:
        assert rejection.reason == ("foreign_key" if rejection.ref == 12 else "rejected")
        assert rejection.code
        assert "SECRET" not in rejection.error
        assert "987654" not in rejection.error
        assert "\n" not in rejection.error
    assert "strict" in rejections[0].error
    assert len(rows(target, table.name)) == (1 if too_large else 2)
    parents = target.table("parents")
    lease.apply([insert(parents, id=5), insert(table, id=20, **{**fine, "p": 5})])
    header, _ = lease.begin()
    (rejection,) = sink.write_singly([delete(parents, 5)])
    lease.commit(header)
    assert rejection.reason == "foreign_key"


# --- transient errors, lost connections


def test_waiting_for_a_lock_is_transient_and_bounded(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    with closing(target.database.connect()) as blocker, closing(blocker.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE items SET quantity = 2 WHERE id = 1")
        lease.begin()
        started = time.monotonic()
        with pytest.raises(Transient) as caught:
            sink.write([update(table, 1, quantity=3)])
        assert time.monotonic() - started < 4
        assert caught.value.code == ("55P03" if target.postgresql else "1205")
        sink.rollback()
        blocker.rollback()
    lease.apply([update(table, 1, quantity=4)])
    assert rows(target) == [(1, "a", 4)]


def test_a_row_deleted_and_made_again_while_we_wait_is_never_taken_for_missing(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready(lock_timeout_seconds=20.0)
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    outcomes: list[str] = []

    def write(change: RowWrite) -> None:
        try:
            sink.write([change])
            outcomes.append("written")
        except Transient:
            outcomes.append("again")

    for change, left in ((update(table, 1, name="ours"), [(1, "ours", 3)]), (delete(table, 1), [])):
        with closing(target.database.connect()) as blocker, closing(blocker.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM items WHERE id = 1")
            cursor.execute("INSERT INTO items VALUES (1, 'theirs', 3)")
            header, _ = lease.begin()
            writer = threading.Thread(target=write, args=(change,))
            writer.start()
            writer.join(0.5)
            assert writer.is_alive()
            cursor.execute("COMMIT")
            writer.join(20)
        if outcomes[-1] == "again":
            sink.rollback()
            lease.apply([change])
        else:
            lease.commit(header)
        assert rows(target) == left
    if target.postgresql:
        assert outcomes == ["again", "again"]


def test_a_deadlock_is_transient(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready(lock_timeout_seconds=8.0)
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(table, id=2, name="b", quantity=1)])
    outcomes: list[str] = []
    with closing(target.database.connect()) as other, closing(other.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE items SET quantity = 20 WHERE id = 2")
        cursor.execute("UPDATE items SET name = 'z' WHERE id = 2")
        header, _ = lease.begin()
        sink.write([update(table, 1, quantity=10)])

        def cross() -> None:
            try:
                cursor.execute("UPDATE items SET quantity = 20 WHERE id = 1")
                outcomes.append("other")
            except Exception as error:  # noqa: BLE001 - either side may be the victim
                outcomes.append(type(error).__name__)

        crossing = threading.Thread(target=cross)
        crossing.start()
        try:
            sink.write([update(table, 2, quantity=10)])
            lease.commit(header)
        except Transient as error:
            assert error.code in ("40P01", "1213")
            sink.rollback()
        crossing.join(20)
        other.rollback()
    assert len(outcomes) == 1
    lease.apply([update(table, 1, quantity=99)])


TRANSIENT: dict[str, str] = {
    "postgresql": "40001 40P01 55P03 57014 53100 53200 53300 57P01 57P02 57P03 08006",
    "mysql": "1205 1213 1040 1053 1129 1153 1290 2006 2013 3024",
}
PERMANENT: dict[str, str] = {
    "postgresql": "23505 23503 23502 23514 22001 22003 22P02 42P01 42703 42501 28P01 08P01 40002",
    "mysql": "1062 1048 1054 1146 1142 1264 1292 1366 1406 1452 3819 1045",
}


def test_each_error_ends_the_batch_or_is_never_tried_again_blindly(server_target: Target) -> None:
    """CASES.md N2: a gate row and a trigger that raises what it says."""
    target = server_target
    table = items(target)
    target.execute("CREATE TABLE gate (code varchar(9))")
    target.execute("INSERT INTO gate VALUES ('')")
    if target.postgresql:
        target.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE found text; BEGIN"
            " SELECT code INTO found FROM gate; IF found <> '' THEN"
            " RAISE EXCEPTION 'gate SECRET %', NEW.name USING ERRCODE = found; END IF; RETURN NEW; END $$"
        )
        target.execute("CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION gate()")
    else:
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW BEGIN DECLARE found int DEFAULT 0;"
            " SELECT code + 0 INTO found FROM gate WHERE code <> ''; IF found > 0 THEN"
            " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = found, MESSAGE_TEXT = 'gate'; END IF; END"
        )
    family = "postgresql" if target.postgresql else "mysql"
    sink, lease = target.ready()
    row = [insert(table, id=1, name="a", quantity=1)]
    for code in TRANSIENT[family].split():
        target.execute(f"UPDATE gate SET code = '{code}'")
        for write in (sink.write, sink.write_singly):
            lease.begin()
            with pytest.raises(Transient) as caught:
                write(row)
            assert caught.value.code == code
            assert "SECRET" not in str(caught.value)
            sink.rollback()
            sink.connect()  # of some, the session is given up
    for code in PERMANENT[family].split():
        target.execute(f"UPDATE gate SET code = '{code}'")
        lease.begin()
        with pytest.raises((Rejected, Halt)) as refused:
            sink.write(row)
        assert (refused.value.code, "SECRET" in str(refused.value)) == (code, False)
        sink.rollback()
    target.execute("UPDATE gate SET code = ''")
    lease.apply(row)
    assert rows(target) == [(1, "a", 1)]


def test_a_row_that_meets_three_others_names_all_three_keys(target: Target) -> None:
    """CASES.md K7."""
    target.create(
        "CREATE TABLE people (id int PRIMARY KEY, phone varchar(20) UNIQUE, email varchar(40) UNIQUE, a int, b int, UNIQUE (a, b))"
    )
    table = target.table("people")
    sink, lease = target.ready()

    def person(key: int, phone: str, email: str, a: int) -> RowWrite:
        return insert(table, key, id=key, phone=phone, email=email, a=a, b=1)

    lease.apply([person(1, "1", "one", 1), person(2, "2", "two", 2), person(3, "3", "three", 3)])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [person(4, "1", "two", 3), person(5, "5", "five", 5), update(table, 5, 6, phone="2")]
    )
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [4, 6]
    assert "its (a, b), its (email), its (phone)" in rejections[0].error
    assert "its (" not in rejections[1].error
    assert [row[0] for row in rows(target, "people")] == [1, 2, 3, 5]


def shop(target: Target, rule: str = "") -> tuple[Table, Table]:
    reference = f"REFERENCES parents (id) {rule}"
    target.create(
        "CREATE TABLE parents (id int PRIMARY KEY, name varchar(20))",
        "CREATE TABLE parents (id int PRIMARY KEY, name varchar(20))",
    )
    target.create(
        f"CREATE TABLE children (id int PRIMARY KEY, p int {reference}, name varchar(20))",
        f"CREATE TABLE children (id int PRIMARY KEY, p int, name varchar(20), FOREIGN KEY (p) {reference})",
    )
    return target.table("parents"), target.table("children")


@pytest.mark.parametrize("rule", ["", "ON DELETE CASCADE"])
def test_parents_come_before_children_and_go_after_them(target: Target, rule: str) -> None:
    """CASES.md K8: whatever the order in the transaction, with and without a cascade in the target."""
    parents, children = shop(target, rule)
    _sink, lease = target.ready()
    family = [insert(children, id=n, p=n % 5, name="c") for n in range(50)]
    lease.apply([*family, *(insert(parents, id=n, name="p") for n in range(5))])
    assert len(rows(target, "children")) == 50
    lease.apply(
        [
            delete(parents, 1), *(delete(children, n) for n in range(50) if n % 5 == 1),
            insert(children, id=100, p=9, name="late"), insert(parents, id=9, name="new"),
            update(children, 2, p=9), update(children, 7, p=0), *(delete(children, n) for n in range(12, 50, 5)), delete(parents, 2),
        ]
    )  # fmt: skip
    assert [row[0] for row in rows(target, "parents")] == [0, 3, 4, 9]
    assert {row[0]: row[1] for row in rows(target, "children")} == {
        **{n: n % 5 for n in range(50) if n % 5 in (0, 3, 4)}, 100: 9, 2: 9, 7: 0,
    }  # fmt: skip


def test_rows_that_refer_to_each_other_are_written_where_the_database_checks_late(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TABLE a (id int PRIMARY KEY, b int)")
    target.execute("CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE)")
    target.execute("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED")
    a, b = target.table("a"), target.table("b")
    sink, lease = target.ready()
    lease.apply([insert(a, id=1, b=1), insert(b, id=1, a=1)])
    header, _ = lease.begin()
    with pytest.raises(Rejected):  # before COMMIT, whose error names no row
        sink.write([insert(a, id=2, b=77)])
    sink.rollback()
    header, _ = lease.begin()
    batch = [
        insert(a, 1, id=2, b=2),
        insert(b, 2, id=2, a=2),
        *(insert(a, 10 + n, id=10 + n, b=None) for n in range(200)),
        insert(a, 3, id=3, b=77),
    ]
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [3]
    assert len(rows(target, "a")) == 202


def test_a_table_that_refers_to_itself_is_written_and_emptied(target: Target) -> None:
    target.create(
        "CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree (id))",
        "CREATE TABLE tree (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES tree (id))",
    )
    tree = target.table("tree")
    _, lease = target.ready()
    lease.apply([insert(tree, id=50 - n, parent=51 - n if n else None) for n in range(50)])
    lease.apply([insert(tree, id=60, parent=None), update(tree, 60, parent=1)])
    assert len(rows(target, "tree")) == 51
    lease.apply([delete(tree, key) for key in (60, *range(1, 51))])
    assert rows(target, "tree") == []


def test_a_target_whose_schema_has_drifted_parks_what_does_not_fit_and_goes_on_when_mended(
    server_target: Target,
) -> None:
    """CASES.md S6, without a restart."""
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    drifts = [
        ("ADD COLUMN extra int NOT NULL", "DROP COLUMN extra"),
        ("ADD CONSTRAINT small CHECK (quantity < 100)", "DROP CONSTRAINT small"),
        ("ADD CONSTRAINT one_name UNIQUE (name)", "DROP CONSTRAINT one_name" if target.postgresql else "DROP INDEX one_name"),
        ("ALTER COLUMN name TYPE varchar(3)" if target.postgresql else "MODIFY name varchar(3)", ""),
    ]  # fmt: skip
    for number, (drift, mend) in enumerate(drifts, 10):
        target.execute("DELETE FROM items WHERE id > 1" if "extra" not in drift else "DELETE FROM items")
        target.execute(f"ALTER TABLE items {drift}")
        bad = insert(table, 1, id=number, name="a" if "UNIQUE" in drift else "four", quantity=500)
        lease.begin()
        with pytest.raises(Rejected):
            sink.write([bad])
        sink.rollback()
        header, _ = lease.begin()
        assert [rejection.ref for rejection in sink.write_singly([bad])] == [1]
        lease.commit(header)
        if not mend:
            break
        target.execute(f"ALTER TABLE items {mend}")
        lease.apply([bad])
        if "extra" in drift:
            lease.apply([insert(table, id=1, name="a", quantity=1)])


def test_a_trigger_that_refuses_a_row_rejects_it_without_its_words(target: Target) -> None:
    table = items(target)
    if target.postgresql:
        target.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.id = 2 THEN RAISE EXCEPTION 'SECRET %', NEW.name; END IF; RETURN NEW; END $$"
        )
        target.execute("CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION gate()")
    elif target.engine == "sqlite":
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items WHEN NEW.id = 2 BEGIN SELECT RAISE(ABORT, 'SECRET'); END"
        )
    else:
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW"
            " IF NEW.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'SECRET'; END IF"
        )
    sink, lease = target.ready()
    header, _ = lease.begin()
    rejections = sink.write_singly([insert(table, number, id=number, name="a", quantity=1) for number in range(4)])
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [2]
    assert "SECRET" not in rejections[0].error


@pytest.mark.parametrize("reaches", [True, False])
def test_after_an_unknown_commit_the_database_tells_how_it_ended(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy], reaches: bool
) -> None:
    target = server_target
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    armed = False

    def probe(point: str) -> None:
        if point == "sink.commit_sent" and armed:
            if reaches:
                await_that(lambda: rows(target), timeout=10)
                raise ConnectionResetError("the answer never came")
            proxy.reset()

    sink, lease = target.ready(proxy.port, probe=probe)
    header, identity = lease.begin()
    sink.write([insert(table, id=1, name="a", quantity=1)])
    if not reaches:
        proxy.freeze()
    armed = True
    with pytest.raises(Transient) as caught:
        sink.commit()
    assert caught.value.unknown_commit
    sink.rollback()
    proxy.thaw()
    with pytest.raises(Transient):
        lease.begin()
    sink.connect()
    known = sink.progress(DEPLOYMENT)
    assert known == ({"website": header.moves[0].now} if reaches else {})
    assert sink.committed(identity) is (reaches if target.postgresql else None)
    assert len(rows(target)) == (1 if reaches else 0)


def test_a_connection_lost_in_the_middle_is_transient_and_can_be_opened_again(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    target = server_target
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    sink, lease = target.ready(proxy.port)
    lease.begin()
    proxy.reset()
    with pytest.raises(Transient) as caught:
        sink.write([insert(table, id=1, name="a", quantity=1)])
    assert not caught.value.unknown_commit
    sink.rollback()
    sink.connect()
    lease.apply([insert(table, id=1, name="a", quantity=1)])


def test_a_connection_that_never_answers_becomes_transient(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = server_target
    monkeypatch.setattr("sinks.mysql_session.READ_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr("sinks.postgresql_session.READ_TIMEOUT_SECONDS", 1.0)
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    sink, lease = target.ready(proxy.port)
    lease.begin()
    proxy.freeze()
    started = time.monotonic()
    with pytest.raises(Transient):
        sink.write([insert(table, id=1, name="a", quantity=1)])
    assert time.monotonic() - started < 5
    sink.rollback()


def test_a_killed_session_is_transient(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    header, identity = lease.begin()
    if target.postgresql:
        target.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'datong' AND state = 'idle in transaction'"
        )
    else:
        (thread,) = target.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            " ORDER BY id DESC LIMIT 1"
        )
        target.execute(f"KILL {thread[0]}")
    with pytest.raises(Transient):
        sink.write([insert(table, id=1, name="a", quantity=1)])
    sink.rollback()
    assert header.rows == 1
    assert identity


def test_probes_are_hit_in_order(target: Target) -> None:
    table = items(target)
    points: list[str] = []
    _, lease = target.ready(probe=points.append)
    lease.apply([insert(table, id=1, name="a", quantity=1), update(table, 1, quantity=2), delete(table, 1)])
    assert points == ["sink.before_first_stmt", "sink.mid_tx", "sink.commit_sent"]


# --- what needs a person


def test_a_wrong_password_halts_with_a_mend(server_target: Target) -> None:
    target = server_target
    sink = open_sink(target.address(password="not-this-CANARY"), SinkOptions())
    with pytest.raises(Halt) as caught:
        sink.connect()
    assert caught.value.mend
    assert "CANARY" not in str(caught.value) + caught.value.mend


def test_no_server_at_that_port_is_transient(server_target: Target) -> None:
    target = server_target
    sink = open_sink(target.address(port=1), SinkOptions())
    with pytest.raises(Transient):
        sink.connect()


def test_a_missing_table_or_column_halts_with_a_mend(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    target.execute("ALTER TABLE items DROP COLUMN quantity")
    lease.begin()
    with pytest.raises(Halt, match="quantity") as caught:
        lease.sink.write([insert(table, id=2, name="a", quantity=1)])
    assert caught.value.mend
    lease.sink.rollback()
    target.execute("DROP TABLE items")
    for sink in (lease.sink, target.sink()):
        lease.sink = sink
        lease.begin()
        with pytest.raises(Halt, match="items") as caught:
            sink.write([insert(table, id=2, name="a")])
        assert caught.value.mend
        sink.rollback()


def test_a_missing_privilege_halts_and_names_the_statement(server_target: Target) -> None:
    target = server_target
    table = items(target)
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    name = target.database.name
    if target.postgresql:
        target.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    else:
        target.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
        target.execute(f"GRANT SELECT ON `{name}`.* TO '{user}'@'%'")
    try:
        sink = open_sink(target.address(user=user, password=password), SinkOptions())
        target.opened.append(sink)
        sink.connect()
        with pytest.raises(Halt) as caught:
            sink.prepare()
        assert "CREATE TABLE" in caught.value.mend
        target.sink().prepare()
        if target.postgresql:
            target.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON datong_progress, datong_parked TO {user}")
        else:
            target.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.`datong_progress` TO '{user}'@'%'")
        lease = Lease(sink, sink.take_over(DEPLOYMENT, TARGET))
        lease.begin()
        with pytest.raises(Halt, match="items") as caught:
            sink.write([insert(table, id=1, name="a", quantity=1)])
        assert "grant" in caught.value.mend.lower()
        sink.rollback()
    finally:
        for sink in target.opened:
            sink.close()
        if target.postgresql:
            target.execute(f"DROP OWNED BY {user}")
            target.execute(f"DROP ROLE {user}")
        else:
            target.execute(f"DROP USER '{user}'@'%'")


def test_prepare_creates_what_is_missing_once(target: Target) -> None:
    sink = target.sink()
    statements = sink.prepare()
    assert len([one for one in statements if one.startswith("CREATE TABLE")]) == 2
    assert sink.prepare() == []
    if target.postgresql:
        assert target.execute("SELECT relreplident::text FROM pg_class WHERE relname = 'datong_parked'") == [("f",)]


def test_capture_and_apply_that_prepare_in_the_same_moment_both_find_the_tables(server_target: Target) -> None:
    target = server_target
    together = 4
    for _ in range(5):
        target.execute("DROP TABLE IF EXISTS datong_progress, datong_parked")
        sinks = [target.sink() for _ in range(together)]
        start = threading.Barrier(together)

        def prepare(sink: Sink, start: threading.Barrier = start) -> list[str]:
            start.wait()
            return sink.prepare()

        with ThreadPoolExecutor(together) as pool:
            answers = list(pool.map(prepare, sinks))
        assert any(answers)
        for sink in sinks:
            assert sink.prepare() == []
            sink.close()


# --- without tables


def test_without_bookkeeping_nothing_is_created(target: Target) -> None:
    table = items(target)
    sink = target.sink(bookkeeping="none")
    assert sink.prepare() == []
    assert sink.progress(DEPLOYMENT) == {}
    assert sink.parked(DEPLOYMENT) == []
    with pytest.raises(ValueError, match="hub store"):
        sink.take_over(DEPLOYMENT, TARGET)
    lease = Lease(sink, 0)
    identities = []
    for number in (1, 2, 2, 3):
        header, identity = lease.begin()
        with pytest.raises(ValueError, match="hub store"):
            sink.park([parked_row(1)])
        sink.write([insert(table, id=number, name="a", quantity=1)])
        lease.commit(header)
        identities.append(identity)
    assert len(rows(target)) == 3
    assert len(set(identities)) == 4
    if target.engine == "mysql":  # the third changed nothing, which no log shows: the count starts anew
        assert [identity.split("/")[1] for identity in identities] == ["1", "2", "3", "1"]
    if target.engine == "sqlite":
        assert target.execute("SELECT name FROM sqlite_master WHERE type = 'table'") == [("items",)]
        return
    listed = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'datong%%' AND table_schema ="
    assert target.execute(
        f"{listed} {'current_schema()' if target.postgresql else 'DATABASE()'}".replace("%%", "%")
    ) == [(0,)]


def test_without_bookkeeping_mariadb_carries_the_record_in_a_comment(mariadb_db: MySQLDatabase) -> None:
    target = Target("mariadb", mariadb_db)
    table = items(target)
    sink = target.sink(bookkeeping="none")
    lease = Lease(sink, 4)
    header, _ = lease.begin()
    sink.write([insert(table, id=1, name="a", quantity=1)])
    sink.write([update(table, 1, name="b")])
    lease.commit(header)
    sink.close()
    assert annotated(mariadb_db).count(header.token) == 2


# --- the server


def test_the_servers_identity_is_stable_and_its_restart_shows(server_target: Target) -> None:
    target = server_target
    first = target.sink().connect()
    assert all(target.sink().connect() == first for _ in range(3))
    target.server.restart()
    again = target.sink().connect()
    assert (again.server, again.version) == (first.server, first.version)
    assert again.incarnation != first.incarnation


# --- values


TYPES_MYSQL: list[tuple[str, list[Any]]] = [
    ("tinyint", [-128, 127, 0]),
    ("tinyint(1)", [0, 1, 2, -1]),
    ("int unsigned", [0, 4294967295]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("bigint unsigned", [0, 2**63, 2**64 - 1]),
    ("decimal(65,30)", [decimal.Decimal("9" * 35 + "." + "9" * 30), decimal.Decimal("-0." + "0" * 29 + "1"), decimal.Decimal(0)]),
    ("decimal(12,2)", [decimal.Decimal("19.90"), decimal.Decimal("1E+3"), decimal.Decimal("-0.01")]),
    ("double", [0.1, 1e308, 5e-324, -0.0, 1 / 3, 123456789.0]),
    ("float", [0.1, 1.5, 3.4028235e38, -0.0]),
    ("year", [0, 1901, 2155]),
    ("date", [dt.date(1000, 1, 1), dt.date(9999, 12, 31)]),
    ("datetime(6)", [dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    ("datetime(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 120000)]),
    ("timestamp(6) NULL", [dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), dt.datetime(2038, 1, 19, 3, 14, 7, 999999, dt.UTC)]),
    ("time(6)", [dt.timedelta(hours=838, minutes=59, seconds=59), -dt.timedelta(hours=1, minutes=2, seconds=3.25), dt.timedelta(0)]),
    ("varchar(40)", ["", "a ", "tab\there", "it's", 'say "x"', "back\\slash", "%s %(a)s", "é漢字😀", "\0", "'); DROP TABLE x;--"]),
    ("longtext", ["x" * 100_000, "\x1a\b\n\r", "\ufeff", "\U0010ffff"]),
    ("varbinary(300)", [b"", bytes(range(256)), b"\\x41'"]),
    ("longblob", [b"\0" * 1000, b"\xff\xfe"]),
    ("enum('a','it''s','c,d','漢')", ["a", "it's", "c,d", "漢"]),
    ("set('x','y','z')", [(), ("x",), ("x", "z")]),
    ("json", ['{"a": [1, "é\\\\n\'"]}', "null", '"x"']),
    ("char(5)", ["ab", "漢字"]),
]  # fmt: skip


def test_mysql_values_round_trip_exactly(mysql_target: Target) -> None:
    target = mysql_target
    for number, (kind, all_values) in enumerate(TYPES_MYSQL):
        values = [v for v in all_values if target.engine == "mysql" or str(v) != "-0.0"]  # MariaDB has no negative zero
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind}) CHARSET utf8mb4".replace("%", "%%"))
        table = target.table(f"v{number}")
        sink, lease = target.ready()
        lease.known = sink.progress(DEPLOYMENT).get("website")
        lease.apply([insert(table, id=n, v=value) for n, value in enumerate([*values, None])])
        found = [row[1] for row in rows(target, f"v{number}")]
        assert found[-1] is None
        assert [_as_stored(value, kind) for value in values] == [_as_read(one, kind) for one in found[:-1]], kind
        lease.apply([update(table, n, v=value) for n, value in enumerate([None, *values])])
        found = [row[1] for row in rows(target, f"v{number}")]
        assert [_as_stored(value, kind) for value in values] == [_as_read(one, kind) for one in found[1:]], kind
        sink.close()


def _as_stored(value: Any, kind: str) -> Any:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return set(value)
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None)
    return value


def _as_read(value: Any, kind: str) -> Any:
    if isinstance(value, float):
        return _single(value) if kind == "float" else value.hex()
    if kind.startswith("set"):
        return {part for part in value.split(",") if part}
    return value


def _single(value: float) -> str:
    """FLOAT shows six digits only; the widest of our samples is compared by those."""
    return {3.40282e38: 3.4028235e38}.get(value, value).hex()


TYPES_POSTGRESQL: list[tuple[str, list[Any]]] = [
    ("smallint", [-32768, 32767]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("numeric(65,30)", [decimal.Decimal("9" * 35 + "." + "9" * 30), decimal.Decimal("-0." + "0" * 29 + "1")]),
    ("numeric", [decimal.Decimal("1.50"), decimal.Decimal("1E+40"), decimal.Decimal("1E-40"), decimal.Decimal(0)]),
    ("real", [0.1, 1.5, -0.0]),
    ("double precision", [0.1, 1e308, 5e-324, -0.0, 1 / 3, float("inf"), float("-inf")]),
    ("boolean", [True, False]),
    ("date", [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    ("time(6)", [dt.time(0), dt.time(23, 59, 59, 999999)]),
    ("timestamp", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 2, 30)]),
    ("timestamptz(3)", [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 1, 1, 1, 120000, dt.UTC)]),
    ("varchar(40)", ["", "a ", "it's", 'say "x"', "back\\slash", "%s %(a)s", "é漢字😀", "{a,b}", "NULL", "null", " a", "$1"]),
    ("text", ["x" * 100_000, "\x1a\b\n\r\t", "\ufeff", "\U0010ffff", "\\x41", "\\", '"', "'); DROP TABLE x;--"]),
    ("bytea", [b"", bytes(range(256)), b"\\x41'"]),
    ("jsonb", ['{"a": [1, "é"]}', "null", '"x"']),
    ("json", ['{"a" : [1,2]}', "null"]),
    ("uuid", [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]),
    ("mood", ["a", "it's", "c,d", '"', "漢"]),
    ("money_amount", [decimal.Decimal("1.25")]),
    ("char(5)", ["ab", "漢字"]),
    ("interval", [-dt.timedelta(hours=1, minutes=2, seconds=3.25), dt.timedelta(days=40)]),
]  # fmt: skip


def test_postgresql_values_round_trip_exactly(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TYPE mood AS ENUM ('a', 'it''s', 'c,d', '\"', '漢')")
    target.execute("CREATE DOMAIN money_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(TYPES_POSTGRESQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = target.table(f"v{number}")
        lease.apply([insert(table, id=n, v=value) for n, value in enumerate([*values, None])])
        cast = "::text" if kind in ("json", "jsonb") else ""
        read = f"SELECT v{cast} FROM v{number} ORDER BY id"
        padded = [value.ljust(5) if kind == "char(5)" else _as_stored_pg(value) for value in values]
        assert [_as_stored_pg(one) for (one,) in target.execute(read)] == [*padded, None], kind
        lease.apply([update(table, n, v=value) for n, value in enumerate([None, *values])])
        assert [_as_stored_pg(one) for (one,) in target.execute(read)] == [None, *padded], kind
    sink.close()


def _as_stored_pg(value: Any) -> Any:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return value


UNFIT_MYSQL: list[tuple[str, list[Any]]] = [
    ("decimal(12,2)", [decimal.Decimal("1.005"), decimal.Decimal(12345678901), decimal.Decimal("NaN")]),
    ("double", [float("nan"), float("inf"), "1", 1]),
    ("float", [0.1234567890123, 1e300]),
    ("datetime(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 123456), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ("timestamp NULL", [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 5, dt.UTC), dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
                        dt.datetime(2200, 1, 1, tzinfo=dt.UTC)]),
    ("time", [dt.timedelta(hours=839), dt.timedelta(seconds=1.5)]),
    ("varchar(3)", ["abcd", "ab  ", 3, b"x", "\ud800"]),
    ("char(3)", ["a ", "abcd"]),
    ("varchar(9) CHARACTER SET latin1", ["漢"]),
    ("varchar(9) CHARACTER SET utf8mb3", ["😀"]),
    ("tinytext", ["x" * 256]),
    ("binary(3)", [b"ab", b"abcd"]),
    ("enum('a','b')", ["c", "A", "", "1"]),
    ("set('a','b')", [("c",)]),
    ("tinyint unsigned", [-1, 256, "1", 1.0]),
    ("year", [24, 1900, 2156]),
    ("json", ["{", "a"]),
]  # fmt: skip


def test_mysql_refuses_what_a_column_cannot_hold_exactly(mysql_target: Target) -> None:
    target = mysql_target
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(UNFIT_MYSQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind}) CHARSET utf8mb4")
        table = target.table(f"v{number}")
        header, _ = lease.begin()
        rejections = sink.write_singly([insert(table, n, id=n, v=value) for n, value in enumerate(values)])
        lease.commit(header)
        assert [rejection.ref for rejection in rejections] == list(range(len(values))), (kind, rejections)
        assert rows(target, f"v{number}") == []


UNFIT_POSTGRESQL: list[tuple[str, list[Any]]] = [
    ("numeric(12,2)", [decimal.Decimal("1.005"), decimal.Decimal(12345678901)]),
    ("numeric", [decimal.Decimal("1E+200000"), 1.5]),
    ("real", [0.1234567890123, 1e300]),
    ("timestamp(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 123456), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ("timestamptz", [dt.datetime(2024, 1, 1)]),
    ("time(0)", [dt.time(1, 1, 1, 5)]),
    ("varchar(3)", ["abcd", "ab  ", 3, b"x", "\ud800", "\0"]),
    ("char(3)", ["a ", "abcd"]),
    ("mood", ["c", "A", ""]),
    ("small_amount", [decimal.Decimal(-1)]),
    ("smallint", [32768, True, "1"]),
    ("boolean", [1, "t"]),
    ("json", ["{"]),
    ("jsonb", ['"\\u0000"']),
]  # fmt: skip


def test_postgresql_refuses_what_a_column_cannot_hold_exactly(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    target.execute("CREATE DOMAIN small_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(UNFIT_POSTGRESQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = target.table(f"v{number}")
        header, _ = lease.begin()
        rejections = sink.write_singly([insert(table, n, id=n, v=value) for n, value in enumerate(values)])
        lease.commit(header)
        assert [rejection.ref for rejection in rejections] == list(range(len(values))), (kind, rejections)
        assert rows(target, f"v{number}") == []


HOSTILE = "'\"\\\0\n\r\t\x1a%_;`$#-/*" + "é漢😀\ufeffaZ 0"


def test_hostile_text_and_bytes_round_trip_byte_for_byte(target: Target) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    alphabet = HOSTILE.replace("\0", "") if target.postgresql else HOSTILE
    target.create(
        "CREATE TABLE hostile (id int PRIMARY KEY, t text, b bytea)",
        "CREATE TABLE hostile (id int PRIMARY KEY, t longtext CHARACTER SET utf8mb4, b longblob)",
    )
    table = target.table("hostile")
    _, lease = target.ready()
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(30))) for _ in range(600)] + ["\\" * 100_000 + "'"]
    data = [chance.randbytes(chance.randrange(60)) for _ in texts]
    lease.apply(
        [insert(table, id=n, t=text, b=bytes_) for n, (text, bytes_) in enumerate(zip(texts, data, strict=True))]
    )
    expected = [(n, text, bytes_) for n, (text, bytes_) in enumerate(zip(texts, data, strict=True))]
    assert [(n, text, bytes(b)) for n, text, b in rows(target, "hostile")] == expected
    lease.apply([update(table, n, t=texts[-1 - n]) for n in range(len(texts))])
    assert [text for _, text, _ in rows(target, "hostile")] == texts[::-1]


def test_hostile_names_are_only_names(target: Target) -> None:
    quote = '"' if target.postgresql else "`"
    table_name, column = f"a {quote}b'%s;--", f"c{quote}%d $1"

    def quoted(name: str) -> str:
        return quote + name.replace(quote, quote * 2) + quote

    target.execute(f"CREATE TABLE {quoted(table_name)} (id int PRIMARY KEY, {quoted(column)} int)")
    table = target.table(table_name)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, **dict[str, Any]({column: 1}))])
    lease.apply([update(table, 1, **{column: 2})])
    assert target.execute(f"SELECT * FROM {quoted(table_name)}") == [(1, 2)]
    lease.apply([delete(table, 1)])


def test_a_row_above_the_packet_limit_is_refused_by_name_and_the_next_one_goes_on(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE blobs (id int PRIMARY KEY, b longblob)")
    table = target.table("blobs")
    sink, lease = target.ready()
    (limit,) = target.execute("SELECT @@max_allowed_packet")[0]
    header, _ = lease.begin()
    big = insert(table, 1, id=1, b=b"x" * (limit // 2 + 100))
    rejections = sink.write_singly([big, insert(table, 2, id=2, b=b"ok")])
    waiting = parked_row(1, change=random.Random(1).randbytes(limit // 2 + 200))
    sink.park([waiting])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [waiting]
    lease.begin()
    with pytest.raises(Halt, match="max_allowed_packet"):
        sink.park([parked_row(2, change=b"x" * limit)])
    sink.rollback()
    assert [rejection.ref for rejection in rejections] == [1]
    assert "blobs" in rejections[0].error
    assert "id" in rejections[0].error
    assert str(limit) in rejections[0].error
    assert rows(target, "blobs") == [(2, b"ok")]


# --- the catalog


def test_mysqls_catalog_is_described_whole(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE d (id int unsigned AUTO_INCREMENT PRIMARY KEY, name varchar(20) CHARACTER SET latin1 NOT NULL DEFAULT 'x',"
        " e enum('a','it''s','b\\\\c') NULL, amount decimal(10,3), at datetime(3), g int GENERATED ALWAYS AS (amount + 1) VIRTUAL,"
        " j json, long_name text, UNIQUE KEY two (name, amount), UNIQUE KEY part (long_name(10)))"
    )
    table = target.table("d")
    assert table.schema == target.database.name
    assert table.primary_key == ("id",)
    assert table.unique_keys == (("name", "amount"),)
    columns = {column.name: column for column in table.columns}
    assert columns["id"].type.unsigned
    assert columns["id"].has_default
    assert not columns["id"].nullable
    assert (columns["name"].type.charset, columns["name"].type.length, columns["name"].has_default) == (
        "latin1",
        20,
        True,
    )
    assert columns["e"].type.labels == ("a", "it's", "b\\c")
    assert (columns["amount"].type.precision, columns["amount"].type.scale) == (10, 3)
    assert columns["at"].type.scale == 3
    assert columns["g"].generated
    assert columns["j"].type.name == "json"
    assert not columns["amount"].has_default
    assert target.opened[0].describe(None, "nothing") is None


def test_postgresqls_catalog_is_described_whole(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE SCHEMA shop")
    target.execute("CREATE TYPE mood AS ENUM ('z', 'a')")
    target.execute("CREATE DOMAIN code AS varchar(7)")
    target.execute("CREATE DOMAIN inner_code AS code")
    target.execute(
        "CREATE TABLE shop.d (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY,"
        " name varchar(20) NOT NULL DEFAULT 'x', m mood, c inner_code, amount numeric(10,3), at timestamptz(3), a int[],"
        " g int GENERATED ALWAYS AS (n + 1) STORED, UNIQUE (name, amount), UNIQUE (c) DEFERRABLE)"
    )
    target.execute("CREATE UNIQUE INDEX ON shop.d (m) WHERE n > 0")
    target.execute("CREATE UNIQUE INDEX ON shop.d (lower(name))")
    table = target.sink().describe("shop", "d")
    assert table is not None
    assert (table.primary_key, table.unique_keys) == (("id",), (("name", "amount"),))
    columns = {column.name: column for column in table.columns}
    assert columns["id"].generated
    assert not columns["n"].generated
    assert columns["n"].has_default
    assert columns["g"].generated
    assert (columns["m"].type.kind, columns["m"].type.labels) == ("enum", ("z", "a"))
    assert (columns["c"].type.kind, columns["c"].type.name, columns["c"].type.length) == ("domain", "inner_code", 7)
    assert (columns["amount"].type.precision, columns["amount"].type.scale) == (10, 3)
    assert columns["at"].type.scale == 3
    assert columns["a"].type.kind == "array"
    assert columns["name"].has_default
    assert not columns["name"].nullable
    assert target.sink().describe(None, "d") is None


# -- writes with conditions


def shops(target: Target) -> Table:
    target.create(
        "CREATE TABLE items (id int PRIMARY KEY, name varchar(40), shop int NOT NULL, secret varchar(9) NOT NULL)"
    )
    target.execute("INSERT INTO items VALUES (1, 'ours', 7, 'kept'), (2, 'theirs', 8, 'kept')")
    return target.table("items")


def conditional(write: RowWrite, **changes: Any) -> RowWrite:
    fresh = (("secret", "new"),) if write.op == "insert" else ()
    return msgspec.structs.replace(write, only=(("shop", 7),), fresh=fresh, **changes)


def test_a_write_with_conditions_touches_its_own_rows_only(target: Target) -> None:
    table = shops(target)
    _, lease = target.ready()
    lease.apply([
        conditional(insert(table, id=1, name="again", shop=7)), conditional(insert(table, id=3, name="made", shop=7)),
        conditional(delete(table, 2)), conditional(update(table, 2, name="bent"), lenient=True),
        conditional(update(table, 9, name="nobody"), lenient=True), conditional(update(table, 3, name="known")),
    ])  # fmt: skip
    assert rows(target) == [(1, "again", 7, "kept"), (2, "theirs", 8, "kept"), (3, "known", 7, "new")]


def test_a_condition_may_be_null(target: Target) -> None:
    """`where: {left: null}`: no `=` finds such a row."""
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), left_on date)")
    target.execute("INSERT INTO items VALUES (1, 'ours', NULL), (2, 'left', '2024-01-01'), (3, 'goes', NULL)")
    table = target.table("items")
    _, lease = target.ready()

    def there(write: RowWrite, **changes: Any) -> RowWrite:
        return msgspec.structs.replace(write, only=(("left_on", None),), **changes)

    lease.apply([
        there(insert(table, id=1, name="again", left_on=None)), there(insert(table, id=4, name="made", left_on=None)),
        there(update(table, 2, name="bent"), lenient=True), there(update(table, 4, name="known")),
        there(delete(table, 2)), there(delete(table, 3)),
    ])  # fmt: skip
    found = target.execute("SELECT id, name FROM items WHERE left_on IS NULL ORDER BY id")
    assert found == [(1, "again"), (4, "known")]
    assert target.execute("SELECT id, name FROM items WHERE left_on IS NOT NULL") == [(2, "left")]
    header, _ = lease.begin()
    (rejection,) = lease.sink.write_singly([there(insert(table, 5, id=2, name="stolen", left_on=None))])
    lease.commit(header)
    assert rejection.ref == 5


def test_an_insert_that_meets_a_row_of_somebody_else_is_rejected(target: Target) -> None:
    table = shops(target)
    sink, lease = target.ready()
    writes = [
        conditional(insert(table, 5, id=2, name="stolen", shop=7)),
        conditional(insert(table, 6, id=4, name="made", shop=7)),
    ]
    lease.begin()
    with pytest.raises(Rejected):
        sink.write(writes)
    sink.rollback()
    header, _ = lease.begin()
    (rejection,) = sink.write_singly(writes)
    lease.commit(header)
    assert (rejection.ref, "stolen" in rejection.error) == (5, False)
    assert rows(target) == [(1, "ours", 7, "kept"), (2, "theirs", 8, "kept"), (4, "made", 7, "new")]


def test_a_counter_is_added_to(target: Target) -> None:
    table = items(target)
    target.execute("INSERT INTO items VALUES (1, 'a', 5), (2, 'b', NULL)")
    _, lease = target.ready()
    lease.apply([
        msgspec.structs.replace(update(table, key, quantity=3, name="x"), deltas=(0,)) for key in (1, 2, 1)
    ])  # fmt: skip
    assert rows(target) == [(1, "x", 11), (2, "x", 3)]
