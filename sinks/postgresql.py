"""Writing into PostgreSQL. Guards I2, I4, I5, I6: the apply record first, rows in order, nothing bent, no write that changes nothing.

The transaction's identity in the log is its id modulo 2^32, which BEGIN carries there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import structs

from sinks import postgresql_bookkeeping, postgresql_staging
from sinks.contract import (
    CONFLICT,
    IS_TAKEN,
    Halt,
    Rejected,
    RowWrite,
    ServerIdentity,
    SinkError,
    TransactionHeader,
    Transient,
)
from sinks.postgresql_catalog import read_postgresql_table
from sinks.postgresql_people import PostgreSQLPeople
from sinks.postgresql_session import Answer, PostgreSQLSession, Query
from sinks.postgresql_staging import Staging, StagingTable
from sinks.postgresql_statements import DataQuery, TablePlan, copied, staged_statement, statements
from sinks.postgresql_taken_keys import holder
from sinks.runs import FIRST_ROWS, runs
from sinks.server_identity import postgresql_identity
from sinks.table_sink import TableSink
from sinks.taken_keys import Search
from transforms.tables import Table

_MOST_QUERIES: Final = 100  # in one pipeline
_XID_RANGE: Final = 1 << 32
_ATTEMPTS: Final = 3  # to write a row that is not as it was to be


class PostgreSQLSink(TableSink[PostgreSQLSession, TablePlan, DataQuery]):
    """`sinks.contract.Sink` for PostgreSQL."""

    _books = postgresql_bookkeeping
    _staging: Staging | None = None  # of this session, once a batch was large enough
    _xid: int | None = None  # of the open transaction, once its first statements were answered

    def _new_session(self) -> PostgreSQLSession:
        self._staging = None
        return PostgreSQLSession(self._address, self._options)

    def _identify(self, session: PostgreSQLSession) -> ServerIdentity:
        return postgresql_identity(session.ask)

    def _describe(self, session: PostgreSQLSession, schema: str | None, table: str) -> Table | None:
        found = read_postgresql_table(session.ask, schema, table)
        return found.table if found else None

    def people(self) -> PostgreSQLPeople:
        return PostgreSQLPeople(self._open, self._in_transaction_with_tables, self._plan, self._explained)

    def _make_plan(self, session: PostgreSQLSession, table: Table) -> TablePlan | None:
        found = read_postgresql_table(session.ask, table.schema or None, table.name)
        return TablePlan(found) if found else None

    def begin(self, header: TransactionHeader) -> None:
        session = self._open()
        self._xid = None
        postgresql_bookkeeping.begin(session, header, self._opened, tables=self._has_tables)
        self._header, self._wrote = header, False
        if self._staging is not None:
            self._staging.begin()
        if not header.rows:
            session.flush()

    def _opened(self, xid: int) -> None:
        self._xid = xid

    def identity(self) -> str:
        self._in_transaction().flush()
        assert self._xid is not None
        return str(self._xid % _XID_RANGE)

    def commit(self) -> None:
        session = self._in_transaction()
        session.flush()
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

    def _forget_old_plans(self) -> None:
        before = self._planned_at
        super()._forget_old_plans()
        if self._planned_at != before:
            self._open().forget_prepared()

    def rollback(self) -> None:
        super().rollback()
        if self._staging is not None:
            self._staging.rolled_back()

    def _write_runs(self, split: Sequence[Sequence[RowWrite]]) -> int:
        if self._staging is None and sum(map(len, split)) >= postgresql_staging.STAGED_ROWS:
            self._staging = Staging(allowed=self._has_tables and self._may_create_temporary())
        with self._constraints_at_the_end(split):
            return super()._write_runs(split)

    def _may_create_temporary(self) -> bool:
        return bool(self._in_transaction().ask("SELECT has_database_privilege(current_database(), 'TEMPORARY')")[0][0])

    @contextlib.contextmanager
    def _constraints_at_the_end(self, split: Sequence[Sequence[RowWrite]]) -> Iterator[None]:
        """What may be checked late is, so that rows may refer to each other; but before COMMIT, whose error would name no row."""
        late = any(self._plan(run[0].table).deferrable for run in split)
        if late:
            self._in_transaction().run_one(Query("SET CONSTRAINTS ALL DEFERRED", "deferring constraints"))
        yield
        if late:
            self._in_transaction().run_one(Query("SET CONSTRAINTS ALL IMMEDIATE", "checking constraints"))

    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        session = self._in_transaction()
        session.run_one(Query("SAVEPOINT datong_row", "setting a savepoint"))
        try:
            with self._constraints_at_the_end(runs(writes)):
                self._write_in_order(writes)
        except Rejected as refusal:
            session.run([
                Query("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"),
                Query("RELEASE SAVEPOINT datong_row", "going back to a savepoint"),
            ])  # fmt: skip
            raise self._explained(writes, refusal) from None
        session.run_one(Query("RELEASE SAVEPOINT datong_row", "leaving a savepoint"))

    def _holders(
        self, plan: TablePlan, write: RowWrite, wanted: Sequence[Search], columns: Sequence[str]
    ) -> list[Sequence[object] | None]:
        """Within a savepoint: an error would end the transaction."""
        session, where = self._in_transaction(), f"lookup in {plan.table}"
        lookups = [holder(plan, write, one, columns) for one in wanted]
        ending = Query("RELEASE SAVEPOINT datong_lookup", where)
        try:
            _, *answers, _ = session.run([Query("SAVEPOINT datong_lookup", where), *lookups, ending])
        except (Rejected, Halt):
            session.run([Query("ROLLBACK TO SAVEPOINT datong_lookup", where), ending])
            raise
        return [answer.rows[0] if answer.rows else None for answer in answers]

    def _statements(self, plan: TablePlan, group: Sequence[RowWrite], *, single: bool) -> Iterator[DataQuery]:
        if self._staging is not None and not single and len(group) >= postgresql_staging.STAGED_ROWS:
            made = staged_statement(plan, group, self._staging.take)
            if made is not None:
                return iter((made,))
        return statements(plan, group)

    def _weight(self, made: DataQuery) -> float:
        if made.staged is not None:
            return 2  # always alone: COPY does not go in a pipeline
        return max(1 / _MOST_QUERIES, (len(made.writes) - 1) / FIRST_ROWS)

    def _start(self, pack: Sequence[DataQuery], *, single: bool) -> None:  # noqa: ARG002 - errors come with the answers
        (first, *_) = pack
        if first.staged is not None:
            self._start_staged(first, first.staged)
            return
        self._in_transaction().send([made.query for made in pack])

    def _start_staged(self, made: DataQuery, table: StagingTable) -> None:
        assert self._staging is not None
        session, where = self._in_transaction(), made.query.where
        if not self._staging.is_there(table):
            try:
                session.run_one(Query(table.create, "creating a temporary table"))
            except (Halt, Rejected) as error:
                self._staging.allowed = False
                raise Transient(f"{error}; without temporary tables from now on", error.code) from None
            self._staging.made(table)
        session.copy(
            Query(table.copy, where), table.types, copied(self._plan(made.writes[0].table), table, made.writes)
        )
        session.send([made.query])

    def _finish(self, pack: Sequence[DataQuery], *, single: bool) -> int:
        """Read a pack's answers, then look into what found no row."""
        session = self._in_transaction()
        try:
            answers = session.receive(single=single)
        except Rejected as error:
            if len(pack) == 1 and len(pack[0].writes) == 1:
                error.ref = pack[0].writes[0].ref
            raise
        affected = 0
        for made, answer in zip(pack, answers, strict=True):
            affected += answer.affected
            if made.lookup is not None and answer.affected < len(made.writes):
                self._look_into(made, made.lookup, answer, last=made is pack[-1])
        return affected

    def _look_into(self, made: DataQuery, lookup: Query, answer: Answer, *, last: bool) -> None:
        """Rows that a statement did not change: equal already, gone, or not as they were to be.

        The last happens where a later statement of the pack changed them, where a row came while we waited for its lock (TRAPS.md W4), and
        where a trigger or a rule keeps the row from being written: row by row, and written again, tells.
        """
        for _ in range(_ATTEMPTS):
            state = self._unchanged(made, lookup, answer)
            if state is None:
                return
            if not last or len(made.writes) > 1:
                raise Rejected(f"{made.query.where}: its row is not as it was written")
            answer = self._open().run_one(self._once_more(made, state))
            if answer.affected:
                return
        kept = "a trigger or a rule of the table keeps it"
        raise Rejected(f"{made.query.where}: the row is {state} after it was written: {kept}", ref=made.writes[0].ref)

    def _once_more(self, made: DataQuery, state: str) -> Query:
        """What writes a row again. A row that an insert met may differ by what a trigger made of the new one: an update tells."""
        (write,) = made.writes
        if write.op != "insert" or state == "absent":
            return made.query
        places = [number for number, column in enumerate(write.columns) if column not in write.key_columns]
        columns, values = tuple(write.columns[n] for n in places), tuple(write.values[n] for n in places)
        again = structs.replace(write, op="update", columns=columns, values=values, fresh=())
        (update,) = statements(self._plan(write.table), [again])
        return update.query

    def _unchanged(self, made: DataQuery, lookup: Query, answer: Answer) -> str | None:
        """None where every row is as it was to be; else what it is instead. Raises Rejected for a row that is missing or another one."""
        found = self._open().run_one(lookup).rows
        if made.writes[0].op == "delete":
            return "still there" if found else None
        if made.writes[0].op == "insert":
            if not found:
                return None
            if found[0][0]:
                ref = made.writes[0].ref if len(made.writes) == 1 else None
                raise Rejected(f"{made.query.where}: {_met(made.writes[0])}", "23505", ref=ref)
            if made.writes[0].anew and not found[0][1]:
                ref = made.writes[0].ref if len(made.writes) == 1 else None
                raise Rejected(f"{made.query.where}: {IS_TAKEN}", reason=CONFLICT, ref=ref)
            return "absent" if found[0][1] else "not equal"
        changed = {number for (number,) in answer.rows}
        equal = {row[0]: row[1] for row in found}
        state = None
        for number, write in enumerate(made.writes, 1):
            if number in changed or (number not in equal and write.lenient):
                continue
            if number not in equal:
                raise Rejected(f"{made.query.where}: there is no such row", reason="missing_row", ref=write.ref)
            if not equal[number]:
                state = "not equal"
        return state


def _met(write: RowWrite) -> str:
    """What is to be said of an insert that met a row of its key which is not the one that is meant."""
    if write.only:
        return "a row of this key is not the mapping's (where)"
    return "another row has this key, which the column's type or collation holds for equal"
