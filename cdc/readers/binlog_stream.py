"""The connection that carries a binary log: dump command, packets out of one large buffer, checksums, signs of life.

PyMySQL opens and authenticates; from the dump command on the socket is read here. Never reconnects by itself (TRAPS.md P3), never
waits for ever (P18). Guards I8 (one buffer, as large as the largest event).
"""

from __future__ import annotations

import contextlib
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import pymysql

from cdc.errors import TransientError
from cdc.readers.binlog_large_events import LargeEvent
from cdc.readers.mysql_errors import read_error, server_error
from sinks.connections import Address, connect_mysql

COM_BINLOG_DUMP, COM_REGISTER_SLAVE, COM_BINLOG_DUMP_GTID = 0x12, 0x15, 0x1E
SEND_ANNOTATIONS: Final = 2  # MariaDB: annotate events, which hold the statements' comments
LARGEST_SHORT_OFFSET: Final = (1 << 32) - 1
_PACKET_LIMIT: Final = 0xFFFFFF
_BUFFER_SIZE: Final = 1 << 20
_CONNECT_SECONDS: Final = 15.0
_WAITING: Final = (TimeoutError, BlockingIOError, ssl.SSLWantReadError)
_length: Final = struct.Struct("<I").unpack_from

# Bytes, where the event starts in them, where it ends: valid until the next one is asked for.
RawEvent: TypeAlias = "tuple[memoryview, int, int] | None"


class BinlogStream:
    """One dump. `prepare`, then one of the `dump` methods, then `events`."""

    def __init__(
        self, address: Address, heartbeat_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises TransientError or HaltError."""
        self._begin(address, heartbeat_seconds, clock)
        try:
            self._connection = connect_mysql(address, read_timeout=_CONNECT_SECONDS, found_rows=False)
        except (pymysql.err.Error, OSError) as error:
            raise read_error(error, address, "connecting for the log", login=True) from None
        self._socket: Any = self._connection._sock  # type: ignore[attr-defined] # noqa: SLF001 - PyMySQL has no public way

    def _begin(self, address: Address, heartbeat_seconds: float, clock: Callable[[], float]) -> None:
        """Without a connection yet."""
        self._address = address
        self._heartbeat = heartbeat_seconds
        self._clock = clock
        self.deadline = 0.0  # on `clock`: until when `events` may wait for the next one
        self.drained = False  # whether the last event handed out was the last one that was there
        # What has arrived and has not been handed out: packets from `first` to `end`. They may be read here as well (`pass_over`).
        self.buffer = bytearray(_BUFFER_SIZE)
        self.view = memoryview(self.buffer)
        self.first = self.end = 0

    def prepare(self, server_id: int) -> None:
        """Ask for heartbeats, checksums and MariaDB's GTIDs, and register as a replica."""
        nanoseconds = int(self._heartbeat * 1e9)
        self._query(
            f"SET @master_heartbeat_period = {nanoseconds}, @source_heartbeat_period = {nanoseconds}, "
            "@master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum, "
            "@mariadb_slave_capability = 4"
        )
        # A consumer that pauses must not be cut off after the default of 60 seconds (TRAPS.md G3 has its like here).
        self._query("SET SESSION net_write_timeout = 600, SESSION net_read_timeout = 600")
        self._command(struct.pack("<BIBBBHII", COM_REGISTER_SLAVE, server_id, 0, 0, 0, 0, 0, 0))
        with self._errors("registering as a replica"):
            self._connection._read_ok_packet()  # type: ignore[attr-defined] # noqa: SLF001

    def set_mariadb_start(self, gtids: str) -> None:
        """MariaDB: the next dump starts after these GTIDs; a GTID that the server does not have is an error, not a gap."""
        self._query(
            f"SET @slave_connect_state = '{gtids}', @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
        )

    def dump_from(self, file: str, offset: int, server_id: int, *, annotations: bool) -> None:
        flags = SEND_ANNOTATIONS if annotations else 0
        self._command(struct.pack("<BIHI", COM_BINLOG_DUMP, offset, flags, server_id) + file.encode())

    def dump_after(self, gtid_set: bytes, server_id: int) -> None:
        """MySQL: everything that is not in the set (Gtid_set::encode), from the oldest file that holds such a thing."""
        head = struct.pack("<BHII", COM_BINLOG_DUMP_GTID, 4, server_id, 0)
        self._command(head + struct.pack("<QI", 4, len(gtid_set)) + gtid_set)

    def close(self) -> None:
        with contextlib.suppress(OSError, pymysql.err.Error):
            self._connection._force_close()  # type: ignore[attr-defined] # noqa: SLF001 - no COM_QUIT into a dump

    def events(self) -> Iterator[RawEvent]:
        """Hand out events for ever; None when `deadline` passed with none. Raises TransientError and HaltError.

        Packets are put together in one buffer that is moved and grown as needed; an event larger than a packet (16 MiB) is
        put together apart.
        """
        large: LargeEvent | None = None
        heard = asked = self._clock()
        while True:
            buffer, view, end = self.buffer, self.view, self.end
            while end - self.first >= 4:
                first = self.first
                size = _length(buffer, first)[0] & _PACKET_LIMIT
                after = first + 4 + size
                if after > end:
                    break
                start, self.first = first + 4, after
                if size == _PACKET_LIMIT or large is not None:
                    large = large or LargeEvent()
                    large.add(view[start:after])
                    if size == _PACKET_LIMIT:
                        continue
                    joined, large = large.view(), None
                    self._check_status(joined, 0, len(joined))
                    self.drained = end - after < 4
                    yield joined, 1, len(joined)
                    continue
                if size == 0 or buffer[start]:
                    self._check_status(buffer, start, after)
                self.drained = end - after < 4
                yield view, start + 1, after
            self._make_room()
            if self._clock() - asked > 2 * self._heartbeat:
                heard = self._clock()  # whoever reads was busy: that is no silence of the server
            received = self._receive(self.view[self.end :], heard)
            asked = self._clock()
            if received:
                self.end += received
                heard = self._clock()
            else:
                yield None

    def pass_over(self, first: int) -> None:
        """The packets before `first` have been read in the buffer itself."""
        self.first = first
        self.drained = self.end - first < 4

    def _make_room(self) -> None:
        """What has been handed out goes; the packet that is next fits."""
        buffer, first = self.buffer, self.first
        if first:
            self.end -= first
            buffer[: self.end] = buffer[first : first + self.end]
            self.first = 0
        needed = (_length(buffer, 0)[0] & _PACKET_LIMIT) + 4 if self.end >= 4 else 4
        if needed > len(buffer):
            self.buffer = bytearray(needed + _BUFFER_SIZE)
            self.buffer[: self.end] = self.view[: self.end]
            self.view = memoryview(self.buffer)

    def _receive(self, into: memoryview, heard: float) -> int:
        """Bytes received before the deadline, or 0. Silence for two heartbeats is a lost connection."""
        now = self._clock()
        until = min(self.deadline, heard + 2 * self._heartbeat)
        try:
            self._socket.settimeout(max(until - now, 0.0))
            received: int = self._socket.recv_into(into)
        except _WAITING:
            silent = self._clock() - heard
            if silent > 2 * self._heartbeat:
                raise TransientError(f"{self._address}: no sign of life on the log for {silent:.1f} s") from None
            return 0
        except OSError as error:
            raise read_error(error, self._address, "reading the log") from None
        if not received:
            raise TransientError(f"{self._address}: the server closed the log's connection")
        return received

    def _check_status(self, packet: bytearray | memoryview, start: int, end: int) -> None:
        """A packet that holds no event: an error or the end of the dump."""
        status = packet[start] if end > start else 0xFE
        if status == 0xFF:
            code = int.from_bytes(packet[start + 1 : start + 3], "little")
            text = bytes(packet[start + 3 : end]).decode("utf-8", "replace")
            raise server_error(code, text[6:] if text.startswith("#") else text, self._address, "reading the log")
        if status == 0xFE:
            raise TransientError(f"{self._address}: the server ended the log's stream")
        if status:
            raise ValueError(f"a packet with status {status}")

    def _query(self, statement: str) -> None:
        with self._errors("setting the log's session up"), self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _command(self, payload: bytes) -> None:
        with self._errors("asking for the log"):
            self._connection._write_bytes(struct.pack("<I", len(payload)) + payload)  # type: ignore[attr-defined] # noqa: SLF001
            self._connection._next_seq_id = 1  # type: ignore[attr-defined] # noqa: SLF001

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (pymysql.err.Error, OSError) as error:
            raise read_error(error, self._address, doing) from None
