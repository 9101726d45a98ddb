"""A PostgreSQL session for writing: pipelined statements out, answers in, errors sorted. The sink's only door to psycopg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import generators
from psycopg.pq import ExecStatus, TransactionStatus

from sinks.classification import postgresql_error
from sinks.connections import Address, connect_postgresql
from sinks.contract import SinkError, SinkOptions, Transient

READ_TIMEOUT_SECONDS: Final = 60.0
# After these at COMMIT the server has rolled back for certain.
_CERTAIN_ROLLBACK: Final = ("23", "40001", "40P01")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement with $1, $2... and text parameters; `where` says what it does, for errors."""

    sql: str
    where: str
    parameters: tuple[object, ...] = ()
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    affected: int
    rows: Sequence[Sequence[Any]]


class PostgreSQLSession:
    """One open connection in autocommit; transactions are explicit statements."""

    def __init__(self, address: Address, options: SinkOptions) -> None:
        """Connect and pin what a server's defaults could change. Raises Transient and Halt."""
        self.address = address
        try:
            self._connection = connect_postgresql(address, read_timeout=READ_TIMEOUT_SECONDS)
        except psycopg.Error as error:
            raise postgresql_error(error, f"connecting to {address}") from None
        milliseconds = max(1, round(options.lock_timeout_seconds * 1000))
        # A segment joins its rows to the table by key: never by reading the whole table.
        self.ask(f"SELECT set_config('lock_timeout', '{milliseconds}ms', false), set_config('enable_mergejoin', 'off', false),"
                 " set_config('enable_hashjoin', 'off', false), set_config('jit', 'off', false)")  # fmt: skip

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def in_transaction(self) -> bool:
        return self._connection.info.transaction_status != TransactionStatus.IDLE

    def close(self) -> None:
        self._connection.close()

    def ask(self, sql: str, *parameters: object) -> Sequence[Sequence[Any]]:
        """Run one statement outside the hot path and answer its rows."""
        return self.run_one(Query(sql, "asking the server", parameters)).rows

    def run_one(self, query: Query, *, single: bool = False) -> Answer:
        with self._sorted(query, single=single), psycopg.RawCursor(self._connection) as cursor:
            cursor.execute(query.sql.encode(), query.parameters or None)
            return _answer(cursor)

    def run(self, queries: Sequence[Query], *, single: bool = False) -> list[Answer]:
        """Run statements in order in one round trip; the first that fails ends all of them and its error is raised."""
        if len(queries) == 1:
            return [self.run_one(queries[0], single=single)]
        answers: list[Answer] = []
        with contextlib.ExitStack() as stack:
            cursors = [stack.enter_context(psycopg.RawCursor(self._connection)) for _ in queries]
            with self._sorted(queries[0], single=single), self._connection.pipeline() as pipeline:
                for cursor, query in zip(cursors, queries, strict=True):
                    cursor.execute(query.sql.encode(), query.parameters or None)
                pipeline.sync()
                for cursor, query in zip(cursors, queries, strict=True):
                    with self._sorted(query, single=single):
                        answers.append(_answer(cursor))
        return answers

    def send_commit(self) -> None:
        """Send COMMIT without reading its answer."""
        with self._sorted(Query("", "COMMIT"), single=False):
            self._connection.pgconn.send_query(b"COMMIT")
            self._connection.wait(generators.send(self._connection.pgconn))

    def receive_commit(self) -> None:
        """Read COMMIT's answer.

        Raises SinkError: after a Transient with `unknown_commit` nobody knows how it ended, after others it is rolled back.
        """
        try:
            results = self._connection.wait(generators.fetch_many(self._connection.pgconn))
        except psycopg.Error as error:
            self.close()
            raise Transient(f"COMMIT: its end is not known: {error}", "08006", unknown_commit=True) from None
        result = results[-1]
        if result.status == ExecStatus.COMMAND_OK:
            if result.command_status != b"COMMIT":
                raise Transient("COMMIT: the server rolled back instead")
            return
        refusal = postgresql_error(psycopg.errors.error_from_result(result), "COMMIT", single=True)
        if refusal.code.startswith(_CERTAIN_ROLLBACK):
            raise refusal
        self.close()
        raise Transient(f"its end is not known: {refusal}", refusal.code, unknown_commit=True)

    @contextlib.contextmanager
    def _sorted(self, query: Query, *, single: bool) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise postgresql_error(error, query.where, single=single, mend=query.mend) from None
        except SinkError:
            raise
        except BaseException:
            self.close()  # interrupted in the middle of an answer
            raise


def _answer(cursor: psycopg.RawCursor[Any]) -> Answer:
    return Answer(cursor.rowcount, cursor.fetchall() if cursor.description else ())
