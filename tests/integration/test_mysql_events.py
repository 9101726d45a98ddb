"""Events of binary logs that are not plain row transactions, on real servers (CASES.md N9): compressed, XA, mixed, tagged, partial."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pymysql
import pytest
from pymysql.cursors import Cursor

from cdc.demo.servers import MariaDB, MySQL
from cdc.model import LogPart, Position
from cdc.readers.mysql import MySQLReader
from tests.mysql_logs import halted, read_parts, read_rows, reader_of, rows_of
from tests.servers import MySQLDatabase
from tests.waiting import await_that


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    found.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000))")
    found.execute("CREATE TABLE other (id INT PRIMARY KEY)")
    return found


def run(db: MySQLDatabase, *statements: str) -> None:
    """In one session."""
    with db.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def ids_of(parts: list[LogPart]) -> list[object]:
    return [(row.after or row.before or ())[0] for row in rows_of(parts)]


def until_id(wanted: int) -> Callable[[list[LogPart]], bool]:
    return lambda parts: wanted in ids_of(parts)


def compressing(db: MySQLDatabase) -> list[str]:
    if isinstance(db.server, MySQL):
        return ["SET SESSION binlog_transaction_compression = ON"]
    return ["SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10"]


def test_compressed_transactions_and_statements_are_read(db: MySQLDatabase) -> None:
    reader = reader_of(db, "t")
    reader.open(None)
    try:
        run(
            db, *compressing(db),
            "INSERT INTO t VALUES (1, REPEAT('x', 1900))", "BEGIN", "INSERT INTO other VALUES (1), (2)",
            "INSERT INTO t VALUES (2, 'small'), (3, REPEAT('y', 2000))", "UPDATE t SET v = 'z' WHERE id = 1", "DELETE FROM t WHERE id = 2", "COMMIT",
            f"ALTER TABLE t ADD COLUMN w INT FIRST, COMMENT '{'c' * 900}'", "INSERT INTO t VALUES (7, 4, 'new')",
        )  # fmt: skip
    finally:
        if isinstance(db.server, MariaDB):
            run(db, "SET GLOBAL log_bin_compress = OFF, GLOBAL log_bin_compress_min_len = DEFAULT")
    run(db, "INSERT INTO t VALUES (8, 5, 'plain')")
    parts = read_parts(reader, lambda parts: len(rows_of(parts)) >= 7)
    reader.close()
    assert [(row.op, (row.after or ())[-2:]) for row in rows_of(parts)] == [
        ("insert", (1, "x" * 1900)), ("insert", (2, "small")), ("insert", (3, "y" * 2000)), ("update", (1, "z")),
        ("delete", ()), ("insert", (4, "new")), ("insert", (5, "plain")),
    ]  # fmt: skip
    assert [(part.first, part.end, part.last) for part in parts[:2]] == [(0, 1, True), (0, 6, True)]
    assert [row.index for row in parts[1].rows] == [2, 3, 4, 5]
    for earlier, later in itertools.pairwise(parts):
        assert earlier.order < earlier.resume.order <= later.order
    again = reader_of(db, "t", columns=frozenset({"id", "v"}))
    again.open(parts[0].resume)
    repeated = read_parts(again, lambda parts: len(rows_of(parts)) >= 6)
    again.close()
    assert [(p.order, p.transaction, p.end) for p in repeated] == [(p.order, p.transaction, p.end) for p in parts[1:]]


def test_a_compressed_transaction_is_cut_into_parts_and_begins_anew(mysql_db: MySQLDatabase) -> None:
    """Read as a stream: a batch ends within it, and reading goes on where it was, or from its beginning."""
    db = mysql_db
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000))")
    reader = reader_of(db, "t", part_rows=700)
    reader.open(None)
    with db.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION binlog_transaction_compression = ON")
        connection.begin()
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", [(i, "x" * 90) for i in range(5000)])
        connection.commit()
    first = reader.read(5.0)
    while not first.parts:
        first = reader.read(5.0)
    assert len(first.parts) < 4, "one batch does not hold all of it"
    assert not first.caught_up
    parts = first.parts + read_parts(reader, lambda parts: parts[-1].last if parts else False)
    reader.close()
    assert ids_of(parts) == list(range(5000))
    again = reader_of(db, "t", part_rows=900)
    again.open(parts[2].resume)
    repeated = read_parts(again, lambda parts: bool(parts) and parts[-1].last)
    again.close()
    assert (repeated[0].first, repeated[0].order, ids_of(repeated)) == (0, parts[0].order, list(range(5000)))


def xa(name: str, *statements: str, end: str = "") -> list[str]:
    """Prepared, and decided as `end` says."""
    ends = [f"XA COMMIT '{name}' ONE PHASE"] if end == "ONE PHASE" else [f"XA PREPARE '{name}'"]
    ends += [f"XA {end} '{name}'"] if end in ("COMMIT", "ROLLBACK") else []
    return [f"XA START '{name}'", *statements, f"XA END '{name}'", *ends]


def decide(db: MySQLDatabase, what: str, name: str) -> None:
    """From another session, as soon as the one that prepared it has ended."""
    with db.connect() as connection, connection.cursor() as cursor:
        await_that(partial(_decide, cursor, what, name))


@pytest.mark.parametrize("part_rows", [10_000, 2])
def test_xa_rows_count_at_xa_commit_only(db: MySQLDatabase, part_rows: int) -> None:
    """With parts of two rows none of it is kept: every one is read again from its place."""
    reader = reader_of(db, "t", part_rows=part_rows)
    reader.open(None)
    a, b, c = (f"{db.name[-8:]}{letter}" for letter in "abc")
    run(db, *xa(a, "INSERT INTO t VALUES (1, 'a'), (2, 'a'), (3, 'a')"))
    run(db, *xa(b, "INSERT INTO t VALUES (10, 'b')"))
    run(db, "INSERT INTO t VALUES (20, 'between')")
    run(db, *xa(c, "INSERT INTO t VALUES (30, 'c'), (31, 'c'), (32, 'c')", end="ROLLBACK"), "FLUSH LOGS")
    decide(db, "ROLLBACK", b)
    run(db, *xa(b, "INSERT INTO t VALUES (40, 'o'), (41, 'o'), (42, 'o')", end="ONE PHASE"))
    run(db, *xa(c, "INSERT INTO other VALUES (1)"))
    held = read_parts(reader, until_id(42))
    assert ids_of(held) == [20, 40, 41, 42]
    assert f"X'{a.encode().hex()}'" in held[-1].resume.native
    run(db, "INSERT INTO t VALUES (50, 'before')")
    decide(db, "COMMIT", a)
    decide(db, "ROLLBACK", c)
    run(db, "INSERT INTO t VALUES (60, 'after')")
    parts = read_parts(reader, until_id(60))
    assert ids_of(parts) == [50, 1, 2, 3, 60]
    assert "prepared" not in parts[-1].resume.native
    decided = [part for part in parts if 1 <= int(str((part.rows[0].after or (0,))[0])) <= 3]
    assert {part.order for part in decided} == {decided[0].order}
    assert parts[0].order < decided[0].order < parts[-1].order
    assert [part.end for part in decided] == ([3] if part_rows > 3 else [2, 3])
    reader.close()
    again = reader_of(db, "t", part_rows=part_rows)  # restarted within, and before it
    for resume in (held[-1].resume, decided[0].resume):
        again.open(resume)
        expected = [50, 1, 2, 3, 60] if resume == held[-1].resume else ids_of(parts)[-1 if part_rows > 3 else 1 :]
        repeated = read_parts(again, until_id(60))
        assert ids_of(repeated) == expected
        assert repeated[-1].order == parts[-1].order
        again.close()


def test_xa_outlives_a_restart_of_the_reader_and_of_the_server(own_server: MySQLDatabase) -> None:
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200))")
    reader = reader_of(db, "t")
    reader.open(None)
    run(db, *xa("a", "INSERT INTO t VALUES (1, 'a')"))
    run(db, "INSERT INTO t VALUES (2, 'x')")
    (part,) = read_parts(reader, until_id(2))
    reader.close()
    db.server.kill()
    db.server.start()
    run(db, "INSERT INTO t VALUES (3, 'x')", "XA COMMIT 'a'", "INSERT INTO t VALUES (4, 'x')")
    reader.open(part.resume)
    parts = read_parts(reader, until_id(4))
    reader.close()
    assert ids_of(parts) == [3, 1, 4]


def test_an_xa_transaction_that_was_prepared_before_the_first_start_is_looked_for(db: MySQLDatabase) -> None:
    """Found in the latest log files; where it is not there, its XA COMMIT halts."""
    far, near = f"{db.name[-8:]}far", f"{db.name[-8:]}near"
    run(db, *xa(far, "INSERT INTO t VALUES (1, 'a')"))
    run(db, *["FLUSH BINARY LOGS"] * 4)
    run(db, *xa(near, "INSERT INTO t VALUES (2, 'a'), (3, 'b')"))
    run(db, "FLUSH BINARY LOGS")
    reader = reader_of(db, "t", part_rows=1)
    reader.open(None)
    run(db, "INSERT INTO t VALUES (4, 'x')")
    decide(db, "COMMIT", near)
    run(db, "INSERT INTO t VALUES (5, 'x')")
    decide(db, "COMMIT", far)
    assert ids_of(read_parts(reader, until_id(5))) == [4, 2, 3, 5]
    error = halted(reader)
    reader.close()
    assert error.code == "XA_UNKNOWN"
    assert "binlog." in error.what


def test_an_xa_transaction_of_a_table_that_is_mapped_before_it_commits_is_read(db: MySQLDatabase) -> None:
    name = f"{db.name[-8:]}late"
    reader = reader_of(db, "t")
    reader.open(None)
    run(db, *xa(name, "INSERT INTO other VALUES (1), (2)"))
    run(db, "INSERT INTO t VALUES (3, 'x')")
    (part,) = read_parts(reader, until_id(3))
    reader.close()
    decide(db, "COMMIT", name)
    edited = reader_of(db, "t", "other")
    edited.open(part.resume)
    assert ids_of(read_parts(edited, until_id(2))) == [1, 2]
    edited.close()


def test_random_histories_of_xa_and_plain_transactions(db: MySQLDatabase) -> None:
    """Interleaved, cut, compressed, rotated, with restarts of the reader: what is committed arrives once, in its order."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    connection = db.connect()
    cursor = connection.cursor()
    if isinstance(db.server, MySQL):
        cursor.execute("SET SESSION binlog_transaction_compression = ON")
    reader = reader_of(db, "t", part_rows=3)
    position = reader.open(None)
    waiting: dict[str, list[int]] = {}
    expected: list[int] = []
    seen: list[object] = []
    last: tuple[int, int] = (0, 0)
    number = itertools.count(1)

    def catch_up(reader: MySQLReader, position: Position, enough: int) -> Position:
        nonlocal last
        until = time.monotonic() + 20
        while len(seen) < enough:
            assert time.monotonic() < until, f"{len(seen)} of {enough}"
            for part in reader.read(0.2).parts:
                if (part.order, part.end) > last:  # as a capture does: what is read again is not handed on again
                    last = (part.order, part.end)
                    seen.extend((row.after or (0,))[0] for row in part.rows)
                position = part.resume
        return position

    try:
        for step in range(60):
            what = chance.choice(["plain", "prepare", "commit", "rollback", "one phase", "flush", "read", "restart"])
            ids = [next(number) for _ in range(chance.randrange(1, 9))]
            insert = f"INSERT INTO t VALUES {', '.join(f'({i}, REPEAT(1, {chance.randrange(400)}))' for i in ids)}"
            if what == "plain":
                cursor.execute(insert)
                expected += ids
            elif what == "prepare" and len(waiting) < 4:
                name = f"{db.name[-8:]}{step}"
                for statement in xa(name, insert):
                    cursor.execute(statement)
                connection.close()  # a prepared transaction would block this session
                connection = db.connect()
                cursor = connection.cursor()
                if isinstance(db.server, MySQL):
                    cursor.execute(f"SET SESSION binlog_transaction_compression = {chance.choice(['ON', 'OFF'])}")
                waiting[name] = ids
            elif what in ("commit", "rollback") and waiting:
                name = chance.choice(list(waiting))
                await_that(partial(_decide, cursor, what, name))
                decided = waiting.pop(name)
                expected += decided if what == "commit" else []
            elif what == "one phase":
                for statement in xa(f"{db.name[-8:]}one", insert, end="ONE PHASE"):
                    cursor.execute(statement)
                expected += ids
            elif what == "flush":
                cursor.execute("FLUSH BINARY LOGS")
            elif what == "read":
                position = catch_up(reader, position, len(expected))
            elif what == "restart":
                position = catch_up(reader, position, chance.randrange(len(seen), len(expected) + 1))
                reader.close()
                reader = reader_of(db, "t", part_rows=chance.choice([2, 3, 7]))
                reader.open(position)
        catch_up(reader, position, len(expected))
        assert seen == expected
    finally:
        for name in waiting:
            decide(db, "ROLLBACK", name)
        reader.close()
        connection.close()


def _decide(cursor: Cursor, what: str, name: str) -> bool:
    """The session that prepared it must have ended first."""
    try:
        cursor.execute(f"XA {what} '{name}'")
    except pymysql.err.Error as error:
        if error.args[0] == 1397:  # XAER_NOTA
            return False
        raise
    return True


def test_rows_that_a_savepoint_takes_back_are_not_handed_out(mariadb_db: MySQLDatabase) -> None:
    """MariaDB logs them, with the ROLLBACK TO behind, where a table without transactions was written in between."""
    db = mariadb_db
    for name, engine in (("t", "InnoDB"), ("my", "MyISAM")):
        db.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(2000)) ENGINE={engine}")
    reader = reader_of(db, "t", "my")
    reader.open(None)
    run(
        db, "BEGIN", "INSERT INTO t VALUES (1, 'a')", "SAVEPOINT `S x`", "INSERT INTO t VALUES (2, 'gone')", "INSERT INTO my VALUES (3, 'stays')",
        "ROLLBACK TO `s X`", "INSERT INTO t VALUES (4, 'a')", "COMMIT",
        "BEGIN", "SAVEPOINT s", "INSERT INTO t VALUES (5, 'gone')", "INSERT INTO my VALUES (6, 'stays')", "ROLLBACK TO s", "INSERT INTO t VALUES (7, 'a')",
        "COMMIT", "BEGIN", "INSERT INTO t VALUES (8, 'gone')", "INSERT INTO my VALUES (9, 'stays')", "ROLLBACK", "INSERT INTO t VALUES (99, 'end')",
    )  # fmt: skip
    parts = read_parts(reader, until_id(99))
    reader.close()
    assert ids_of(parts) == [3, 1, 4, 6, 7, 9, 99]


def test_tables_made_from_a_query_carry_their_rows(db: MySQLDatabase) -> None:
    reader = reader_of(db, "made", columns=frozenset({"id"}))
    reader.open(None)
    run(
        db,
        "INSERT INTO other VALUES (1), (2)",
        "CREATE TABLE made (PRIMARY KEY (id)) SELECT id FROM other",
        "INSERT INTO made VALUES (3)",
    )
    parts = read_parts(reader, until_id(3))
    reader.close()
    assert ids_of(parts) == [1, 2, 3]


def test_partial_updates_of_json_halt_by_name_on_a_wanted_table_alone(mysql_db: MySQLDatabase) -> None:
    db = mysql_db
    document = """'{"a": "aaaaaaaaaaaaaaaaaaaaaaaaa", "b": "bbbbbbbbbbbbbbbbbbbbbbbbb"}'"""
    for name in ("t", "other"):
        db.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, j JSON)")
        db.execute(f"INSERT INTO {name} VALUES (1, {document})")
    reader = reader_of(db, "t")
    reader.open(None)
    partial = "SET SESSION binlog_row_value_options = PARTIAL_JSON"
    run(db, partial, "UPDATE other SET j = JSON_SET(j, '$.a', 'x')", f"INSERT INTO t VALUES (2, {document})")
    run(db, "INSERT INTO t VALUES (3, NULL)", partial, "UPDATE t SET j = JSON_SET(j, '$.a', 'x') WHERE id = 1")
    read_rows(reader, 2)
    error = halted(reader)
    reader.close()
    assert error.code == "LOG_PARTIAL_JSON"
    assert f"PARTIAL_UPDATE_ROWS of {db.name}.t" in error.what
    assert "binlog." in error.what


def test_a_load_data_that_is_logged_as_a_statement_halts_where_it_may_touch_a_wanted_table(
    db: MySQLDatabase, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("7\tloaded\n")
    db.execute("SET GLOBAL local_infile = ON")
    db.execute("CREATE DATABASE IF NOT EXISTS elsewhere")
    db.execute("CREATE TABLE IF NOT EXISTS elsewhere.x (id INT, v TEXT)")
    db.execute("CREATE TABLE orders (id INT PRIMARY KEY, v VARCHAR(2000))")
    reader = reader_of(db, "orders")
    reader.open(None)
    with pymysql.connect(
        host="127.0.0.1", port=db.server.port, user=db.server.admin_user, password=db.server.password, autocommit=True,
        local_infile=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute("USE elsewhere")
        cursor.execute("SET SESSION binlog_format = STATEMENT")
        cursor.execute(f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE x")
        cursor.execute("SET SESSION binlog_format = ROW")
        cursor.execute(f"USE `{db.name}`")
        cursor.execute(f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE orders")
        cursor.execute("SET SESSION binlog_format = STATEMENT")
        rows.write_text("8\tloaded\n")
        cursor.execute(f"LOAD DATA LOCAL INFILE '{rows}' INTO TABLE orders")
    assert ids_of(read_parts(reader, until_id(7))) == [7]
    error = halted(reader)
    reader.close()
    assert error.code == "STATEMENT_LOGGED"
    db.execute("DROP DATABASE elsewhere")
