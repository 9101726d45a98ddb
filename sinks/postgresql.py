"""Writing into PostgreSQL. Guards I2, I4, I5, I6: the apply record first, rows in order, nothing bent, no write that changes nothing.

The transaction's identity in the log is its id modulo 2^32, which BEGIN carries there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from sinks import postgresql_bookkeeping as bookkeeping
from sinks.connections import Address
from sinks.contract import (
    Halt,
    ParkedRow,
    Progress,
    Rejected,
    Rejection,
    RowWrite,
    ServerIdentity,
    SinkError,
    SinkOptions,
    TransactionHeader,
    Transient,
)
from sinks.postgresql_catalog import read_postgresql_table
from sinks.postgresql_people import PostgreSQLPeople
from sinks.postgresql_session import Answer, PostgreSQLSession, Query
from sinks.postgresql_statements import DataQuery, TablePlan, statements
from sinks.runs import Pack, runs
from sinks.server_identity import postgresql_identity
from sinks.singly import write_apart
from transforms.tables import Table

_MOST_QUERIES: Final = 100  # in one pipeline
_MOST_WRITES: Final = 2000
_XID_RANGE: Final = 1 << 32


class PostgreSQLSink:
    """`sinks.contract.Sink` for PostgreSQL."""

    def __init__(self, address: Address, options: SinkOptions) -> None:
        self._address = address
        self._options = options
        self._session: PostgreSQLSession | None = None
        self._target: str | None = None
        self._header: TransactionHeader | None = None
        self._plans: dict[int, tuple[Table, TablePlan]] = {}
        self._wrote = False

    def connect(self) -> ServerIdentity:
        self.close()
        session = PostgreSQLSession(self._address, self._options)
        try:
            identity = postgresql_identity(session.ask)
        except SinkError:
            session.close()
            raise
        self._session = session
        self._plans.clear()
        return identity

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._header = None

    def describe(self, schema: str | None, table: str) -> Table | None:
        found = read_postgresql_table(self._open().ask, schema, table)
        return found.table if found else None

    def people(self) -> PostgreSQLPeople:
        return PostgreSQLPeople(self._open, self._in_transaction_with_tables, self._plan)

    def prepare(self) -> list[str]:
        return bookkeeping.prepare(self._open()) if self._has_tables else []

    def take_over(self, deployment: str, target: str) -> int:
        if not self._has_tables:
            raise ValueError("bookkeeping none: the lease is in the hub store")
        self._target = target
        return bookkeeping.take_over(self._open(), deployment, target)

    def progress(self, deployment: str) -> dict[str, Progress]:
        return bookkeeping.progress(self._open(), deployment, self._target) if self._has_tables else {}

    def begin(self, header: TransactionHeader) -> str:
        xid = bookkeeping.begin(self._open(), header, tables=self._has_tables)
        self._header, self._wrote = header, False
        return str(xid % _XID_RANGE)

    def write(self, writes: Sequence[RowWrite]) -> int:
        return self._write(writes, single=False)

    def write_singly(self, writes: Sequence[RowWrite]) -> list[Rejection]:
        # A deferred constraint would fail COMMIT, which names no row.
        self._in_transaction().run_one(Query("SET CONSTRAINTS ALL IMMEDIATE", "checking constraints"))
        return write_apart(writes, self._attempt)

    def park(self, rows: Sequence[ParkedRow]) -> None:
        if rows:
            bookkeeping.park(*self._in_transaction_with_tables(), rows)

    def unpark(self, ids: Sequence[str]) -> None:
        if ids:
            bookkeeping.unpark(*self._in_transaction_with_tables(), ids)

    def parked(self, deployment: str) -> list[ParkedRow]:
        return bookkeeping.parked(self._open(), deployment, self._target) if self._has_tables else []

    def commit(self) -> None:
        session = self._in_transaction()
        self._header = None
        try:
            session.send_commit()
            self._options.probe("sink.commit_sent")
        except (SinkError, OSError) as error:
            self.close()
            raise Transient(f"COMMIT: its end is not known: {error}", "08006", unknown_commit=True) from error
        except BaseException:
            self.close()  # interrupted before the answer
            raise
        session.receive_commit()

    def rollback(self) -> None:
        self._header = None
        self._plans.clear()  # what failed may have failed because a table has changed
        if self._session is not None:
            bookkeeping.rollback(self._session)

    def ping(self) -> None:
        self._open().ask("SELECT 1")

    def committed(self, identity: str) -> bool | None:
        """Ask for the transaction's status, waiting a little for one whose COMMIT is still under way."""
        session = self._open()
        newest = int(session.ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8")[0][0])
        whole = newest - newest % _XID_RANGE + int(identity)
        if whole > newest:
            whole -= _XID_RANGE
        if whole < 0:
            return None
        deadline = time.monotonic() + self._options.lock_timeout_seconds
        while True:
            status = session.ask("SELECT pg_xact_status($1::text::xid8)", str(whole))[0][0]
            if status != "in progress":
                return None if status is None else bool(status == "committed")
            if time.monotonic() > deadline:
                raise Transient("an earlier transaction is still committing")
            time.sleep(0.05)

    @property
    def _has_tables(self) -> bool:
        return self._options.bookkeeping == "table"

    def _open(self) -> PostgreSQLSession:
        if self._session is None or self._session.closed:
            raise Transient(f"{self._address}: not connected", "08003")
        return self._session

    def _in_transaction(self) -> PostgreSQLSession:
        if self._header is None:
            raise RuntimeError("no transaction: begin comes first")
        return self._open()

    def _in_transaction_with_tables(self) -> tuple[PostgreSQLSession, TransactionHeader]:
        if not self._has_tables:
            raise ValueError("bookkeeping none: parked changes are in the hub store")
        session = self._in_transaction()
        assert self._header is not None
        return session, self._header

    def _plan(self, table: Table) -> TablePlan:
        known = self._plans.get(id(table))
        if known is not None:
            return known[1]
        found = read_postgresql_table(self._open().ask, table.schema or None, table.name)
        if found is None:
            raise Halt(f"{table}: no such table", "42P01", mend="create the table, or take it out of the mappings")
        plan = TablePlan(found)
        self._plans[id(table)] = table, plan
        return plan

    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        session = self._in_transaction()
        session.run_one(Query("SAVEPOINT datong_row", "setting a savepoint"))
        try:
            self._write(writes, single=True)
        except Rejected:
            session.run([
                Query("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"),
                Query("RELEASE SAVEPOINT datong_row", "going back to a savepoint"),
            ])  # fmt: skip
            raise
        session.run_one(Query("RELEASE SAVEPOINT datong_row", "leaving a savepoint"))

    def _write(self, writes: Sequence[RowWrite], *, single: bool) -> int:
        affected, rows = 0, 0
        pack: list[DataQuery] = []
        pending = Pack()
        for run in runs(writes):
            for made in statements(self._plan(run[0].table), run):
                full = len(pack) >= _MOST_QUERIES or rows + len(made.writes) > _MOST_WRITES
                if pack and (full or not pending.admits(made.writes)):
                    affected += self._send(pack, single=single)
                    pack, rows = [], 0
                    pending.clear()
                if not pack:
                    pending.admits(made.writes)
                pack.append(made)
                rows += len(made.writes)
        return affected + (self._send(pack, single=single) if pack else 0)

    def _send(self, pack: Sequence[DataQuery], *, single: bool) -> int:
        """Run a pack in one round trip, then look into what found no row."""
        session = self._in_transaction()
        if not self._wrote:
            self._options.probe("sink.before_first_stmt")
        try:
            answers = session.run([made.query for made in pack], single=single)
        except Rejected as error:
            if len(pack) == 1 and len(pack[0].writes) == 1:
                error.ref = pack[0].writes[0].ref
            raise
        affected = 0
        for made, answer in zip(pack, answers, strict=True):
            affected += answer.affected
            if made.lookup is not None and answer.affected < len(made.writes):
                self._look_into(made, made.lookup, answer)
        if not self._wrote:
            self._wrote = True
            self._options.probe("sink.mid_tx")
        self._options.alive()
        return affected

    def _look_into(self, made: DataQuery, lookup: Query, answer: Answer) -> None:
        """Rows that a statement did not change: equal already, gone, or (TRAPS.md W4) there after all."""
        found = self._open().run_one(lookup).rows
        came = Transient(f"{made.query.where}: its row came while it was written")
        if not made.answers_rows:
            if found and made.writes[0].op == "insert":
                ref = made.writes[0].ref if len(made.writes) == 1 else None
                raise Rejected(f"{made.query.where}: a row of this key is not the mapping's (where)", "23505", ref=ref)
            if found:
                raise came
            return
        changed = {number for (number,) in answer.rows}
        equal = {row[0]: row[1] for row in found}
        for number, write in enumerate(made.writes, 1):
            if number in changed:
                continue
            if number not in equal and write.lenient:
                continue
            if number not in equal:
                raise Rejected(f"{made.query.where}: there is no such row", reason="missing_row", ref=write.ref)
            if not equal[number]:
                raise came
