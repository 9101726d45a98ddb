"""The PostgreSQL reader against a real server."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from cdc.demo.servers import PostgreSQL, certificates
from cdc.errors import HaltError, TransientError
from cdc.faults import InjectedFaultError
from cdc.health import SLOT_UNRESERVED
from cdc.model import LogPart, ParkedKey, Position, ProgressRow, RowChange
from cdc.readers import LogBatch, Notice, ReaderOptions, Wanted
from cdc.readers.pgoutput import lsn_number
from cdc.readers.postgresql_reader import PostgreSQLReader
from cdc.readers.postgresql_slot import drop_slot
from sinks.bookkeeping import CREATE_POSTGRESQL, record_text
from sinks.connections import Address, Tls, connect_postgresql
from sinks.contract import Progress, ProgressMove, TransactionHeader
from tests.servers import PostgreSQLDatabase, server_folder
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that
from transforms.tables import ColumnType
from transforms.values import ABSENT, Unrepresentable

Proxies = Callable[[str, int], TcpProxy]


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


@pytest.fixture
def log(postgresql_db: PostgreSQLDatabase) -> Iterator[Log]:
    with contextlib.ExitStack() as stack:
        yield Log(postgresql_db, stack)


# --- values ---------------------------------------------------------------------------------------------------------

_T = "12:34:56"
CASES: list[tuple[str, list[str]]] = [
    ("smallint", ["-32768", "32767", "0"]),
    ("integer", ["-2147483648", "2147483647"]),
    ("bigint", ["-9223372036854775808", "9223372036854775807"]),
    ("numeric", ["1.50", "-0.000000000000000000001", "1e400", "0", "'NaN'", "'Infinity'", "'-Infinity'"]),
    ("numeric(12,2)", ["1.5", "-9999999999.99"]),
    ("real", ["0.1", "'3.4028235e38'", "1e-45", "'-0'", "'NaN'", "'-Infinity'", "1.0/3"]),
    ("double precision", ["0.1", "1e308", "5e-324", "'-0'", "'NaN'", "'Infinity'", "1.0/3"]),
    ("boolean", ["true", "false"]),
    ("text", ["''", "'O''Reilly \\ \"x\"'", "'😀 表 ́ \t\n'", "repeat('x', 100000)"]),
    ("varchar(10)", ["'a  '", "'表表'"]),
    ("char(10)", ["'a'", "''", "' b '"]),
    ("name", ["'n'"]),
    ('"char"', ["'q'"]),
    ("bytea", ["''", "'\\x00ff5c27'", "'\\\\000'"]),
    ("date", ["'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"]),
    ("timestamp", ["'2024-03-31 02:30:00.5'", "'9999-12-31 23:59:59.999999'", "'infinity'", "'0044-03-15 BC'", "'10000-01-01'"]),
    ("timestamp(0)", ["'2024-03-31 02:30:00.6'"]),
    ("timestamptz", ["'2024-03-31 02:30:00.000001+05:45'", "'0001-01-01 00:00:00+00'", "'-infinity'", "'294276-01-01 00:00+00'", "'4714-11-24 00:00+00 BC'"]),
    ("time", ["'00:00'", "'23:59:59.999999'", "'24:00:00'"]),
    ("json", ["'{\"b\": 1, \"a\" : [1.50, null]}'", "'12345678901234567890'", "'\"\\ud800\"'"]),
    ("jsonb", ["'{\"b\": 1, \"a\" : [1.50, \"表\"]}'", "'null'"]),
    ("uuid", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("oid", ["4294967295"]),
    ("mood", ["'sad'", "'it''s \"金\", ok'"]),
    ("price", ["12.50"]),
]  # fmt: skip

EXPECTED: dict[tuple[str, str], object] = {
    ("numeric", "1.50"): Decimal("1.50"),
    ("numeric(12,2)", "1.5"): Decimal("1.50"),
    ("real", "0.1"): 0.1,
    ("char(10)", "' b '"): " b",
    ("bytea", "'\\x00ff5c27'"): b"\x00\xff\\'",
    ("bytea", "'\\\\000'"): b"\\000",
    ("timestamptz", "'2024-03-31 02:30:00.000001+05:45'"): dt.datetime(2024, 3, 30, 20, 45, 0, 1, dt.UTC),
    ("json", "'{\"b\": 1, \"a\" : [1.50, null]}'"): '{"a":[1.5,null],"b":1}',
    ("json", "'12345678901234567890'"): "12345678901234567890",
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"): uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("mood", "'it''s \"金\", ok'"): 'it\'s "金", ok',
    ("price", "12.50"): Decimal("12.50"),
    ('"char"', "'q'"): "q",
}  # fmt: skip
UNREPRESENTABLE = ("NaN", "Infinity", "infinity", "BC", "5874897", "10000-", "294276", "24:00", "ud800")


def _differs(log: Log, plain: psycopg.Connection[Any], number: int, index: int, written: str, got: object) -> str:
    """How `got` differs from what a plain SELECT says (psycopg's own loaders, or the text); "" if it does not."""
    type_name = CASES[number][0]
    of_a_float = type_name in {"real", "double precision"}
    if not of_a_float and any(word in written for word in UNREPRESENTABLE):
        return "" if isinstance(got, Unrepresentable) else f"{got!r} is no refusal"
    where = f"FROM t{number} WHERE id = {index}"
    row = plain.execute(f"SELECT v, v::text {where}".encode()).fetchone()
    assert row is not None
    selected, text = row
    if selected is not None and of_a_float:
        selected = float(text)
    elif text is not None and type_name in {"json", "jsonb"}:
        if json.loads(str(got)) != json.loads(text):
            return f"{got!r} means something else"
        selected = got
    elif selected is not None and type_name == "char(10)":
        selected = selected.rstrip(" ")
    expected = EXPECTED.get((type_name, written))
    if repr(got) != repr(selected) or (expected is not None and repr(expected) != repr(got)):
        return f"{got!r} is not {selected!r}, {expected!r}"
    return ""


def _make_types(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s \"金\", ok')")
    log.execute("CREATE DOMAIN plain_price AS numeric(10,2)")
    log.execute("CREATE DOMAIN price AS plain_price CHECK (VALUE >= 0)")


HOSTILE = (
    "DateStyle = 'German, DMY'", "bytea_output = 'escape'", "TimeZone = 'Asia/Kathmandu'", "extra_float_digits = 0",
    "IntervalStyle = 'sql_standard'", "search_path = 'pg_catalog'", "client_encoding = 'LATIN1'",
    "default_transaction_read_only = on", "standard_conforming_strings = off",
)  # fmt: skip


@pytest.mark.parametrize("hostile", [False, True], ids=["plain", "hostile defaults"])
def test_every_type_is_what_a_select_says_whatever_the_servers_defaults(log: Log, hostile: bool) -> None:
    _make_types(log)
    user, password = log.server.admin_user, log.server.password
    if hostile:
        user, password = f"u_{log.database.name}"[:60], "pw"
        log.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'pw'")
        for setting in HOSTILE:
            log.execute(f"ALTER ROLE {user} SET {setting}")
        log.execute(f"ALTER DATABASE {log.database.name} SET DateStyle = 'SQL, MDY'")
    tables = {}
    for number, (type_name, _values) in enumerate(CASES):
        log.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY, v {type_name})")
        tables[f"t{number}"] = "id v"
    reader = log.opened(tables, address=log.address(user=user, password=password))
    written = [
        (number, index, value)
        for number, (_, values) in enumerate(CASES)
        for index, value in enumerate([*values, "NULL"], 1)
    ]
    for number, _index, value in written:
        log.execute(f"INSERT INTO t{number} (v) VALUES ({value})")
    inserted = log.rows(reader)
    wrong = []
    with log.database.connect() as plain:
        plain.execute("SET TimeZone = 'UTC'")
        plain.execute("SET DateStyle = 'ISO'")
        for (number, index, value), change in zip(written, inserted, strict=True):
            assert change.table.name == f"t{number}"
            assert change.after is not None
            differs = _differs(log, plain, number, index, value, change.after[1])
            if differs:
                wrong.append((CASES[number][0], value, differs))
    assert wrong == []

    for number in range(len(CASES)):
        log.execute(f"ALTER TABLE t{number} REPLICA IDENTITY FULL")
    for number, index, _value in written:
        log.execute(f"UPDATE t{number} SET id = id WHERE id = {index}")
    for number, index, _value in written:
        log.execute(f"DELETE FROM t{number} WHERE id = {index}")
    images = [repr(change.after) for change in inserted]  # as text: NaN is not equal to itself
    later = log.rows(reader)
    updated, deleted = later[: len(written)], later[len(written) :]
    assert [repr(change.before) for change in updated] == images
    assert [repr(change.after) for change in updated] == images
    assert [(change.op, repr(change.before)) for change in deleted] == [("delete", image) for image in images]
    if hostile:
        reader.close()
        log.execute(f"DROP ROLE {user}")


def test_a_tables_layout_says_its_types_with_their_sizes(log: Log) -> None:
    _make_types(log)
    log.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, a numeric(12,2), b varchar(40), c timestamp(3), d mood, e price, f int[],"
        " g numeric, h char(5), i numeric(5,-2))"
    )
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    (row,) = log.rows(reader)
    assert row.after == (1, *[ABSENT] * 9)
    assert row.table.primary_key == ("id",)
    labels = ("sad", 'it\'s "金", ok')
    assert [column.type for column in row.table.columns] == [
        ColumnType("postgresql", "int8"),
        ColumnType("postgresql", "numeric", precision=12, scale=2),
        ColumnType("postgresql", "varchar", length=40),
        ColumnType("postgresql", "timestamp", scale=3),
        ColumnType("postgresql", "mood", labels=labels, kind="enum"),
        ColumnType(
            "postgresql",
            "price",
            precision=10,
            scale=2,
            kind="domain",
            base=ColumnType("postgresql", "numeric", precision=10, scale=2),
        ),
        ColumnType("postgresql", "_int4", kind="array", element=ColumnType("postgresql", "int4")),
        ColumnType("postgresql", "numeric"),
        ColumnType("postgresql", "bpchar", length=5),
        ColumnType("postgresql", "numeric", precision=5, scale=-2),
    ]


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL", "USING INDEX t_code", "NOTHING"])
def test_images_are_what_the_replica_identity_gives(log: Log, identity: str) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v text)")
    log.execute("CREATE UNIQUE INDEX t_code ON t (code)")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id code v"})
    log.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    if identity == "NOTHING":
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            log.execute("UPDATE t SET v = 'x'")
        assert [(row.op, row.before, row.after) for row in log.rows(reader)] == [("insert", None, (1, "a", None))]
        return
    log.execute("UPDATE t SET v = 'x'")
    log.execute("UPDATE t SET id = 2, code = 'b'")
    log.execute("DELETE FROM t")
    images: dict[str, list[tuple[object, ...]]] = {
        "DEFAULT": [
            ("update", None, (1, "a", "x")),
            ("update", (1, ABSENT, ABSENT), (2, "b", "x")),
            ("delete", (2, ABSENT, ABSENT), None),
        ],
        "FULL": [
            ("update", (1, "a", None), (1, "a", "x")),
            ("update", (1, "a", "x"), (2, "b", "x")),
            ("delete", (2, "b", "x"), None),
        ],
        "USING INDEX t_code": [
            ("update", None, (1, "a", "x")),
            ("update", (ABSENT, "a", ABSENT), (2, "b", "x")),
            ("delete", (ABSENT, "b", ABSENT), None),
        ],
    }
    inserted, *others = [(row.op, row.before, row.after) for row in log.rows(reader)]
    assert inserted == ("insert", None, (1, "a", None))
    assert others == images[identity]


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_an_unchanged_toast_value_is_absent_or_filled_never_null(log: Log, identity: str) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, big text, v int)")
    log.execute("ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id big v"})
    log.execute("INSERT INTO t VALUES (1, repeat('表', 350000), 1)")
    log.execute("UPDATE t SET v = 2")
    inserted, updated = log.rows(reader)
    assert inserted.after is not None
    assert updated.after is not None
    assert inserted.after[1] == "表" * 350_000
    assert updated.after[1] is ABSENT if identity == "DEFAULT" else updated.after[1] == "表" * 350_000


@pytest.mark.parametrize("statement", ["UPDATE t SET v = 'x'", "DELETE FROM t"])
@pytest.mark.parametrize(("identity", "key"), [("USING INDEX t_code", "id"), ("DEFAULT", "code")])
def test_a_row_that_changes_and_is_not_named_by_the_mappings_key_halts(
    log: Log, identity: str, key: str, statement: str
) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v text)")
    log.execute("CREATE UNIQUE INDEX t_code ON t (code)")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id code v"}, key=key)
    log.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    (inserted,) = log.rows(reader)
    assert inserted.after == (1, "a", None)
    log.execute(statement)
    with pytest.raises(
        HaltError, match=rf'REPLICA_IDENTITY: .* leaves out {key} - .*"public"\."t" REPLICA IDENTITY FULL'
    ):
        log.read_until(reader, lambda _parts: False)


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_an_unchanged_toast_value_is_absent_or_filled_when_the_key_changes_or_the_row_comes_again(
    log: Log, identity: str
) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, big text, v int)")
    log.execute("ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id big v"}, key="id")
    big = "x" * 100_000
    log.execute(f"INSERT INTO t VALUES (1, '{big}', 1)")
    log.execute("UPDATE t SET id = 2")
    log.execute("UPDATE t SET big = NULL")
    log.transaction("DELETE FROM t", f"INSERT INTO t VALUES (2, '{big}', 3)", "UPDATE t SET v = 4")
    _, moved, emptied, deleted, again, updated = log.rows(reader)
    kept = ABSENT if identity == "DEFAULT" else big
    before = (1, ABSENT, ABSENT) if identity == "DEFAULT" else (1, big, 1)
    assert (moved.before, moved.after) == (before, (2, kept, 1))
    assert emptied.after == (2, None, 1)
    assert deleted.before == ((2, ABSENT, ABSENT) if identity == "DEFAULT" else (2, None, 1))
    assert (again.after, updated.after) == ((2, big, 3), (2, kept, 4))


# --- transactions ---------------------------------------------------------------------------------------------------


def test_a_rolled_back_transaction_never_shows_and_others_come_in_commit_order(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    with log.database.connect() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (1)")
        log.transaction("INSERT INTO t VALUES (2)", "SAVEPOINT s", "INSERT INTO t VALUES (9)", "ROLLBACK TO s")
        other.execute("COMMIT")
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (3)")
        other.execute("ROLLBACK")
    parts = log.read_to_end(reader)
    assert [[row.after for row in part.rows] for part in parts] == [[(2,)], [(1,)]]
    assert parts[0].order < parts[0].resume.order <= parts[1].order


def test_identity_order_and_commit_time_are_those_of_the_database(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    with log.session.transaction():
        xid = log.one("SELECT pg_current_xact_id()::text::bigint %% 4294967296 WHERE %s", True)
        log.execute("INSERT INTO t VALUES (1)")
    (part,) = log.read_to_end(reader)
    assert part.identity == str(xid)
    assert abs(part.committed_at / 1e6 - time.time()) < 10
    assert part.transaction.startswith(f"{xid}/0/")


def test_a_big_transaction_comes_in_parts_and_again_from_its_beginning_after_a_kill(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    reader = log.opened({"t": "id v"}, part_rows=1000)
    log.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 10500) n")
    seen = log.read_until(reader, lambda parts: len(parts) >= 3)
    assert [(part.first, part.end, part.last) for part in seen[:2]] == [(0, 1000, False), (1000, 2000, False)]
    resume = seen[-1].resume
    reader._end_stream()  # as a kill does: nothing was confirmed, nothing is remembered
    log.free(reader)

    again = log.reader({"t": "id v"}, part_rows=3000)
    again.open(resume)
    parts = log.read_until(again, lambda parts: any(part.last for part in parts))
    assert [(part.first, part.end, part.last) for part in parts] == [
        (0, 3000, False), (3000, 6000, False), (6000, 9000, False), (9000, 10500, True),
    ]  # fmt: skip
    assert {part.order for part in parts} == {seen[0].order}
    assert [row.after for part in parts for row in part.rows] == [(n, "x") for n in range(1, 10501)]
    assert parts[-1].resume.order > parts[0].resume.order == resume.order


def test_a_reopened_reader_goes_on_after_the_last_transaction(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    for number in range(5):
        log.execute(f"INSERT INTO t VALUES ({number})")
    parts = log.read_to_end(reader)
    resume = parts[2].resume
    reader._end_stream()
    log.free(reader)
    assert reader.open(resume) == resume
    assert [row.after for row in log.rows(reader)] == [(3,), (4,)]


def test_other_tables_move_what_is_reached_and_an_idle_reader_is_caught_up(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int)")
    reader = log.opened({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.4))
    log.execute("INSERT INTO other SELECT generate_series(1, 1000)")
    head = reader.head()
    assert head.retained_bytes > 0
    assert head.oldest_kept.endswith("(reserved)")
    batches: list[LogBatch] = []
    await_that(lambda: batches.append(reader.read(0.2)) or batches[-1].reached.order >= head.order)  # type: ignore[func-returns-value]
    assert batches[-1].caught_up
    assert not any(batch.parts for batch in batches)


def test_fault_points_are_hit_inside_and_at_the_end_of_a_transaction(log: Log) -> None:
    hit: list[str] = []

    def probe(point: str) -> None:
        hit.append(point)
        if hit.count("reader.mid_tx") == 2:
            raise InjectedFaultError(point)

    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"}, options=ReaderOptions(probe=probe))
    log.transaction("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
    log.execute("INSERT INTO t VALUES (3)")
    with pytest.raises(InjectedFaultError):
        log.read_to_end(reader)
    assert hit == ["reader.mid_tx", "reader.after_event", "reader.mid_tx"]


# --- what is ours ---------------------------------------------------------------------------------------------------


def _progress_row(log: Log, source: str, token: str = "tok") -> str:
    return (
        f"INSERT INTO datong_progress VALUES ('{log.deployment}', 'c', '{source}', 50, 3, 1, 99, 7, '{token}', 2)"
        " ON CONFLICT (deployment, target, source) DO UPDATE SET token = excluded.token"
    )


def test_apply_transactions_of_ours_are_recognised_with_parked_keys(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    for statement in CREATE_POSTGRESQL:
        log.execute(statement)
    reader = log.opened({"t": "id"})
    parked = "INSERT INTO datong_parked VALUES ('{}', 'c', '{}', 's', 1, 0, 'm', 'order', 'order/[\"1\"]', 'r', 'e', 0, '\\x00')"
    log.transaction(
        _progress_row(log, ""), _progress_row(log, "web", "t1"), "INSERT INTO t VALUES (1), (2)",
        parked.format(log.deployment, "k1"), parked.format("other", "k2"),
    )  # fmt: skip
    log.transaction(_progress_row(log, "web", "t2"), "DELETE FROM datong_parked")
    log.execute("INSERT INTO t VALUES (3)")
    first, second, users = log.read_to_end(reader)
    assert first.record is not None
    assert second.record is not None
    assert (first.record.token, first.record.rows, first.record.epoch) == ("t1", 2, 7)
    assert first.record.progress == (ProgressRow("web", 50, 3, True, 99),)
    assert (first.rows, first.echo_rows) == ([], 2)
    assert first.parked == (ParkedKey("k1", "order", 'order/["1"]', True),)
    assert second.record.token == "t2"
    assert second.parked == (ParkedKey("k1", "order", 'order/["1"]', False),)
    assert (users.record, [row.after for row in users.rows]) == (None, [(3,)])


def test_a_logical_message_of_ours_marks_its_transaction(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    move = ProgressMove("web", None, Progress(50, 3, True, 99))
    text = record_text(TransactionHeader(log.deployment, "c", 7, "tok", 1, (move,)))
    with log.session.transaction():
        log.execute("SELECT pg_logical_emit_message(true, 'datong', %s)", text)
        log.execute("INSERT INTO t VALUES (1)")
    (part,) = log.read_to_end(reader)
    assert part.record is not None
    assert (part.record.token, part.echo_rows, part.rows) == ("tok", 1, [])


# --- schema changes -------------------------------------------------------------------------------------------------


def test_rows_before_an_alter_come_with_the_old_layout_and_after_it_with_the_new(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, gone text, v int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'x', 10)")
    log.execute("ALTER TABLE t DROP COLUMN gone, ADD COLUMN extra text DEFAULT 'e', ALTER COLUMN v TYPE bigint")
    log.execute("INSERT INTO t VALUES (2, 20, 'y')")
    old, new = log.rows(reader)
    assert ([c.name for c in old.table.columns], old.after) == (["id", "gone", "v"], (1, ABSENT, 10))
    assert ([c.name for c in new.table.columns], new.after) == (["id", "v", "extra"], (2, 20, ABSENT))
    assert [column.type.name for column in (old.table.columns[2], new.table.columns[1])] == ["int4", "int8"]
    assert [notice.event for notice in log.notices] == ["column_gone", "column_new"]


def test_a_mapped_column_that_goes_halts_there_after_what_was_before_it(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 10)")
    log.execute("ALTER TABLE t DROP COLUMN v")
    log.execute("INSERT INTO t VALUES (2)")
    (before,) = log.read_until(reader, bool)
    assert before.rows[0].after == (1, 10)
    with pytest.raises(HaltError, match=r"SCHEMA_CHANGED: table public\.t has no column v at 0/"):
        log.read_until(reader, lambda _parts: False)
    reader.close()
    log.free(reader)
    edited = log.reader({"t": "id"})
    edited.open(before.resume)
    assert [row.after for row in log.rows(edited)] == [(2,)]


def test_a_renamed_column_halts_where_it_is_mapped_and_reading_goes_on_under_its_new_name(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v int, w int)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 10, 100)")
    log.execute("ALTER TABLE t RENAME COLUMN w TO unmapped")
    log.execute("INSERT INTO t VALUES (2, 20, 200)")
    log.execute("ALTER TABLE t RENAME COLUMN v TO renamed")
    log.execute("INSERT INTO t VALUES (3, 30, 300)")
    seen: list[LogPart] = []
    with pytest.raises(HaltError, match=r"SCHEMA_CHANGED: table public\.t has no column v at 0/"):
        log.read_until(reader, lambda parts: bool(seen.extend(parts)))
    reader.close()
    log.free(reader)
    last = {part.order: part for part in seen}
    assert [row.after for part in last.values() for row in part.rows] == [(1, 10, ABSENT), (2, 20, ABSENT)]
    assert [notice.event for notice in log.notices] == ["column_gone", "column_new"]
    edited = log.reader({"t": "id renamed"})
    edited.open(list(last.values())[-1].resume)
    assert [row.after for row in log.rows(edited)] == [(3, 30, ABSENT)]


def test_enum_labels_that_are_renamed_or_reordered_in_the_stream_never_shift(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v mood)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'sad'), (2, 'ok')")
    log.execute("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'")
    log.execute("ALTER TYPE mood ADD VALUE 'first' BEFORE 'blue'")
    log.execute("INSERT INTO t VALUES (3, 'blue'), (4, 'ok'), (5, 'first')")
    assert [row.after for row in log.rows(reader)] == [(1, "sad"), (2, "ok"), (3, "blue"), (4, "ok"), (5, "first")]


def test_enum_labels_and_types_that_come_later_are_asked_again(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad')")
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v mood)")
    reader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1, 'sad')")
    assert [row.after for row in log.rows(reader)] == [(1, "sad")]
    log.execute("ALTER TYPE mood ADD VALUE 'glad' BEFORE 'sad'")
    log.execute("INSERT INTO t VALUES (2, 'glad')")
    (row,) = log.rows(reader)
    assert (row.after, row.table.columns[1].type.labels) == ((2, "glad"), ("glad", "sad"))
    log.execute("CREATE TYPE mood2 AS ENUM ('new')")
    log.execute("ALTER TABLE t ALTER COLUMN v TYPE mood2 USING 'new'")
    log.execute("INSERT INTO t VALUES (3, 'new')")
    (row,) = log.rows(reader)
    assert (row.after, row.table.columns[1].type.name) == ((3, "new"), "mood2")


def test_a_truncate_halts_after_what_was_before_it_and_is_passed_where_it_is_to_be_ignored(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int REFERENCES t)")
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    log.execute("TRUNCATE other")
    log.execute("TRUNCATE t CASCADE")
    log.execute("INSERT INTO t VALUES (2)")
    (before,) = log.read_until(reader, bool)
    assert before.rows[0].after == (1,)
    with pytest.raises(HaltError, match=r"TRUNCATED: table public\.t was truncated at 0/"):
        log.read_until(reader, lambda _parts: False)
    reader.close()
    log.free(reader)
    ignoring = log.reader({"t": "id"}, ignore_truncate=True)
    ignoring.open(before.resume)
    assert [row.after for row in log.rows(ignoring)] == [(2,)]
    assert [notice.event for notice in log.notices] == ["truncate_seen"]


def test_rows_of_a_partitioned_table_come_as_the_root(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    log.execute("CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    assert [(row.table.name, row.after) for row in log.rows(reader)] == [("t", (1,))]


# --- the slot and its place -----------------------------------------------------------------------------------------


def test_confirm_moves_the_slot_exactly_there_and_nothing_else_does(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.reader({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.2))
    start = reader.open(None)
    for number in range(3):
        log.execute(f"INSERT INTO t VALUES ({number})")
    parts = log.read_to_end(reader)
    deadline = time.monotonic() + 1.5  # several keep-alives of both sides
    while time.monotonic() < deadline:
        assert log.confirmed(reader) == start.order
        reader.read(0.1)
    reader.confirm(parts[1].resume)
    await_that(lambda: log.confirmed(reader) == parts[1].resume.order, message="the slot to move")
    reader.confirm(parts[0].resume)  # never back
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert log.confirmed(reader) == parts[1].resume.order
        reader.read(0.1)


def test_a_slot_that_was_there_already_is_read_from_where_it_stands(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.reader({"t": "id"})
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", reader.slot)
    log.execute("INSERT INTO t VALUES (1)")
    assert reader.open(None).order == log.confirmed(reader)
    assert [row.after for row in log.rows(reader)] == [(1,)]
    assert [notice.event for notice in log.notices] == ["slot_reused"]


def _position(log: Log) -> tuple[PostgreSQLReader, Position]:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.reader({"t": "id"})
    position = reader.open(None)
    reader._end_stream()
    log.free(reader)
    return reader, position


def _moved(position: Position, order: int | None = None, **change: Any) -> Position:
    native = json.loads(position.native) | change
    return Position(position.order if order is None else order, json.dumps(native))


def test_a_slot_that_was_dropped_halts_and_is_not_made_again(log: Log) -> None:
    reader, position = _position(log)
    assert drop_slot(log.address(), reader.slot)
    assert not drop_slot(log.address(), reader.slot)
    with pytest.raises(HaltError, match=r"SLOT_LOST: .* does not exist any more .*datong resync"):
        reader.open(position)
    assert log.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", reader.slot) == 0


def test_a_slot_that_a_person_made_again_halts(log: Log) -> None:
    reader, position = _position(log)
    drop_slot(log.address(), reader.slot)
    log.execute("INSERT INTO t VALUES (1)")
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", reader.slot)
    with pytest.raises(HaltError, match="SLOT_RECREATED"):
        reader.open(position)


def test_a_slot_of_another_plugin_halts(log: Log) -> None:
    reader, _ = _position(log)
    drop_slot(log.address(), reader.slot)
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", reader.slot)
    with pytest.raises(HaltError, match="SLOT_FOREIGN"):
        reader.open(None)


def test_a_slot_in_use_is_transient_and_names_the_process(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    first = log.reader({"t": "id"})
    position = first.open(None)
    second = log.reader({"t": "id"})
    pid = log.slot(first, "active_pid")
    with pytest.raises(TransientError, match=f"in use by the server's process {pid}"):
        second.open(position)
    with pytest.raises(TransientError, match=f"process {pid}"):
        drop_slot(log.address(), first.slot)
    first.close()
    log.free(second)
    second.open(position)


def test_another_server_another_timeline_and_a_place_ahead_halt(log: Log) -> None:
    reader, position = _position(log)
    with pytest.raises(HaltError, match="SERVER_CHANGED"):
        reader.open(_moved(position, system="1"))
    with pytest.raises(HaltError, match="POSITION_AHEAD"):
        reader.open(_moved(position, timeline=9))
    with pytest.raises(HaltError, match="POSITION_AHEAD"):
        reader.open(_moved(position, order=0xFF << 32, lsn="FF/0"))
    with pytest.raises(HaltError, match="POSITION_UNREADABLE"):
        reader.open(Position(5, "{}"))
    reader.open(position)


def test_an_invalidated_slot_and_other_settings_of_a_server_halt_by_name() -> None:
    with server_folder() as folder:
        options = {"max_slot_wal_keep_size": "1MB"}
        with PostgreSQL(folder / "pg", options=options) as server, contextlib.ExitStack() as stack:
            log = Log(PostgreSQLDatabase(server, "postgres"), stack)
            log.deployment = "dep"
            reader, position = _position(log)
            for _ in range(4):
                log.execute("SELECT pg_switch_wal()")
                log.execute("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
            await_that(lambda: log.slot(reader, "wal_status") == "unreserved", message="the slot to be unreserved")
            assert reader.head().gauges["source_slot_wal_status"] == SLOT_UNRESERVED
            log.execute("CHECKPOINT")
            await_that(lambda: log.slot(reader, "wal_status") == "lost", message="the slot to be lost")
            with pytest.raises(HaltError, match=r"SLOT_LOST: .* was invalidated"):
                reader.open(position)
            with pytest.raises(HaltError, match=r"SLOT_LOST: .* was invalidated"):
                reader.open(None)
            drop_slot(log.address(), reader.slot)
            log.session.close()
            reader.close()
            server.options["wal_level"] = "replica"
            server.restart()
            with pytest.raises(HaltError, match=r"WAL_LEVEL: .* wal_level replica.*ALTER SYSTEM"):
                reader.open(None)


# --- the publication and privileges ---------------------------------------------------------------------------------


def test_an_incomplete_publication_halts_with_the_statements_that_mend_it(log: Log) -> None:
    log.execute('CREATE TABLE "T" (id int PRIMARY KEY, v int)')
    log.execute("CREATE TABLE u (id int PRIMARY KEY)")
    reader = log.reader({"T": "id", "u": "id"}, publish=False)
    name = reader.slot
    with pytest.raises(HaltError, match="PUBLICATION_INCOMPLETE") as caught:
        reader.open(None)
    assert f'CREATE PUBLICATION "{name}" FOR TABLE "public"."T", "public"."u"' in caught.value.mend
    log.execute(f"CREATE PUBLICATION {name} FOR TABLE u, \"T\" (id) WHERE (id > 5) WITH (publish = 'insert')")
    for statement in CREATE_POSTGRESQL:
        log.execute(statement)
    log.publish(reader)
    reader.open(None)
    log.execute('INSERT INTO "T" VALUES (1)')
    log.execute('UPDATE "T" SET v = 2')
    assert len(log.rows(reader)) == 2
    reader._end_stream()
    log.execute(f'ALTER PUBLICATION {name} DROP TABLE u, "T"')
    with pytest.raises(HaltError, match=f'ALTER PUBLICATION "{name}" ADD TABLE "public"."T", "public"."u";'):
        reader.open(None)


def test_a_missing_table_halts_with_its_name(log: Log) -> None:
    with pytest.raises(HaltError, match=r"TABLE_MISSING: .* has no table public\.nowhere"):
        log.reader({"nowhere": "id"}, publish=False).open(None)


def test_refused_logins_and_missing_privileges_halt_with_the_statement(log: Log) -> None:
    role = f"r_{log.database.name}"[:60]
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'canary-pw'")
    log.reader({"t": "id"})  # makes the publication
    try:
        wrong = log.address(user=role, password="wrong-canary")
        with pytest.raises(HaltError, match="ACCESS_DENIED") as caught:
            log.reader({"t": "id"}, address=wrong, publish=False).open(None)
        assert "canary" not in str(caught.value)
        ours = log.address(user=role, password="canary-pw")
        reader = log.reader({"t": "id"}, address=ours, publish=False)
        with pytest.raises(HaltError, match=f'PRIVILEGE_MISSING: .*ALTER ROLE "{role}" REPLICATION;') as caught:
            reader.open(None)
        assert "canary" not in str(caught.value)
        log.execute(f"ALTER ROLE {role} REPLICATION")
        reader.open(None)
        log.execute("INSERT INTO t VALUES (1)")
        assert len(log.rows(reader)) == 1
        assert reader.head().order > 0
        reader.close()
    finally:
        log.execute(f"DROP ROLE {role}")


# --- connections ----------------------------------------------------------------------------------------------------


def test_a_frozen_connection_is_noticed_within_two_heartbeats(log: Log, tcp_proxy: Proxies) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    proxy = tcp_proxy("127.0.0.1", log.server.port)
    reader = log.opened({"t": "id"}, address=log.address(port=proxy.port), options=ReaderOptions(heartbeat_seconds=0.5))
    log.execute("INSERT INTO t VALUES (1)")
    (part,) = log.read_until(reader, bool)
    idle = time.monotonic() + 2
    while time.monotonic() < idle:  # an idle server is not a dead one
        reader.read(0.2)
    proxy.freeze()
    frozen = time.monotonic()
    with pytest.raises(TransientError, match="has not said anything"):
        while time.monotonic() < frozen + 10:
            reader.read(0.2)
    assert time.monotonic() - frozen < 4  # patience is 1 s; the rest is for a loaded machine
    proxy.thaw()
    log.execute("INSERT INTO t VALUES (2)")
    await_that(lambda: _opens(reader, part.resume), message="the reader to reconnect")
    assert [row.after for row in log.rows(reader)] == [(2,)]


def _opens(reader: PostgreSQLReader, position: Position) -> bool:
    try:
        reader.open(position)
    except TransientError:
        return False
    return True


def test_a_large_transaction_of_other_tables_is_got_over_although_the_server_is_silent_meanwhile(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int)")
    reader = log.reader({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.01))
    position = reader.open(None)
    log.execute("INSERT INTO other SELECT generate_series(1, 150000)")
    log.execute("INSERT INTO t VALUES (1)")
    silences: list[str] = []

    def step() -> list[LogPart]:
        try:
            return reader.read(0.2).parts
        except TransientError as error:
            silences.append(str(error))
            await_that(lambda: _opens(reader, position), message="the slot to be free")
            return []

    (part,) = await_that(step, message=lambda: f"the row; {silences}", timeout=60, interval=0)
    assert part.rows[0].after == (1,)
    assert len(silences) <= 10  # twice as patient each time: 0.02 s, then up to 10 s


def test_a_lost_connection_is_transient_and_reading_goes_on_after_it(log: Log, tcp_proxy: Proxies) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    proxy = tcp_proxy("127.0.0.1", log.server.port)
    reader = log.reader({"t": "id"}, address=log.address(port=proxy.port))
    position = reader.open(None)
    proxy.reset()
    with pytest.raises(TransientError):
        log.read_until(reader, lambda _parts: False)
    assert reader.head().order > 0  # its own connection, opened again
    log.execute("INSERT INTO t VALUES (1)")
    await_that(lambda: _opens(reader, position), message="the reader to reconnect")
    assert [row.after for row in log.rows(reader)] == [(1,)]
    proxy.reset()
    proxy.refuse()
    with pytest.raises(TransientError, match="cannot connect"):
        reader.head()
    with pytest.raises(TransientError):
        reader.open(position)


def test_a_caller_that_does_not_read_keeps_its_connection(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    log.execute(f"ALTER DATABASE {log.database.name} SET wal_sender_timeout = '2s'")
    try:
        reader = log.opened({"t": "id v"})
        pid = log.slot(reader, "active_pid")
        log.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
        asleep = time.monotonic() + 6  # the length is the point: three times the server's patience
        while time.monotonic() < asleep:
            assert log.slot(reader, "active_pid") == pid
            threading.Event().wait(0.2)
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert sum(len(part.rows) for part in parts) == 20000
        assert log.slot(reader, "active_pid") == pid
    finally:
        log.execute(f"ALTER DATABASE {log.database.name} RESET wal_sender_timeout")


def test_a_verified_tls_connection_reads_a_large_transaction_and_a_wrong_authority_halts() -> None:
    with server_folder() as folder, contextlib.ExitStack() as stack:
        made, others = certificates(folder / "tls"), certificates(folder / "others")
        server = stack.enter_context(PostgreSQL(folder / "pg", tls=made))
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        verified = replace(log.address(), tls=Tls(str(made.ca)))
        reader = log.opened({"t": "id v"}, address=verified)
        log.execute("INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 5000) n")
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert [row.after for part in parts for row in part.rows] == [(n, "x" * n) for n in range(1, 5001)]
        wrong = log.reader({"t": "id"}, address=replace(verified, tls=Tls(str(others.ca))), publish=False)
        with pytest.raises(HaltError, match="TLS_REFUSED"):
            wrong.open(None)


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
def test_a_server_that_shuts_down_is_not_held_up_by_what_is_unconfirmed(reading: bool) -> None:
    with server_folder() as folder, PostgreSQL(folder / "pg") as server, contextlib.ExitStack() as stack:
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        reader = log.opened({"t": "id v"}, options=ReaderOptions(heartbeat_seconds=1))
        position = reader.read(0).reached
        log.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
        log.session.close()
        stopping = threading.Thread(target=server.stop)
        began = time.monotonic()
        stopping.start()
        if reading:
            with pytest.raises(TransientError):
                while time.monotonic() < began + 15:
                    reader.read(0.2)
        stopping.join(20)
        took = time.monotonic() - began
        assert took < 10
        with pytest.raises(TransientError):
            while True:
                reader.read(0.1)
        server.start()
        reader.open(position)
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert sum(len(part.rows) for part in parts) == 20000
        reader.close()


def test_a_server_that_is_killed_and_comes_back_is_read_on_without_a_loss() -> None:
    with server_folder() as folder, PostgreSQL(folder / "pg") as server, contextlib.ExitStack() as stack:
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        log.execute("ALTER SYSTEM SET logical_decoding_work_mem = '64kB'")
        log.execute("SELECT pg_reload_conf()")
        reader = log.opened({"t": "id v"})
        log.execute("INSERT INTO t VALUES (0, 'a')")
        (before,) = log.read_until(reader, bool)
        reader.confirm(before.resume)
        log.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 3000) n")
        with contextlib.closing(server.connect()) as lost:
            lost.execute("BEGIN")
            lost.execute("INSERT INTO t SELECT n, repeat('y', 100) FROM generate_series(5000, 8000) n")
            server.kill()
        with pytest.raises(TransientError):
            while True:
                reader.read(0.1)
        with pytest.raises(TransientError, match="cannot connect"):
            reader.open(before.resume)
        server.start()
        await_that(lambda: _opens(reader, before.resume), message="the reader to reconnect")
        log.session.close()
        log.session = stack.enter_context(connect_postgresql(log.address()))
        log.execute("INSERT INTO t VALUES (4000, 'b')")
        rows = [row.after for part in log.read_until(reader, _holds(4000)) for row in part.rows]
        assert [row[0] for row in rows if row is not None] == [*range(1, 3001), 4000]
        reader.close()


def _holds(number: int) -> Callable[[list[LogPart]], bool]:
    return lambda parts: any(row.after is not None and row.after[0] == number for part in parts for row in part.rows)
