"""The bodies of binary log events, parsed from bytes. Pure: no connection, no state. Guards I6.

Functions take one event's body (after the 19-byte header, checksum removed) and raise one of `MALFORMED` where the bytes are not what
the format says. Formats: MySQL's libs/mysql/binlog/event, MariaDB's knowledge base pages on the replication protocol.
"""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

MALFORMED: Final = (struct.error, IndexError, ValueError, OverflowError, zlib.error, RecursionError)

HEADER_SIZE: Final = 19
EVENT_LIMIT: Final = (1 << 30) + (1 << 20)  # max_allowed_packet's own limit
ARTIFICIAL: Final = 0x20  # header flag: made up by the dump, stands in no file

QUERY, STOP, ROTATE, INTVAR, RAND, USER_VAR, FORMAT_DESCRIPTION, XID = 2, 3, 4, 5, 13, 14, 15, 16
APPEND_BLOCK, DELETE_FILE, BEGIN_LOAD_QUERY, EXECUTE_LOAD_QUERY = 9, 11, 17, 18
TABLE_MAP, INCIDENT, HEARTBEAT, IGNORABLE, ROWS_QUERY = 19, 26, 27, 28, 29
GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE, XA_PREPARE = 33, 34, 35, 36, 37, 38
PARTIAL_UPDATE, TRANSACTION_PAYLOAD, HEARTBEAT_2, GTID_TAGGED = 39, 40, 41, 42
ANNOTATE, BINLOG_CHECKPOINT, MARIADB_GTID, GTID_LIST, START_ENCRYPTION, QUERY_COMPRESSED = 160, 161, 162, 163, 164, 165

INSERTS: Final = frozenset({23, 30, 166, 169})
UPDATES: Final = frozenset({24, 31, 167, 170})
DELETES: Final = frozenset({25, 32, 168, 171})
ROWS: Final = INSERTS | UPDATES | DELETES
COMPRESSED_ROWS: Final = frozenset(range(166, 172))
_WITH_EXTRA_DATA: Final = frozenset({30, 31, 32})

NAMES: Final = {
    20: "PRE_GA_WRITE_ROWS", 21: "PRE_GA_UPDATE_ROWS", 22: "PRE_GA_DELETE_ROWS", INCIDENT: "INCIDENT", XA_PREPARE: "XA_PREPARE",
    PARTIAL_UPDATE: "PARTIAL_UPDATE_ROWS", TRANSACTION_PAYLOAD: "TRANSACTION_PAYLOAD", EXECUTE_LOAD_QUERY: "EXECUTE_LOAD_QUERY",
}  # fmt: skip

STANDALONE, PREPARED_XA, COMPLETED_XA = 1, 64, 128  # flags of MariaDB's GTID event

_INFLATED_LIMIT: Final = 1 << 30
_CHECKSUM_SIZE: Final = 4
_FILE_NAME: Final = re.compile(r"[^\0/]{1,255}\.[0-9]{1,18}")
_TIMESTAMP_MASK: Final = (1 << 55) - 1
_u32: Final = struct.Struct("<I").unpack_from
_gtid: Final = struct.Struct("<B16sq").unpack_from
_mariadb_gtid: Final = struct.Struct("<QIB").unpack_from
_xid: Final = struct.Struct("<III").unpack_from
_query: Final = struct.Struct("<IIBHH").unpack_from


class Gtid(msgspec.Struct, frozen=True, gc=False):
    """`origin` is the uuid, or `uuid:tag`. `committed_at` in microseconds, 0 where the event has none."""

    origin: str
    number: int
    committed_at: int


class Query(NamedTuple):
    thread_id: int
    schema: str
    text: bytes


class RowsHeader(NamedTuple):
    """`present` (and `present_after` of an update) are bitmaps of the columns that the images hold; rows start at `start`."""

    table_id: int
    columns: int
    present: int
    present_after: int
    start: int


@dataclass(frozen=True, slots=True)
class FormatDescription:
    server_version: str
    checksummed: bool


def length_encoded(body: bytes, at: int) -> tuple[int, int]:
    """Read a length-encoded integer; answer it and where it ends."""
    first = body[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}.get(first)
    if size is None:
        raise ValueError("not a length-encoded integer")
    return int.from_bytes(exactly(body, at + 1, size), "little"), at + 1 + size


def exactly(body: bytes, at: int, size: int) -> bytes:
    """`size` bytes from `at`; a slice alone would be short without a word."""
    if size < 0 or at + size > len(body):
        raise IndexError(f"{size} bytes wanted at {at} of {len(body)}")
    return body[at : at + size]


def rotate(body: bytes) -> tuple[str, int]:
    """The next file and the offset in it."""
    offset, file = int.from_bytes(exactly(body, 0, 8), "little"), body[8:].decode("utf-8")
    if _FILE_NAME.fullmatch(file) is None:
        raise ValueError("not the name of a binary log")
    return file, offset


def format_description(body: bytes) -> FormatDescription:
    """`body` with its checksum, which this event always carries (MySQL 5.6, MariaDB 5.3 and later)."""
    version = int.from_bytes(exactly(body, 0, 2), "little")
    if version != 4 or body[56] != HEADER_SIZE:
        raise ValueError(f"binary log version {version}, not 4")
    algorithm = body[-_CHECKSUM_SIZE - 1]
    if algorithm not in (0, 1):
        raise ValueError(f"checksum algorithm {algorithm}")
    return FormatDescription(body[2:52].rstrip(b"\0").decode("ascii"), algorithm == 1)


def gtid(body: bytes) -> Gtid:
    """GTID_EVENT and ANONYMOUS_GTID_EVENT of MySQL."""
    _flags, origin, number = _gtid(body)
    committed_at = 0
    if len(body) >= 49 and body[25] == 2:  # logical timestamps follow, then (8.0) the commit times
        committed_at = int.from_bytes(body[42:49], "little") & _TIMESTAMP_MASK
    return Gtid(_uuid_text(origin), number, committed_at)


@lru_cache(maxsize=1024)
def _uuid_text(octets: bytes) -> str:
    return str(uuid.UUID(bytes=octets))


def tagged_gtid(body: bytes) -> Gtid:
    """GTID_TAGGED_EVENT of MySQL 8.3 and later: fields in MySQL's own serialization, each with its number before it."""
    _version, at = _varlen(body, 0)
    _size, at = _varlen(body, at)
    _last_needed, at = _varlen(body, at)
    origin, number, tag, committed_at = "", 0, "", 0
    while at < len(body):
        field, at = _varlen(body, at)
        if field == 1:
            octets = bytearray()
            for _ in range(16):
                octet, at = _varlen(body, at)
                octets.append(octet)
            origin = str(uuid.UUID(bytes=bytes(octets)))
        elif field == 3:
            size, at = _varlen(body, at)
            tag = exactly(body, at, size).decode("ascii")
            at += size
        else:
            value, at = _varlen(body, at)
            if field == 2:
                number = value >> 1  # a signed integer: its sign is the lowest bit
            elif field == 6:
                committed_at = value
            if field > 6:
                break
    if not origin or number <= 0:
        raise ValueError("a GTID without origin or number")
    return Gtid(f"{origin}:{tag}" if tag else origin, number, committed_at)


def _varlen(body: bytes, at: int) -> tuple[int, int]:
    """MySQL's variable-length integer: as many low one-bits in the first byte as bytes follow it."""
    first = body[at]
    more = 8 if first == 255 else ((first + 1) & ~first).bit_length() - 1
    raw = int.from_bytes(exactly(body, at, more + 1), "little")
    return (raw >> 8 if more == 8 else raw >> (more + 1)), at + more + 1


def mariadb_gtid(body: bytes) -> tuple[int, int, int]:
    """Sequence number, domain, flags; the server's id stands in the event's header."""
    sequence, domain, flags = _mariadb_gtid(body)
    return sequence, domain, flags


def query_thread(body: bytes) -> int:
    """The thread id of a QUERY whose rest is known."""
    return int.from_bytes(body[:4], "little")


def query(body: bytes, *, compressed: bool = False) -> Query:
    thread_id, _seconds, schema_size, _error, status_size = _query(body)
    at = 13 + status_size
    schema = exactly(body, at, schema_size).decode("utf-8", "replace")
    exactly(body, at + schema_size, 1)
    text = body[at + schema_size + 1 :]
    return Query(thread_id, schema, inflate(text) if compressed else text)


def load_query(body: bytes) -> Query:
    """EXECUTE_LOAD_QUERY: a LOAD DATA that is logged as a statement; 13 bytes about its file lie before the status."""
    return query(body[:13] + body[26:])


def rows_header(body: bytes, kind: int) -> RowsHeader:
    """The head of a rows event. 6-byte table ids: the only ones since MySQL 5.1."""
    table_id = int.from_bytes(body[:6], "little")
    at = 8
    if kind in _WITH_EXTRA_DATA:
        at += body[8] | body[9] << 8
    columns, at = length_encoded(body, at)
    size = (columns + 7) // 8
    present = int.from_bytes(exactly(body, at, size), "little")
    at += size
    present_after = present
    if kind in UPDATES:
        present_after = int.from_bytes(exactly(body, at, size), "little")
        at += size
    mask = (1 << columns) - 1
    return RowsHeader(table_id, columns, present & mask, present_after & mask, at)


def xa_prepare(body: bytes) -> tuple[bool, str]:
    """Whether it is a commit in one phase, and the transaction's name as `X'gtrid',X'bqual',format`."""
    form, outer, inner = _xid(body, 1)
    name = exactly(body, 13, outer + inner)
    return body[0] != 0, f"X'{name[:outer].hex()}',X'{name[outer:].hex()}',{form}"


def inflate(data: bytes) -> bytes:
    """MariaDB's compressed part of an event: one byte (0x80 | algorithm << 4 | size of the length), the length, zlib data."""
    head = data[0]
    size = head & 7
    if head & 0xF0 != 0x80 or not 1 <= size <= 4:
        raise ValueError("not compressed with zlib")
    length = int.from_bytes(exactly(data, 1, size), "big")
    if length > _INFLATED_LIMIT:
        raise ValueError(f"{length} bytes in one event")
    plain = zlib.decompressobj().decompress(data[1 + size :], length + 1)
    if len(plain) != length:
        raise ValueError(f"{len(plain)} bytes instead of {length}")
    return plain
