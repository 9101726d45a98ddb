"""The events of one dump, each checked and given its place in the log. Bytes in, bodies and places out; no I/O of its own.

Guards I6 (every checksum is verified, an event that is not what its header says is refused) and I7 (64-bit offsets, though headers hold
32 bits).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cdc.readers import binlog_events as events
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET, RawEvent

_CHECKSUM_SIZE: Final = 4
_FILE_HEADS: Final = (events.FORMAT_DESCRIPTION, events.PREVIOUS_GTIDS, events.GTID_LIST, events.START_ENCRYPTION)
_header: Final = struct.Struct("<IBIIIH").unpack_from
_checksum: Final = struct.Struct("<I").unpack_from


@dataclass(slots=True)
class EventPlace:
    """One event's header, as far as it matters, and its place in the log."""

    kind: int
    timestamp: int
    server_id: int
    file: str
    start: int
    end: int
    size: int


class LogEvents:
    """Iterates over (body, place); None where nothing more is there. `file` and `offset`: behind what has been worked off."""

    def __init__(self, raw: Iterator[RawEvent], file: str, offset: int) -> None:
        self._raw = raw
        self.file = file
        self.offset = offset
        self._checksummed: bool | None = None  # unknown before the first FORMAT_DESCRIPTION

    def __iter__(self) -> Iterator[tuple[bytes, EventPlace] | None]:
        """Raises one of MALFORMED, and what the stream raises. An event is passed when the next one is asked for."""
        for event in self._raw:
            if event is None:
                yield None
                continue
            body, place = self._event(*event)
            yield body, place
            self.offset = place.end
            if place.kind == events.ROTATE:
                self.file, self.offset = events.rotate(body)

    def body(self, view: memoryview, start: int, end: int) -> bytes:
        """An event's body without its checksum, which is verified. Raises ValueError."""
        if end - start < events.HEADER_SIZE:
            raise ValueError("an event without a header")
        kind = view[start + 4]
        body_end = end - _CHECKSUM_SIZE
        if kind == events.FORMAT_DESCRIPTION:
            body = bytes(view[start + events.HEADER_SIZE : end])
            self._checksummed = events.format_description(body).checksummed
            if self._checksummed and zlib.crc32(view[start:body_end]) != _checksum(view, body_end)[0]:
                raise ValueError("checksum")
            return body
        if self._checksummed is None or self._checksummed:
            if zlib.crc32(view[start:body_end]) == _checksum(view, body_end)[0]:
                return bytes(view[start + events.HEADER_SIZE : body_end])
            # Before the first description only the checksum itself can tell whether there is one.
            if self._checksummed:
                raise ValueError("checksum")
        return bytes(view[start + events.HEADER_SIZE : end])

    def _event(self, view: memoryview, start: int, end: int) -> tuple[bytes, EventPlace]:
        timestamp, kind, server_id, size, low, flags = _header(view, start)
        if size != end - start:
            raise ValueError("an event's size is not its packet's")
        body = self.body(view, start, end)
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
        return body, EventPlace(kind, timestamp, server_id, self.file, before, after, size)
