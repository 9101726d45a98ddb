"""The reader of MySQL's and MariaDB's binary logs: connection, checks, and the loop that turns events into transactions.

Guards I1, I6, I7: what it cannot read halts the channel at that place, after everything before it has been handed out. It never
reconnects by itself and never skips an event.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from cdc.errors import DatongError, HaltError, TransientError
from cdc.model import Position
from cdc.readers import LogBatch, LogHead, Notice, ReaderOptions, Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET, BinlogStream, RawEvent
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids
from cdc.readers.mysql_layouts import Layouts
from cdc.readers.mysql_position import Era, LogPlace, PositionWriter, file_number, read_place
from cdc.readers.mysql_server import MySQLServer
from cdc.readers.mysql_start import Start, plan_start
from cdc.readers.mysql_transactions import EventPlace, Transactions
from sinks.connections import Address

_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 4 << 20
_EVENTS_BETWEEN_CLOCKS: Final = 256
_FIRST_EVENT_SECONDS: Final = 30.0
_CHECKSUM_SIZE: Final = 4
_FILE_HEADS: Final = (events.FORMAT_DESCRIPTION, events.PREVIOUS_GTIDS, events.GTID_LIST, events.START_ENCRYPTION)
_header: Final = struct.Struct("<IBIIIH").unpack_from
_checksum: Final = struct.Struct("<I").unpack_from


class MySQLReader:
    """One channel's log. See `cdc.readers.Reader` for what each method promises."""

    def __init__(
        self,
        address: Address,
        wanted: Wanted,
        options: ReaderOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._wanted = wanted
        self._options = options
        self._clock = clock
        self._server = MySQLServer(address)
        self._stream: BinlogStream | None = None
        self._events: Iterator[RawEvent] = iter(())
        self._cursor: _Cursor | None = None
        self._transactions: Transactions | None = None
        self._era = Era()
        self._failure: DatongError | None = None
        self._notices: list[Notice] = []

    def open(self, position: Position | None) -> Position:
        self.close()
        self._failure, self._notices = None, []
        self._server.check_settings()
        facts = self._server.facts()
        if position is None:
            end = self._server.log_end()
            era = Era(0, file_number(end.file))
            start = Start()
            place = LogPlace(facts.identity, end.file, end.offset, end.gtids, era.base, era.first_file)
        else:
            place = read_place(position)
            start = plan_start(self._address, place, facts, self._server)
            era = place.era
        gtids = MariaDBGtids(place.gtids) if self._address.engine == "mariadb" else MySQLGtids(place.gtids)
        file, offset = place.file, place.offset
        self._dump(start, place)
        found = self._first_file()
        if start.by_gtid and (start.other_server or found != file):
            file, offset = found, 4
            self._refuse_long_file(file)
        if start.other_server:
            proposal = Era.after(place.era.order(place.file, place.offset), file)
            era = proposal.remembered(f"{place.era.base}>{facts.identity}", self._options.remember)
        self._era = era
        writer = PositionWriter(facts.identity, facts.domain, era)
        layouts = Layouts(
            self._address.engine,
            self._address.database,
            self._wanted,
            self._server.collations(),
            self._server.data_types,
        )
        self._cursor = _Cursor(file, offset)
        self._transactions = Transactions(
            self._wanted,
            layouts,
            writer,
            gtids,
            file=file,
            offset=offset,
            held=position if start.by_gtid else None,
            probe=self._options.probe,
        )
        reached = self._transactions.boundary
        if start.other_server:
            text = f"server {facts.identity} instead of {place.server}: continued by GTID at {file}"
            self._notices.append(Notice("server_changed", text, era.order(file, offset)))
        return reached

    def read(self, max_wait: float) -> LogBatch:
        if self._failure is not None:
            raise self._failure
        if self._transactions is None or self._stream is None:
            raise TransientError(f"{self._address}: the log is not open")
        transactions = self._transactions
        caught_up = False
        try:
            caught_up = self._read_events(transactions, self._stream, self._clock() + max_wait)
        except DatongError as error:
            self._failure = error
        except OSError as error:
            self._failure = TransientError(f"{self._address}: reading the log: {type(error).__name__}")
        parts, notices = transactions.take()
        notices, self._notices = [*self._notices, *notices], []
        if self._failure is not None and not parts and not notices:
            raise self._failure  # otherwise what came before it is handed out first
        return LogBatch(parts, transactions.boundary, caught_up, notices)

    def confirm(self, position: Position) -> None:
        """The server keeps its log by its own rules: there is nothing to say."""

    def head(self) -> LogHead:
        end = self._server.log_end()
        files = self._server.log_files()
        ours = file_number(self._cursor.file if self._cursor else end.file)
        try:
            order = self._era.order(end.file, end.offset)
        except HaltError:
            raise TransientError(f"{self._address}: {end.file} does not continue the log that is being read") from None
        retained = sum(file.size for file in files if file_number(file.name) >= ours)
        return LogHead(order, retained, files[0].name if files else "")

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._cursor, self._transactions = None, None, None
        self._events = iter(())
        self._server.close()

    def _dump(self, start: Start, place: LogPlace) -> None:
        mariadb = self._address.engine == "mariadb"
        server_id = self._options.server_id
        self._stream = stream = BinlogStream(self._address, self._options.heartbeat_seconds, clock=self._clock)
        stream.prepare(server_id)
        if not start.by_gtid:
            stream.dump_from(place.file, place.offset, server_id, annotations=mariadb)
        elif mariadb:
            stream.set_mariadb_start(place.gtids)
            stream.dump_from("", 4, server_id, annotations=True)
        else:
            stream.dump_after(MySQLGtids(place.gtids).encode(), server_id)
        self._events = stream.events()

    def _first_file(self) -> str:
        """A dump begins with a made-up ROTATE that names the file, or with the error why there will be none."""
        if self._stream is None:
            raise TransientError(f"{self._address}: the log is not open")
        self._stream.deadline = self._clock() + _FIRST_EVENT_SECONDS
        event = next(self._events)
        if event is None:
            raise TransientError(f"{self._address}: the server sent nothing for {_FIRST_EVENT_SECONDS:.0f} s")
        view, start, end = event
        try:
            if view[start + 4] != events.ROTATE:
                raise ValueError("no ROTATE first")
            file, _offset = events.rotate(_Cursor("", 0).body(view, start, end))
        except events.MALFORMED:
            raise HaltError("CORRUPT_EVENT", f"{self._address}: the log does not start as one", RESYNC) from None
        return file

    def _refuse_long_file(self, file: str) -> None:
        """Event headers hold 32 bits of an offset; found by GTID, the place could lie in any 4 GiB of the file."""
        for known in self._server.log_files():
            if known.name == file and known.size > LARGEST_SHORT_OFFSET:
                raise HaltError(
                    "OFFSET_TOO_LARGE",
                    f"{self._address}: {file} is longer than 4 GiB",
                    f"lower max_binlog_size; {RESYNC}",
                )

    def _read_events(self, transactions: Transactions, stream: BinlogStream, deadline: float) -> bool:
        """Feed events until a batch is full (False), nothing more is there (True) or the time is up."""
        cursor = self._cursor
        if cursor is None:
            raise TransientError(f"{self._address}: the log is not open")
        stream.deadline = deadline
        until_clock = _EVENTS_BETWEEN_CLOCKS
        handed_out = 0
        for event in self._events:
            if event is None:
                return True
            try:
                body, place = cursor.event(*event)
                transactions.event(body, place)
                cursor.passed(body, place)
            except events.MALFORMED as error:
                raise HaltError(
                    "CORRUPT_EVENT",
                    f"{self._address}: the event after {cursor.file}:{cursor.offset} cannot be decoded ({type(error).__name__})",
                    f"look at it with mysqlbinlog; then {RESYNC}",
                ) from error
            if len(transactions.parts) != handed_out:
                handed_out = len(transactions.parts)
                if transactions.rows >= _BATCH_ROWS or transactions.size >= _BATCH_BYTES:
                    return False
            if handed_out and stream.drained:
                stream.deadline = 0.0  # take what has arrived, wait for nothing
            until_clock -= 1
            if not until_clock:
                if self._clock() > deadline:
                    return False
                until_clock = _EVENTS_BETWEEN_CLOCKS
        raise TransientError(f"{self._address}: the log's stream has ended")


class _Cursor:
    """Where we are in the log: file, 64-bit offset (headers hold 32 bits), and whether events have checksums."""

    def __init__(self, file: str, offset: int) -> None:
        self.file = file
        self.offset = offset
        self._checksummed: bool | None = None  # unknown before the first FORMAT_DESCRIPTION

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

    def event(self, view: memoryview, start: int, end: int) -> tuple[bytes, EventPlace]:
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

    def passed(self, body: bytes, place: EventPlace) -> None:
        """Move on behind an event that has been worked off."""
        self.offset = place.end
        if place.kind == events.ROTATE:
            self.file, self.offset = events.rotate(body)
