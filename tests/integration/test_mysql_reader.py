"""The reader of binary logs on real MariaDB and MySQL servers: types, boundaries, parts, faults, refusals."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import HaltError, TransientError
from cdc.model import Position
from cdc.readers.mysql import MySQLReader
from sinks.bookkeeping import CREATE_MYSQL
from tests.mysql_logs import DEADLINE, halted, read_parts, read_rows, reader_of, rows_of
from tests.servers import MySQLDatabase, server_folder
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that
from transforms.json_text import canonical
from transforms.values import Unrepresentable


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


TYPES = {
    "tinyint": ["-128", "127", "0"], "tinyint unsigned": ["255"], "smallint": ["-32768"], "smallint unsigned": ["65535"],
    "mediumint": ["-8388608", "-1", "8388607"], "mediumint unsigned": ["16777215"], "int": ["-2147483648"],
    "int unsigned": ["4294967295"], "bigint": ["-9223372036854775808"], "bigint unsigned": ["18446744073709551615"],
    "decimal(65,30)": ["-0.000000000000000000000000000001", "99999999999999999999999999999999999.999999999999999999999999999999", "0"],
    "decimal(10,2)": ["19.90", "-99999999.99"], "decimal(9,0)": ["-999999999"], "decimal(18,18)": ["0.000000000000000001"],
    "double": ["0.1", "-1.7976931348623157e308", "5e-324"], "year": ["0", "1901", "2155"],
    "date": ["'1000-01-01'", "'9999-12-31'"], "datetime": ["'2024-02-29 23:59:59'"],
    "datetime(1)": ["'2024-01-01 00:00:00.9'"], "datetime(3)": ["'2024-01-01 00:00:00.987'"],
    "datetime(6)": ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"],
    "timestamp(0) null": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"], "timestamp(6) null": ["'2024-03-31 02:30:00.123456'"],
    "time(6)": ["'838:59:58.999999'", "'-838:59:59'", "'-00:00:00.5'", "'-01:02:03.25'", "'24:00:01'"],
    "time(1)": ["'-00:00:00.1'"], "time(3)": ["'-01:00:00.001'"], "time(4)": ["'-00:00:01.0001'"], "time": ["'-00:00:01'"],
    "char(10)": ["'a  '", "''", "'é😀'"], "char(200)": ["REPEAT('€', 200)"], "varchar(300)": ["'\\0\ufeff😀 '", "''"],
    "tinytext": ["'x'"], "text": ["REPEAT('é', 300)"], "mediumtext": ["'m'"], "longtext": ["REPEAT('x', 70000)"],
    "varchar(20) charset latin1": ["X'80818DFF'"], "varchar(20) charset utf8mb3": ["'é€'"], "varchar(9) charset ascii": ["'abc'"],
    "binary(5)": ["X'6100'", "X''"], "varbinary(300)": ["X'00FF00'", "X''"], "tinyblob": ["X'FF'"], "blob": ["X''"],
    "mediumblob": ["REPEAT(X'00', 66000)"], "longblob": ["X'5C78'"],
    "enum('x','y,z','é''')": ["'x'", "'é'''"],
    **{f"timestamp({n}) null": ["'2024-01-02 03:04:05.987654'"] for n in (1, 2, 4)},
}  # fmt: skip


@pytest.mark.parametrize("form", ["insert", "update", "delete"])
def test_every_type_reads_as_select_says(db: MySQLDatabase, form: str) -> None:
    names = [f"c{i}" for i in range(len(TYPES))]
    db.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, "
        + ", ".join(
            f"{name} {kind}" + ("" if "null" in kind else " NULL") for name, kind in zip(names, TYPES, strict=True)
        )
        + ")"
    )
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
    rounds = max(map(len, TYPES.values()))
    if form != "insert":
        for k in range(rounds):
            cursor.execute(f"INSERT INTO t (id) VALUES ({k})")
    values = [[v[min(k, len(v) - 1)] for v in TYPES.values()] for k in range(rounds)]
    if form == "delete":
        for k in range(rounds):
            cursor.execute(f"REPLACE INTO t VALUES ({k}, {', '.join(values[k])})")
    cursor.execute("SELECT * FROM t ORDER BY id")
    reader = reader_of(db, "t")
    reader.open(None)
    for k in range(rounds):
        if form == "insert":
            cursor.execute(f"INSERT INTO t VALUES ({k}, {', '.join(values[k])})")
        elif form == "update":
            cursor.execute(
                f"UPDATE t SET {', '.join(f'{n} = {v}' for n, v in zip(names, values[k], strict=True))} WHERE id = {k}"
            )
    cursor.execute("SELECT * FROM t ORDER BY id")
    expected = cursor.fetchall()
    if form == "delete":
        cursor.execute("DELETE FROM t")
    rows = read_rows(reader, rounds)
    reader.close()
    connection.close()
    assert [row.op for row in rows] == [form] * rounds
    for row, wanted in zip(rows, expected, strict=True):
        image = row.before if form == "delete" else row.after
        assert image is not None
        for column, got, want in zip(row.table.columns, image, wanted, strict=True):
            if column.type.name == "timestamp" and want is not None:
                want = want.replace(tzinfo=dt.UTC)
            assert (type(got), got) == (type(want), want), column
        if form == "update":
            assert row.before == (row.after[0], *[None] * len(names)) if row.after else False


def test_special_values_keep_their_meaning(db: MySQLDatabase) -> None:
    """FLOAT by its shortest decimal, BIT as a number, SET as labels, index 0 of ENUM, zero dates as what they are."""
    db.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, b1 BIT(1), b64 BIT(64), s SET('a','b','c'), e ENUM('x'), "
        "d DATE, dd DATETIME(2), ts TIMESTAMP NULL, part DATE, n INT)"
    )
    reader = reader_of(db, "t")
    reader.open(None)
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
    cursor.execute(
        "INSERT INTO t VALUES (1, 0.1, b'1', X'8000000000000001', '', 0, '0000-00-00', '2024-02-31 01:02:03.25', 0, "
        "'2024-00-00', NULL), (2, 3.4028235e38, b'0', 0, 'c,a', 'x', '2024-01-01', '2024-01-01 00:00:00', '2024-01-01', NULL, 0)"
    )
    first, second = (row.after for row in read_rows(reader, 2))
    reader.close()
    connection.close()
    assert first is not None
    assert second is not None
    assert first[1:6] == (0.1, 1, 2**63 + 1, (), "")
    assert all(isinstance(value, Unrepresentable) for value in first[6:10])
    assert first[10] is None
    assert second[2:6] == (0, 0, ("a", "c"), "x")
    assert second[1] == 3.4028235e38
    assert second[6] == dt.date(2024, 1, 1)
    assert second[9:] == (None, 0)


def test_json_and_uuid(db: MySQLDatabase) -> None:
    kind = "UUID" if isinstance(db.server, MariaDB) else "VARCHAR(9)"
    db.execute(f"CREATE TABLE t (id INT PRIMARY KEY, j JSON, u {kind}, b BINARY(16))")
    reader = reader_of(db, "t")
    reader.open(None)
    documents = [
        {"b": [1, 2.5, True, None, "é😀\n"], "a": {"deep": [[[]], {}]}, "n": 2**64 - 1, "m": -(2**63)},
        "null", None, [], {str(i): "x" * i for i in range(300)}, ["y" * 70_000], 1.5, -1, 70000, 2**40, {"": ""},
    ]  # fmt: skip
    for i, document in enumerate(documents):
        db.execute("INSERT INTO t (id, j, b) VALUES (%s, %s, %s)", i, json.dumps(document), b"\1\0")
    count = len(documents)
    if isinstance(db.server, MySQL):
        db.execute(
            "INSERT INTO t (id, j) SELECT 100, JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST('-838:59:59' AS TIME), "
            "CAST('2024-01-02' AS DATE), CAST('2024-01-02 03:04:05.6' AS DATETIME(6)), CAST('x' AS BINARY), -0.000001)"
        )
        documents.append(json.loads(str(db.execute("SELECT j FROM t WHERE id = 100")[0][0])))
        count += 1
    else:
        wanted_uuid = uuid.uuid4()
        db.execute("INSERT INTO t (id, u) VALUES (100, %s)", str(wanted_uuid))
        count += 1
    rows = [row.after for row in read_rows(reader, count)]
    reader.close()
    for row, document in zip(rows, documents, strict=False):
        assert row is not None
        assert isinstance(row[1], str)
        assert canonical(row[1]) == canonical(json.dumps(document, ensure_ascii=False))
        if isinstance(db.server, MySQL):
            assert row[1] == canonical(row[1])
    assert rows[0] is not None
    assert rows[0][3] == b"\1" + b"\0" * 15
    if isinstance(db.server, MariaDB):
        assert rows[-1] is not None
        assert rows[-1][2] == wanted_uuid


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
                cursor.execute(f"KILL {session}")
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
    reader = reader_of(db, "t", heartbeat=0.5, address={"port": proxy.port})
    reader.open(None)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        reader.read(0.3)  # heartbeats keep an idle one alive
    proxy.freeze()
    started = time.monotonic()
    with pytest.raises(TransientError, match="no sign of life"):
        while time.monotonic() < started + DEADLINE:
            reader.read(0.3)
    assert time.monotonic() - started < 3
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
    batches = [reader.read(0.5)]
    until = time.monotonic() + DEADLINE
    while len([p for b in batches for p in b.parts]) < 2 and time.monotonic() < until:
        batches.append(reader.read(0.5))
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


def _refusal(reader: MySQLReader, position: Position | None) -> HaltError:
    with pytest.raises(HaltError) as caught:
        reader.open(position)
    reader.close()
    return caught.value


def test_positions_that_the_server_no_longer_has(own_server: MySQLDatabase, request: pytest.FixtureRequest) -> None:
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    position = reader.open(None)
    db.execute("INSERT INTO t VALUES (1)")
    later = read_parts(reader, lambda parts: len(parts) >= 1)[0].resume
    reader.close()
    other = request.getfixturevalue("mariadb_db" if isinstance(db.server, MariaDB) else "mysql_db")
    assert _refusal(reader_of(other), later).code == "SERVER_CHANGED"

    def purged() -> bool:  # MariaDB keeps a log until InnoDB's next checkpoint
        db.execute("FLUSH LOGS")
        db.execute(f"PURGE BINARY LOGS TO '{db.execute('SHOW BINARY LOGS')[-1][0]}'")
        return db.execute("SHOW BINARY LOGS")[0][0] != "binlog.000001"

    await_that(purged)
    error = _refusal(reader, position)
    assert error.code == "POSITION_PURGED"
    assert "binlog.000001" in error.what
    assert "datong resync" in error.mend
    db.execute("RESET MASTER" if isinstance(db.server, MariaDB) else "RESET BINARY LOGS AND GTIDS")
    assert _refusal(reader, later).code == "POSITION_AHEAD"


def test_settings_and_privileges_are_refused_by_name(own_server: MySQLDatabase) -> None:
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    for variable, wrong, right, code in (
        ("binlog_row_image", "MINIMAL", "FULL", "LOG_ROW_IMAGE"),
        ("binlog_row_metadata", "MINIMAL", "FULL", "LOG_METADATA"),
        ("binlog_format", "MIXED", "ROW", "LOG_FORMAT"),
    ):
        db.execute(f"SET GLOBAL {variable} = '{wrong}'")
        error = _refusal(reader, None)
        assert (error.code, variable in error.mend) == (code, True)
        db.execute(f"SET GLOBAL {variable} = '{right}'")
    db.execute("CREATE USER poor IDENTIFIED BY 'canary-password'")
    db.execute(f"GRANT SELECT ON `{db.name}`.* TO poor")
    poor = reader_of(db, "t", address={"user": "poor", "password": "canary-password"})
    for grant in ("REPLICATION CLIENT", "REPLICATION SLAVE"):
        error = _refusal(poor, None)
        assert error.code == "PRIVILEGE_MISSING"
        assert "GRANT REPLICATION SLAVE" in error.mend
        assert "canary" not in str(error)
        db.execute(f"GRANT {grant} ON *.* TO poor")
    poor.open(None)
    poor.close()
    wrong_password = reader_of(db, "t", address={"user": "poor", "password": "wrong"})
    assert _refusal(wrong_password, None).code == "ACCESS_DENIED"


def test_another_server_with_our_gtids_goes_on_in_a_new_era(own_server: MySQLDatabase) -> None:
    """A replica of the server that we have read takes over."""
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute("INSERT INTO t VALUES (1)")
    (part,) = read_parts(reader, lambda parts: len(parts) >= 1)
    reader.close()
    with server_folder() as folder:
        replica = type(db.server)(Path(folder) / "replica", server_id=778).start()
        try:
            _follow(replica, db)
            copy = MySQLDatabase(replica, db.name)
            db.execute("INSERT INTO t VALUES (2)")
            await_that(lambda: _count(replica, db.name) == 2)
            with replica.connect() as connection, connection.cursor() as cursor:
                cursor.execute("STOP SLAVE" if isinstance(replica, MariaDB) else "STOP REPLICA")
            reader = reader_of(copy, "t")
            assert reader.open(part.resume) == part.resume
            batch = reader.read(2.0)
            assert [n.event for n in batch.notices] == ["server_changed"]
            (row,) = rows_of(batch.parts)
            assert row.after == (2,)
            assert batch.parts[0].order > part.resume.order
            reader.close()
            reader.open(batch.parts[0].resume)
            copy.execute("INSERT INTO t VALUES (3)")
            (row,) = read_rows(reader, 1)
            assert row.after == (3,)
            reader.close()
        finally:
            replica.kill()


def _follow(replica: MariaDB | MySQL, db: MySQLDatabase) -> None:
    server = db.server
    at = f"'127.0.0.1', {{}}_PORT = {server.port}, {{}}_USER = '{server.admin_user}', {{}}_PASSWORD = '{server.password}'"
    if isinstance(replica, MariaDB):
        statements = ["RESET MASTER", f"CHANGE MASTER TO MASTER_HOST = {at.replace('{}', 'MASTER')}, MASTER_USE_GTID = slave_pos",
                      "START SLAVE"]  # fmt: skip
    else:
        source = f"CHANGE REPLICATION SOURCE TO SOURCE_HOST = {at.replace('{}', 'SOURCE')}"
        statements = [
            f"{source}, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            "START REPLICA",
        ]
    with replica.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    await_that(lambda: _count(replica, db.name) == 1)


def _count(server: MariaDB | MySQL, database: str) -> int:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s", [database])
        if cursor.fetchall() != ((1,),):
            return 0
        cursor.execute(f"SELECT COUNT(*) FROM `{database}`.t")
        ((count,),) = cursor.fetchall()
        return int(count)


def test_a_mapped_geometry_is_its_bytes_and_an_unmapped_one_is_absent(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, g GEOMETRY, v DECIMAL(5,2))")
    reader = reader_of(db, "t", columns=frozenset({"id", "v"}))
    position = reader.open(None)
    db.execute("INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 2)'), 1.5)")
    (row,) = read_rows(reader, 1)
    reader.close()
    assert row.after is not None
    assert (row.after[0], repr(row.after[1]), row.after[2]) == (1, "ABSENT", decimal.Decimal("1.50"))
    reader = reader_of(db, "t")
    reader.open(position)
    (row,) = read_rows(reader, 1)
    assert row.after is not None
    assert row.after[1] == struct.pack("<IBIdd", 0, 1, 1, 1, 2)
    reader.close()
