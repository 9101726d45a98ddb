"""Ask a MySQL or MariaDB server what the doctor judges. Reads catalogs and variables only; writes nothing. Guards I9."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pymysql

from cdc.doctor.create_table import column_lines
from cdc.doctor.facts import MySQLFacts, Numbers, TableFacts, Wish
from cdc.doctor.grants import read_grants
from cdc.foreign_keys import TableName, foreign_keys
from cdc.quoting import account, quote
from sinks.bookkeeping import LINKS_TABLE, PARKED_TABLE, PROGRESS_TABLE
from transforms.tables import Table

Describe = Callable[[str, str], Table | None]
_REFUSED: Final = (1142, 1143, 1227, 1044, 1370)  # a privilege is missing


def gather_mysql(connection: pymysql.Connection[Any], wish: Wish, describe: Describe) -> MySQLFacts:
    """Raises pymysql.err.Error where the connection is lost on the way."""
    before = time.time()
    row = _rows(connection, "SELECT UNIX_TIMESTAMP(NOW(6)), VERSION(), CURRENT_USER(), CONNECTION_ID()")[0]
    after = time.time()
    variables = {str(name).lower(): str(value) for name, value in _rows(connection, "SHOW GLOBAL VARIABLES")}
    grants = read_grants(str(line[0]) for line in _rows(connection, "SHOW GRANTS"))
    do_db, ignore_db = _binlog_filters(connection)
    ours = ((wish.schema, PROGRESS_TABLE), (wish.schema, PARKED_TABLE)) if wish.keeps_tables else ()
    names = (*wish.tables, *ours, *(((wish.schema, LINKS_TABLE),) if wish.writes_people else ()))
    return MySQLFacts(
        version=str(row[1]),
        identity=_identity(variables, wish.address.database),
        skew_seconds=float(row[0]) - (before + after) / 2,
        skew_error_seconds=(after - before) / 2,
        proxied=_handshake_thread(connection) != row[3],
        tables=_tables(connection, names, describe, numbers(variables)),
        account=account(str(row[2])),
        variables=variables,
        grants=grants,
        binlog_do_db=do_db,
        binlog_ignore_db=ignore_db,
        is_replica=_is_replica(connection),
    )


def _handshake_thread(connection: pymysql.Connection[Any]) -> int:
    """The session that the greeting named: a proxy greets with one of its own."""
    greeted: tuple[int] = vars(connection)["server_thread_id"]
    return greeted[0]


def _rows(connection: pymysql.Connection[Any], statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())


def _one_of(connection: pymysql.Connection[Any], *statements: str) -> list[tuple[Any, ...]] | None:
    """The first that this version knows; None where none may be run."""
    for statement in statements:
        try:
            return _rows(connection, statement)
        except pymysql.err.ProgrammingError as error:
            if error.args[0] != 1064:  # syntax: the other name of the same statement is tried
                raise
        except pymysql.err.OperationalError as error:
            if error.args[0] not in _REFUSED:
                raise
            return None
    return None


def _binlog_filters(
    connection: pymysql.Connection[Any],
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    found = _one_of(connection, "SHOW BINARY LOG STATUS", "SHOW MASTER STATUS")
    if found is None:
        return None, None
    if not found:
        return (), ()  # no binary log at all
    return _names(found[0][2]), _names(found[0][3])


def _names(listed: object) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(listed or "").split(",") if name.strip())


def _is_replica(connection: pymysql.Connection[Any]) -> bool | None:
    found = _one_of(connection, "SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
    return None if found is None else bool(found)


def _identity(variables: dict[str, str], database: str) -> str:
    """MariaDB has no server_uuid; server_uid only in late versions, and a copied data folder keeps it: so the place belongs to it."""
    name = variables.get("server_uuid") or "/".join(
        variables.get(part, "") for part in ("server_uid", "hostname", "port", "datadir")
    )
    return f"{name}/{database}"


def numbers(variables: Mapping[str, str]) -> Numbers:
    """What AUTO_INCREMENT gives on this server. A cluster that gives its nodes places of their own gives away every one of them.

    An offset above the increment is ignored (MySQL manual, auto_increment_offset).
    """
    step = int(variables.get("auto_increment_increment") or 1)
    place = int(variables.get("auto_increment_offset") or 1)
    return Numbers() if steps_by_cluster(variables) or place > step else Numbers(step, place)


def steps_by_cluster(variables: Mapping[str, str]) -> bool:
    """Whether Galera sets the increment and the offset of its nodes itself."""
    return all(variables.get(name) == "ON" for name in ("wsrep_on", "wsrep_auto_increment_control"))


def _tables(
    connection: pymysql.Connection[Any], names: Iterable[TableName], describe: Describe, numbered: Numbers
) -> dict[TableName, TableFacts]:
    found: dict[TableName, TableFacts] = {}
    for schema, table in names:
        rows = _rows(
            connection,
            "SELECT table_type, engine FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
            schema,
            table,
        )
        if not rows:
            continue
        catalog = describe(schema, table) or Table(schema, table, ())  # its columns may all be hidden from us
        kind = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}.get(str(rows[0][0]), "other")
        created = _created(connection, schema, table) if kind == "table" else ""
        found[schema, table] = TableFacts(
            catalog=catalog,
            kind=kind,
            storage=str(rows[0][1] or ""),
            triggers=_triggers(connection, schema, table),
            foreign_keys=foreign_keys(created, (schema, table)),
            column_lines=column_lines(created),
            numbers={column.name: numbered for column in catalog.columns if column.auto_increment},
        )
    return found


def _triggers(connection: pymysql.Connection[Any], schema: str, table: str) -> tuple[str, ...]:
    statement = (
        "SELECT trigger_name FROM information_schema.triggers "
        "WHERE event_object_schema = %s AND event_object_table = %s ORDER BY trigger_name"
    )
    return tuple(str(row[0]) for row in _rows(connection, statement, schema, table))


def _created(connection: pymysql.Connection[Any], schema: str, table: str) -> str:
    try:
        return str(_rows(connection, f"SHOW CREATE TABLE {quote('mysql', schema, table)}")[0][1])
    except pymysql.err.OperationalError as error:
        if error.args[0] not in _REFUSED:
            raise
        return ""
