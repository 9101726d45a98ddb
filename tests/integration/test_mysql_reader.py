"""The reader of binary logs on real MariaDB and MySQL servers: boundaries, parts, faults, what stands in the log."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from cdc.demo.servers import MySQL
from cdc.errors import TransientError
from cdc.readers import LogBatch
from sinks.bookkeeping import CREATE_MYSQL
from tests.mysql_logs import DEADLINE, halted, read_parts, read_rows, reader_of, rows_of
from tests.servers import MySQLDatabase, kill_session
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


def test_transactions_and_their_boundaries(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    db.execute("CREATE TABLE other (id INT PRIMARY KEY)")
    db.execute("CREATE TABLE my (id INT PRIMARY KEY) ENGINE=MyISAM")
    points: list[str] = []
    reader = reader_of(db, "t", "my", probe=points.append)
    start = reader.open(None)
    connection = db.connect()
    connection.begin()
    cursor = connection.cursor()
    cursor.execute("INSERT INTO other VALUES (1), (2), (3)")
    cursor.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    cursor.execute("UPDATE t SET v = 9 WHERE id = 1")
    connection.commit()
    db.execute("INSERT INTO my VALUES (5)")
    connection.begin()
    cursor.execute("INSERT INTO t VALUES (7, 7)")
    connection.rollback()
    db.execute("FLUSH LOGS")
    db.execute("DELETE FROM t WHERE id = 2")
    parts = read_parts(reader, lambda parts: len(rows_of(parts)) >= 5)
    assert [(p.first, p.end, p.last) for p in parts] == [(0, 6, True), (0, 1, True), (0, 1, True)]
    assert [row.index for row in parts[0].rows] == [3, 4, 5]
    assert [row.op for row in rows_of(parts)] == ["insert", "insert", "update", "insert", "delete"]
    assert parts[0].order >= start.order
    for earlier, later in itertools.pairwise(parts):
        assert earlier.order < earlier.resume.order <= later.order
    assert "reader.mid_tx" in points
    assert "reader.after_event" in points
    if isinstance(db.server, MySQL):
        assert parts[0].identity == str(connection.thread_id())  # type: ignore[no-untyped-call]
    head = reader.head()
    batch = reader.read(0.1)
    assert head.order >= parts[-1].resume.order
    assert batch.reached.order <= reader.head().order
    assert batch.caught_up
    reader.close()
    connection.close()
    again = reader_of(db, "t", "my")
    again.open(parts[0].resume)
    assert [(p.order, p.transaction) for p in read_parts(again, lambda parts: len(parts) == 2)] == [
        (p.order, p.transaction) for p in parts[1:]
    ]
    again.close()


def test_a_large_transaction_comes_in_parts_and_begins_anew_after_a_restart(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))")
    reader = reader_of(db, "t", part_rows=700)
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(i, "x" * 90) for i in range(5000)])
        connection.commit()
    first = read_parts(reader, lambda parts: len(parts) >= 3)
    reader.close()
    assert not any(part.last for part in first[:3])
    assert all(part.end - part.first <= 700 for part in first)
    reader = reader_of(db, "t", part_rows=900)
    reader.open(first[1].resume)
    parts = read_parts(reader, lambda parts: bool(parts) and parts[-1].last)
    reader.close()
    assert parts[0].first == 0
    assert parts[0].order == first[0].order
    assert [part.first for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert [row.after[0] for row in rows_of(parts) if row.after] == list(range(5000))
    assert [row.index for row in rows_of(parts)] == list(range(5000))


def test_looking_for_the_logs_end_does_not_have_mariadb_read_the_log(mariadb_db: MySQLDatabase) -> None:
    """BINLOG_GTID_POS reads the file from its beginning: right once at the first start, a stall every two seconds after it."""
    mariadb_db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    asked = "SELECT argument FROM mysql.general_log WHERE argument LIKE 'S%%'"
    mariadb_db.execute("SET GLOBAL log_output = 'TABLE'")
    mariadb_db.execute("TRUNCATE mysql.general_log")
    mariadb_db.execute("SET GLOBAL general_log = ON")
    try:
        reader = reader_of(mariadb_db, "t")
        reader.open(None)
        for _ in range(3):
            reader.head()
        statements = [str(row[0]) for row in mariadb_db.execute(asked)]
        reader.close()
    finally:
        mariadb_db.execute("SET GLOBAL general_log = OFF, GLOBAL log_output = DEFAULT")
    assert sum("BINLOG_GTID_POS" in statement for statement in statements) == 1
    assert sum("SHOW MASTER STATUS" in statement for statement in statements) == 4


def test_a_killed_connection_is_transient_and_resuming_loses_and_repeats_nothing(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    position = reader.open(None)
    seen: list[object] = []
    written = 0
    for _ in range(3):
        for _ in range(5):
            db.execute("INSERT INTO t VALUES (%s)", written)
            written += 1
        for part in read_parts(reader, lambda parts: len(rows_of(parts)) >= 2):
            seen += [row.after[0] for row in part.rows if row.after]
            position = part.resume
        with db.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
            for (session,) in cursor.fetchall():
                kill_session(cursor, session)
        with pytest.raises(TransientError):
            while True:
                for part in reader.read(0.5).parts:
                    seen += [row.after[0] for row in part.rows if row.after]
                    position = part.resume
        reader.open(position)
    missing = written - len(seen)
    for part in read_parts(reader, lambda parts: len(rows_of(parts)) >= missing):
        seen += [row.after[0] for row in part.rows if row.after]
    reader.close()
    assert seen == list(range(written))


def test_a_frozen_connection_is_noticed(db: MySQLDatabase, tcp_proxy: Callable[[str, int], TcpProxy]) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    proxy = tcp_proxy("127.0.0.1", db.server.port)
    reader = reader_of(db, "t", heartbeat=2, address={"port": proxy.port})
    reader.open(None)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        reader.read(0.3)  # heartbeats keep an idle one alive
    proxy.freeze()
    started = time.monotonic()
    with pytest.raises(TransientError, match="no sign of life"):
        while time.monotonic() < started + DEADLINE:
            reader.read(0.3)
    reader.close()


def test_an_altered_table_decodes_by_the_layout_of_each_event(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a','b'), v INT)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute("INSERT INTO t VALUES (1, 'a', 1)")
    db.execute("ALTER TABLE t ADD COLUMN x VARCHAR(5) FIRST, MODIFY e ENUM('z','b','a')")
    db.execute("INSERT INTO t VALUES ('new', 2, 'a', 2)")
    db.execute("ALTER TABLE t DROP COLUMN v")
    db.execute("INSERT INTO t VALUES ('new', 3, 'a')")
    batches: list[LogBatch] = []

    def enough() -> bool:
        batches.append(reader.read(0.5))
        return sum(len(b.parts) for b in batches) >= 2 and sum(len(b.notices) for b in batches) >= 2

    await_that(enough)
    rows = rows_of([part for batch in batches for part in batch.parts])
    assert [dict(zip([c.name for c in row.table.columns], row.after or (), strict=True))["e"] for row in rows] == [
        "a",
        "a",
    ]
    assert [n.event for b in batches for n in b.notices] == ["ddl_seen", "ddl_seen"]
    error = halted(reader)
    assert error.code == "SCHEMA_CHANGED"
    assert "column v" in error.what
    reader.close()
    without = reader_of(db, "t", columns=frozenset({"id", "e"}))
    without.open(batches[-1].reached)
    (row,) = read_rows(without, 1)
    assert row.after is not None
    assert row.after[1:] == (3, "a")
    without.close()


def test_truncate_halts_at_its_place_and_goes_on_past_it_where_it_is_to_be_ignored(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute("INSERT INTO t VALUES (1)")
    db.execute("TRUNCATE TABLE t")
    db.execute("INSERT INTO t VALUES (2)")
    (part,) = read_parts(reader, lambda parts: len(parts) >= 1)
    error = halted(reader)
    assert error.code == "TRUNCATED"
    assert f"{db.name}.t" in error.what
    assert "on_truncate: ignore" in error.mend
    reader.close()
    lenient = reader_of(db, "t", ignore_truncate=frozenset({(db.name, "t")}))
    lenient.open(part.resume)
    batches = [lenient.read(0.5)]
    while not rows_of(batches[-1].parts):
        batches.append(lenient.read(0.5))
    lenient.close()
    assert [n.event for b in batches for n in b.notices] == ["truncate_seen"]
    assert [row.after for row in rows_of(batches[-1].parts)] == [(2,)]


def test_a_dropped_table_halts_and_a_swap_is_told(db: MySQLDatabase) -> None:
    """The second is what gh-ost and pt-osc do."""
    for table in ("t", "_t_new"):
        db.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute("RENAME TABLE t TO _t_old, _t_new TO t")
    db.execute("DROP TABLE _t_old")
    db.execute("INSERT INTO t VALUES (1)")
    (part,) = read_parts(reader, lambda parts: len(parts) >= 1)
    db.execute("DROP TABLE t")
    error = halted(reader)
    assert (error.code, f"{db.name}.t was dropped" in error.what) == ("TABLE_GONE", True)
    reader.close()
    without = reader_of(db)
    without.open(part.resume)
    before = without.head().order
    await_that(lambda: without.read(0.2).reached.order >= before)
    without.close()


def test_a_statement_in_the_log_halts_by_name_after_what_came_before_it(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    reader = reader_of(db, "t")
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 1)")
        cursor.execute("SET SESSION binlog_format = 'STATEMENT'")
        cursor.execute("INSERT INTO t VALUES (2, 2)")
    read_rows(reader, 1)
    error = halted(reader)
    assert error.code == "STATEMENT_LOGGED"
    assert "binlog." in error.what
    reader.close()


def test_our_own_transactions_are_recognised(db: MySQLDatabase) -> None:
    for statement in CREATE_MYSQL:
        db.execute(statement)
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    db.execute("INSERT INTO datong_progress VALUES ('house','shop','',0,0,1,0,3,'','0')")
    reader = reader_of(db, "t")
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("INSERT INTO datong_progress VALUES ('house','shop','crm',123,4,0,55,3,'abc',2)")
        cursor.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
        cursor.execute(
            "INSERT INTO datong_parked VALUES ('house','shop','p1','crm',1,0,'m','member','[1]','r','e',0,'x')"
        )
        connection.commit()
        connection.begin()
        cursor.execute("INSERT INTO datong_progress VALUES ('other','shop','crm',1,1,1,1,1,'t',1)")
        cursor.execute("INSERT INTO t VALUES (3, 3)")
        connection.commit()
        cursor.execute("DELETE FROM datong_parked")
    echo, foreign, released = read_parts(reader, lambda parts: len(parts) >= 3)
    reader.close()
    assert echo.record is not None
    assert (echo.record.epoch, echo.record.token, echo.record.rows) == (3, "abc", 2)
    (line,) = echo.record.progress
    assert (line.source, line.order, line.end, line.complete, line.hlc) == ("crm", 123, 4, False, 55)
    assert (echo.rows, echo.echo_rows, echo.end) == ([], 2, 4)
    assert [(key.id, key.entity, key.key, key.parked) for key in echo.parked] == [("p1", "member", "[1]", True)]
    assert (foreign.record, len(foreign.rows)) == (None, 1)
    assert [key.parked for key in released.parked] == [False]


def test_mariadb_shows_the_token_of_a_comment(mariadb_db: MySQLDatabase) -> None:
    db = mariadb_db
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(99))")
    reader = reader_of(db, "t")
    reader.open(None)
    token = "0123456789abcdef" * 2
    db.execute(f"INSERT /*datong:{token}*/ INTO t VALUES (1, '')")
    db.execute(f"INSERT INTO t VALUES (2, '/*datong:{token}*/')")
    parts = read_parts(reader, lambda parts: len(parts) >= 2)
    reader.close()
    assert [part.identity for part in parts] == [token, ""]


def test_a_tagged_gtid_is_read(mysql_db: MySQLDatabase) -> None:
    db = mysql_db
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION gtid_next = 'AUTOMATIC:blue'")
        cursor.execute("INSERT INTO t VALUES (1)")
    (part,) = read_parts(reader, lambda parts: len(parts) >= 1)
    server_uuid = str(db.execute("SELECT @@server_uuid")[0][0])
    assert part.transaction.startswith(f"{server_uuid}:blue:")
    assert ":blue:" in part.resume.native
    assert abs(part.committed_at / 1e6 - time.time()) < 60
    reader.close()
    reader.open(part.resume)
    reader.close()
