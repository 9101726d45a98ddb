"""Private servers for benchmarks, and an empty log on each: the servers of the demo with more memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL, Redis

Engine: TypeAlias = Literal["mariadb", "mysql", "postgresql"]
Database: TypeAlias = MariaDB | MySQL | PostgreSQL

ENGINES: Final[tuple[Engine, ...]] = ("mariadb", "mysql", "postgresql")
DATABASE: Final = "bench"
_MYSQL_OPTIONS: Final = {"innodb_buffer_pool_size": "256M", "max_binlog_size": "1G", "max_allowed_packet": "64M"}
_POSTGRESQL_OPTIONS: Final = {"shared_buffers": "256MB", "max_wal_size": "4GB"}


def make(engine: Engine, folder: Path, *, server_id: int = 1) -> Database:
    """A server that is not started yet. Its start raises ServerMissing where its programs are not installed."""
    if engine == "postgresql":
        return PostgreSQL(folder, options=_POSTGRESQL_OPTIONS)
    return (MariaDB if engine == "mariadb" else MySQL)(folder, server_id=server_id, options=_MYSQL_OPTIONS)


@contextmanager
def running(server: Database | Redis) -> Iterator[Any]:
    """Start, and discard at the end: the data goes with the folder."""
    server.start()
    try:
        yield server
    finally:
        server.discard()


def engine_of(server: Database) -> Engine:
    return "postgresql" if isinstance(server, PostgreSQL) else "mariadb" if isinstance(server, MariaDB) else "mysql"


def version(server: Database | Redis) -> str:
    if isinstance(server, Redis):
        with server.connect() as client:
            return str(client.info("server")["redis_version"])
    if isinstance(server, PostgreSQL):
        with server.connect() as session:
            row = session.execute("SHOW server_version").fetchone()
            return str(row[0]).split()[0] if row else ""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        return str(cursor.fetchone()[0])  # type: ignore[index]


def empty(server: Database, name: str = DATABASE) -> None:
    """An empty database; on MySQL and MariaDB an empty binary log too, on PostgreSQL no slot."""
    if isinstance(server, PostgreSQL):
        with server.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
            )
            session.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            session.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            session.execute(f"CREATE DATABASE {name}")
        return
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute("RESET BINARY LOGS AND GTIDS" if isinstance(server, MySQL) else "RESET MASTER")
        cursor.execute(f"CREATE DATABASE {name}")


def forget(redis: Redis) -> None:
    """Empty Redis."""
    with redis.connect() as client:
        client.flushall()
