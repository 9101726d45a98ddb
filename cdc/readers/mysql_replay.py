"""A prepared XA transaction, read again from its place at its XA COMMIT: over a second connection, as a stream. Guards I6 and I8.

It must be found where it was, under its name, whole; anything else halts the channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from cdc.errors import TransientError
from cdc.readers import binlog_events as events
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET, BinlogStream
from cdc.readers.mysql_gtid import MySQLGtids, mariadb_gtid
from cdc.readers.mysql_log_events import EventPlace, LogEvents, PlacedEvent
from cdc.readers.mysql_position import Prepared
from sinks.connections import Address

_SEARCH_SECONDS: Final = 15.0
_SEARCHED_FILES: Final = 4
LOG_START: Final = 4  # behind a file's magic number
_SECOND_SERVER_ID: Final = 1 << 31  # a replica with our own id would be taken for us, and end our stream


class Replay:
    """Opens second streams and closes what is open. `deadline` says until when the one may wait for its next event."""

    def __init__(
        self, address: Address, heartbeat_seconds: float, server_id: int, deadline: Callable[[], float]
    ) -> None:
        self._address = address
        self._heartbeat = heartbeat_seconds
        self._server_id = server_id ^ _SECOND_SERVER_ID
        self._deadline = deadline
        self._stream: BinlogStream | None = None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None

    def events(self, prepared: Prepared, gtids: str, place: EventPlace) -> Iterator[PlacedEvent | None]:
        """Its events from behind its GTID up to its XA PREPARE, all at `place`. `gtids`: what has been passed.

        Raises what a stream raises, and ValueError where something else is found.
        """
        self._stream = stream = BinlogStream(self._address, self._heartbeat)
        stream.prepare(self._server_id)
        self._dump(stream, prepared, gtids)
        log = LogEvents(stream.events(), prepared.file, prepared.start)
        source, found = iter(log), False
        while True:
            stream.deadline = self._deadline()
            event = next(source, None)
            if event is None:
                yield None
                continue
            body, at = event
            if at.kind in _GTIDS:
                if found:
                    raise ValueError("a prepared transaction without its end")
                found = _gtid_of(body, at) == prepared.gtid if prepared.gtid else True
            elif found and at.kind not in _AROUND:
                at.file, at.start, at.end = place.file, place.start, place.end
                yield event
                if at.kind == events.XA_PREPARE:
                    break
        self.close()

    def find(self, xid: str, files: Sequence[str], before: EventPlace) -> Prepared | None:
        """Where the transaction of that name was prepared last, of `files`, the latest of which holds `before`.

        None: not in the latest few of them, or not found in time (a capture that says nothing for long counts as hung).
        """
        until = time.monotonic() + _SEARCH_SECONDS
        for file in reversed(files[-_SEARCHED_FILES:]):
            stream = BinlogStream(self._address, self._heartbeat)
            try:
                stream.prepare(self._server_id)
                stream.deadline = until
                stream.dump_from(file, LOG_START, self._server_id, annotations=False)
                found = _prepared_in(LogEvents(stream.events(), file, LOG_START), file, xid, before)
            finally:
                stream.close()
            if found is not None or time.monotonic() > until:
                return found
        return None

    def _dump(self, stream: BinlogStream, prepared: Prepared, gtids: str) -> None:
        mariadb = self._address.engine == "mariadb"
        if prepared.file and prepared.start <= LARGEST_SHORT_OFFSET:
            stream.dump_from(prepared.file, prepared.start, self._server_id, annotations=mariadb)
        elif mariadb:
            stream.set_mariadb_start(prepared.before)
            stream.dump_from("", 4, self._server_id, annotations=True)
        elif prepared.gtid:
            origin, _, number = prepared.gtid.rpartition(":")
            passed = MySQLGtids(gtids)
            passed.remove(origin, int(number))
            stream.dump_after(passed.encode(), self._server_id)
        else:
            raise TransientError(
                f"{self._address}: a prepared transaction beyond 4 GiB of {prepared.file}, without GTIDs"
            )


def _prepared_in(log: LogEvents, file: str, xid: str, before: EventPlace) -> Prepared | None:
    found: Prepared | None = None
    start, gtid = 0, ""
    for event in log:
        if event is None:
            return None
        body, at = event
        if at.kind == events.ROTATE and at.end != at.start:
            break  # the file's end
        if at.file == before.file and at.start >= before.start:
            break
        if at.kind in _GTIDS:
            start, gtid = at.start, "" if at.kind == events.ANONYMOUS_GTID else _gtid_of(body, at)
        elif at.kind == events.XA_PREPARE and events.xa_prepare(body) == (False, xid):
            found = Prepared(xid, file, start, gtid)
    return found


def _gtid_of(body: bytes, place: EventPlace) -> str:
    if place.kind == events.MARIADB_GTID:
        number, domain, _flags = events.mariadb_gtid(body)
        return mariadb_gtid(domain, place.server_id, number)
    found = events.tagged_gtid(body) if place.kind == events.GTID_TAGGED else events.gtid(body)
    return f"{found.origin}:{found.number}"


_GTIDS: Final = frozenset({events.GTID, events.ANONYMOUS_GTID, events.GTID_TAGGED, events.MARIADB_GTID})
_AROUND: Final = frozenset({
    events.ROTATE, events.FORMAT_DESCRIPTION, events.PREVIOUS_GTIDS, events.GTID_LIST, events.BINLOG_CHECKPOINT,
    events.START_ENCRYPTION, events.HEARTBEAT, events.HEARTBEAT_2, events.STOP,
})  # fmt: skip
