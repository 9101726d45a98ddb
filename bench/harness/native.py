"""The engines' own replication, as a peer: a PostgreSQL subscription, a MariaDB replica; as they come, nothing tuned.

`start` and `stop` are what an operator does: what is committed in between waits in the source's log.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Final

from bench.harness.servers import DATABASE, Database
from cdc.demo.servers import MariaDB, PostgreSQL

NATIVE_DATABASE: Final = "native"  # of PostgreSQL: the subscription's own, in the same server
_NAME: Final = "bench_native"


class Native(abc.ABC):
    """Copies the database `bench` of `source`; `server` and `database` are where the rows arrive."""

    source: Database
    server: Database
    database: str

    @abc.abstractmethod
    def set_up(self, tables: Sequence[str]) -> None:
        """Take the present end of the source's log; both sides hold the tables, equal."""

    @abc.abstractmethod
    def start(self) -> None: ...

    @abc.abstractmethod
    def stop(self) -> None: ...

    @abc.abstractmethod
    def wrong(self) -> str:
        """What went wrong, in one line; empty while all is well."""

    def remove(self) -> None:  # noqa: B027 - a replica goes with its server
        """Leave nothing behind in the two servers."""


class Subscription(Native):
    def __init__(self, source: PostgreSQL, target: PostgreSQL) -> None:
        self.source, self.server, self.database = source, target, NATIVE_DATABASE
        self._publisher, self._subscriber = source, target
        self._made = False

    def make_database(self) -> None:
        """The subscriber's own database, a copy of the other target's: nobody may be connected to that."""
        with self._subscriber.connect() as session:
            session.execute(f"DROP DATABASE IF EXISTS {NATIVE_DATABASE} WITH (FORCE)".encode())
            session.execute(f"CREATE DATABASE {NATIVE_DATABASE} TEMPLATE {DATABASE}".encode())

    def set_up(self, tables: Sequence[str]) -> None:
        with self._publisher.connect(DATABASE) as session:
            session.execute(f"CREATE PUBLICATION {_NAME} FOR TABLE {', '.join(tables)}".encode())
        source = self._publisher
        place = f"host={source.host} port={source.port} user={source.admin_user} password={source.password} dbname={DATABASE}"
        self._run(f"CREATE SUBSCRIPTION {_NAME} CONNECTION '{place}' PUBLICATION {_NAME} WITH (copy_data = false)")
        self._made = True
        self.stop()

    def start(self) -> None:
        self._run(f"ALTER SUBSCRIPTION {_NAME} ENABLE")

    def stop(self) -> None:
        self._run(f"ALTER SUBSCRIPTION {_NAME} DISABLE")

    def wrong(self) -> str:
        with self._subscriber.connect(self.database) as session:
            row = session.execute("SELECT apply_error_count FROM pg_stat_subscription_stats").fetchone()
        return "the subscription meets errors: the server's log has them" if row and row[0] else ""

    def remove(self) -> None:
        if self._made:
            self._run(f"DROP SUBSCRIPTION {_NAME}")
            self._made = False

    def _run(self, statement: str) -> None:
        with self._subscriber.connect(self.database) as session:
            session.execute(statement.encode())


class Replica(Native):
    """A server of its own: a MariaDB replica keeps the names of databases."""

    def __init__(self, source: MariaDB, replica: MariaDB) -> None:
        self.source, self.server, self.database = source, replica, DATABASE
        self._primary, self._replica = source, replica

    def set_up(self, tables: Sequence[str]) -> None:  # noqa: ARG002 - a replica copies all there is
        with self._primary.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW MASTER STATUS")
            row = cursor.fetchone()
        assert row is not None
        source = self._primary
        self._run(
            f"CHANGE MASTER TO MASTER_HOST='{source.host}', MASTER_PORT={source.port}, MASTER_USER='{source.admin_user}',"
            f" MASTER_PASSWORD='{source.password}', MASTER_LOG_FILE='{row[0]}', MASTER_LOG_POS={row[1]}"
        )

    def start(self) -> None:
        self._run("START SLAVE")

    def stop(self) -> None:
        self._run("STOP SLAVE")

    def wrong(self) -> str:
        from pymysql.cursors import DictCursor

        with self._replica.connect() as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            row: dict[str, object] = cursor.fetchone() or {}
        return str(row.get("Last_SQL_Error") or row.get("Last_IO_Error") or "")

    def _run(self, statement: str) -> None:
        with self._replica.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
