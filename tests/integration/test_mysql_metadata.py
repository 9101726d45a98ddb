"""A log that lacks metadata (binlog_row_metadata less than FULL, MariaDB's old times): read with the catalog's help where that is proven
to be the table of the event, halted by name everywhere else (TRAPS.md P5).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.test_mysql_types import STORAGE, cases_of, image_of, session
from tests.mysql_logs import halted, read_rows, reader_of
from tests.servers import MySQLDatabase
from transforms.values import ABSENT, Unrepresentable

LEVELS = [("mariadb_db", "MINIMAL"), ("mariadb_db", "NO_LOG"), ("mysql_db", "MINIMAL")]


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


@contextmanager
def globally(db: MySQLDatabase, name: str, value: str, usual: str) -> Iterator[None]:
    db.execute(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        db.execute(f"SET GLOBAL {name} = {usual}")


def without_metadata(db: MySQLDatabase, level: str = "MINIMAL") -> Any:
    return globally(db, "binlog_row_metadata", level, "FULL")


@pytest.mark.parametrize(("server", "level"), LEVELS)
def test_every_type_is_read_the_same_without_metadata(server: str, level: str, request: pytest.FixtureRequest) -> None:
    db: MySQLDatabase = request.getfixturevalue(server)
    cases = [each for each in cases_of(db) if "😀" not in each.kind]
    columns = ", ".join(
        f"c{k} {each.kind}{' NOT NULL' if k % 9 == 8 and 'NULL' not in each.kind else ''}"
        for k, each in enumerate(cases)
    )
    values = ", ".join(
        next(value for value in each.values if value != "NULL") if each.values != ("NULL",) else "NULL"
        for each in cases
    )
    with session(db, "SET sql_mode = ''") as cursor:
        cursor.execute(
            f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) ENGINE={STORAGE[db.server.scheme]} DEFAULT CHARSET utf8mb4"
        )
        reader = reader_of(db, "t")
        reader.open(None)
        cursor.execute(f"INSERT INTO t VALUES (1, {values})")
        with without_metadata(db, level):
            cursor.execute("FLUSH TABLES")
            cursor.execute(f"INSERT INTO t VALUES (2, {values})")
    whole, lacking = read_rows(reader, 2)
    reader.close()
    assert image_of(lacking)[1:] == image_of(whole)[1:]
    for told, known in zip(lacking.table.columns, whole.table.columns, strict=True):
        assert told == known
    assert lacking.table == whole.table


def test_a_label_that_the_catalog_cannot_show_is_refused_by_name(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('x', '😀'), n INT)")
    reader = reader_of(db, "t")
    few = reader_of(db, "t", columns=frozenset({"id", "n"}))
    reader.open(None)
    few.open(None)
    with without_metadata(db):
        db.execute("INSERT INTO t VALUES (1, '😀', 5)")
    error = halted(reader)
    reader.close()
    assert error.code == "UNSUPPORTED_TYPE"
    assert ".t.e" in error.what
    (row,) = read_rows(few, 1)
    few.close()
    assert image_of(row) == (1, ABSENT, 5)


CHANGES = [
    "ALTER TABLE {t} MODIFY e ENUM('b', 'a')", "ALTER TABLE {t} RENAME COLUMN x TO y", "ALTER TABLE {t} MODIFY x INT UNSIGNED",
    "ALTER TABLE {t} DROP COLUMN x, ADD COLUMN x INT", "RENAME TABLE {t} TO gone, other TO {t}", "DROP TABLE {t}; CREATE TABLE {t} LIKE model",
    "ALTER TABLE `{t}` ADD INDEX (x)", "/* hi */ ALTER TABLE {t} COMMENT 'x'", "DROP TABLE {t}",
]  # fmt: skip


def test_a_table_that_was_changed_since_is_no_proof(db: MySQLDatabase) -> None:
    """Labels that were reordered after the event must never shift. Read later, a change stands between each event and the catalog."""
    for name in ("other", "model"):
        db.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, x INT, e ENUM('b', 'a'))")
    names = [f"t{k}" for k in range(len(CHANGES))]
    with without_metadata(db):
        position = start(db)
        with session(db) as cursor:
            for name in (*names, "same"):
                cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, x INT, e ENUM('a', 'b'))")
                cursor.execute(f"INSERT INTO {name} VALUES (1, 2, 'a')")
            for name, change in zip(names, CHANGES, strict=True):
                for statement in change.format(t=name).split("; "):
                    cursor.execute(statement)
    for name in names:
        reader = reader_of(db, name, columns=frozenset({"id", "e"}))
        reader.open(position)
        error = halted(reader)
        reader.close()
        assert error.code in ("LOG_METADATA", "TABLE_GONE"), name
        assert error.code == "TABLE_GONE" or "changed" in error.what or "not show" in error.what
    reader = reader_of(db, "same", columns=frozenset({"id", "e"}))
    reader.open(position)
    (row,) = read_rows(reader, 1)
    reader.close()
    assert image_of(row) == (1, ABSENT, "a")


def start(db: MySQLDatabase) -> Any:
    """The log's present end, as a reader keeps it; its own check of the setting is not the matter here."""
    db.execute("SET GLOBAL binlog_row_metadata = 'FULL'")
    reader = reader_of(db, "t")
    position = reader.open(None)
    reader.close()
    db.execute("SET GLOBAL binlog_row_metadata = 'MINIMAL'")
    return position


def test_events_of_long_ago_are_read_if_nothing_changed_the_table(db: MySQLDatabase) -> None:
    """Over files of the log, beside changes of other tables, and rows of this one."""
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a', 'b'), u INT UNSIGNED)")
    with without_metadata(db):
        position = start(db)
        for k in range(3):
            db.execute("INSERT INTO t VALUES (%s, 'b', 4294967295)", k)
            db.execute(f"CREATE TABLE tt{k} (id INT, t_x INT)")
            db.execute("FLUSH LOGS")
        db.execute("UPDATE t SET e = 'a' WHERE id = 1")
    reader = reader_of(db, "t")
    reader.open(position)
    rows = read_rows(reader, 4)
    reader.close()
    assert [image_of(row) for row in rows] == [
        (0, "b", 2**32 - 1),
        (1, "b", 2**32 - 1),
        (2, "b", 2**32 - 1),
        (1, "a", 2**32 - 1),
    ]
    assert rows[0].table.primary_key == ("id",)


def test_at_the_logs_end_a_changed_table_is_proven_anew(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a', 'b'))")
    reader = reader_of(db, "t")
    reader.open(None)
    with without_metadata(db):
        db.execute("INSERT INTO t VALUES (1, 'a')")
        (before,) = read_rows(reader, 1)
        db.execute("ALTER TABLE t MODIFY e ENUM('b', 'a', 'c')")
        db.execute("INSERT INTO t VALUES (2, 'a'), (3, 'b')")
        after = read_rows(reader, 2)
    reader.close()
    assert image_of(before) == (1, "a")
    assert [image_of(row) for row in after] == [(2, "a"), (3, "b")]


def old_times(db: MySQLDatabase) -> Any:
    return globally(db, "mysql56_temporal_format", "OFF", "ON")


_OLD = {
    "datetime": "'2024-02-29 23:59:58.987654'",
    "timestamp": "'2024-02-29 23:59:58.987654'",
    "time": "'-01:02:03.251999'",
}


def test_mariadbs_old_times_are_read_with_their_fractions(mariadb_db: MySQLDatabase) -> None:
    db = mariadb_db
    kinds = [(kind, digits) for kind in _OLD for digits in range(7)]
    columns = ", ".join(f"{kind[:5]}{digits} {kind}({digits}) NULL" for kind, digits in kinds)
    with old_times(db):
        db.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {columns}, n INT)")
        db.execute("CREATE TABLE other LIKE t")
    reader = reader_of(db, "t")
    reader.open(None)
    rows = [
        [_OLD[kind] for kind, _ in kinds],
        [
            {"time": "'838:59:59'"}.get(
                kind, "'2038-01-19 03:14:07.999999'" if kind == "timestamp" else "'9999-12-31 23:59:59.9'"
            )
            for kind, _ in kinds
        ],
        [
            {"time": "'-838:59:58.5'"}.get(kind, "FROM_UNIXTIME(1)" if kind == "timestamp" else "'0001-01-01'")
            for kind, _ in kinds
        ],
        [{"time": "'-00:00:00.5'"}.get(kind, "0") for kind, _ in kinds],
        ["NULL"] * len(kinds),
    ]
    with session(db, "SET sql_mode = '', time_zone = '+00:00'") as cursor:
        for k, values in enumerate(rows):
            for table in ("other", "t"):
                cursor.execute(f"INSERT INTO {table} VALUES ({k}, {', '.join(values)}, 7)")
        cursor.execute("SELECT * FROM t ORDER BY id")
        expected = cursor.fetchall()
    found = read_rows(reader, len(rows))
    reader.close()
    for row, wanted in zip(found, expected, strict=True):
        image = image_of(row)
        for (kind, digits), got, want in zip(kinds, image[1:-1], wanted[1:-1], strict=True):
            if kind == "timestamp" and isinstance(want, dt.datetime):
                want = want.replace(tzinfo=dt.UTC)
            if isinstance(want, str):  # what the driver cannot make a date of
                assert isinstance(got, Unrepresentable), (kind, digits)
            else:
                assert got == want, (kind, digits)
        assert (image[0], image[-1]) == (wanted[0], 7)


def test_old_times_of_a_table_that_was_changed_since_are_refused_by_name(mariadb_db: MySQLDatabase) -> None:
    db = mariadb_db
    with old_times(db):
        db.execute("CREATE TABLE t (id INT PRIMARY KEY, made DATETIME(3))")
    reader = reader_of(db, "t")
    position = reader.open(None)
    reader.close()
    db.execute("INSERT INTO t VALUES (1, '2024-01-01 00:00:00.125')")
    db.execute("ALTER TABLE t MODIFY made DATETIME(3)")
    db.execute("INSERT INTO t VALUES (2, '2024-01-01 00:00:00.125')")
    reader = reader_of(db, "t")
    reader.open(position)
    error = halted(reader)
    reader.close()
    assert error.code == "UNSUPPORTED_TYPE"
    assert ".t.made" in error.what
