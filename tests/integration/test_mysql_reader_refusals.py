"""The reader of binary logs on real MariaDB and MySQL servers: positions that are gone, settings, another server."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import HaltError
from cdc.model import LogPart, Position
from cdc.readers import Notice
from cdc.readers.mysql import MySQLReader
from tests.mysql_logs import read_parts, read_rows, reader_of
from tests.servers import MySQLDatabase, server_folder
from tests.waiting import await_that


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
            notices: list[Notice] = []

            def come() -> list[LogPart]:
                batch = reader.read(0.5)
                notices.extend(batch.notices)
                return batch.parts

            (taken,) = await_that(come)
            assert [n.event for n in notices] == ["server_changed"]
            (row,) = taken.rows
            assert row.after == (2,)
            assert taken.order > part.resume.order
            reader.close()
            reader.open(taken.resume)
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
