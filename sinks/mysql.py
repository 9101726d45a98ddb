"""Writing into MySQL and MariaDB. Guards I2, I4, I5, I6: the apply record first, rows in order, nothing bent.

The transaction's identity in the log is MariaDB: the token in a comment of its first statement; MySQL: the session's thread id and
the transaction's ordinal in it. So that the ordinal stays exact, a session is given up after a COMMIT that failed or whose end is not
known, and, with bookkeeping `none`, after one that may have left nothing in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sinks import mysql_bookkeeping as bookkeeping
from sinks.bookkeeping import MESSAGE_PREFIX, record_text
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
from sinks.mysql_catalog import read_mysql_table
from sinks.mysql_people import MySQLPeople
from sinks.mysql_session import Answer, MySQLSession, Statement
from sinks.mysql_statements import DataStatement, Dialect, TablePlan, insert_one, lock_row, statements, update
from sinks.runs import Pack, runs
from sinks.server_identity import mysql_identity
from sinks.singly import write_apart
from transforms.tables import Table

_MOST_STATEMENTS: Final = 200  # in one packet
_DUPLICATE: Final = "1062"


class MySQLSink:
    """`sinks.contract.Sink` for MySQL and MariaDB."""

    def __init__(self, address: Address, options: SinkOptions) -> None:
        self._address = address
        self._options = options
        self._session: MySQLSession | None = None
        self._identity: ServerIdentity | None = None
        self._target: str | None = None
        self._header: TransactionHeader | None = None
        self._dialect = Dialect(row_alias=False, max_packet=0)
        self._plans: dict[int, tuple[Table, TablePlan]] = {}
        self._commits = 0
        self._uncounted = False  # a transaction was committed that the log may not show
        self._wrote = False
        self._logged = False

    def connect(self) -> ServerIdentity:
        self.close()
        session = MySQLSession(self._address, self._options)
        try:
            identity = mysql_identity(session.ask, self._address.engine)
        except SinkError:
            session.close()
            raise
        self._session, self._identity, self._commits, self._uncounted = session, identity, 0, False
        self._plans.clear()
        self._dialect = Dialect(
            row_alias=self._address.engine == "mysql" and _version(identity.version) >= (8, 0, 19),
            max_packet=session.max_packet,
            # Of an upsert that changes nothing the log shows nothing, and the server does not tell.
            upsert=self._options.bookkeeping == "table" or self._address.engine == "mariadb",
        )
        return identity

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._header = None

    def describe(self, schema: str | None, table: str) -> Table | None:
        found = read_mysql_table(self._open().ask, self._address.engine, schema, table)
        return found.table if found else None

    def people(self) -> MySQLPeople:
        return MySQLPeople(self._open, self._in_transaction_with_tables, self._plan, lambda: self._dialect)

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
        if self._uncounted:
            self._renew()
        session = self._open()
        mariadb = self._address.engine == "mariadb"
        comment = ""
        if mariadb:
            text = header.token if self._has_tables else record_text(header)
            comment = f"/*{MESSAGE_PREFIX}:{text}*/ "
        if self._has_tables:
            bookkeeping.begin(session, header, comment)
            comment = ""
        else:
            session.run_one(Statement("START TRANSACTION", "opening a transaction"))
        # Without a table, every statement carries the record: the log shows only those that change something.
        self._dialect = Dialect(self._dialect.row_alias, self._dialect.max_packet, self._dialect.upsert, comment)
        self._header, self._wrote, self._logged = header, False, self._has_tables
        return header.token if mariadb else f"{session.thread_id}/{self._commits + 1}"

    def write(self, writes: Sequence[RowWrite]) -> int:
        return self._write(writes, single=False)

    def write_singly(self, writes: Sequence[RowWrite]) -> list[Rejection]:
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
            session.receive_commit()
        except (SinkError, OSError) as error:
            self.close()
            code = error.code if isinstance(error, SinkError) else ""
            raise Transient(f"COMMIT: its end is not known: {error}", code, unknown_commit=True) from error
        except BaseException:
            self.close()  # interrupted before the answer
            raise
        self._commits += 1
        self._uncounted = not self._logged and self._address.engine == "mysql"

    def rollback(self) -> None:
        self._header = None
        self._plans.clear()  # what failed may have failed because a table has changed
        if self._session is not None:
            bookkeeping.rollback(self._session)

    def ping(self) -> None:
        self._open().ask("SELECT 1")

    def committed(self, identity: str) -> bool | None:  # noqa: ARG002 - neither server keeps that
        return None

    @property
    def _has_tables(self) -> bool:
        return self._options.bookkeeping == "table"

    def _open(self) -> MySQLSession:
        if self._session is None or self._session.closed:
            raise Transient(f"{self._address}: not connected", "2006")
        return self._session

    def _in_transaction(self) -> MySQLSession:
        if self._header is None:
            raise RuntimeError("no transaction: begin comes first")
        return self._open()

    def _in_transaction_with_tables(self) -> tuple[MySQLSession, TransactionHeader]:
        if not self._has_tables:
            raise ValueError("bookkeeping none: parked changes are in the hub store")
        session = self._in_transaction()
        assert self._header is not None
        return session, self._header

    def _renew(self) -> None:
        """A new session, whose transactions count from 1; on another server than before only the caller may go on."""
        before = self._identity
        if self.connect() != before:
            self.close()
            raise Transient(f"{self._address}: another server, or another start of it, answers there now")

    def _plan(self, table: Table) -> TablePlan:
        known = self._plans.get(id(table))
        if known is not None:
            return known[1]
        found = read_mysql_table(self._open().ask, self._address.engine, table.schema or None, table.name)
        if found is None:
            raise Halt(f"{table}: no such table", "1146", mend="create the table, or take it out of the mappings")
        plan = TablePlan(found)
        self._plans[id(table)] = table, plan
        return plan

    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        session = self._in_transaction()
        session.run_one(Statement("SAVEPOINT datong_row", "setting a savepoint"))
        try:
            self._write(writes, single=True)
        except Rejected:
            session.run_one(Statement("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"))
            raise

    def _write(self, writes: Sequence[RowWrite], *, single: bool) -> int:
        affected = 0
        pack: list[DataStatement] = []
        pending, characters = Pack(), 0
        for run in runs(writes):
            for statement in statements(self._plan(run[0].table), run, self._dialect):
                size = len(statement.statement.sql)
                full = len(pack) >= _MOST_STATEMENTS or characters + size > self._dialect.most_characters
                if pack and (full or not pending.admits(statement.writes)):
                    affected += self._send(pack, single=single)
                    pack, characters = [], 0
                    pending.clear()
                if not pack:
                    pending.admits(statement.writes)
                pack.append(statement)
                characters += size
        return affected + (self._send(pack, single=single) if pack else 0)

    def _send(self, pack: Sequence[DataStatement], *, single: bool) -> int:
        """Run a pack in one round trip. A plain insert that meets a duplicate is written row by row, and the pack goes on."""
        session = self._in_transaction()
        if not self._wrote:
            self._options.probe("sink.before_first_stmt")
        affected, number = 0, 0
        while number < len(pack):
            answers: list[Answer] = []
            duplicate = None
            try:
                for answer in session.run([made.statement for made in pack[number:]], single=single):
                    answers.append(answer)  # noqa: PERF402 - what was answered before an error must be kept
            except Rejected as error:
                duplicate = self._duplicate(pack, number, answers, error)
            for made, answer in zip(pack[number:], answers, strict=False):
                affected += self._check(made, answer, last=made is pack[-1])
            number += len(answers)
            if duplicate is not None:
                affected += self._insert_row_by_row(duplicate, single=single)
                number += 1
        if not self._wrote:
            self._wrote = True
            self._options.probe("sink.mid_tx")
        self._options.alive()
        return affected

    def _duplicate(
        self, pack: Sequence[DataStatement], number: int, answers: Sequence[Answer], error: Rejected
    ) -> DataStatement:
        failed = pack[number + len(answers)]
        if error.code == _DUPLICATE and failed.kind == "insert":
            return failed
        if len(failed.writes) == 1:
            error.ref = failed.writes[0].ref
        raise error

    def _check(self, made: DataStatement, answer: Answer, *, last: bool) -> int:
        """Count what a statement did; look into an update that found no row, and into notes of bent values."""
        if answer.warnings:
            ref = made.writes[0].ref if len(made.writes) == 1 else None
            if not last:
                raise Rejected(f"{made.statement.where}: the server left a note of a value", ref=ref)
            self._open().check_notes(made.statement.where)
        if made.kind != "update":
            self._logged = self._logged or answer.affected > 0
            return len(made.writes) if made.kind == "upsert" else answer.affected
        self._logged = self._logged or bool(answer.changed)
        if answer.affected == 0:
            self._missing(made)
        if answer.affected > 1:
            raise Halt(
                f"{made.statement.where}: its key columns find {answer.affected} rows",
                mend="the mapping's key must be unique columns",
            )
        return answer.affected

    def _missing(self, made: DataStatement) -> None:
        (write,) = made.writes
        if write.lenient:
            return
        if self._open().run_one(lock_row(self._plan(write.table), write)).rows:
            raise Transient(f"{made.statement.where}: its row came while it was written")
        raise Rejected(f"{made.statement.where}: there is no such row", reason="missing_row", ref=write.ref)

    def _insert_row_by_row(self, failed: DataStatement, *, single: bool) -> int:
        """The second key of a table may be the duplicate (TRAPS.md W1): only where our own key exists is it an update."""
        session = self._open()
        for write in failed.writes:
            plan = self._plan(write.table)
            made = insert_one(plan, write, self._dialect)
            try:
                self._check(made, session.run_one(made.statement, single=single), last=True)
            except Rejected as error:
                error.ref = write.ref
                if error.code != _DUPLICATE or not session.run_one(lock_row(plan, write)).rows:
                    raise
                made = update(plan, write, self._dialect)
                try:
                    self._check(made, session.run_one(made.statement, single=single), last=True)
                except Rejected as second:
                    second.ref = write.ref
                    raise
        return len(failed.writes)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".") if part.isdigit())
