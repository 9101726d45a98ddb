"""Making what is missing in a channel's database before anything is read or written there. Guards I2.

An applier must not write before the channel's log shows its apply records, so both roles come through here first: the
tables of ours, then (PostgreSQL) the publication that carries them. What the account may not do is a HaltError with the statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import psycopg
import structlog

from cdc.errors import HaltError, TransientError
from cdc.foreign_keys import ForeignKey, TableName, foreign_keys, logs_cascades, without_action
from cdc.quoting import quote
from cdc.readers.mysql_server import MySQLServer
from cdc.readers.postgresql_errors import connection_refused, one_line, translated
from cdc.readers.postgresql_position import slot_name
from cdc.readers.postgresql_publication import existing, publication_statements
from sinks import open_sink
from sinks.connections import Address, connect_postgresql
from sinks.contract import Halt, SinkError, SinkOptions
from sinks.mysql_catalog import TABLE_KINDS
from sinks.mysql_literals import text_literal
from transforms.tables import Engine

log = structlog.get_logger()

_NOT_THERE: Final = ("TABLE_MISSING", "DATABASE_MISSING")
_CREATE: Final = "create it, or mend the mapping's `table`; of a table that was dropped, an empty one will do: what the log holds of it is captured then"
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_REPLICA_IDENTITY: Final = """
SELECT n.nspname, c.relname, c.relreplident FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""


def prepare(address: Address, deployment: str, channel: str, tables: Iterable[TableName], *, bookkeeping: str) -> None:
    """Create datong_progress and datong_parked and complete the publication, where they are missing and it may be done."""
    if bookkeeping == "table":
        _prepare_tables(address, channel)
    if address.engine == "postgresql":
        _prepare_publication(address, slot_name(deployment, channel), set(tables))


def require_before_images(address: Address, channel: str, needs: Mapping[TableName, str]) -> None:
    """Raises HaltError for a table whose log must say what a row was before a change, and does not. `needs`: why, per table."""
    if address.engine != "postgresql" or not needs:
        return  # MySQL and MariaDB: binlog_row_image FULL is asked for anyway
    try:
        with _connected(address) as connection:
            found = connection.execute(_REPLICA_IDENTITY, [[s for s, _ in needs], [t for _, t in needs]]).fetchall()
    except psycopg.Error as error:
        raise translated(error, address, "asking for replica identities", "run `datong doctor`") from None
    for schema, table, identity in found:
        if identity != "f":
            raise HaltError(
                "BEFORE_IMAGES",
                f"{channel}: the log does not say what a row of {schema}.{table} was before a change, and {needs[schema, table]} needs it",
                f'ALTER TABLE "{schema}"."{table}" REPLICA IDENTITY FULL;',
            )


def require_tables(address: Address, channel: str, tables: Iterable[TableName]) -> None:
    """Raises HaltError TABLE_MISSING for what is no table of exactly that name: MySQL's log would never show a row of it.

    PostgreSQL's reader asks for its publication's tables itself. A table that the account may not look at is left to doctor.
    """
    if address.engine not in ("mysql", "mariadb"):
        return
    server = MySQLServer(address)
    try:
        ((database,),) = server.ask("SELECT DATABASE()")
        if database != address.database:
            raise HaltError(
                "TABLE_MISSING",
                f"{channel}: the server calls database {address.database} {database}, and so does its log",
                f"write {database} in channels.{channel}.url",
            )
        for schema, table in sorted(tables):
            _require_table(server, channel, (schema, table))
    finally:
        server.close()


def _require_table(server: MySQLServer, channel: str, name: TableName) -> None:
    schema, table = name
    found = server.ask(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = {text_literal(schema)} AND TABLE_NAME = {text_literal(table)}"
    )
    if not found:
        try:
            server.ask(f"SHOW CREATE TABLE {quote('mysql', schema, table)}")
        except HaltError as error:
            if error.code in _NOT_THERE:
                raise HaltError("TABLE_MISSING", f"{channel}: there is no table {schema}.{table}", _CREATE) from None
            if error.code != "PRIVILEGE_MISSING":
                raise
        return
    ((in_schema, called, kind),) = found
    if (in_schema, called) != name:
        told = f"{channel}: {schema}.{table} is called {in_schema}.{called} in the server and its log"
        raise HaltError("TABLE_MISSING", told, f"write {called} in the mapping's `table`")
    if kind not in TABLE_KINDS:
        told = f"{channel}: {schema}.{table} is a {str(kind).lower()}: only a table has a log"
        raise HaltError("TABLE_MISSING", told, "map the table behind it")


def require_logged_cascades(address: Address, channel: str, wanted: Mapping[TableName, frozenset[str]]) -> None:
    """Raises HaltError CASCADE for a foreign key that changes captured rows, or columns of them, behind the log's back.

    `wanted`: per captured table the columns that are read. A table that the account may not look at is left to doctor.
    """
    if address.engine not in ("mysql", "mariadb"):
        return
    server = MySQLServer(address)
    try:
        harmful = [key for name, columns in wanted.items() for key in _keys_of(server, name) if key.changes(columns)]
        if not harmful or _logs_cascades(server, address.engine):
            return
    finally:
        server.close()
    told = "; ".join(
        f"foreign key {key.name} of {key.child[0]}.{key.child[1]} ({key.action}, from {key.parent[1]}) changes rows that are captured, and this server's log does not show it"
        for key in harmful
    )
    mend = " ".join(statement for key in harmful for statement in without_action(address.engine, key))
    raise HaltError(
        "CASCADE",
        f"{channel}: {told}: the other channels would keep those rows",
        f"{mend} and let the application do what the cascade did; or take the table out of the captured mappings; or use MySQL 9.6 or later, which logs it",
    )


def _keys_of(server: MySQLServer, name: TableName) -> tuple[ForeignKey, ...]:
    try:
        found = server.ask(f"SHOW CREATE TABLE {quote('mysql', *name)}")
    except HaltError as error:  # there is none, or it may not be looked at: the reader and doctor name that
        if error.code not in (*_NOT_THERE, "PRIVILEGE_MISSING"):
            raise
        log.warning("foreign_keys_unseen", table=".".join(name), reason=error.what)
        return ()
    return foreign_keys(str(found[0][1]), name)


def _logs_cascades(server: MySQLServer, engine: Engine) -> bool:
    native = server.ask("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
    ((version,),) = server.ask("SELECT @@version")
    return logs_cascades(engine, str(version), str(native[0][1]) if native else "")


def _prepare_tables(address: Address, channel: str) -> None:
    sink = open_sink(address, SinkOptions())
    try:
        sink.connect()
        for statement in sink.prepare():
            log.info("created", channel=channel, statement=statement.split("(")[0].strip())
    except Halt as error:
        raise HaltError("NOT_PREPARED", f"{channel}: {error}", error.mend or "run `datong doctor`") from None
    except SinkError as error:
        raise TransientError(f"{channel} ({address}): {error}") from None
    finally:
        sink.close()


def _connected(address: Address) -> psycopg.Connection[Any]:
    """Raises HaltError and TransientError: a login or a database that is refused has no SQLSTATE here."""
    try:
        return connect_postgresql(address)
    except psycopg.Error as error:
        raise connection_refused(error, address) from None


def _prepare_publication(address: Address, name: str, tables: set[TableName]) -> None:
    """Capture and apply start in the same moment: what is missing is looked for again once no other process prepares."""
    statements: list[str] = []
    try:
        with _connected(address) as connection:
            missing = tables - existing(connection, tables)
            if not publication_statements(connection, name, tables - missing):
                return
            with connection.transaction():
                connection.execute(_ONE_AT_A_TIME, (name,))
                statements = publication_statements(connection, name, tables - missing)
                for statement in statements:
                    connection.execute(statement.encode())
            for statement in statements:
                log.info("created", statement=statement)
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation) as error:  # somebody else's statements
        raise TransientError(f"{address}: another process prepares it as well: {one_line(error)}") from None
    except psycopg.Error as error:
        raise translated(
            error, address, "preparing the publication", f"let the tables' owner run: {' '.join(statements)}"
        ) from None
