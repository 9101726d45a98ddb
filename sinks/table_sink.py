"""What all sinks have in common: the life of a batch, the books, and in which groups rows are written. Guards I2, I4, I5.

An engine's sink says how a session is opened, how a transaction begins and commits, and which statements write a group.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from sinks.arranging import TableFacts, arranged
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
from sinks.runs import in_strict_order, moves_key, runs
from sinks.setting_aside import with_values_aside
from sinks.singly import write_apart
from sinks.taken_keys import Search, UniqueIndex, explained, row_columns, row_name, searches
from transforms.tables import Table

PLAN_SECONDS: Final = 30.0
DUPLICATES: Final = frozenset({"1062", "1586", "23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})
# And what our own upsert says of a row that it must not touch (`sinks.mysql_statements`).
_MET_OTHERS: Final = DUPLICATES | {"1242", "1365"}


class Session(Protocol):
    @property
    def closed(self) -> bool: ...
    @property
    def void(self) -> bool: ...

    def close(self) -> None: ...


class Plan(Protocol):
    @property
    def table(self) -> Table: ...

    @property
    def facts(self) -> TableFacts: ...

    @property
    def indexes(self) -> Sequence[UniqueIndex]: ...


S = TypeVar("S", bound=Session)
P = TypeVar("P", bound=Plan)
B_contra = TypeVar("B_contra", contravariant=True)
M = TypeVar("M")  # one statement with the writes it makes


class Books(Protocol[B_contra]):
    """Our tables in one engine: a module of functions."""

    def prepare(self, session: B_contra, /) -> list[str]: ...
    def take_over(self, session: B_contra, deployment: str, target: str, /) -> int: ...
    def progress(self, session: B_contra, deployment: str, target: str | None, /) -> dict[str, Progress]: ...
    def park(self, session: B_contra, header: TransactionHeader, rows: Sequence[ParkedRow], /) -> None: ...
    def unpark(self, session: B_contra, header: TransactionHeader, ids: Sequence[str], /) -> None: ...
    def parked(self, session: B_contra, deployment: str, target: str | None, /) -> list[ParkedRow]: ...
    def rollback(self, session: B_contra, /) -> None: ...


class TableSink(ABC, Generic[S, P, M]):
    """The engines' common part of `sinks.contract.Sink`."""

    _books: Books[S]

    def __init__(self, address: Address, options: SinkOptions) -> None:
        self._address = address
        self._options = options
        self._session: S | None = None
        self._target: str | None = None
        self._header: TransactionHeader | None = None
        self._plans: dict[int, tuple[Table, P]] = {}
        self._planned_at = 0.0
        self._wrote = False
        self.rows_written = 0

    # -- what an engine says

    @abstractmethod
    def _new_session(self) -> S:
        """Open a connection. Raises Transient and Halt."""

    @abstractmethod
    def _identify(self, session: S) -> ServerIdentity:
        """Which server answers, after the sink has been made ready for it."""

    @abstractmethod
    def _describe(self, session: S, schema: str | None, table: str) -> Table | None:
        """A table as the catalog has it now; None where there is none."""

    @abstractmethod
    def _make_plan(self, session: S, table: Table) -> P | None:
        """How a table is written, from the catalog as it is now; None where there is no such table."""

    @abstractmethod
    def _statements(self, plan: P, group: Sequence[RowWrite], *, single: bool) -> Iterable[M]:
        """The statements that write a group, in order."""

    @abstractmethod
    def _weight(self, made: M) -> float:
        """How much of a round trip a statement fills; what is above 1 together goes in several."""

    @abstractmethod
    def _start(self, pack: Sequence[M], *, single: bool) -> None:
        """Send a pack in one round trip and do not wait for its end."""

    @abstractmethod
    def _finish(self, pack: Sequence[M], *, single: bool) -> int:
        """Wait for a pack's end, look into what found no row, answer the number of affected rows."""

    @abstractmethod
    def _attempt(self, writes: Sequence[RowWrite]) -> None:
        """Write in strict order inside a savepoint; raises Rejected with the savepoint rolled back."""

    @abstractmethod
    def _holders(
        self, plan: P, write: RowWrite, wanted: Sequence[Search], columns: Sequence[str]
    ) -> list[Sequence[object] | None]:
        """For each search the values in `columns` of the row that it finds; None where it finds none. Reads only, in the open transaction,
        which goes on after an error. Raises SinkError.
        """

    @abstractmethod
    def ping(self) -> None: ...

    # -- the session

    def connect(self) -> ServerIdentity:
        self.close()
        session = self._new_session()
        try:
            identity = self._identify(session)
        except SinkError:
            session.close()
            raise
        self._session = session
        self._plans.clear()
        return identity

    def describe(self, schema: str | None, table: str) -> Table | None:
        """Whoever asks may know that a table has changed: no plan that was made before is kept."""
        self._plans.clear()
        return self._describe(self._open(), schema, table)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._header = None

    # -- the books

    def prepare(self) -> list[str]:
        return self._books.prepare(self._open()) if self._has_tables else []

    def take_over(self, deployment: str, target: str) -> int:
        if not self._has_tables:
            raise ValueError("bookkeeping none: the lease is in the hub store")
        self._target = target
        return self._books.take_over(self._open(), deployment, target)

    def progress(self, deployment: str) -> dict[str, Progress]:
        return self._books.progress(self._open(), deployment, self._target) if self._has_tables else {}

    def park(self, rows: Sequence[ParkedRow]) -> None:
        if rows:
            self._books.park(*self._in_transaction_with_tables(), rows)

    def unpark(self, ids: Sequence[str]) -> None:
        if ids:
            self._books.unpark(*self._in_transaction_with_tables(), ids)

    def parked(self, deployment: str) -> list[ParkedRow]:
        return self._books.parked(self._open(), deployment, self._target) if self._has_tables else []

    # -- rows

    def write(self, writes: Sequence[RowWrite]) -> int:
        self._forget_old_plans()
        split = runs(writes)
        self._plan_all(split)
        affected = self._write_runs(split)
        self.rows_written += len(writes)
        return affected

    def _write_runs(self, split: Sequence[Sequence[RowWrite]]) -> int:
        return self._write(arranged(split, self._facts), single=False)

    def write_singly(self, writes: Sequence[RowWrite]) -> list[Rejection]:
        self._in_transaction()
        self._forget_old_plans()
        return write_apart(writes, self._attempt_or_aside, DUPLICATES)

    def _attempt_or_aside(self, writes: Sequence[RowWrite]) -> None:
        try:
            self._attempt(writes)
            self.rows_written += len(writes)
        except Rejected as refusal:
            aside = with_values_aside(writes, self._facts) if refusal.code in DUPLICATES and len(writes) > 1 else None
            if aside is None:
                raise
            try:
                self._attempt(aside)
                self.rows_written += len(aside)
            except Rejected:
                raise refusal from None

    def _explained(self, writes: Sequence[RowWrite], refusal: Rejected) -> Rejected:
        """A row may meet several others at once, of which the database names one: name all keys, and whose they are (CASES.md K4, K7)."""
        if len(writes) != 1 or refusal.code not in _MET_OTHERS:
            return refusal
        (write,) = writes
        plan = self._plan(write.table)
        wanted = searches(write, plan.indexes)
        if not wanted:
            return refusal
        columns = row_columns(write, plan.table.primary_key)
        try:
            found = self._holders(plan, write, wanted, columns)
        except (Rejected, Halt):
            return refusal  # what cannot be read (a missing privilege) makes the refusal no other one
        named = [(one.index, row_name(columns, row)) for one, row in zip(wanted, found, strict=True) if row is not None]
        return explained(refusal, named)

    def _write_in_order(self, writes: Sequence[RowWrite]) -> None:
        self._plan_all(runs(writes))
        self._write(in_strict_order(writes), single=True)

    def _write(self, groups: Iterable[Sequence[RowWrite]], *, single: bool) -> int:
        """Write groups in order. The next statements are made while the server works on those before."""
        self._in_transaction()
        affected = 0
        packs = self._packs(groups, single=single)
        sent: Sequence[M] = ()
        while True:
            try:
                pack = next(packs, None)
            except Exception:
                if sent:
                    self._settle(sent, single=single)  # what comes first is refused first
                raise
            if sent:
                affected += self._settle(sent, single=single)
            if pack is None:
                return affected
            if not self._wrote:
                self._options.probe("sink.before_first_stmt")
            self._start(pack, single=single)
            sent = pack

    def _settle(self, pack: Sequence[M], *, single: bool) -> int:
        affected = self._finish(pack, single=single)
        if not self._wrote:
            self._wrote = True
            self._options.probe("sink.mid_tx")
        self._options.alive()
        return affected

    def _packs(self, groups: Iterable[Sequence[RowWrite]], *, single: bool) -> Iterator[list[M]]:
        """Statements in order, as many as go in one round trip; row by row no two groups share one.

        Nor do updates or deletes and what may make rows that they did not find: after the round trip it is looked whether those are
        there.
        """
        pack: list[M] = []
        full = 0.0
        looks = False
        for group in groups:
            first = group[0]
            if looks and (first.op == "insert" or moves_key(first)):
                yield pack
                pack, full, looks = [], 0.0, False
            looks = looks or first.op != "insert"
            for made in self._statements(self._plan(first.table), group, single=single):
                weight = self._weight(made)
                if pack and full + weight > 1:
                    yield pack
                    pack, full = [], 0.0
                pack.append(made)
                full += weight
            if single and pack:
                yield pack
                pack, full, looks = [], 0.0, False
        if pack:
            yield pack

    def rollback(self) -> None:
        self._header = None
        self._plans.clear()  # what failed may have failed because a table has changed
        if self._session is not None:
            self._books.rollback(self._session)

    @property
    def _has_tables(self) -> bool:
        return self._options.bookkeeping == "table"

    def _open(self) -> S:
        if self._session is None or self._session.closed:
            raise Transient(f"{self._address}: not connected")
        return self._session

    def _in_transaction(self) -> S:
        if self._header is None:
            raise RuntimeError("no transaction: begin comes first")
        session = self._open()
        if session.void:
            raise RuntimeError("the transaction did not open: rollback comes first")
        return session

    def _in_transaction_with_tables(self) -> tuple[S, TransactionHeader]:
        if not self._has_tables:
            raise ValueError("bookkeeping none: parked changes are in the hub store")
        session = self._in_transaction()
        assert self._header is not None
        return session, self._header

    def _facts(self, table: Table) -> TableFacts:
        return self._plan(table).facts

    def _forget_old_plans(self) -> None:
        """The catalog is read again now and then: an index may have been made that changes what is safe."""
        if time.monotonic() - self._planned_at > PLAN_SECONDS:
            self._planned_at = time.monotonic()
            self._plans.clear()

    def _plan_all(self, split: Sequence[Sequence[RowWrite]]) -> None:
        """Before any pack is under way."""
        for run in split:
            self._plan(run[0].table)

    def _plan(self, table: Table) -> P:
        """How to write a table. Asks the server for one that is met first."""
        known = self._plans.get(id(table))
        if known is not None:
            return known[1]
        # Each mapping of a table has a description of its own; equal ones may be in one run.
        plan = next((plan for other, plan in self._plans.values() if other == table), None)
        if plan is None:
            plan = self._make_plan(self._open(), table)
        if plan is None:
            raise Halt(f"{table}: no such table", mend="create the table, or take it out of the mappings")
        self._plans[id(table)] = table, plan
        return plan
