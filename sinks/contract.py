"""What a sink takes and answers: rows in the channel's own form, in order, inside one transaction that marks itself.

Guards I2 (the apply record is the first statement of every transaction), I5, I6. Imports transforms only.

The life of one batch, driven by `cdc.apply`:

    sink.begin(header)                 BEGIN, compare-and-set of datong_progress: the transaction's first statements. They may go in one
                                       packet with what comes next, which then raises Fenced (not where `header.rows` is 0)
    sink.write(writes)                 all rows, in order; or sink.write_singly(writes) after a Rejected
    sink.park(rows); sink.unpark(ids)  inside the same transaction
    identity = sink.identity()         once it is answered, the lease was ours when the transaction opened
    ... the loop guard writes the record to Redis under `identity` ...
    sink.commit()

Any error but `Rejected` of `write_singly` ends the transaction; `rollback()` is safe to call at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from transforms.tables import Table
from transforms.values import ChannelValue

Op: TypeAlias = Literal["insert", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a target has applied one source: all rows below row `end` of the transaction at `order`, and all before it."""

    order: int
    end: int
    complete: bool
    hlc: int


@dataclass(frozen=True, slots=True)
class ProgressMove:
    """A compare-and-set on one line of datong_progress: from what was last known to what this transaction makes true."""

    source: str
    known: Progress | None  # None: there is no line yet; it is inserted
    now: Progress


@dataclass(frozen=True, slots=True)
class TransactionHeader:
    """`token` is unique per transaction, [0-9a-f]{32}; `rows` the number of mapped rows it writes at most."""

    deployment: str
    target: str
    epoch: int
    token: str
    rows: int
    moves: tuple[ProgressMove, ...]


class RowWrite(msgspec.Struct, frozen=True, gc=False):
    """insert: `columns`/`values` are the whole row. update: the changed ones. delete: both empty.

    `key_columns`/`key` find the row as it is now. A sink treats an insert whose key exists as an update of all its columns, a delete
    that finds nothing as done, and an update that finds nothing as `Rejected(reason="missing_row")`.
    `deltas` are places in `columns` whose value is added to what the row holds (counters; updates only, never NULL); a row that
    holds NULL there counts from 0.
    `ref` is the caller's own number, given back with a rejection.

    Of a mapping with conditions: `only` is what a row must hold besides, else it is not the one that is meant (an insert that meets
    a row of its key without it is Rejected as a duplicate; its columns are among those of an insert). `fresh` are columns that are
    written where an insert makes a row, and left alone where it meets one. `lenient`: an update that finds no row is done.

    `anew`: of an insert of rows that several write. A row of its key that is there already and differs in `columns` is another one:
    `Rejected(reason="conflict")`, and nothing is written over. An equal one is done.
    """

    table: Table
    op: Op
    key_columns: tuple[str, ...]
    key: tuple[ChannelValue, ...]
    columns: tuple[str, ...]
    values: tuple[ChannelValue, ...]
    ref: int = 0
    deltas: tuple[int, ...] = ()
    only: tuple[tuple[str, ChannelValue], ...] = ()
    fresh: tuple[tuple[str, ChannelValue], ...] = ()
    lenient: bool = False
    anew: bool = False


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A change that waits in `datong_parked` of its target; `change` is the packed change, only this deployment reads it.

    `id` is [a-z0-9][a-z0-9._-]* and the same when the same change is parked again. `reason` is a stable word (missing_row, conflict,
    foreign_key, rejected, refused, waiting); `error` one line, values masked. `key_text`: the keys that wait because of it, one a line, as `cdc.model.key_text`
    names them: the row's own, and the one that an update moves it to. `taken`: the unique keys that other rows of the target hold, one
    line each, with the key of that row: never for a log (I9).
    """

    id: str
    deployment: str
    source: str
    order: int
    index: int
    mapping: str
    entity: str
    key_text: str
    reason: str
    error: str
    since: int  # microseconds since 1970
    change: bytes
    taken: tuple[str, ...] = field(default=(), repr=False)

    @property
    def keys(self) -> list[str]:
        return self.key_text.split("\n")


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Which server this is and which start of it: a transaction identity is only comparable within one incarnation."""

    server: str
    incarnation: str
    version: str


# Why a row is rejected that another row may still let in: its parent comes, or its last child goes.
FOREIGN_KEY: Final = "foreign_key"
# And that its key is that of another row, which was inserted elsewhere (CASES.md K4, K10).
CONFLICT: Final = "conflict"
IS_TAKEN: Final = "there is a row of this key with other values, inserted here or in a third channel"


class SinkError(Exception):
    """Base; `code` is the driver's (SQLSTATE or MySQL's number), the message one line without values (I9)."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Transient(SinkError):
    """The whole batch again, after a while: connection, deadlock, lock wait, read-only during a failover, disk full.

    `unknown_commit`: it happened between sending COMMIT and its answer; only the progress table knows.
    """

    def __init__(self, message: str, code: str = "", *, unknown_commit: bool = False) -> None:
        super().__init__(message, code)
        self.unknown_commit = unknown_commit


class Rejected(SinkError):
    """This row cannot be stored as it is (constraint, type, length, missing row): the row and its key are parked.

    `taken`: see `ParkedRow`; no part of the message.
    """

    def __init__(
        self,
        message: str,
        code: str = "",
        *,
        reason: str = "rejected",
        ref: int | None = None,
        taken: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code)
        self.reason = reason
        self.ref = ref
        self.taken = taken


class Halt(SinkError):
    """Needs a person: credentials, privileges, a missing table or column. `mend` says what to do."""

    def __init__(self, message: str, code: str = "", *, mend: str = "") -> None:
        super().__init__(message, code)
        self.mend = mend


class Fenced(SinkError):
    """The compare-and-set matched no line: another writer, or an unknown COMMIT had happened after all. Reload."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A write that was not stored, and why; `taken` as in `ParkedRow`."""

    ref: int
    reason: str
    error: str
    code: str
    taken: tuple[str, ...] = field(default=(), repr=False)

    @staticmethod
    def of(refusal: Rejected, ref: int) -> Rejection:
        return Rejection(ref, refusal.reason, str(refusal), refusal.code, refusal.taken)

    def refusal(self) -> Rejected:
        return Rejected(self.error, self.code, reason=self.reason, ref=self.ref, taken=self.taken)


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """`probe` is called at named places (sink.before_first_stmt, sink.mid_tx, sink.commit_sent): fault points of tests.

    `alive` is called between statements so that a long batch does not look hung. `lock_timeout_seconds` bounds one statement's wait.
    `bookkeeping` none: no table of ours; the record travels as a logical message (PostgreSQL), a comment (MariaDB) or not at all.
    """

    bookkeeping: Literal["table", "none"] = "table"
    lock_timeout_seconds: float = 3.0
    probe: Callable[[str], None] = field(default=lambda _point: None)
    alive: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class NewLink:
    """A person's row that an apply transaction made: `local_key` is the packed key that only this deployment reads."""

    person: int
    entity: str
    local_key: str


class PeopleSink(Protocol):
    """What writing people needs besides `Sink`, over the same connection (`Sink.people`)."""

    def prepare(self) -> list[str]:
        """Create datong_identity where it is missing; answer the statements that were run. Raises Halt with those that are needed."""
        ...

    def create(
        self, writes: Sequence[RowWrite], key_columns: tuple[str, ...], *, single: bool = False
    ) -> list[tuple[ChannelValue, ...] | None]:
        """Insert rows and answer the keys that the server gave them, in order; None where it does not tell.

        The writes hold no key columns. One round trip for many. Raises Rejected with `ref`; with `single` there is one write,
        tried within a savepoint.
        """
        ...

    def look_up(
        self, table: Table, by: tuple[str, ...], keys: Sequence[tuple[ChannelValue, ...]], wanted: tuple[str, ...]
    ) -> list[tuple[ChannelValue, ...]]:
        """The columns `by` and then `wanted` of the rows that hold one of `keys`; integers, texts and UUIDs only."""
        ...

    def keep(self, links: Sequence[NewLink]) -> None:
        """Keep links in the open transaction."""
        ...

    def drop(self, people: Sequence[int]) -> None:
        """Forget links that the hub store holds, in the open transaction."""
        ...

    def kept(self, deployment: str, target: str) -> list[NewLink]:
        """The links that the hub store may not hold yet."""
        ...


class Sink(Protocol):
    """One connection to one channel's database, for writing. Not thread-safe. READ COMMITTED, session settings pinned."""

    # How many rows `write` and `write_singly` have written since the sink was made, at most: those that are set aside first twice, refused
    # ones not. Rows of transactions that were rolled back are in it.
    rows_written: int

    def connect(self) -> ServerIdentity: ...

    def close(self) -> None: ...

    def ping(self) -> None:
        """One round trip outside a transaction: an idle target that is gone has to show (I10). Raises Transient."""
        ...

    def describe(self, schema: str | None, table: str) -> Table | None:
        """Read a table's columns and keys from the catalog; None if it does not exist."""
        ...

    def people(self) -> PeopleSink:
        """The same connection, for writing people."""
        ...

    def prepare(self) -> list[str]:
        """Create datong_progress and datong_parked where they are missing; answer the statements that were run."""
        ...

    def take_over(self, deployment: str, target: str) -> int:
        """Raise the epoch in the lease line and every progress line of this deployment, in one transaction; answer it."""
        ...

    def progress(self, deployment: str) -> dict[str, Progress]:
        """Read all progress lines, waiting for a transaction of another session that holds them."""
        ...

    def begin(self, header: TransactionHeader) -> None:
        """Open the transaction and move the progress."""
        ...

    def identity(self) -> str:
        """Of the open transaction, as this server's log will show it. Raises Fenced where the progress could not be moved.

        PostgreSQL `xid`, MySQL `thread_id/ordinal`, MariaDB the token. On MySQL and MariaDB it is known before the progress is moved.
        """
        ...

    def write(self, writes: Sequence[RowWrite]) -> int:
        """Write all rows in order, in the fewest statements that keep the order; answer the number of affected rows."""
        ...

    def write_singly(self, writes: Sequence[RowWrite]) -> list[Rejection]:
        """Write row by row inside savepoints. A rejected row is answered; later rows of its key are not tried, and are
        answered with reason `waiting`.
        """
        ...

    def park(self, rows: Sequence[ParkedRow]) -> None: ...

    def unpark(self, ids: Sequence[str]) -> None: ...

    def parked(self, deployment: str) -> list[ParkedRow]:
        """All parked rows of this deployment in this target, in the order (source, order, index)."""
        ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def committed(self, identity: str) -> bool | None:
        """After an unknown COMMIT: whether that transaction is in the database; None where the server cannot say."""
        ...
