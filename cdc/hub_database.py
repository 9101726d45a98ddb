"""The database behind the hub store: SQLite in a file of mode 0600, or PostgreSQL. Connections, transactions, upserts.

Errors come out as the engine's own, one line, without a password (I9). Knows no table: `cdc.store` and `cdc.identity` do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cdc.errors import DatongError, TransientError
from sinks.connections import pin_postgresql

WAL_PAGES: Final = 8192  # 32 MiB: a batch of new people touches thousands of pages, and writing each of them back at once doubles its time
BUSY_SECONDS: Final = 3.5  # a role that waits longer would look hung (cdc.health), and its reason would not be told


class StoreRefusedError(DatongError):
    """The hub store cannot be used as it is: not writable, written by a newer version, not a database."""


class HubDatabase:
    """One process's connection to the hub store's database."""

    def __init__(self, url: str, *, page_cache_mib: int | None = None) -> None:
        """`page_cache_mib`: how much of an SQLite file is held in memory; None: SQLite's own 2 MiB."""
        self._url = sa.make_url(url)
        connect_args: dict[str, Any] = {}
        self.is_sqlite: Final = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            connect_args["timeout"] = BUSY_SECONDS
            self._create_file()
        else:
            self._url = self._url.set(drivername="postgresql+psycopg")
            connect_args |= {"connect_timeout": 5, "application_name": "datong", "tcp_user_timeout": 10_000}
        self._engine = sa.create_engine(
            self._url, connect_args=connect_args, pool_pre_ping=not self.is_sqlite, pool_size=1
        )
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", partial(_pin_sqlite, page_cache_mib))
        else:
            sa.event.listen(self._engine, "connect", lambda connection, _record: pin_postgresql(connection))

    @property
    def url(self) -> sa.URL:
        return self._url

    def close(self) -> None:
        self._engine.dispose()

    def transaction(self) -> Transaction:
        """`with database.transaction() as connection`: committed at the end, rolled back on any error."""
        return Transaction(self._engine, self._url)

    @contextmanager
    def exclusive(self, lock: int) -> Iterator[sa.Connection]:
        """A transaction that no other of the same `lock` overlaps, in any process; what it reads is the last committed.

        SQLite has one lock for all. A statement that begins by reading would not wait for a writer but fail, so the write
        lock is taken first.
        """
        with self.transaction() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (lock,))
            yield connection

    def upsert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        values: Mapping[str, object],
        where: Callable[[Any], sa.ColumnElement[bool]] | None = None,
    ) -> None:
        """`where`, given the new row's columns, says whether an existing row is replaced."""
        insert: Any = (sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)).values(**values)
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in values.items() if name not in keys}
        condition = None if where is None else where(insert.excluded)
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=rest, where=condition))

    def _create_file(self) -> None:
        path = self._url.database
        if not path:
            raise StoreRefusedError("store.url: sqlite needs a file, such as sqlite:///var/datong.db")
        try:
            file = Path(path).resolve()
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.chmod(0o600)
        except OSError as error:
            raise StoreRefusedError(
                f"store.url: cannot write {path}: {error.strerror} - give the service a folder of its own"
            ) from error


class Transaction:
    """`engine.begin()` whose errors are the engine's own: one line, no password."""

    def __init__(self, engine: sa.Engine, url: sa.URL) -> None:
        self._context = engine.begin()
        self._place = url.render_as_string(hide_password=True)

    def __enter__(self) -> sa.Connection:
        try:
            return self._context.__enter__()
        except SQLAlchemyError as error:
            raise self._told(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._context.__exit__(kind, error, trace)
        except SQLAlchemyError as failed:
            raise self._told(failed) from None
        if isinstance(error, SQLAlchemyError):
            raise self._told(error) from None

    def _told(self, error: SQLAlchemyError) -> TransientError:
        cause = (
            str(error.orig).splitlines()[0] if isinstance(error, DBAPIError) and error.orig else type(error).__name__
        )
        return TransientError(f"hub store {self._place}: {cause} - check store.url and that it is writable")


def _pin_sqlite(page_cache_mib: int | None, connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    if page_cache_mib is not None:
        cursor.execute(f"PRAGMA cache_size=-{page_cache_mib * 1024}")
        cursor.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    cursor.close()
