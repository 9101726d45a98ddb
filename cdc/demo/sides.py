"""The three channels as their own applications use them: plain SQL through plain drivers, knowing nothing of Datong.

One `Side` is one connection, for one thread. Writing is a transaction of the channel's own; reading is a plain SELECT.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import psycopg
import pymysql
from psycopg.rows import TupleRow
from pymysql.connections import Connection as MySQLConnection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from cdc.demo.business import Key, Kind, SideName, Transaction
from cdc.demo.expectation import TABLES, Row, Table, key_value, row

# A user's own transaction may be the one that the server picks as the victim; an application then tries again.
_TRY_AGAIN = (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT)
_ATTEMPTS = 5


class Connection(Protocol):
    """What PyMySQL's and psycopg's connections have in common."""

    def cursor(self) -> Any: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...


class UnexpectedRowCount(RuntimeError):
    """A statement of the workload did not touch the row it was about: somebody else removed or made it."""


class Side:
    """One channel's database, by one connection."""

    def __init__(self, name: SideName, connection: MySQLConnection[Cursor] | psycopg.Connection[TupleRow]) -> None:
        self.name = name
        self._connection: Connection = connection
        self._quote = '"' if isinstance(connection, psycopg.Connection) else "`"

    def write(self, transaction: Transaction) -> None:
        """Commit a transaction; raises UnexpectedRowCount, and what the driver raises. Nothing is committed then."""
        for attempt in range(_ATTEMPTS):
            try:
                self._write(transaction)
            except (pymysql.err.OperationalError, psycopg.errors.DeadlockDetected) as error:
                self._connection.rollback()
                again = isinstance(error, psycopg.errors.DeadlockDetected) or error.args[0] in _TRY_AGAIN
                if not again or attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                self._connection.rollback()
                raise
            else:
                return

    def _write(self, transaction: Transaction) -> None:
        with self._connection.cursor() as cursor:
            for step in transaction:
                table = TABLES[self.name, step.key.kind]
                key = key_value(self.name, step.key)
                statement: str
                values: Row
                if step.after is None:
                    statement, values = self._delete(table), (key,)
                elif step.before is None:
                    statement, values = self._insert(table), row(self.name, step.after)
                else:
                    old, new = row(self.name, step.before), row(self.name, step.after)
                    at = [i for i, value in enumerate(new) if value != old[i]] or [len(new) - 1]
                    statement = self._update(table, [table.columns[i] for i in at])
                    values = (*(new[i] for i in at), key)
                try:
                    cursor.execute(statement, values)
                except (pymysql.err.IntegrityError, psycopg.errors.UniqueViolation):
                    raise UnexpectedRowCount(
                        f"{self.name}.{table.name}: {statement.split()[0]} of {step.key}: its key is there already"
                    ) from None
                if cursor.rowcount != 1 and not step.changes_nothing:  # MariaDB answers how many rows it changed
                    raise UnexpectedRowCount(f"{self.name}.{table.name}: {statement.split()[0]} of {step.key} hit {cursor.rowcount} rows")  # fmt: skip
        self._connection.commit()

    def fill(self, kind: Kind, rows: Sequence[Row]) -> None:
        """Insert many rows of one kind in one transaction."""
        with self._connection.cursor() as cursor:
            cursor.executemany(self._insert(TABLES[self.name, kind]), rows)
        self._connection.commit()

    def read(self, kind: Kind, keys: Collection[Key] | None = None) -> dict[str, Row]:
        """The rows of one kind by the value of their key column; all of them, or those of `keys`."""
        table = TABLES[self.name, kind]
        names = ", ".join(self._name(column) for column in table.columns)
        statement = f"SELECT {names} FROM {self._name(table.name)}"
        values = None if keys is None else [key_value(self.name, key) for key in keys]
        if values is not None:
            statement += f" WHERE {self._name(table.columns[0])} IN ({', '.join(['%s'] * len(values))})"
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            found = cursor.fetchall()
        self._connection.commit()  # the next read has to see what was committed meanwhile
        return {str(line[0]): tuple(line) for line in found}

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _insert(self, table: Table) -> str:
        names = ", ".join(self._name(column) for column in table.columns)
        return f"INSERT INTO {self._name(table.name)} ({names}) VALUES ({', '.join(['%s'] * len(table.columns))})"

    def _update(self, table: Table, columns: Sequence[str]) -> str:
        settings = ", ".join(f"{self._name(column)} = %s" for column in columns)
        return f"UPDATE {self._name(table.name)} SET {settings} WHERE {self._name(table.columns[0])} = %s"

    def _delete(self, table: Table) -> str:
        return f"DELETE FROM {self._name(table.name)} WHERE {self._name(table.columns[0])} = %s"

    def _name(self, identifier: str) -> str:
        return f"{self._quote}{identifier}{self._quote}"
