"""An SQLite file as a channel that is only written: the whole service, from MariaDB and PostgreSQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.waiting import await_that


@pytest.fixture
def reporting(make_world, sqlite_db):
    """Channels a and b two-way, and a file that gets what both write."""
    world = make_world("mariadb_db", "postgresql_db")
    sqlite_db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, note VARCHAR(200))")
    world.extra_channels = {"report": {"url": sqlite_db.url()}}
    world.mappings["report.t"] = {
        "channel": "report", "table": "t", "entity": "thing", "direction": "apply",
        "columns": {"id": "id", "v": "v", "note": "note"},
    }  # fmt: skip
    return world


def rows_of(database):
    return {row[0]: tuple(row[1:]) for row in database.execute("SELECT * FROM t")}


def await_report(world, database):
    expected = world.await_equal()
    await_that(lambda: rows_of(database) == expected, message=lambda: f"{rows_of(database)} == {expected}")


def test_an_sqlite_file_gets_what_both_channels_write_and_goes_on_after_a_kill(reporting, sqlite_db):
    world = reporting
    world.start()
    with world["a"].transaction() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s, %s)", [(n, n, f"客户 'a' {n}") for n in range(300)])
    world["b"].execute("INSERT INTO t VALUES (1000, 1, 'b')")
    world["a"].execute("UPDATE t SET v = v + 1 WHERE id < 10")
    await_report(world, sqlite_db)
    world["b"].execute("DELETE FROM t WHERE id BETWEEN 20 AND 29")
    world["a"].execute("UPDATE t SET id = 2000 WHERE id = 5")
    await_report(world, sqlite_db)
    world.kill()
    world["a"].execute("UPDATE t SET note = NULL WHERE id = 7")
    world.start()
    world["a"].execute("INSERT INTO t VALUES (3000, 3, 'c')")
    await_report(world, sqlite_db)
    status = world.status()["channels"]["report"]
    assert status["apply"]["parked"] == 0


def test_a_row_that_the_file_refuses_is_parked_and_released(reporting, sqlite_db):
    world = reporting
    sqlite_db.execute("CREATE UNIQUE INDEX one_note ON t (note)")
    sqlite_db.execute("INSERT INTO t VALUES (9, 9, 'taken')")
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'taken')")
    world["a"].execute("INSERT INTO t VALUES (2, 2, 'free')")
    await_that(lambda: 2 in rows_of(sqlite_db), message="the next row goes on")
    await_that(lambda: world.status()["channels"]["report"]["apply"]["parked"] == 1, message="one is parked")
    sqlite_db.execute("DELETE FROM t WHERE id = 9")
    assert world.command("parked", "retry").returncode == 0
    await_that(lambda: rows_of(sqlite_db) == {1: (1, "taken"), 2: (2, "free")}, message="it is released")


def test_a_file_that_is_locked_is_waited_for(reporting, sqlite_db):
    world = reporting
    world.start()
    with closing(sqlite_db.connect()) as user:
        user.execute("BEGIN IMMEDIATE")
        user.execute("INSERT INTO t VALUES (50, 5, 'own')")
        world["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
        world["b"].execute("INSERT INTO t VALUES (2, 1, 'x')")
        world.await_equal()
        user.execute("COMMIT")
    await_that(lambda: set(rows_of(sqlite_db)) == {1, 2, 50}, timeout=30, message="written when the lock was free")


def test_doctor_names_what_is_wrong_with_the_file(reporting, sqlite_db):
    world = reporting
    world.start()  # it makes what is missing in the databases
    assert world.stop() == 0
    told = world.command("doctor")
    assert told.returncode == 0, told.stdout + told.stderr
    sqlite_db.execute("ALTER TABLE t RENAME COLUMN note TO memo")
    told = world.command("doctor")
    assert told.returncode == 1
    assert "note" in told.stdout + told.stderr
    sqlite_db.path.rename(sqlite_db.path.with_suffix(".gone"))
    told = world.command("doctor")
    assert "unable to open" in told.stdout + told.stderr


def test_remove_takes_our_tables_out_of_the_file(reporting, sqlite_db):
    world = reporting
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
    await_report(world, sqlite_db)
    assert world.stop() == 0
    assert world.command("remove", "report", "--yes").returncode == 0
    with closing(sqlite3.connect(sqlite_db.path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"t"}
