"""Writing into a database without a sink of its own, through SQLAlchemy Core: today SQLite. Guards I2, I4, I5, I6.

Conservative: a row is a statement, and the transaction holds the write lock from its beginning. Such a channel is only applied
to, so nobody reads a log of it, and the transaction's identity is its token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from sinks import generic_bookkeeping
from sinks.contract import (
    CONFLICT,
    IS_TAKEN,
    Halt,
    PeopleSink,
    Rejected,
    RowWrite,
    ServerIdentity,
    SinkError,
    TransactionHeader,
    Transient,
)
from sinks.generic_catalog import read_generic_table
from sinks.generic_session import GenericSession
from sinks.generic_statements import GenericPlan, GenericStatement
from sinks.table_sink import TableSink
from sinks.taken_keys import Search
from transforms.tables import Table


class GenericSink(TableSink[GenericSession, GenericPlan, GenericStatement]):
    """`sinks.contract.Sink` through SQLAlchemy Core."""

    _books = generic_bookkeeping

    def _new_session(self) -> GenericSession:
        return GenericSession(self._address, self._options)

    def _identify(self, session: GenericSession) -> ServerIdentity:
        """A file is the server: another file at that path is another one."""
        version = session.run(sa.text("SELECT sqlite_version()"), "asking for the version").scalar_one()
        try:
            found = Path(self._address.database).stat()
        except OSError as error:
            raise Transient(f"{self._address}: {type(error).__name__}") from None
        return ServerIdentity(f"{found.st_dev}-{found.st_ino}", "", str(version))

    def _describe(self, session: GenericSession, schema: str | None, table: str) -> Table | None:
        plan = None if schema else self._read(session, table)
        return plan.table if plan else None

    def _make_plan(self, session: GenericSession, table: Table) -> GenericPlan | None:
        return self._read(session, table.name)

    @staticmethod
    def _read(session: GenericSession, name: str) -> GenericPlan | None:
        with session.sorted("reading the catalog"):
            found = read_generic_table(session.connection, name)
        return GenericPlan(*found) if found else None

    def people(self) -> PeopleSink:
        raise Halt("people are not written into an SQLite file", mend="take that mapping out of the configuration")

    def begin(self, header: TransactionHeader) -> None:
        session = self._open()
        if self._has_tables:
            generic_bookkeeping.begin(session, header)
        else:
            session.plain("BEGIN IMMEDIATE", "opening a transaction")
        self._header, self._wrote = header, False

    def identity(self) -> str:
        self._in_transaction()
        assert self._header is not None
        return self._header.token

    def commit(self) -> None:
        session = self._in_transaction()
        self._header = None
        try:
            session.plain("COMMIT", "COMMIT")
            self._options.probe("sink.commit_sent")
        except (SinkError, OSError) as error:
            self.close()
            code = error.code if isinstance(error, SinkError) else ""
            raise Transient(f"COMMIT: its end is not known: {error}", code, unknown_commit=True) from error
        except BaseException:
            self.close()
            raise

    def ping(self) -> None:
        self._open().run(sa.text("SELECT 1"), "asking the server")

    def committed(self, identity: str) -> bool | None:  # noqa: ARG002 - nothing keeps that
        return None

    def _statements(
        self,
        plan: GenericPlan,
        group: Sequence[RowWrite],
        *,
        single: bool,  # noqa: ARG002 - a row is a statement always
    ) -> Iterator[GenericStatement]:
        yield plan.statement(group)

    def _weight(self, made: GenericStatement) -> float:  # noqa: ARG002 - there is no round trip
        return 1

    def _start(self, pack: Sequence[GenericStatement], *, single: bool) -> None:
        """A statement is sent when it is waited for."""

    def _finish(self, pack: Sequence[GenericStatement], *, single: bool) -> int:
        session = self._in_transaction()
        affected = 0
        for made in pack:
            for write, values in zip(made.writes, made.values, strict=True):
                try:
                    affected += self._one(session, made, write, values, single=single)
                except Rejected as error:
                    error.ref = write.ref
                    raise
        return affected

    @staticmethod
    def _one(
        session: GenericSession, made: GenericStatement, write: RowWrite, values: dict[str, object], *, single: bool
    ) -> int:
        if made.met is not None and (equal := session.run(made.met, made.where, [values]).scalar()) is not None:
            if not equal:
                raise Rejected(f"{made.where}: {IS_TAKEN}", reason=CONFLICT)
            return 0
        found = session.run(made.change, made.where, [values], single=single).rowcount
        if found or write.op == "delete" or write.lenient:
            return found
        if made.insert is None:
            raise Rejected(f"{made.where}: there is no such row", reason="missing_row")
        return session.run(made.insert, made.where, [values], single=single).rowcount

    def _holders(
        self, plan: GenericPlan, write: RowWrite, wanted: Sequence[Search], columns: Sequence[str]
    ) -> list[Sequence[object] | None]:
        found: list[Sequence[object] | None] = []
        for one in wanted:
            query, values = plan.holder(write, one, columns)
            found.append(self._open().run(query, f"lookup in {plan.table.name}", [values]).first())
        return found

    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        session = self._in_transaction()
        session.plain("SAVEPOINT datong_row", "setting a savepoint")
        try:
            self._write_in_order(writes)
        except Rejected as refusal:
            session.plain("ROLLBACK TO datong_row", "going back to a savepoint")
            session.plain("RELEASE datong_row", "going back to a savepoint")
            raise self._explained(writes, refusal) from None
        session.plain("RELEASE datong_row", "leaving a savepoint")
