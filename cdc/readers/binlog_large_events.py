"""An event of several packets (16 MiB and more), put together. Guards I8.

A compressed transaction, which is read as a stream, is kept in a file without a name; anything else in memory, where its rows are needed.
"""

from __future__ import annotations

import mmap
import tempfile
from typing import IO

from cdc.readers.binlog_events import EVENT_LIMIT, TRANSACTION_PAYLOAD

_KIND_AT = 5  # behind the packet's status byte and the timestamp


class LargeEvent:
    """`add` packets, then ask for the `view`: a status byte and the event."""

    def __init__(self) -> None:
        self._size = 0
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    def add(self, packet: memoryview) -> None:
        """Raises ValueError, or OSError where no file can be written."""
        if not self._size and len(packet) > _KIND_AT and packet[_KIND_AT] == TRANSACTION_PAYLOAD:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the view, when nobody holds it
        self._size += len(packet)
        if self._size > EVENT_LIMIT:
            raise ValueError("an event of more than 1 GiB")
        if self._file is None:
            self._memory += packet
        else:
            written = 0
            while written < len(packet):
                written += self._file.write(packet[written:])

    def view(self) -> memoryview:
        if self._file is None:
            return memoryview(self._memory)
        mapped = mmap.mmap(self._file.fileno(), self._size, prot=mmap.PROT_READ)
        self._file.close()
        return memoryview(mapped)
