"""PostgreSQL's pgoutput messages, from bytes to values. Pure: no socket, no clock, no catalog. Guards I6.

Every read is checked against the message's end; what does not fit is a `ProtocolError` that names the place, never an
IndexError, a hang or a large allocation. It must never put a value of a row into an error (I9).

Formats: PostgreSQL manual, "Streaming Replication Protocol" (frames w, k, r) and "Logical Replication Message Formats",
protocol versions 1 to 4. A *frame* is what one CopyData holds; messages are read in place, at an offset within their frame.
Within a *block* (from STREAM START to STREAM STOP, version 2) a message carries the number of its (sub)transaction after its
kind: where it is read, `at` is the kind's place plus `XID_SIZE`. Times are microseconds since 1970. Rows: `pgoutput_rows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class with a name in lower case
from typing import Final, NamedTuple

EPOCH_2000: Final = 946_684_800_000_000  # microseconds between 1970 and PostgreSQL's 2000-01-01

FRAME_DATA: Final = ord("w")
FRAME_KEEPALIVE: Final = ord("k")
MESSAGE_AT: Final = 25  # where a data frame's message begins
XID_SIZE: Final = 4  # of a message within a block

BEGIN: Final = ord("B")
COMMIT: Final = ord("C")
ORIGIN: Final = ord("O")
RELATION: Final = ord("R")
TYPE: Final = ord("Y")
INSERT: Final = ord("I")
UPDATE: Final = ord("U")
DELETE: Final = ord("D")
TRUNCATE: Final = ord("T")
MESSAGE: Final = ord("M")
STREAM_START: Final = ord("S")
STREAM_STOP: Final = ord("E")
STREAM_COMMIT: Final = ord("c")
STREAM_ABORT: Final = ord("A")

_KEY_FLAG: Final = 1

_u16: Final = Struct(">H").unpack_from
_u32: Final = Struct(">I").unpack_from
_keepalive: Final = Struct(">xQqB").unpack_from
begin_fields: Final = Struct(">xQqI").unpack_from  # final LSN, microseconds since 2000, xid
commit_fields: Final = Struct(">xBQQq").unpack_from  # flags, its LSN, its end's, microseconds since 2000
_column_type: Final = Struct(">Ii").unpack_from
_message: Final = Struct(">xBQ").unpack_from
_stream_start: Final = Struct(">xIB").unpack_from
_stream_commit: Final = Struct(">xIBQQq").unpack_from
_stream_abort: Final = Struct(">xII").unpack_from
_status: Final = Struct(">cQQQqB").pack


class ProtocolError(Exception):
    """The stream holds something that is not pgoutput as we know it; the message says what, without a row's value."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    wal_end: int
    reply_requested: bool


class Begin(NamedTuple):
    """`final_lsn`: where the transaction's commit record starts."""

    final_lsn: int
    committed_at: int
    xid: int


class Commit(NamedTuple):
    """`end_lsn`: where the commit record ends."""

    commit_lsn: int
    end_lsn: int
    committed_at: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """`is_key`: part of the replica identity (of every column, where that is FULL)."""

    name: str
    type_oid: int
    type_modifier: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """`replica_identity` as in pg_class.relreplident: d(efault), n(othing), f(ull), i(ndex)."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]


class StreamCommit(NamedTuple):
    """A transaction that was streamed while it was open, committed: what BEGIN and COMMIT say of others."""

    xid: int
    commit_lsn: int
    end_lsn: int
    committed_at: int


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    transactional: bool
    lsn: int
    prefix: str
    content: bytes


def lsn_text(lsn: int) -> str:
    """Write an LSN as PostgreSQL does: 16/B374D848."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_number(text: str) -> int:
    """Read `lsn_text` back. Raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not an LSN")
    return int(high, 16) << 32 | int(low, 16)


def status_update(*, written: int, flushed: int, now: int, reply: bool) -> bytes:
    """A standby status update ('r'); `now` in microseconds since 1970. Applied is said to be what is flushed."""
    return _status(b"r", written, flushed, flushed, now - EPOCH_2000, reply)


def read_keepalive(frame: bytes) -> Keepalive:
    try:
        wal_end, _clock, reply = _keepalive(frame)
    except StructError:
        raise ProtocolError("a keep-alive is cut short") from None
    return Keepalive(wal_end, reply != 0)


def message_kind(frame: bytes) -> int:
    """The first byte of a data frame's message."""
    if len(frame) <= MESSAGE_AT:
        raise ProtocolError("a data frame holds no message")
    return frame[MESSAGE_AT]


def read_begin(data: bytes, at: int = MESSAGE_AT) -> Begin:
    try:
        final_lsn, time, xid = begin_fields(data, at)
    except StructError:
        raise ProtocolError("a BEGIN message is cut short") from None
    return Begin(final_lsn, time + EPOCH_2000, xid)


def read_commit(data: bytes, at: int = MESSAGE_AT) -> Commit:
    try:
        _flags, commit_lsn, end_lsn, time = commit_fields(data, at)
    except StructError:
        raise ProtocolError("a COMMIT message is cut short") from None
    return Commit(commit_lsn, end_lsn, time + EPOCH_2000)


def read_relation(data: bytes, at: int = MESSAGE_AT) -> Relation:
    try:
        (oid,) = _u32(data, at + 1)
        schema, at = _text(data, at + 5)
        name, at = _text(data, at)
        identity = data[at]
        (count,) = _u16(data, at + 1)
        at += 3
        columns = []
        for _ in range(count):
            flags = data[at]
            column, at = _text(data, at + 1)
            type_oid, modifier = _column_type(data, at)
            at += 8
            columns.append(RelationColumn(column, type_oid, modifier, bool(flags & _KEY_FLAG)))
    except (StructError, IndexError, ValueError):
        raise ProtocolError("a RELATION message is malformed") from None
    # An empty schema stands for pg_catalog (logicalrep_write_namespace).
    return Relation(oid, schema or "pg_catalog", name, chr(identity), tuple(columns))


def read_type(data: bytes, at: int = MESSAGE_AT) -> tuple[int, str, str]:
    """A TYPE message: OID, schema, name (of a domain, the name is its base type's)."""
    try:
        (oid,) = _u32(data, at + 1)
        schema, at = _text(data, at + 5)
        name, _at = _text(data, at)
    except (StructError, ValueError):
        raise ProtocolError("a TYPE message is malformed") from None
    return oid, schema or "pg_catalog", name


def read_truncate(data: bytes, at: int = MESSAGE_AT) -> tuple[int, ...]:
    """The OIDs of the relations that a TRUNCATE empties."""
    try:
        (count,) = _u32(data, at + 1)
        if at + 6 + 4 * count > len(data):
            raise ProtocolError("a TRUNCATE message is cut short")
        return tuple(_u32(data, at + 6 + 4 * i)[0] for i in range(count))
    except StructError:
        raise ProtocolError("a TRUNCATE message is cut short") from None


def read_message(data: bytes, at: int = MESSAGE_AT) -> LogicalMessage:
    try:
        flags, lsn = _message(data, at)
        prefix, at = _text(data, at + 10)
        (size,) = _u32(data, at)
    except (StructError, ValueError):
        raise ProtocolError("a logical message is malformed") from None
    if at + 4 + size > len(data):
        raise ProtocolError("a logical message is cut short")
    return LogicalMessage(bool(flags & 1), lsn, prefix, data[at + 4 : at + 4 + size])


def relation_oid(data: bytes, at: int = MESSAGE_AT) -> int:
    """The relation of an INSERT, UPDATE or DELETE message, and of a RELATION or TYPE message what it is of."""
    try:
        oid: int = _u32(data, at + 1)[0]
    except StructError:
        raise ProtocolError("a message is cut short") from None
    return oid


def block_xid(data: bytes, at: int = MESSAGE_AT) -> int:
    """The (sub)transaction of a message within a block."""
    return relation_oid(data, at)


def read_stream_start(data: bytes, at: int = MESSAGE_AT) -> tuple[int, bool]:
    """STREAM START: the transaction whose block begins, and whether it is its first."""
    try:
        xid, first = _stream_start(data, at)
    except StructError:
        raise ProtocolError("a STREAM START message is cut short") from None
    return xid, first == 1


def read_stream_commit(data: bytes, at: int = MESSAGE_AT) -> StreamCommit:
    try:
        xid, _flags, commit_lsn, end_lsn, time = _stream_commit(data, at)
    except StructError:
        raise ProtocolError("a STREAM COMMIT message is cut short") from None
    return StreamCommit(xid, commit_lsn, end_lsn, time + EPOCH_2000)


def read_stream_abort(data: bytes, at: int = MESSAGE_AT) -> tuple[int, int]:
    """STREAM ABORT: the transaction, and which of its subtransactions (itself: all of it) is rolled back."""
    try:
        xid, subxid = _stream_abort(data, at)
    except StructError:
        raise ProtocolError("a STREAM ABORT message is cut short") from None
    return xid, subxid


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A zero-terminated string at `at`, and where it ends; ValueError where there is none."""
    end = data.index(0, at)
    return data[at:end].decode(), end + 1
