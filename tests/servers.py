"""Fixtures: one private server of each kind for the whole session, one database of its own for each test.

A server is started when a test first asks for it. A missing server is an error of that test, never a skip.
`DATONG_TEST_SERVERS=containers` takes them from a container engine instead of this machine's programs.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis
from psycopg import sql
from psycopg.rows import TupleRow
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL, Redis, Server
from cdc.demo.servers.process import exists
from tests import container_servers
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that

_FOLDER = "datong-test-"


@dataclass(frozen=True, slots=True)
class MySQLDatabase:
    """A database of one test's own on a shared MySQL or MariaDB server."""

    server: MariaDB | MySQL
    name: str

    def url(self, user: str | None = None, password: str | None = None) -> str:
        return self.server.url(self.name, user, password)

    def connect(self) -> Connection[Cursor]:
        """A new admin connection in autocommit; the caller closes it."""
        return self.server.connect(self.name)

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[object, ...], ...]:
        """Run one statement as admin on a connection of its own, and return its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return tuple(cursor.fetchall())


@dataclass(frozen=True, slots=True)
class PostgreSQLDatabase:
    """A database of one test's own on the shared PostgreSQL server."""

    server: PostgreSQL
    name: str

    def url(self, user: str | None = None, password: str | None = None) -> str:
        return self.server.url(self.name, user, password)

    def connect(self) -> psycopg.Connection[TupleRow]:
        """A new admin connection in autocommit; the caller closes it."""
        return self.server.connect(self.name)

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[object, ...], ...]:
        """Run one statement as admin on a connection of its own, and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return tuple(cursor.fetchall()) if cursor.description else ()


@dataclass(frozen=True, slots=True)
class SQLiteDatabase:
    """A file of one test's own."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def connect(self) -> sqlite3.Connection:
        """A new connection in autocommit; the caller closes it."""
        return sqlite3.connect(self.path, isolation_level=None, timeout=10)

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[object, ...], ...]:
        """Run one statement on a connection of its own, and return its rows."""
        with closing(self.connect()) as connection:
            return tuple(connection.execute(statement, parameters).fetchall())


@dataclass(frozen=True, slots=True)
class RedisDatabase:
    """A logical database of one test's own, empty at first, on the shared Redis server."""

    server: Redis
    number: int

    def url(self) -> str:
        return self.server.url(str(self.number))

    def connect(self) -> redis.Redis:
        """A new client; the caller closes it."""
        return self.server.connect(str(self.number))


@contextmanager
def server_folder() -> Iterator[Path]:
    """A short path below /tmp that the account `postgres` may enter too; pytest's own is long and private."""
    _remove_folders_of_the_dead()
    prefix = f"{_FOLDER}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _remove_folders_of_the_dead() -> None:
    """A session that was killed leaves hundreds of megabytes."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _session_server(make: Callable[[Path], Server], contained: Callable[[Path], Server]) -> Iterator[Server]:
    chosen = contained if os.environ.get("DATONG_TEST_SERVERS") == "containers" else make
    with server_folder() as folder:
        server = chosen(folder / "server").start()
        try:
            yield server
        finally:
            server.discard()  # its data goes with the folder: no need of a clean end


@pytest.fixture
def sqlite_db(tmp_path: Path) -> SQLiteDatabase:
    database = SQLiteDatabase(tmp_path / "target.db")
    database.execute("PRAGMA journal_mode = WAL")
    return database


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with _session_server(
        lambda folder: MariaDB(folder, server_id=101), lambda folder: container_servers.MariaDB(folder, server_id=101)
    ) as server:
        assert isinstance(server, MariaDB)
        yield server


@pytest.fixture(scope="session")
def mariadb2() -> Iterator[MariaDB]:
    with _session_server(
        lambda folder: MariaDB(folder, server_id=102), lambda folder: container_servers.MariaDB(folder, server_id=102)
    ) as server:
        assert isinstance(server, MariaDB)
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQL]:
    with _session_server(
        lambda folder: MySQL(folder, server_id=103), lambda folder: container_servers.MySQL(folder, server_id=103)
    ) as server:
        assert isinstance(server, MySQL)
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with _session_server(PostgreSQL, container_servers.PostgreSQL) as server:
        assert isinstance(server, PostgreSQL)
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with _session_server(Redis, container_servers.Redis) as server:
        assert isinstance(server, Redis)
        yield server


@pytest.fixture
def mariadb_db(mariadb: MariaDB, request: pytest.FixtureRequest) -> Iterator[MySQLDatabase]:
    with mysql_database(mariadb, request.node.name) as database:
        yield database


@pytest.fixture
def mariadb2_db(mariadb2: MariaDB, request: pytest.FixtureRequest) -> Iterator[MySQLDatabase]:
    with mysql_database(mariadb2, request.node.name) as database:
        yield database


@pytest.fixture
def mysql_db(mysql: MySQL, request: pytest.FixtureRequest) -> Iterator[MySQLDatabase]:
    with mysql_database(mysql, request.node.name) as database:
        yield database


@pytest.fixture
def postgresql_db(postgresql: PostgreSQL, request: pytest.FixtureRequest) -> Iterator[PostgreSQLDatabase]:
    with postgresql_database(postgresql, request.node.name) as database:
        yield database


@pytest.fixture
def redis_db(redis_server: Redis) -> Iterator[RedisDatabase]:
    redis_server.start()
    database = RedisDatabase(redis_server, next(_redis_numbers))
    with database.connect() as client:
        client.flushdb()
        yield database
    redis_server.start()
    with database.connect() as client:
        client.flushdb()


@pytest.fixture
def tcp_proxy() -> Iterator[Callable[[str, int], TcpProxy]]:
    """`tcp_proxy(host, port)` makes a proxy in front of a server; all are closed after the test."""
    with ExitStack() as stack:
        yield lambda host, port: stack.enter_context(TcpProxy(host, port))


_redis_numbers = itertools.cycle(range(1, 64))


@contextmanager
def mysql_database(server: MariaDB | MySQL, prefix: str) -> Iterator[MySQLDatabase]:
    """A fresh database, dropped afterwards together with the sessions that are still in it."""
    database = MySQLDatabase(server, _name(prefix))
    server.start()  # an earlier test may have left it down
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{database.name}`")
    yield database
    server.start()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [database.name])
        for (session,) in cursor.fetchall():
            kill_session(cursor, session)
        cursor.execute("SET SESSION lock_wait_timeout = 30")
        cursor.execute(f"DROP DATABASE IF EXISTS `{database.name}`")


def kill_session(cursor: Cursor, session: int) -> None:
    try:
        cursor.execute(f"KILL {session}")
    except pymysql.err.OperationalError as error:
        if error.args[0] != ER.NO_SUCH_THREAD:  # it ended by itself
            raise


@contextmanager
def postgresql_database(server: PostgreSQL, prefix: str) -> Iterator[PostgreSQLDatabase]:
    """A fresh database, dropped afterwards with its slots, prepared transactions and sessions."""
    database = PostgreSQLDatabase(server, _name(prefix))
    quoted = sql.Identifier(database.name)
    server.start()  # an earlier test may have left it down
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
    yield database
    server.start()
    with server.connect() as connection:
        await_that(
            lambda: _slots_dropped(connection, database.name), message=f"the slots of {database.name} to be free"
        )
        _roll_back_prepared(server, database.name)
        await_that(lambda: _database_dropped(connection, quoted), message=f"nobody to be left in {database.name}")


def _database_dropped(connection: psycopg.Connection[TupleRow], quoted: sql.Identifier) -> bool:
    try:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted))
    except psycopg.errors.ObjectInUse:  # it waits five seconds for those that it ended
        return False
    return True


def _slots_dropped(connection: psycopg.Connection[TupleRow], database: str) -> bool:
    connection.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active", [database]
    )
    try:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s AND NOT active AND NOT temporary",
            [database],
        )
    except psycopg.errors.ObjectInUse:  # taken up in that very moment
        return False
    row = connection.execute("SELECT 1 FROM pg_replication_slots WHERE database = %s", [database]).fetchone()
    return row is None


def _roll_back_prepared(server: PostgreSQL, database: str) -> None:
    with server.connect() as connection:
        rows = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s", [database]).fetchall()
    if rows:
        with server.connect(database) as connection:
            for (gid,) in rows:
                connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))


def _name(prefix: str) -> str:
    """The test's own name, short, and a random suffix: two runs never meet."""
    readable = re.sub(r"[^a-z0-9]+", "_", prefix.lower().removeprefix("test_")).strip("_")
    return f"{readable[:36]}_{secrets.token_hex(4)}"
