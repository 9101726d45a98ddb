"""A PostgreSQL session for writing: pipelined statements out, answers in, errors sorted. The sink's only door to psycopg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from sinks.classification import postgresql_error
from sinks.connections import Address, connect_postgresql
from sinks.contract import Halt, Rejected, SinkError, SinkOptions, Transient
from sinks.openings import OpeningSession

READ_TIMEOUT_SECONDS: Final = 60.0
# After these at COMMIT the server has rolled back for certain.
_CERTAIN_ROLLBACK: Final = ("23", "40001", "40P01")
_MOST_PREPARED: Final = 200
_GOOD: Final = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK})


@dataclass(frozen=True, slots=True)
class Query:
    """One statement with $1, $2... and text parameters; `where` says what it does, for errors. `prepared`: it comes often."""

    sql: str
    where: str
    parameters: tuple[object, ...] = ()
    mend: str = ""
    prepared: bool = False


class Answer:
    """`affected` counts rows; `rows` are read out of the driver when they are asked for."""

    __slots__ = ("_connection", "_result", "_rows", "affected")

    def __init__(
        self,
        affected: int,
        rows: Sequence[Sequence[Any]] | None = None,
        result: PGresult | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        self.affected = affected
        self._rows = rows
        self._result = result
        self._connection = connection

    @property
    def rows(self) -> Sequence[Sequence[Any]]:
        if self._rows is None:
            assert self._result is not None
            reader = Transformer(self._connection)
            reader.set_pgresult(self._result)
            self._rows = reader.load_rows(0, self._result.ntuples, tuple)
        return self._rows

    @property
    def number(self) -> int:
        """The one integer of an answer of one row."""
        assert self._result is not None
        value = self._result.get_value(0, 0)
        assert value is not None
        return int(value)


@dataclass(frozen=True, slots=True)
class _Sent:
    query: Query
    prepares: bool = False  # this result is of preparing it, not of running it


class PostgreSQLSession(OpeningSession[Query, Answer]):
    """One open connection in autocommit; transactions are explicit statements."""

    def __init__(self, address: Address, options: SinkOptions) -> None:
        """Connect and pin what a server's defaults could change. Raises Transient and Halt."""
        super().__init__()
        self.address = address
        self._names: dict[str, bytes] = {}  # of statements that the server has prepared
        self._prepared = 0  # ever
        self._sent: list[_Sent] = []  # whose results were not read yet
        try:
            self._connection = connect_postgresql(address, read_timeout=READ_TIMEOUT_SECONDS)
        except psycopg.Error as error:
            raise postgresql_error(error, f"connecting to {address}") from None
        # The driver forgets what it prepared at every ROLLBACK, by DEALLOCATE ALL: ours would be gone with it.
        self._connection.prepare_threshold = None
        milliseconds = max(1, round(options.lock_timeout_seconds * 1000))
        # A commit that is answered before it is on disk could be lost after the source was told to forget it.
        durable = (
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        self.ask(durable)
        # A segment joins its rows to the table by key: never by reading the whole table, also where a plan that is kept was made
        # when the table was empty.
        self.ask(f"SELECT set_config('lock_timeout', '{milliseconds}ms', false), set_config('enable_mergejoin', 'off', false),"
                 " set_config('enable_hashjoin', 'off', false), set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)")  # fmt: skip

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def ask(self, sql: str, *parameters: object) -> Sequence[Sequence[Any]]:
        """Run one statement outside the hot path and answer its rows."""
        return self.run_one(Query(sql, "asking the server", parameters)).rows

    def run_one(self, query: Query, *, single: bool = False) -> Answer:
        self._require_nothing_sent()
        self.flush()
        with self._sorted(query, single=single), psycopg.RawCursor(self._connection) as cursor:
            cursor.execute(query.sql.encode(), query.parameters or None)
            return _answer(cursor)

    def run(self, queries: Sequence[Query], *, single: bool = False) -> list[Answer]:
        """Run statements in order in one round trip; the first that fails ends all of them and its error is raised."""
        if all(type(value) is str for query in queries for value in query.parameters):
            self.send(queries)
            return self.receive(single=single)
        self.flush()
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

    def copy(self, query: Query, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY FROM STDIN in binary, of rows as they are made; the server reads some while others are. Raises what `rows` raises."""
        self._require_nothing_sent()
        self.flush()
        with (
            self._sorted(query, single=False),
            psycopg.RawCursor(self._connection) as cursor,
            cursor.copy(query.sql.encode()) as copy,
        ):
            copy.set_types(types)
            write = copy.write_row
            for row in rows:
                write(row)

    def send(self, queries: Sequence[Query]) -> None:
        """Send statements whose parameters are texts, in one round trip; `receive` must be called before anything else is sent.

        libpq's own pipeline: a cursor for each statement costs more than the statement. What is `prepared` is planned once.
        """
        self._require_nothing_sent()
        self._opened, self._opening = self._opening, None
        everything = (*self._opened.statements, *queries) if self._opened is not None else queries
        connection = self._connection
        with self._sorted(everything[0], single=False):
            if connection.closed:
                raise psycopg.OperationalError("the connection is closed")
            pgconn = connection.pgconn
            pgconn.enter_pipeline_mode()
            for query in everything:
                self._send_one(pgconn, query)
            pgconn.pipeline_sync()
            connection.wait(generators.send(pgconn))

    def _send_one(self, pgconn: PGconn, query: Query) -> None:
        values = [value.encode() for value in query.parameters if type(value) is str]
        name = self._names.get(query.sql)
        if name is None and (not query.prepared or len(self._names) >= _MOST_PREPARED):
            pgconn.send_query_params(query.sql.encode(), values)
            self._sent.append(_Sent(query))
            return
        if name is None:
            name = f"datong_{self._prepared}".encode()
            self._prepared += 1
            pgconn.send_prepare(name, query.sql.encode())
            self._names[query.sql] = name
            self._sent.append(_Sent(query, prepares=True))
        pgconn.send_query_prepared(name, values)
        self._sent.append(_Sent(query))

    def receive(self, *, single: bool = False) -> list[Answer]:
        """The answers to what was sent, without the opening's. Raises the error of the first statement that failed."""
        sent, self._sent = self._sent, []
        opening, self._opened = self._opened, None
        answers: list[Answer] = []
        refused: tuple[psycopg.Error, Query] | None = None
        pgconn = self._connection.pgconn
        with self._sorted(sent[0].query, single=single):
            for one in sent:
                result = self._connection.wait(generators.fetch_many(pgconn))[-1]
                if result.status in _GOOD:
                    if not one.prepares:
                        answers.append(Answer(result.command_tuples or 0, None, result, self._connection))
                    continue
                if one.prepares:
                    self._names.pop(one.query.sql, None)
                if result.status == ExecStatus.FATAL_ERROR and refused is None:
                    refused = psycopg.errors.error_from_result(result), one.query
            self._connection.wait(generators.fetch_many(pgconn))  # the pipeline's end
            pgconn.exit_pipeline_mode()
        error = None
        if refused is not None:
            error = postgresql_error(refused[0], refused[1].where, single=single, mend=refused[1].mend)
        if opening is not None:
            opened, answers = answers[: len(opening.statements)], answers[len(opening.statements) :]
            self._check_opening(opening, opened, error if len(opened) < len(opening.statements) else None)
        if error is not None:
            raise error
        return answers

    def roll_back(self) -> None:
        self._opening = self._opened = None
        self.void = False
        try:
            self._settle()
            if not self.closed and self._connection.info.transaction_status != TransactionStatus.IDLE:
                self.run_one(Query("ROLLBACK", "rolling back"))
        except SinkError:
            self.close()

    def _require_nothing_sent(self) -> None:
        if self._sent:
            raise RuntimeError("results of the statements before were not read")

    def forget_prepared(self) -> None:
        """Have what is prepared planned anew when it is needed next. Not while statements are under way."""
        if self._names and not self._sent:
            names, self._names = self._names, {}
            self.run([Query(f"DEALLOCATE {name.decode()}", "forgetting statements") for name in names.values()])

    def _settle(self) -> None:
        """Read what was not read, whatever it is. Raises Transient where the connection is lost."""
        if self._sent:
            with contextlib.suppress(Rejected, Halt):
                self.receive()

    def send_commit(self) -> None:
        """Send COMMIT without reading its answer. Nothing may be left to open (`flush`)."""
        self._require_nothing_sent()
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
