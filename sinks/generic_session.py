"""A session through SQLAlchemy Core, for databases that have no sink of their own: today SQLite. The only door to SQLAlchemy here.

Transactions and savepoints are explicit statements, so that nothing begins or commits by itself. Guards I6 and I9.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc, pool

from sinks.connections import Address
from sinks.contract import FOREIGN_KEY, Halt, Rejected, SinkError, SinkOptions, Transient

MEND_FILE: Final = "check the path in the channel's url and the rights on the file and its folder"
_TRANSIENT: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_INTERRUPT")
_REJECTED: Final = ("SQLITE_CONSTRAINT", "SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_RANGE")


class GenericSession:
    """One open connection in autocommit."""

    void: Final = False  # BEGIN is a statement of its own, which has failed by itself

    def __init__(self, address: Address, options: SinkOptions) -> None:
        """Open the file, which must be there: a typing error in a path would make a new, empty database. Raises Transient and Halt."""
        self.address = address
        milliseconds = max(1, round(options.lock_timeout_seconds * 1000))
        self._engine = sa.create_engine(
            "sqlite://", creator=lambda: _open(address.database, milliseconds), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT",
        )  # fmt: skip
        with self.sorted(f"opening {address}"):
            self.connection = self._engine.connect()
            self.connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")

    @property
    def closed(self) -> bool:
        return self.connection.closed

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()

    def run(
        self,
        statement: sa.Executable,
        where: str,
        values: Sequence[Mapping[str, Any]] | None = None,
        *,
        single: bool = False,
    ) -> sa.CursorResult[Any]:
        """Run a statement of Core, once for each of `values`."""
        with self.sorted(where, single=single):
            return self.connection.execute(statement, values or None)

    def plain(self, sql: str, where: str) -> None:
        """Run a statement without values: BEGIN, COMMIT, SAVEPOINT."""
        with self.sorted(where):
            self.connection.exec_driver_sql(sql)

    @contextlib.contextmanager
    def sorted(self, where: str, *, single: bool = False) -> Iterator[None]:
        """What the driver's errors mean to the sink."""
        try:
            yield
        except exc.DBAPIError as error:
            raise generic_error(error.orig, where, single=single) from None
        except sqlite3.Error as error:
            raise generic_error(error, where, single=single) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise Rejected(f"{where}: a value that the driver cannot write ({type(error).__name__})") from None
        except exc.SQLAlchemyError as error:
            raise Halt(f"{where}: {type(error).__name__}") from None


def _open(path: str, milliseconds: int) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=rw", uri=True, timeout=milliseconds / 1000)
    connection.isolation_level = None
    # Durable before it is reported: the hub store is told of every commit.
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def generic_error(error: BaseException | None, where: str, *, single: bool = False) -> SinkError:
    """Sort a driver's error by its code. Names of constraints come through, values never do (SQLite's messages hold none)."""
    name = str(getattr(error, "sqlite_errorname", "")) or type(error).__name__
    message = f"{where}: {' '.join(str(error).split())[:200]} ({name})"
    if name.startswith(_TRANSIENT):
        return Transient(message, name)
    if name.startswith(_REJECTED) or isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        reason = FOREIGN_KEY if name == "SQLITE_CONSTRAINT_FOREIGNKEY" else "rejected"
        return Rejected(_without_words_of_triggers(where, name, message), name, reason=reason)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return Halt(message, name, mend=MEND_FILE)
    if "no such table" in message or "has no column" in message or "no such column" in message:
        return Halt(message, name, mend="add what is missing, or take it out of the mapping")
    return Rejected(message, name) if single else Halt(message, name)


def _without_words_of_triggers(where: str, name: str, message: str) -> str:
    """RAISE says what its author wrote, which may be a row's values."""
    return f"{where}: raised by a trigger ({name})" if name == "SQLITE_CONSTRAINT_TRIGGER" else message
