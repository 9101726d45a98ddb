"""Opening a connection to a channel's database: the one door to PyMySQL and psycopg for every role.

Every session is pinned, so that no server default changes what a value means (TRAPS.md G2, W3). TLS, where configured, is verified;
it is never weakened. Guards I6 and I9: no message of this module holds a password.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import pymysql
from pymysql.constants import CLIENT

from transforms.tables import Engine

CONNECT_TIMEOUT_SECONDS: Final = 5

_MYSQL_COMMON: Final = {
    "time_zone": "'+00:00'",
    "sql_mode": "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'",
    "sql_select_limit": "18446744073709551615",  # a lower one silently answers fewer rows
    "sql_auto_is_null": "0",  # else IS NULL may find the row that was inserted last
    "sql_safe_updates": "0",
    "sql_big_selects": "1",
    "sql_quote_show_create": "1",  # what is read out of SHOW CREATE TABLE is found by its quotes
    "sql_notes": "1",
    "foreign_key_checks": "1",
    "unique_checks": "1",
    "completion_type": "'NO_CHAIN'",
}
# Of a long list of keys the server is to look up each one, and not to read the whole table.
_MYSQL: Final = {
    "transaction_isolation": "'READ-COMMITTED'", "transaction_read_only": "0", "max_execution_time": "0",
    "range_optimizer_max_mem_size": "0",
}  # fmt: skip
# MariaDB 10.11 does not know transaction_isolation as a variable. Between two batches we are in a transaction that holds nothing.
_MARIADB: Final = {
    "tx_isolation": "'READ-COMMITTED'", "tx_read_only": "0", "max_statement_time": "0", "idle_transaction_timeout": "0",
    "max_error_count": "64", "in_predicate_conversion_threshold": "0",
    "idle_write_transaction_timeout": "0", "idle_readonly_transaction_timeout": "0", "system_versioning_asof": "DEFAULT",
}  # fmt: skip

_POSTGRESQL_SETTINGS: Final = {
    "DateStyle": "ISO,YMD", "IntervalStyle": "iso_8601", "TimeZone": "UTC", "bytea_output": "hex", "extra_float_digits": "1",
    "standard_conforming_strings": "on", "client_encoding": "UTF8", "lc_monetary": "C", "xmloption": "content",
    "array_nulls": "on",  # else the NULL in an array is a text
    "quote_all_identifiers": "off",  # names of types are compared
    "transform_null_equals": "off",
    "row_security": "off",  # what a policy would hide is an error, and no row that is not there
    "default_transaction_isolation": "read committed", "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off", "exit_on_error": "off", "search_path": "public",
    "idle_in_transaction_session_timeout": "0", "statement_timeout": "0", "lock_timeout": "0",
}  # fmt: skip


def pin_postgresql(connection: psycopg.Connection[Any]) -> None:
    """Pin an open session but for its search_path, as a pooler allows it that takes no options of a connection."""
    settings = [pair for pair in _POSTGRESQL_SETTINGS.items() if pair[0] != "search_path"]
    pins = ", ".join(["set_config(%s, %s, false)"] * len(settings))
    connection.execute(f"SELECT {pins}".encode(), [text for pair in settings for text in pair])
    connection.commit()


def _postgresql_options() -> str:
    """What libpq takes as `options` to pin a session."""
    return " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in _POSTGRESQL_SETTINGS.items())


_POSTGRESQL_OPTIONS: Final = _postgresql_options()


def _mysql_session(engine: Engine) -> str:
    settings = _MYSQL_COMMON | (_MARIADB if engine == "mariadb" else _MYSQL)
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files. The server's certificate is verified against `ca`, and its name against the host."""

    ca: str
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a channel's database is; of SQLite `database` is the file's path, the rest is empty. `password` never shows in a repr."""

    engine: Engine
    host: str
    port: int
    user: str
    database: str
    password: str = field(default="", repr=False)
    tls: Tls | None = None

    def __str__(self) -> str:
        if self.engine == "sqlite":
            return f"sqlite:///{self.database}"
        return f"{self.engine}://{self.user}@{self.host}:{self.port}/{self.database}"


class _ImpatientConnection(psycopg.Connection[Any]):
    """A connection that gives up waiting for an answer after `read_timeout`: a frozen proxy answers nothing for ever.

    TCP's own timers do not see that, because the proxy's kernel acknowledges what we send. Raises psycopg.OperationalError.
    """

    read_timeout: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None or self.read_timeout is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.read_timeout)
        except psycopg.errors._WaitTimeout as silence:  # noqa: SLF001 - psycopg has no public name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.read_timeout:g} s") from silence


def connect_mysql(
    address: Address,
    *,
    read_timeout: float | None = 60.0,
    found_rows: bool = True,
    multi_statements: bool = False,
) -> pymysql.Connection[Any]:
    """Open a MySQL or MariaDB session: autocommit, UTC, strict, READ COMMITTED, utf8mb4, FOUND_ROWS (TRAPS.md W2).

    `multi_statements`: several statements may go in one packet; only for statements whose values the literal encoder wrote.

    Raises pymysql.err.Error and OSError; `sinks.classification` sorts them.
    """
    tls = None
    if address.tls is not None:
        tls = ssl.create_default_context(cafile=address.tls.ca)
        if address.tls.cert:
            tls.load_cert_chain(address.tls.cert, address.tls.key)
    connection: pymysql.Connection[Any] = pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database or None,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        # Of the handshake: whatever answers at this port may be no MySQL and say nothing.
        read_timeout=CONNECT_TIMEOUT_SECONDS,
        write_timeout=CONNECT_TIMEOUT_SECONDS,
        client_flag=(CLIENT.FOUND_ROWS if found_rows else 0) | (CLIENT.MULTI_STATEMENTS if multi_statements else 0),
        ssl=tls,
        local_infile=False,
        program_name="datong",
        init_command=_mysql_session(address.engine),
    )
    connection._read_timeout = connection._write_timeout = read_timeout  # type: ignore[attr-defined] # noqa: SLF001 - no public way
    return connection


def connect_postgresql(
    address: Address, *, replication: bool = False, autocommit: bool = True, read_timeout: float | None = None
) -> psycopg.Connection[Any]:
    """Open a PostgreSQL session with every output setting pinned; `replication` gives a logical walsender session.

    `read_timeout`: how long one statement may stay without an answer, in seconds.

    Raises psycopg.Error; `sinks.classification` sorts them.
    """
    parameters: dict[str, Any] = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "dbname": address.database,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "datong",
        "options": _POSTGRESQL_OPTIONS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    if address.tls is not None:
        parameters |= {"sslmode": "verify-full", "sslrootcert": address.tls.ca}
        if address.tls.cert:
            parameters |= {"sslcert": address.tls.cert, "sslkey": address.tls.key}
    if replication:
        parameters["replication"] = "database"
    connection = _ImpatientConnection.connect(
        autocommit=autocommit, prepare_threshold=None if replication else 5, **parameters
    )
    connection.read_timeout = read_timeout
    return connection
