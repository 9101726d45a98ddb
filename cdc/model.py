"""The words of the engine as data: positions, changes, entries of the change log, apply records. No I/O, no clock.

Guards the shape behind I2 (apply records), I4 and I7 (orders). Everything here is what ARCHITECTURE.md section 6 needs from
the first day: a change's name is (channel, order, index), an entry says what its database had `seen`, a `hlc` is its stamp.

An `order` is a place in one channel's log: an integer of at most 63 bits that grows with the log. A transaction's order is
a place at or after the end of every earlier transaction and before the end of its own; PostgreSQL: the LSN of the commit
record; MySQL, MariaDB: where its first event starts (see `cdc.readers.mysql_position`). Being known before the first row is read, it
names the parts of a large transaction before its end has been seen.

Rows of one transaction are numbered from 0 by the log itself (every row event of it, mapped or not), so a part is the
half-open interval [first, end) of row numbers, wherever its borders fall when it is read again after a crash.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from transforms.tables import Table
from transforms.values import ChannelValue, WireValue

Order: TypeAlias = int
Hlc: TypeAlias = int  # microseconds since 1970, moved on where causality asks for it
Seen: TypeAlias = dict[str, Order]  # per other channel: the order up to which its changes had been applied, inclusive
Op: TypeAlias = Literal["insert", "update", "delete"]


# The stream of decisions about people (`cdc.identity.events`): no channel can have that name.
IDENTITY_SOURCE: Final = "~identity"


def folded(order: Order, end: int, *, complete: bool) -> Order:
    """The last order of which everything is applied at a place in a stream.

    A heartbeat (`end` 0) only says that everything before its order has been passed: the next transaction may have that very order.
    """
    return order if complete and end else order - 1


class Position(msgspec.Struct, frozen=True):
    """A transaction boundary in one channel's log. `native` is the reader's own text form, `order` its place.

    Everything that begins before `order` is passed; the transaction whose order is `order` or more is the next one.
    """

    order: Order
    native: str


class RowChange(msgspec.Struct, frozen=True, gc=False):
    """What a log says of one row, in the channel's own form; values stand in the order of `table.columns`."""

    table: Table
    op: Op
    index: int  # its number within the transaction
    before: tuple[ChannelValue, ...] | None
    after: tuple[ChannelValue, ...] | None


class ProgressRow(msgspec.Struct, frozen=True, array_like=True):
    """One source's line of an apply record: the target has now applied that source up to here.

    `end` is the number of rows of the transaction at `order` that are applied; `complete` says whether those are all.
    """

    source: str
    order: Order
    end: int
    complete: bool
    hlc: Hlc

    @property
    def seen(self) -> Order:
        """The last order of that source of which everything is applied. See `folded`."""
        return folded(self.order, self.end, complete=self.complete)


class ApplyRecord(msgspec.Struct, frozen=True, array_like=True):
    """What identifies an apply transaction, in the loop guard and in the target's own log (ARCHITECTURE.md section 5).

    `token` is unique per apply transaction; `rows` how many mapped rows it writes: at most in the log, where it is said first.
    """

    deployment: str
    target: str
    epoch: int
    token: str
    rows: int
    progress: tuple[ProgressRow, ...]


class ParkedKey(msgspec.Struct, frozen=True, array_like=True):
    """A row of `datong_parked` that came (`parked`) or went (not `parked`) in a transaction, as the log shows it.

    `key` is its column key_text: one key a line.
    """

    id: str
    entity: str
    key: str
    parked: bool


class LogPart(msgspec.Struct):
    """A committed transaction of a channel's log, or a part of a large one. Made by readers.

    `rows` holds the rows of wanted tables within [first, end). When the transaction is an apply of this deployment,
    `record` is what its log says of it (already in the first part), `rows` is empty and `echo_rows` counts the
    wanted rows of this part. `identity` is the transaction's identity as `Sink.begin` of that engine names it,
    for the loop guard. `resume` is where to read on once this part is published: the end of the transaction for the last part,
    its beginning otherwise.
    """

    order: Order
    first: int
    end: int
    last: bool
    committed_at: int  # microseconds since 1970
    identity: str
    transaction: str  # as an operator would look it up: GTID, xid
    resume: Position
    rows: list[RowChange]
    record: ApplyRecord | None = None
    echo_rows: int = 0
    parked: tuple[ParkedKey, ...] = ()
    size: int = 0  # bytes in the log, about


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """Which fields of which entity a change's values are; shared by the changes of an entry."""

    mapping: str
    entity: str
    fields: tuple[str, ...]


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row's change in the dictionary's form.

    insert: every mapped field. update: the changed fields only (all of them where the log has no before image); a field
    that is part of the key is among them if the key moves. delete: none. `before` holds the values before, of the same
    fields, where the log has them, else it is empty. `refused` says why the row could not be decoded: appliers park it.
    `if_new`, of a person's insert: places of values that another channel had told first: they are for a row that is made, and
    leave one alone that is there.
    """

    layout: int
    op: Op
    index: int
    key: tuple[Any, ...]  # of WireValue, before the change; msgspec cannot tell str from bytes in a union, msgpack does
    values: tuple[Any, ...]
    before: tuple[Any, ...] = ()
    refused: str | None = None
    if_new: tuple[int, ...] = ()


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a channel's stream: a transaction, a part [first, end) of one, or (end 0) a heartbeat.

    `seen` is what the channel's database had applied of the others before this transaction. `aside` is news since the stream's
    last entry: keys (`entity/canonical key text`) that were parked there, with what they had seen, or released (None); the
    first entry of a stream names all of them. Until its release, changes of such a key have that `seen`.
    """

    channel: str
    order: Order
    first: int
    end: int
    last: bool
    committed_at: int
    hlc: Hlc
    transaction: str
    seen: Seen
    aside: dict[str, Seen | None]
    layouts: tuple[Layout, ...]
    changes: tuple[Change, ...]

    @property
    def is_heartbeat(self) -> bool:
        return self.end == 0

    @property
    def stream_id(self) -> str:
        """Its id in the stream: it grows, so the stream itself refuses what is there already."""
        return f"{self.order}-{self.end}"


class Checkpoint(msgspec.Struct, frozen=True):
    """A capture's whole state at a place in its log; from here it can go on as if it had never stopped.

    `last_order`/`last_end` name the last entry published before it. `aside` maps a parked key to how many rows of
    `datong_parked` hold it and what its channel had seen when it was first set aside; `untold` is news of it that no entry
    carries yet. `ordinals`: per thread id of ours,
    how many of its apply transactions have been passed (MySQL), within one `incarnation` of the server.
    """

    position: Position
    last_order: Order
    last_end: int
    hlc: Hlc
    seen: Seen
    aside: dict[str, tuple[int, Seen]]
    untold: dict[str, Seen | None]
    ordinals: dict[str, int]
    incarnation: str
    revision: str


_KEY = msgspec.json.Encoder(order="deterministic")


def key_text(entity: str, key: tuple[WireValue, ...]) -> str:
    """Name a key: `member/["+8613800000000"]`. The same for the same key in every process."""
    return f"{entity}/{_KEY.encode(key).decode()}"
