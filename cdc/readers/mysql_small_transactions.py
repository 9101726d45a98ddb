"""Small plain transactions, read whole out of the stream's buffer: most of what a busy server logs. No I/O.

The general way, event by event, is `LogEvents` and `Transactions`. A transaction is taken here only if all of it has arrived and nothing in it
needs a thought: a new GTID, BEGIN, rows of wanted tables whose layouts are known, XID. Guards I6: every check of the general way is
made here too, checksums included; where one does not hold nothing has been touched, the general way reads the same bytes, and says
what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from cdc.errors import HaltError
from cdc.model import RowChange
from cdc.readers import Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_events import MALFORMED
from cdc.readers.binlog_stream import BinlogStream
from cdc.readers.mysql_gtid import MariaDBGtids, mariadb_gtid
from cdc.readers.mysql_layouts import Layout, Role
from cdc.readers.mysql_log_events import LogEvents
from cdc.readers.mysql_parts import WholeTransaction, row_changes
from cdc.readers.mysql_record import MARK
from cdc.readers.mysql_transactions import QUERY_REST, Transactions

_HEAD: Final = 24  # bytes of a packet before an event's body: its length and number, a status, the event's header
_CHECKSUM: Final = 4
_LENGTH: Final = 0xFFFFFF
_head: Final = struct.Struct("<IBIBIIIH").unpack_from
_u32: Final = struct.Struct("<I").unpack_from
_BODY: Final = events.HEADER_SIZE
_ROWS: Final = events.ROWS - events.COMPRESSED_ROWS
_NOT_PLAIN: Final = events.STANDALONE | events.PREPARED_XA | events.COMPLETED_XA


class Opening(msgspec.Struct, frozen=True, gc=False):
    """What a GTID event says. `gtid`: for the GTID set, empty where it has none; `committed_at` in microseconds."""

    gtid: tuple[Any, ...]
    transaction: str
    committed_at: int
    is_begin: bool


_Logged: TypeAlias = tuple[Layout, int, events.RowsHeader, bytes]  # kind, and the event with its header
Open: TypeAlias = Callable[[int, bytes, int, int], Opening | None]


class SmallTransactions:
    """Those of one dump. To be asked only between transactions, when the stream's next packet is the next event of its file."""

    def __init__(self, wanted: Wanted, stream: BinlogStream, log: LogEvents, transactions: Transactions) -> None:
        self._wanted = wanted
        self._stream = stream
        self._log = log
        self._transactions = transactions
        mariadb = isinstance(transactions.gtids, MariaDBGtids)
        self._open: Open = _mariadb_opening if mariadb else _mysql_opening
        self._openings = frozenset((events.MARIADB_GTID,) if mariadb else (events.GTID, events.ANONYMOUS_GTID))

    def take(self, behind: int, rows: int) -> None:
        """Take those that come next, until one is not plain, or not all there, or `rows` have been taken.

        `behind`: the offset behind the event that was handed out last, which counts as passed now.
        """
        stream, log, transactions = self._stream, self._log, self._transactions
        log.offset = max(log.offset, behind)
        while rows > 0 and log.is_checksummed:
            try:
                found = self._next()
            except (HaltError, *MALFORMED):
                return  # the general way will come to it, and say where
            if found is None:
                return
            whole, after = found
            stream.pass_over(after)
            log.offset = whole.end
            transactions.add_whole(whole)
            rows -= len(whole.rows)

    def _next(self) -> tuple[WholeTransaction, int] | None:
        """The next transaction, if it is plain, and where it ends in the buffer. Raises HaltError, or one of MALFORMED."""
        buffer, view, at, arrived = self._stream.buffer, self._stream.view, self._stream.first, self._stream.end
        offset, start = self._log.offset, 0
        opening: Opening | None = None
        begun, identity, size_of_rows = False, "", 0
        logged: list[_Logged] = []  # decoded when the end is there, or they would be decoded twice
        tables: dict[int, Layout] = {}
        while arrived - at >= _HEAD:
            packet, status, timestamp, kind, server, size, end, flags = _head(buffer, at)
            after = at + _HEAD - _BODY + size
            if packet & _LENGTH != size + 1 or status or after > arrived:
                return None
            if flags & events.ARTIFICIAL or not offset < end >= size >= _BODY + _CHECKSUM:
                return None
            event = view[after - size : after - _CHECKSUM].tobytes()
            if crc32(event) != _u32(buffer, after - _CHECKSUM)[0]:
                return None
            if kind in _ROWS:
                header = self._transactions.parts.header(kind, event, _BODY)
                layout = tables.get(header.table_id)
                if not begun or layout is None:
                    return None
                logged.append((layout, kind, header, event))
                size_of_rows += size
                if size_of_rows >= self._wanted.part_bytes:
                    return None
            elif kind == events.TABLE_MAP:
                table_id, layout = self._known_layout(event)
                if opening is None or layout is None:
                    return None
                tables[table_id] = layout
            elif kind == events.XID:
                if opening is None or not logged:
                    return None
                rows = _decoded(logged)
                if not rows or len(rows) >= self._wanted.part_rows:
                    return None
                named = opening.gtid, opening.transaction, opening.committed_at
                return WholeTransaction(self._log.file, start, end, *named, identity, rows, size_of_rows), after
            elif kind == events.QUERY:
                if begun or opening is None or not self._is_begin(event):
                    return None
                begun, identity = True, str(_u32(event, _BODY)[0])
            elif kind in self._openings:
                if opening is not None:
                    return None
                opening = self._open(kind, event, timestamp, server)
                if opening is None or (opening.gtid and self._transactions.gtids.has(*opening.gtid)):
                    return None
                start, begun = end - size, opening.is_begin
            elif kind != events.ROWS_QUERY and (kind != events.ANNOTATE or MARK in event):
                return None
            at, offset = after, end
        return None

    def _is_begin(self, event: bytes) -> bool:
        """Whether a QUERY event is BEGIN: as the last one was, but for the thread's id, or by its text."""
        return (
            event[_BODY + QUERY_REST :] == self._transactions.begin_rest or events.query(event[_BODY:]).text == b"BEGIN"
        )

    def _known_layout(self, event: bytes) -> tuple[int, Layout | None]:
        """The layout of a TABLE_MAP event that is a wanted table's and the same as the last of its id."""
        table_id = int.from_bytes(event[_BODY : _BODY + 6], "little")
        layout = self._transactions.layouts.known(table_id)
        if layout is None or layout.role is not Role.WANTED or layout.proven_in not in (None, self._log.file):
            return table_id, None
        return table_id, layout if event[_BODY:] == layout.raw else None


def _decoded(logged: Sequence[_Logged]) -> list[RowChange]:
    """The rows of a transaction's events. Raises HaltError, or one of MALFORMED."""
    rows: list[RowChange] = []
    for layout, kind, header, event in logged:
        rows += row_changes(layout.table, kind, len(rows), layout.rows(kind, header, event, _BODY))
    return rows


def _mysql_opening(kind: int, event: bytes, timestamp: int, _server: int) -> Opening | None:
    found = events.gtid(event[_BODY:])
    committed_at = found.committed_at or timestamp * 1_000_000
    if kind == events.ANONYMOUS_GTID:
        return Opening((), "", committed_at, is_begin=False)
    return Opening((found.origin, found.number), f"{found.origin}:{found.number}", committed_at, is_begin=False)


def _mariadb_opening(_kind: int, event: bytes, timestamp: int, server: int) -> Opening | None:
    number, domain, flags = events.mariadb_gtid(event[_BODY:])
    if flags & _NOT_PLAIN:
        return None
    return Opening((domain, server, number), mariadb_gtid(domain, server, number), timestamp * 1_000_000, is_begin=True)
