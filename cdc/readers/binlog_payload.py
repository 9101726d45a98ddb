"""MySQL's compressed transactions (TRANSACTION_PAYLOAD events, 8.0.20 and later), opened as a stream. Pure.

The payload is the transaction's own events, one behind the other, without checksums and with places that mean nothing. They are handed
out one at a time as they are decompressed, so that neither a large transaction nor a hostile payload takes memory. Guards I6 and I8.
Format: MySQL's libs/mysql/binlog/event/codecs and event 40's class comment (Transaction_payload_event).
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import zstandard

from cdc.readers.binlog_events import EVENT_LIMIT, HEADER_SIZE, exactly, length_encoded

_HEADER_END, _PAYLOAD_SIZE, _COMPRESSION, _PLAIN_SIZE = 0, 1, 2, 3
_ZSTD, _NONE = 0, 255
_HEAD_LIMIT: Final = 256
_LARGEST_WINDOW: Final = 1 << 27  # zstd's own limit of levels up to 22, MySQL's highest
_CHUNK: Final = 1 << 16
_header: Final = struct.Struct("<IBIIIH").unpack_from


class InnerEvent(NamedTuple):
    kind: int
    timestamp: int
    server_id: int
    size: int
    body: bytes


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def inner_events(body: bytes | memoryview) -> Iterator[InnerEvent]:
    """The events of a payload event's body. Raises one of MALFORMED, where the bad place is reached."""
    algorithm, plain_size, start = _head(bytes(body[:_HEAD_LIMIT]), len(body))
    packed = _Source(memoryview(body)[start:])
    source: _Readable = packed
    if algorithm == _ZSTD:
        opener = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        # Anything with `read` will do, though the type stubs ask for a whole file.
        source = opener.stream_reader(packed, read_size=_CHUNK, read_across_frames=True)  # type: ignore[arg-type]
    elif algorithm != _NONE:
        raise ValueError(f"a payload compressed with algorithm {algorithm}")
    try:
        yield from _split(source, plain_size)
    except zstandard.ZstdError:
        raise ValueError("a payload that cannot be decompressed") from None


def _head(head: bytes, size: int) -> tuple[int, int, int]:
    """Algorithm, size when decompressed, and where the payload starts."""
    found: dict[int, int] = {}
    at = 0
    while True:
        field, at = length_encoded(head, at)
        if field == _HEADER_END:
            break
        length, at = length_encoded(head, at)
        if field in (_PAYLOAD_SIZE, _COMPRESSION, _PLAIN_SIZE):
            found[field], _ = length_encoded(exactly(head, at, length), 0)
        at += length
    algorithm = found.get(_COMPRESSION, _NONE)
    packed = found.get(_PAYLOAD_SIZE, size - at)
    if packed != size - at:
        raise ValueError(f"a payload of {packed} bytes in {size - at}")
    return algorithm, found.get(_PLAIN_SIZE, packed if algorithm == _NONE else 0), at


def _split(source: _Readable, plain_size: int) -> Iterator[InnerEvent]:
    """Cut the plain bytes into events. Never reads more than the event at hand claims, nor more than `plain_size` in all."""
    held, at, left = b"", 0, plain_size
    while True:
        if len(held) - at < HEADER_SIZE:
            more = source.read(min(_CHUNK, left + 1))
            if not more:
                break
            left -= len(more)
            held, at = held[at:] + more, 0
            if left < 0:
                raise ValueError("a payload that is longer than it says")
            continue
        timestamp, kind, server_id, size, _end, _flags = _header(held, at)
        if not HEADER_SIZE <= size <= min(EVENT_LIMIT, len(held) - at + left):
            raise ValueError(f"an event of {size} bytes in a payload")
        if len(held) - at < size:
            joined = io.BytesIO()
            joined.write(held[at:])
            while joined.tell() < size:
                more = source.read(min(_CHUNK, left))
                if not more:
                    raise ValueError("a payload that ends within an event")
                left -= len(more)
                joined.write(more)
            held, at = joined.getvalue(), 0
        yield InnerEvent(kind, timestamp, server_id, size, held[at + HEADER_SIZE : at + size])
        at += size
    if left or at != len(held):
        raise ValueError("a payload that is shorter than it says")


class _Source:
    """Reads a view from its start on. Pages of a mapped file that have been read are let go of: they are in no one's memory."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._view) if size < 0 else min(self._at + size, len(self._view))
        data = bytes(self._view[self._at : end])
        self._at = end
        drop_pages(self._view)
        return data


def drop_pages(view: memoryview) -> None:
    """Take the pages of a mapped file out of this process's memory; they are read again when they are needed."""
    if isinstance(view.obj, mmap.mmap):
        view.obj.madvise(mmap.MADV_DONTNEED)
