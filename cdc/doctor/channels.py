"""One channel's examination: connect, gather, close, judge. The only I/O is at both ends of `examine_channel`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import psycopg
import pymysql

from cdc.doctor import mysql_privileges, mysql_settings, mysql_tables, postgresql_checks, server_checks, table_checks
from cdc.doctor.facts import MySQLFacts, PostgreSQLFacts, ServerFacts, Wish
from cdc.doctor.finding import Finding
from cdc.doctor.mysql_facts import gather_mysql
from cdc.doctor.postgresql_facts import gather_postgresql
from cdc.doctor.reach import UNKNOWN_VARIABLE, explain
from cdc.doctor.sqlite_channel import examine_sqlite
from sinks.connections import Address, connect_mysql, connect_postgresql
from sinks.mysql_catalog import read_mysql_table
from sinks.postgresql_catalog import read_postgresql_table
from transforms.tables import Engine, Table

_ANY_SERVER: Final[tuple[Callable[[Wish, ServerFacts], Iterable[Finding]], ...]] = (
    server_checks.check_version,
    server_checks.check_proxy,
    table_checks.check_tables_exist,
    table_checks.check_mappings_compile,
    table_checks.check_keys,
    table_checks.check_triggers,
    table_checks.check_cascades,
)
_MYSQL: Final[tuple[Callable[[Wish, MySQLFacts], Iterable[Finding]], ...]] = (
    mysql_settings.check_settings,
    mysql_settings.check_retention,
    mysql_settings.check_server_id,
    mysql_settings.check_gtid,
    mysql_settings.check_semi_sync,
    mysql_settings.check_binlog_filters,
    mysql_settings.check_endpoint,
    mysql_privileges.check_grants,
    mysql_privileges.check_own_tables,
    mysql_tables.check_storage,
)
_POSTGRESQL: Final[tuple[Callable[[Wish, PostgreSQLFacts], Iterable[Finding]], ...]] = (
    postgresql_checks.check_server,
    postgresql_checks.check_logical_decoding,
    postgresql_checks.check_written_tables,
    postgresql_checks.check_replicated_tables,
    postgresql_checks.check_privileges,
    postgresql_checks.check_own_tables,  # before the publication, which is to carry them
    postgresql_checks.check_publication,
    postgresql_checks.check_slot,
)


def examine_channel(wish: Wish) -> tuple[list[Finding], ServerFacts | None]:
    """All findings of one channel, and what was seen there; None where it cannot be entered."""
    if wish.address.engine == "sqlite":
        return examine_sqlite(wish)
    try:
        facts = _gather_postgresql(wish) if wish.address.engine == "postgresql" else _gather_mysql(wish)
    except (pymysql.err.MySQLError, psycopg.Error, OSError) as error:
        return [explain(wish, error)], None
    return list(judge(wish, facts)), facts


def judge(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    """All checks of one server. Pure. Behind a URL of the wrong engine nothing else is worth saying."""
    wrong = list(server_checks.check_engine(wish, facts))
    yield from wrong
    if wrong:
        return
    for check in _ANY_SERVER:
        yield from check(wish, facts)
    if isinstance(facts, MySQLFacts):
        for check_mysql in _MYSQL:
            yield from check_mysql(wish, facts)
    elif isinstance(facts, PostgreSQLFacts):
        for check_postgresql in _POSTGRESQL:
            yield from check_postgresql(wish, facts)


def run_statements(wish: Wish, statements: Iterable[str]) -> None:
    """Run what mends, with the channel's own account. Raises pymysql.err.MySQLError, psycopg.Error, OSError."""
    if wish.address.engine == "postgresql":
        with closing(connect_postgresql(wish.address)) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return
    with closing(connect_mysql(wish.address)) as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _gather_postgresql(wish: Wish) -> PostgreSQLFacts:
    with closing(connect_postgresql(wish.address)) as connection, psycopg.RawCursor(connection) as cursor:

        def ask(query: str, *parameters: object) -> Sequence[Sequence[Any]]:
            return cursor.execute(query.encode(), parameters).fetchall()

        def describe(schema: str, name: str) -> Table | None:
            found = read_postgresql_table(ask, schema, name)
            return found.table if found else None

        return gather_postgresql(connection, wish, describe)


def _gather_mysql(wish: Wish) -> MySQLFacts:
    with closing(_connect_either(wish.address)) as connection:

        def ask(statement: str) -> Sequence[Sequence[Any]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())

        engine: Engine = "mariadb" if "mariadb" in str(ask("SELECT VERSION()")[0][0]).lower() else "mysql"

        def describe(schema: str, name: str) -> Table | None:
            found = read_mysql_table(ask, engine, schema, name)
            return found.table if found else None

        return gather_mysql(connection, wish, describe)


def _connect_either(address: Address) -> pymysql.Connection[Any]:
    """The session's first statement is another one on MySQL than on MariaDB; a URL with the wrong one is to be told so."""
    try:
        return connect_mysql(address)
    except pymysql.err.OperationalError as error:
        if error.args[0] != UNKNOWN_VARIABLE:
            raise
    other: Engine = "mysql" if address.engine == "mariadb" else "mariadb"
    return connect_mysql(dataclasses.replace(address, engine=other))
