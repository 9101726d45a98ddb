"""The reader of MySQL's and MariaDB's binary logs: connection, checks, and the loop that turns events into transactions.

Guards I1, I6, I7: what it cannot read halts the channel at that place, after everything before it has been handed out. It never
reconnects by itself and never skips an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from cdc.errors import DatongError, HaltError, TransientError
from cdc.model import Position
from cdc.readers import LogBatch, LogHead, Notice, ReaderOptions, Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET, BinlogStream, RawEvent
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids
from cdc.readers.mysql_layouts import Layouts
from cdc.readers.mysql_log_events import EventPlace, LogEvents
from cdc.readers.mysql_position import Era, LogPlace, PositionWriter, Prepared, file_number, read_place
from cdc.readers.mysql_proven_layout import proven_layout
from cdc.readers.mysql_replay import Replay
from cdc.readers.mysql_server import MySQLServer
from cdc.readers.mysql_small_transactions import SmallTransactions
from cdc.readers.mysql_start import Start, plan_start
from cdc.readers.mysql_transactions import Transactions
from sinks.connections import Address

_BATCH_ROWS: Final = 1000
_BATCH_BYTES: Final = 4 << 20
_EVENTS_BETWEEN_CLOCKS: Final = 256
_FIRST_EVENT_SECONDS: Final = 30.0


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
        self._raw: Iterator[RawEvent] = iter(())
        self._replay: Replay | None = None
        self._log: LogEvents | None = None
        self._events: Iterator[tuple[bytes, EventPlace] | None] = iter(())
        self._transactions: Transactions | None = None
        self._small: SmallTransactions | None = None
        self._era = Era()
        self._failure: DatongError | None = None
        self._notices: list[Notice] = []

    def open(self, position: Position | None) -> Position:
        self.close()
        self._failure, self._notices = None, []
        self._server.check_settings()
        facts = self._server.facts()
        if position is None:
            end, executed = self._server.log_end_with_gtids()
            era = Era(0, file_number(end.file))
            start = Start()
            place = LogPlace(facts.identity, end.file, end.offset, executed, era.base, era.first_file)
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
        prepared = [known.read_by_others(elsewhere=start.other_server) for known in place.prepared]
        layouts = Layouts(
            self._address.engine,
            self._address.database,
            self._wanted,
            self._server.collations(),
            self._server.data_types,
            partial(proven_layout, self._server, self._address.engine),
        )
        self._log = LogEvents(self._raw, file, offset)
        self._events = iter(self._log)
        self._transactions = Transactions(
            self._wanted,
            layouts,
            writer,
            gtids,
            file=file,
            offset=offset,
            held=position if start.by_gtid else None,
            probe=self._options.probe,
            prepared=prepared,
            read_again=self._read_again,
            look_back=self._look_back,
        )
        if self._stream is not None:
            self._small = SmallTransactions(self._wanted, self._stream, self._log, self._transactions)
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
        ours = file_number(self._log.file if self._log else end.file)
        try:
            order = self._era.order(end.file, end.offset)
        except HaltError:
            raise TransientError(f"{self._address}: {end.file} does not continue the log that is being read") from None
        retained = sum(file.size for file in files if file_number(file.name) >= ours)
        return LogHead(order, retained, files[0].name if files else "")

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._replay is not None:
            self._replay.close()
        self._stream, self._replay, self._log, self._transactions, self._small = None, None, None, None, None
        self._raw, self._events = iter(()), iter(())
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
        self._raw = stream.events()
        self._replay = Replay(self._address, self._options.heartbeat_seconds, server_id, lambda: stream.deadline)

    def _read_again(self, prepared: Prepared, gtids: str, place: EventPlace) -> None:
        if self._log is not None and self._replay is not None:
            self._log.insert(self._replay.events(prepared, gtids, place))

    def _look_back(self, before: EventPlace, xid: str) -> Prepared | None:
        ours = file_number(before.file)
        files = [file.name for file in self._server.log_files() if file_number(file.name) <= ours]
        return self._replay.find(xid, files, before) if self._replay is not None else None

    def _first_file(self) -> str:
        """A dump begins with a made-up ROTATE that names the file, or with the error why there will be none."""
        if self._stream is None:
            raise TransientError(f"{self._address}: the log is not open")
        self._stream.deadline = self._clock() + _FIRST_EVENT_SECONDS
        event = next(self._raw)
        if event is None:
            raise TransientError(f"{self._address}: the server sent nothing for {_FIRST_EVENT_SECONDS:.0f} s")
        view, start, end = event
        try:
            if view[start + 4] != events.ROTATE:
                raise ValueError("no ROTATE first")
            file, _offset = events.rotate(LogEvents(iter(()), "", 0).body(view, start, end))
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
        stream.deadline = deadline
        until_clock = _EVENTS_BETWEEN_CLOCKS
        parts, handed_out = transactions.parts, 0
        done, actions, small = parts.done, transactions.actions, self._small
        try:
            for event in self._events:
                if event is None:
                    return not transactions.is_reading_again
                body, place = event
                action = actions.get(place.kind)
                if action is None:
                    transactions.unsupported(place)
                action(body, place)
                if place.kind == events.XID and small is not None:
                    small.take(place.end, _BATCH_ROWS - parts.rows)
                if len(done) != handed_out:
                    handed_out = len(done)
                    if parts.rows >= _BATCH_ROWS or parts.size >= _BATCH_BYTES:
                        return False
                if stream.drained and handed_out:
                    stream.deadline = 0.0  # take what has arrived, wait for nothing
                until_clock -= 1
                if not until_clock:
                    if self._clock() > deadline:
                        return False
                    until_clock = _EVENTS_BETWEEN_CLOCKS
        except events.MALFORMED as error:
            raise self._corrupt(error) from error
        except HaltError as error:
            raise self._placed(error) from None
        raise TransientError(f"{self._address}: the log's stream has ended")

    def _placed(self, error: HaltError) -> HaltError:
        """The same with the place: what only speaks of a layout does not know it."""
        if self._log is None or self._log.file in error.what:
            return error
        return HaltError(error.code, f"{error.what} (after {self._log.file}:{self._log.offset})", error.mend)

    def _corrupt(self, error: Exception) -> HaltError:
        place = f"{self._log.file}:{self._log.offset}" if self._log else "its start"
        return HaltError(
            "CORRUPT_EVENT",
            f"{self._address}: the event after {place} cannot be decoded ({type(error).__name__})",
            f"look at it with mysqlbinlog; then {RESYNC}",
        )
