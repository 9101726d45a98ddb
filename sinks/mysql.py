"""Writing into MySQL and MariaDB. Guards I2, I4, I5, I6: the apply record first, rows in order, nothing bent.

The transaction's identity in the log is MariaDB: the token in a comment of its first statement; MySQL: the session's thread id and
the transaction's ordinal in it. So that the ordinal stays exact, a session is given up after a COMMIT that failed or whose end is not
known, and, with bookkeeping `none`, after one that may have left nothing in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from sinks import mysql_bookkeeping
from sinks.bookkeeping import MESSAGE_PREFIX, record_text
from sinks.connections import Address
from sinks.contract import (
    CONFLICT,
    IS_TAKEN,
    Halt,
    Rejected,
    RowWrite,
    ServerIdentity,
    SinkError,
    SinkOptions,
    TransactionHeader,
    Transient,
)
from sinks.mysql_catalog import read_mysql_table
from sinks.mysql_literals import quote_name
from sinks.mysql_people import MySQLPeople
from sinks.mysql_session import Answer, MySQLSession, Statement
from sinks.mysql_statements import (
    DataStatement,
    Dialect,
    TablePlan,
    insert_one,
    lock_row,
    statements,
    update,
)
from sinks.mysql_taken_keys import holder
from sinks.openings import Opening
from sinks.runs import FIRST_ROWS, MOST_DELETES
from sinks.server_identity import mysql_identity
from sinks.table_sink import DUPLICATES, TableSink
from sinks.taken_keys import Search
from transforms.tables import Table

_MOST_STATEMENTS: Final = 200  # in one packet
_DUPLICATE: Final = "1062"
# Rows that take us as long to encode as the server to move the progress: that goes ahead. A key is made in no time.
_AHEAD_ROWS: Final = 50


class MySQLSink(TableSink[MySQLSession, TablePlan, DataStatement]):
    """`sinks.contract.Sink` for MySQL and MariaDB."""

    _books = mysql_bookkeeping

    def __init__(self, address: Address, options: SinkOptions) -> None:
        super().__init__(address, options)
        self._identity: ServerIdentity | None = None
        self._dialect = Dialect(row_alias=False, max_packet=0)
        self._commits = 0
        self._uncounted = False  # a transaction was committed that the log may not show
        self._logged = False

    def _new_session(self) -> MySQLSession:
        return MySQLSession(self._address, self._options)

    def _identify(self, session: MySQLSession) -> ServerIdentity:
        engine = self._address.engine
        identity = mysql_identity(session.ask, engine)
        row_alias = engine == "mysql" and _version(identity.version) >= (8, 0, 19)
        self._dialect = Dialect(
            row_alias=row_alias,
            derived=row_alias or engine == "mariadb",
            max_packet=session.max_packet,
            # Of an upsert that changes nothing the log shows nothing, and the server does not tell.
            upsert=self._has_tables or engine == "mariadb",
        )
        self._identity, self._commits, self._uncounted = identity, 0, False
        return identity

    def _describe(self, session: MySQLSession, schema: str | None, table: str) -> Table | None:
        found = read_mysql_table(session.ask, self._address.engine, schema, table)
        return found.table if found else None

    def describe(self, schema: str | None, table: str) -> Table | None:
        """Also takes up a max_allowed_packet that was changed meanwhile, which holds for new sessions only."""
        session = self._open()
        if self._header is None and int(session.ask("SELECT @@global.max_allowed_packet")[0][0]) != session.max_packet:
            self._renew()
        return super().describe(schema, table)

    def people(self) -> MySQLPeople:
        return MySQLPeople(
            self._open, self._in_transaction_with_tables, self._plan, lambda: self._dialect, self._explained
        )

    def _make_plan(self, session: MySQLSession, table: Table) -> TablePlan | None:
        found = read_mysql_table(session.ask, self._address.engine, table.schema or None, table.name)
        if found and not found.is_transactional:
            raise Halt(
                f"{found.table} is in {found.storage}, which cannot take back what it has written: a batch that fails would be written twice",
                mend=f"ALTER TABLE {quote_name(found.table.schema)}.{quote_name(found.table.name)} ENGINE = InnoDB",
            )
        return TablePlan(found) if found else None

    def begin(self, header: TransactionHeader) -> None:
        if self._uncounted:
            self._renew()
        session = self._open()
        mariadb = self._address.engine == "mariadb"
        comment = ""
        if mariadb:
            text = header.token if self._has_tables else record_text(header)
            comment = f"/*{MESSAGE_PREFIX}:{text}*/ "
        if self._has_tables:
            mysql_bookkeeping.begin(session, header, comment)
            comment = ""
        else:
            session.open_with(Opening(()))
        if not header.rows:
            session.flush()  # nothing else may come before the caller says to others that this transaction will be
        # Without a table, every statement carries the record: the log shows only those that change something.
        if comment != self._dialect.comment:
            self._dialect = replace(self._dialect, comment=comment)
        self._header, self._wrote, self._logged = header, False, self._has_tables

    def write(self, writes: Sequence[RowWrite]) -> int:
        if len(writes) >= _AHEAD_ROWS and writes[0].op != "delete":
            self._in_transaction().open_ahead()
        return super().write(writes)

    def identity(self) -> str:
        session = self._in_transaction()
        assert self._header is not None
        mariadb = self._address.engine == "mariadb"
        return self._header.token if mariadb else f"{session.thread_id}/{self._commits + 1}"

    def commit(self) -> None:
        session = self._in_transaction()
        session.flush()
        self._header = None
        try:
            session.send_commit(chain=self._has_tables)
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

    def ping(self) -> None:
        self._open().ask("SELECT 1")

    def committed(self, identity: str) -> bool | None:  # noqa: ARG002 - neither server keeps that
        return None

    def _renew(self) -> None:
        """A new session, whose transactions count from 1; on another server than before only the caller may go on."""
        before = self._identity
        if self.connect() != before:
            self.close()
            raise Transient(f"{self._address}: another server, or another start of it, answers there now")

    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        session = self._in_transaction()
        session.run_one(Statement("SAVEPOINT datong_row", "setting a savepoint"))
        try:
            self._write_in_order(writes)
        except Rejected as refusal:
            session.run_one(Statement("ROLLBACK TO SAVEPOINT datong_row", "going back to a savepoint"))
            raise self._explained(writes, refusal) from None

    def _holders(
        self, plan: TablePlan, write: RowWrite, wanted: Sequence[Search], columns: Sequence[str]
    ) -> list[Sequence[object] | None]:
        lookups = [holder(plan, write, one, columns) for one in wanted]
        return [answer.rows[0] if answer.rows else None for answer in self._open().run(lookups)]

    def _statements(self, plan: TablePlan, group: Sequence[RowWrite], *, single: bool) -> Iterator[DataStatement]:
        return statements(plan, group, self._dialect, single=single)

    def _weight(self, made: DataStatement) -> float:
        if made.alone:
            return 1
        rows = (len(made.writes) - 1) / (MOST_DELETES if made.kind == "delete" else FIRST_ROWS)
        return max(1 / _MOST_STATEMENTS, rows, len(made.statement.sql) / self._dialect.most_characters)

    def _start(self, pack: Sequence[DataStatement], *, single: bool) -> None:  # noqa: ARG002 - errors come with the answers
        self._in_transaction().send([made.statement for made in pack])

    def _finish(self, pack: Sequence[DataStatement], *, single: bool) -> int:
        """Read a pack's answers. A plain insert, or an update of many rows, that meets a duplicate is written row by row, and the pack
        goes on: of a statement that failed the server has kept nothing.
        """
        session = self._in_transaction()
        affected, number = 0, 0
        while True:
            answers: list[Answer] = []
            duplicate = None
            try:
                for answer in session.receive([made.statement for made in pack[number:]], single=single):
                    answers.append(answer)  # noqa: PERF402 - what was answered before an error must be kept
            except Rejected as error:
                duplicate = self._duplicate(pack, number, answers, error)
            for made, answer in zip(pack[number:], answers, strict=False):
                affected += self._check(made, answer, last=made is pack[-1])
            number += len(answers)
            if duplicate is not None:
                affected += self._row_by_row(duplicate, single=single)
                number += 1
            if number >= len(pack):
                return affected
            session.send([made.statement for made in pack[number:]])

    def _duplicate(
        self, pack: Sequence[DataStatement], number: int, answers: Sequence[Answer], error: Rejected
    ) -> DataStatement:
        failed = pack[number + len(answers)]
        if error.code in DUPLICATES and (
            failed.kind == "insert" or (failed.kind == "update" and len(failed.writes) > 1)
        ):
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
        first = made.writes[0]
        if first.anew and (answer.changed if made.kind == "update" else answer.affected > len(made.writes)):
            ref = first.ref if len(made.writes) == 1 else None
            raise Rejected(f"{made.statement.where}: {IS_TAKEN}", reason=CONFLICT, ref=ref)
        if made.kind != "update":
            self._logged = self._logged or answer.affected > 0
            return len(made.writes) if made.kind == "upsert" else answer.affected
        self._logged = self._logged or bool(answer.changed)
        if answer.affected < len(made.writes):
            self._missing(made, last=last)
        if answer.affected > len(made.writes):
            raise Halt(
                f"{made.statement.where}: its key columns find {answer.affected} rows",
                mend="the mapping's key must be unique columns",
            )
        return answer.affected

    def _missing(self, made: DataStatement, *, last: bool) -> None:
        if made.writes[0].lenient:
            return
        where = made.statement.where
        for write in made.writes:
            if not self._open().run_one(lock_row(self._plan(write.table), write)).rows:
                raise Rejected(f"{where}: there is no such row", reason="missing_row", ref=write.ref)
        if len(made.writes) == 1 and last:
            raise Transient(f"{where}: its row came while it was written")
        # Keys that the column's collation holds for equal name one row, or a row came meanwhile, or a later statement of the
        # pack made it: one by one tells.
        raise Rejected(f"{where}: fewer rows than keys")

    def _row_by_row(self, failed: DataStatement, *, single: bool) -> int:
        if failed.kind == "insert":
            return self._insert_row_by_row(failed, single=single)
        for write in failed.writes:
            self._update_row(write, single=single)
        return len(failed.writes)

    def _meet_row(self, write: RowWrite, *, single: bool) -> None:
        """An insert whose row is there: its update tells whether that row was equal, also where a second unique key refuses it."""
        try:
            self._update_row(write, single=single)
        except Rejected as error:
            if not write.anew or error.code not in DUPLICATES:
                raise
            raise Rejected(f"insert into {write.table}: {IS_TAKEN}", reason=CONFLICT, ref=write.ref) from None

    def _update_row(self, write: RowWrite, *, single: bool) -> None:
        made = update(self._plan(write.table), write, self._dialect)
        try:
            self._check(made, self._open().run_one(made.statement, single=single), last=True)
        except Rejected as error:
            error.ref = write.ref
            raise

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
                self._meet_row(write, single=single)
        return len(failed.writes)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".") if part.isdigit())
