"""Takes everything of ours out of one channel's database: slot, publication, progress, parked changes. The opposite of `cdc.preparing`.

Only what this deployment made goes; a table that another deployment still uses stays, without our lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
import psycopg.sql
import pymysql
from pymysql.constants import ER

from cdc.addresses import ChannelSettings, address_of
from cdc.errors import HaltError, TransientError
from cdc.readers.postgresql_position import slot_name
from cdc.readers.postgresql_slot import drop_slot
from sinks import generic_bookkeeping
from sinks.bookkeeping import LINKS_TABLE, PARKED_TABLE, PROGRESS_TABLE
from sinks.classification import mysql_error, postgresql_error
from sinks.connections import Address, connect_mysql, connect_postgresql
from sinks.contract import SinkError, Transient

_TABLES: Final = (PROGRESS_TABLE, PARKED_TABLE, LINKS_TABLE)


def remove_from_database(settings: ChannelSettings, deployment: str, channel: str) -> Iterator[str]:
    """Remove, and say what was removed. Raises TransientError or HaltError with one line."""
    address = address_of(settings)
    where = f"{channel} ({address}): removing"
    try:
        if address.engine == "postgresql":
            yield from _from_postgresql(address, deployment, channel)
        elif address.engine == "sqlite":
            yield from generic_bookkeeping.remove(address, deployment)
        else:
            yield from _from_mysql(address, deployment)
    except SinkError as error:
        raise _told(error) from None
    except psycopg.Error as error:
        raise _told(postgresql_error(error, where)) from None
    except (pymysql.err.MySQLError, OSError) as error:
        raise _told(mysql_error(error, where)) from None


def forget_source(settings: ChannelSettings, deployment: str, target: str, source: str) -> None:
    """Take the removed channel's line out of another target's progress: a channel of that name begins anew.

    Raises TransientError or HaltError with one line.
    """
    address = address_of(settings)
    where = f"{target} ({address}): forgetting the progress of {source}"
    names = (deployment, target, source)
    try:
        if address.engine == "sqlite":
            generic_bookkeeping.forget_source(address, deployment, target, source)
        elif address.engine == "postgresql":
            with connect_postgresql(address) as connection:
                found = connection.execute("SELECT to_regclass(%s)", [f"public.{PROGRESS_TABLE}"]).fetchone()
                if found is not None and found[0] is not None:
                    connection.execute(
                        f"DELETE FROM public.{PROGRESS_TABLE} WHERE deployment = %s AND target = %s AND source = %s".encode(),
                        names,
                    )
        else:
            with connect_mysql(address) as session, session.cursor() as cursor:
                cursor.execute(
                    "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
                    [PROGRESS_TABLE],
                )
                if cursor.fetchone() is not None:
                    cursor.execute(
                        f"DELETE FROM `{PROGRESS_TABLE}` WHERE deployment = %s AND target = %s AND source = %s", names
                    )
    except SinkError as error:
        raise _told(error) from None
    except psycopg.Error as error:
        raise _told(postgresql_error(error, where)) from None
    except (pymysql.err.MySQLError, OSError) as error:
        raise _told(mysql_error(error, where)) from None


def _told(error: SinkError) -> TransientError | HaltError:
    if isinstance(error, Transient):
        return TransientError(str(error))
    return HaltError("NOT_REMOVED", str(error), "give the account that right, or remove it as the tables' owner")


def _from_postgresql(address: Address, deployment: str, channel: str) -> Iterator[str]:
    name = slot_name(deployment, channel)
    if drop_slot(address, name):
        yield f"replication slot {name} dropped"
    with connect_postgresql(address) as connection:
        if connection.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [name]).fetchone():
            connection.execute(psycopg.sql.SQL("DROP PUBLICATION {}").format(psycopg.sql.Identifier(name)))
            yield f"publication {name} dropped"
        for table in _TABLES:
            quoted = psycopg.sql.Identifier("public", table)
            found = connection.execute("SELECT to_regclass(%s)", [f"public.{table}"]).fetchone()
            if found is None or found[0] is None:
                continue
            connection.execute(psycopg.sql.SQL("DELETE FROM {} WHERE deployment = %s").format(quoted), [deployment])
            if connection.execute(psycopg.sql.SQL("SELECT 1 FROM {} LIMIT 1").format(quoted)).fetchone():
                yield f"lines of {deployment} removed from {table}, which another deployment uses"
                continue
            connection.execute(psycopg.sql.SQL("DROP TABLE {}").format(quoted))
            yield f"table {table} dropped"


def _from_mysql(address: Address, deployment: str) -> Iterator[str]:
    with connect_mysql(address) as connection, connection.cursor() as cursor:
        for table in _TABLES:
            cursor.execute(
                "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s", [table]
            )
            if cursor.fetchone() is None:
                continue
            cursor.execute(f"DELETE FROM `{table}` WHERE `deployment` = %s", [deployment])
            cursor.execute(f"SELECT 1 FROM `{table}` LIMIT 1")
            if cursor.fetchone() is not None:
                yield f"lines of {deployment} removed from {table}, which another deployment uses"
                continue
            try:
                cursor.execute(f"DROP TABLE `{table}`")
                yield f"table {table} dropped"
            except pymysql.err.OperationalError as error:
                if error.args[0] != ER.TABLEACCESS_DENIED_ERROR:
                    raise
                yield f"lines of {deployment} removed from {table}; it is empty, the account may not drop it: DROP TABLE `{table}`;"
