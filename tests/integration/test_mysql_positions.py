"""Positions in binary logs survive what happens to servers (CASES.md C6, C13, C14, C18, R4): rotation, kills, failover, restores."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import HaltError, TransientError
from cdc.model import LogPart, Position
from cdc.readers.mysql import MySQLReader
from cdc.readers.mysql_position import read_place
from tests.mysql_logs import halted, read_parts, reader_of, rows_of
from tests.servers import MySQLDatabase, server_folder
from tests.waiting import await_that

HOLES = "aaaaaaaa-0000-0000-0000-00000000000a"


def run(db: MySQLDatabase, *statements: str) -> None:
    """In one session."""
    with db.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def ids_of(parts: list[LogPart]) -> list[object]:
    return [(row.after or row.before or ())[0] for row in rows_of(parts)]


class Following:
    """A reader that opens again wherever it was, as a capture does."""

    def __init__(self, db: MySQLDatabase) -> None:
        self.reader = reader_of(db, "t", heartbeat=0.5, part_rows=3)
        self.position = self.reader.open(None)
        self.ids: list[object] = []
        self._last = (0, 0)
        self._closed = False

    def read(self) -> None:
        try:
            if self._closed:
                self.position = self.reader.open(self.position)
                self._closed = False
            batch = self.reader.read(0.1)
        except TransientError:
            self.reader.close()
            self._closed = True
            return
        for part in batch.parts:
            assert part.order >= self._last[0], "orders grow"
            if (part.order, part.end) > self._last:
                self._last = (part.order, part.end)
                self.ids += [(row.after or (0,))[0] for row in part.rows]
            self.position = part.resume

    def read_up_to(self, count: int) -> None:
        def enough() -> bool:
            self.read()
            return len(self.ids) >= count

        await_that(enough, timeout=30, message=lambda: f"{len(self.ids)} of {count} rows")


@contextmanager
def writing(db: MySQLDatabase, committed: list[int]) -> Iterator[None]:
    """Transactions of one to seven rows, one after the other, as fast as the server takes them, however often it goes away."""
    stop = threading.Event()
    numbers = itertools.count(1)

    def write() -> None:
        ids = [next(numbers)]
        while not stop.is_set():
            try:
                with db.connect() as connection, connection.cursor() as cursor:
                    while not stop.is_set():
                        there = cursor.execute("SELECT 1 FROM t WHERE id = %s", [ids[0]])
                        if not there:  # otherwise its COMMIT got through, and only the answer did not
                            cursor.execute(f"INSERT INTO t VALUES {', '.join(f'({i})' for i in ids)}")
                        committed.extend(ids)
                        ids = [next(numbers) for _ in range(1 + len(committed) % 7)]
            except pymysql.err.Error:
                stop.wait(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_rotation_kills_and_new_table_ids_under_load_lose_and_repeat_nothing(own_server: MySQLDatabase) -> None:
    """R4, and SIGKILL of the server; every restart and every ALTER gives the table another id."""
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    follower = Following(db)
    committed: list[int] = []
    with writing(db, committed):
        for turn in range(2):
            for _ in range(3):
                follower.read_up_to(len(follower.ids) + 20)
                run(db, "FLUSH BINARY LOGS", "ALTER TABLE t COMMENT 'again', ALGORITHM = COPY")
            if turn:
                db.server.stop()
            else:
                db.server.kill()
            follower.read()
            db.server.start()
            follower.read_up_to(len(follower.ids) + 20)
    follower.read_up_to(len(committed))
    follower.reader.close()
    assert follower.ids == committed


def test_a_server_restored_from_a_backup_is_noticed(own_server: MySQLDatabase) -> None:
    """C18: at once where its log ends before our place; at the first GTID that we had read otherwise, not one row passed over."""
    db = own_server
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    db.execute("INSERT INTO t VALUES (1)")
    server, backup = db.server, db.server.folder / "backup"
    server.kill()  # what a crash leaves is a backup too
    shutil.copytree(server.data, backup, ignore=shutil.ignore_patterns("*.sock*"))
    server.start()
    reader = reader_of(db, "t")
    reader.open(None)
    for number in range(2, 9):
        db.execute(f"INSERT INTO t VALUES ({number})")
    (*_, last) = read_parts(reader, lambda parts: len(rows_of(parts)) >= 7)
    reader.close()
    server.kill()
    shutil.rmtree(server.data)
    backup.rename(server.data)
    server.start()
    assert refusal(reader, last.resume).code == "POSITION_AHEAD"
    for number in range(20, 60):  # its log grows beyond our place
        db.execute(f"INSERT INTO t VALUES ({number})")
    place = read_place(last.resume)
    at = next(int(str(row[1])) for row in db.execute(f"SHOW BINLOG EVENTS IN '{place.file}'") if int(str(row[1])) >= 1000 and "GTID" in str(row[5]).upper())  # fmt: skip
    shifted = Position(
        place.era.order(place.file, at), last.resume.native.replace(f'"offset":{place.offset}', f'"offset":{at}')
    )
    reader.open(shifted)
    error = halted(reader)
    reader.close()
    assert error.code == "POSITION_AHEAD"
    assert "restored" in error.what


def refusal(reader: MySQLReader, position: Position) -> HaltError:
    with pytest.raises(HaltError) as caught:
        reader.open(position)
    reader.close()
    return caught.value


def test_a_failover_keeps_holes_tags_domains_and_what_is_prepared(own_server: MySQLDatabase) -> None:
    """C14 and C18: another server goes on by GTID; a hole that is filled there is read, and an XA COMMIT finds its rows."""
    db = own_server
    mysql = isinstance(db.server, MySQL)
    db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    reader = reader_of(db, "t")
    reader.open(None)
    run(db, "XA START 'held'", "INSERT INTO t VALUES (100), (101)", "XA END 'held'", "XA PREPARE 'held'")
    if mysql:
        run(
            db, f"SET SESSION gtid_next = '{HOLES}:7'", "INSERT INTO t VALUES (1)", "SET SESSION gtid_next = 'AUTOMATIC:blue'",
            "INSERT INTO t VALUES (2)", "SET SESSION gtid_next = AUTOMATIC", "INSERT INTO t VALUES (3)",
        )  # fmt: skip
    else:
        run(
            db, "SET SESSION gtid_domain_id = 7", "INSERT INTO t VALUES (1)", "SET SESSION gtid_domain_id = 3", "INSERT INTO t VALUES (2)",
            "SET SESSION gtid_domain_id = 0", "INSERT INTO t VALUES (3)",
        )  # fmt: skip
    parts = read_parts(reader, lambda parts: len(rows_of(parts)) >= 3)
    reader.close()
    gtids = read_place(parts[-1].resume).gtids
    assert (f"{HOLES}:7" in gtids and ":blue:1" in gtids) if mysql else ("7-777-1" in gtids and "3-777-1" in gtids)
    with server_folder() as folder:
        replica = type(db.server)(Path(folder) / "replica", server_id=778).start()
        try:
            follow(replica, db)
            copy = MySQLDatabase(replica, db.name)
            await_that(lambda: count(copy) == 3)
            await_that(lambda: len(copy.execute("XA RECOVER")) == 1)
            copy.execute("STOP REPLICA" if mysql else "STOP SLAVE")
            reader = reader_of(copy, "t")
            reader.open(parts[-1].resume)
            if mysql:
                run(copy, f"SET SESSION gtid_next = '{HOLES}:5'", "INSERT INTO t VALUES (4)")
            else:
                run(copy, "SET SESSION gtid_domain_id = 7", "INSERT INTO t VALUES (4)")
            run(copy, "XA COMMIT 'held'")
            copy.execute("INSERT INTO t VALUES (5)")
            after = read_parts(reader, lambda parts: 5 in ids_of(parts))
            reader.close()
            assert ids_of(after) == [4, 100, 101, 5]
            assert after[0].order > parts[-1].resume.order
            gtids = read_place(after[-1].resume).gtids
            assert (f"{HOLES}:5:7" in gtids) if mysql else ("7-778-2" in gtids)
            reader.open(after[0].resume)  # the new server's own position, with what is prepared elsewhere
            assert ids_of(read_parts(reader, lambda parts: 5 in ids_of(parts))) == [100, 101, 5]
            reader.close()
        finally:
            replica.kill()
            run(db, "XA ROLLBACK 'held'")


def count(db: MySQLDatabase) -> int:
    with db.server.connect() as connection, connection.cursor() as cursor:  # the database itself comes by replication
        if not cursor.execute(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 't'", (db.name,)
        ):
            return 0
    return int(str(db.execute("SELECT COUNT(*) FROM t")[0][0]))


def follow(replica: MariaDB | MySQL, db: MySQLDatabase) -> None:
    server = db.server
    at = f"{{0}}_HOST = '127.0.0.1', {{0}}_PORT = {server.port}, {{0}}_USER = '{server.admin_user}', {{0}}_PASSWORD = '{server.password}'"
    if isinstance(replica, MariaDB):
        statements = [
            "RESET MASTER",
            f"CHANGE MASTER TO {at.format('MASTER')}, MASTER_USE_GTID = slave_pos",
            "START SLAVE",
        ]
    else:
        statements = [
            f"CHANGE REPLICATION SOURCE TO {at.format('SOURCE')}, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            "START REPLICA",
        ]
    with replica.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
