"""Frames of a pgoutput stream, built byte by byte from the manual, for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Literal

UNCHANGED: Final = "unchanged"
Cell = bytes | None | Literal["unchanged"]


def data_frame(message: bytes, start: int = 0) -> bytes:
    return b"w" + struct.pack(">QQq", start, start, 0) + message


def keepalive(wal_end: int, *, reply: bool = False) -> bytes:
    return b"k" + struct.pack(">QqB", wal_end, 0, reply)


def begin(final_lsn: int, xid: int = 7, at: int = 0) -> bytes:
    return data_frame(b"B" + struct.pack(">QqI", final_lsn, at, xid))


def commit(commit_lsn: int, end_lsn: int, at: int = 0) -> bytes:
    return data_frame(b"C" + struct.pack(">BQQq", 0, commit_lsn, end_lsn, at))


def relation(
    oid: int,
    schema: str,
    name: str,
    columns: Sequence[tuple[str, int]],
    *,
    keys: Sequence[str] = (),
    identity: str = "d",
) -> bytes:
    message = b"R" + struct.pack(">I", oid) + schema.encode() + b"\0" + name.encode() + b"\0" + identity.encode()
    message += struct.pack(">H", len(columns))
    for column, type_oid in columns:
        message += bytes([column in keys]) + column.encode() + b"\0" + struct.pack(">Ii", type_oid, -1)
    return data_frame(message)


def cells(values: Sequence[Cell]) -> bytes:
    parts = [struct.pack(">H", len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, str):
            parts.append(b"u")
        else:
            parts.append(b"t" + struct.pack(">I", len(value)) + value)
    return b"".join(parts)


def insert(oid: int, values: Sequence[Cell]) -> bytes:
    return data_frame(b"I" + struct.pack(">I", oid) + b"N" + cells(values))


def update(oid: int, values: Sequence[Cell], old: Sequence[Cell] | None = None, kind: str = "O") -> bytes:
    before = b"" if old is None else kind.encode() + cells(old)
    return data_frame(b"U" + struct.pack(">I", oid) + before + b"N" + cells(values))


def delete(oid: int, values: Sequence[Cell], kind: str = "O") -> bytes:
    return data_frame(b"D" + struct.pack(">I", oid) + kind.encode() + cells(values))


def truncate(*oids: int) -> bytes:
    return data_frame(b"T" + struct.pack(">IB", len(oids), 0) + b"".join(struct.pack(">I", oid) for oid in oids))


def logical_message(prefix: str, content: bytes, *, transactional: bool = True) -> bytes:
    message = b"M" + struct.pack(">BQ", transactional, 5) + prefix.encode() + b"\0"
    return data_frame(message + struct.pack(">I", len(content)) + content)


def stream_start(xid: int, *, first: bool = True) -> bytes:
    return data_frame(b"S" + struct.pack(">IB", xid, first))


def stream_stop() -> bytes:
    return data_frame(b"E")


def stream_commit(xid: int, commit_lsn: int, end_lsn: int, at: int = 0) -> bytes:
    return data_frame(b"c" + struct.pack(">IBQQq", xid, 0, commit_lsn, end_lsn, at))


def stream_abort(xid: int, subxid: int) -> bytes:
    return data_frame(b"A" + struct.pack(">II", xid, subxid))


def in_block(frame: bytes, xid: int) -> bytes:
    """A message as it stands within a block: with its (sub)transaction after its kind."""
    return frame[:26] + struct.pack(">I", xid) + frame[26:]


def block(xid: int, *frames: bytes, first: bool = True, subxid: int | None = None) -> list[bytes]:
    """A block of transaction `xid` whose messages are of `subxid` (None: its own)."""
    return [stream_start(xid, first=first), *(in_block(frame, subxid or xid) for frame in frames), stream_stop()]
