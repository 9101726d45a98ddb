"""The events of one dump, each checked and given its place in the log. Bytes in, bodies and places out; no I/O of its own.

Guards I6 (every checksum is verified, an event that is not what its header says is refused) and I7 (64-bit offsets, though headers hold
32 bits). Events that lie within another one (a compressed transaction's), or that are read again in its stead (a prepared transaction's at its
XA COMMIT), have that event's place: positions know nothing smaller.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

from cdc.readers import binlog_events as events
from cdc.readers.binlog_payload import drop_pages, inner_events
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET, RawEvent

_CHECKSUM_SIZE: Final = 4
_SMALL: Final = 2048  # bytes: up to here a second copy costs less than a second view
_LEAST_SIZE: Final = events.HEADER_SIZE + _CHECKSUM_SIZE
_FILE_HEADS: Final = (events.FORMAT_DESCRIPTION, events.PREVIOUS_GTIDS, events.GTID_LIST, events.START_ENCRYPTION)
_header: Final = struct.Struct("<IBIIIH").unpack_from
_NEVER_INSIDE: Final = frozenset({
    *_FILE_HEADS, events.ROTATE, events.STOP, events.HEARTBEAT, events.HEARTBEAT_2, events.TRANSACTION_PAYLOAD, events.GTID,
    events.ANONYMOUS_GTID, events.GTID_TAGGED, events.MARIADB_GTID, events.BINLOG_CHECKPOINT,
})  # fmt: skip
# What transactions are made of: long enough for a checksum, with a place in the file.
_PLAIN: Final = frozenset({
    *events.ROWS, events.TABLE_MAP, events.XID, events.QUERY, events.GTID, events.MARIADB_GTID, events.ANNOTATE, events.ROWS_QUERY,
})  # fmt: skip
_CRC_CHUNK: Final = 1 << 20
_checksum: Final = struct.Struct("<I").unpack_from


class EventPlace(msgspec.Struct, gc=False):
    """One event's header, as far as it matters, and its place in the log."""

    kind: int
    timestamp: int
    server_id: int
    file: str
    start: int
    end: int
    size: int


PlacedEvent: TypeAlias = tuple[bytes, EventPlace]


class LogEvents:
    """Iterates over (body, place); None where nothing more is there.

    `file` and `offset`: behind what has been worked off; whoever reads events past this moves the offset on.
    """

    def __init__(self, raw: Iterator[RawEvent], file: str, offset: int) -> None:
        self._raw = raw
        self.file = file
        self.offset = offset
        self.is_checksummed: bool | None = None  # unknown before the first FORMAT_DESCRIPTION
        self._inserted: Iterator[PlacedEvent | None] | None = None

    def __iter__(self) -> Iterator[PlacedEvent | None]:
        """Raises one of MALFORMED, and what the stream raises. An event is passed when the next one is asked for."""
        for event in self._raw:
            if event is None:
                yield None
                continue
            view, start, end = event
            if self.is_checksummed and end - start >= _LEAST_SIZE:
                # What `_place` and `body` do, without their questions: most events are of these kinds, early in a file.
                timestamp, kind, server_id, size, low, flags = _header(view, start)
                if (
                    kind in _PLAIN
                    and low > self.offset
                    and size == end - start <= low
                    and not flags & events.ARTIFICIAL
                ):
                    end -= _CHECKSUM_SIZE
                    whole = view[start:end] if size > _SMALL else view[start:end].tobytes()
                    if zlib.crc32(whole) != _checksum(view, end)[0]:
                        raise ValueError("checksum")
                    yield (
                        bytes(whole[events.HEADER_SIZE :]),
                        EventPlace(kind, timestamp, server_id, self.file, low - size, low, size),
                    )
                    if self._inserted is not None:
                        yield from self._take_inserted()
                    self.offset = max(self.offset, low)
                    continue
            place = self._place(*event)
            if place.kind == events.TRANSACTION_PAYLOAD:
                yield from self._inner(self._payload(*event), place)
            else:
                body = self.body(*event)
                yield body, place
            yield from self._take_inserted()
            self.offset = max(self.offset, place.end)
            if place.kind == events.ROTATE:
                self.file, self.offset = events.rotate(body)

    def insert(self, read_again: Iterator[PlacedEvent | None]) -> None:
        """These come next, in the stead of the event that was handed out last; None among them: nothing more is there yet."""
        self._inserted = read_again

    def _take_inserted(self) -> Iterator[PlacedEvent | None]:
        while self._inserted is not None:
            inserted, self._inserted = self._inserted, None
            yield from inserted

    @staticmethod
    def _inner(body: memoryview, place: EventPlace) -> Iterator[PlacedEvent]:
        for inner in inner_events(body):
            if inner.kind in _NEVER_INSIDE:
                raise ValueError(f"an event of type {inner.kind} within a compressed transaction")
            timestamp = inner.timestamp or place.timestamp
            yield (
                inner.body,
                EventPlace(inner.kind, timestamp, place.server_id, place.file, place.start, place.end, inner.size),
            )

    def body(self, view: memoryview, start: int, end: int) -> bytes:
        """An event's body without its checksum, which is verified. Raises ValueError."""
        if end - start < events.HEADER_SIZE:
            raise ValueError("an event without a header")
        kind = view[start + 4]
        body_end = end - _CHECKSUM_SIZE
        if kind == events.FORMAT_DESCRIPTION:
            body = bytes(view[start + events.HEADER_SIZE : end])
            self.is_checksummed = events.format_description(body).checksummed
            if self.is_checksummed and zlib.crc32(view[start:body_end]) != _checksum(view, body_end)[0]:
                raise ValueError("checksum")
            return body
        if self.is_checksummed is None or self.is_checksummed:
            if zlib.crc32(view[start:body_end]) == _checksum(view, body_end)[0]:
                return bytes(view[start + events.HEADER_SIZE : body_end])
            # Before the first description only the checksum itself can tell whether there is one.
            if self.is_checksummed:
                raise ValueError("checksum")
        return bytes(view[start + events.HEADER_SIZE : end])

    def _payload(self, view: memoryview, start: int, end: int) -> memoryview:
        """The body of a compressed transaction, not copied: valid until the next event of the stream is asked for."""
        if self.is_checksummed is False:
            return view[start + events.HEADER_SIZE : end]
        body_end = end - _CHECKSUM_SIZE
        crc = 0
        for at in range(start, body_end, _CRC_CHUNK):
            crc = zlib.crc32(view[at : min(at + _CRC_CHUNK, body_end)], crc)
            drop_pages(view)
        if crc != _checksum(view, body_end)[0]:
            raise ValueError("checksum")
        return view[start + events.HEADER_SIZE : body_end]

    def _place(self, view: memoryview, start: int, end: int) -> EventPlace:
        if end - start < events.HEADER_SIZE:
            raise ValueError("an event without a header")
        timestamp, kind, server_id, size, low, flags = _header(view, start)
        if size != end - start:
            raise ValueError("an event's size is not its packet's")
        before = after = self.offset
        if kind in _FILE_HEADS:
            # A dump that searches by GTID sends them from the file's start, wherever it goes on after them.
            after = max(self.offset, low)
        elif low and not flags & events.ARTIFICIAL and kind not in (events.HEARTBEAT, events.HEARTBEAT_2):
            after = self.offset & ~LARGEST_SHORT_OFFSET | low
            if after < self.offset:
                after += LARGEST_SHORT_OFFSET + 1
            before = after - size
            if before < 0:
                raise ValueError("an event before the start of its file")
        return EventPlace(kind, timestamp, server_id, self.file, before, after, size)
