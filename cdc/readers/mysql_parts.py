"""The rows of the transaction that is being read, gathered into parts of bounded size. No I/O.

Guards I2 (our own apply transactions are told by their record), I4 (rows are numbered by the log: every row of every table counts, mapped
or not) and I8 (a part holds at most `part_rows` rows of the log, and about `part_bytes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from cdc import sabotage
from cdc.model import ApplyRecord, LogPart, ParkedKey, Position, RowChange
from cdc.readers import Wanted
from cdc.readers import binlog_events as events
from cdc.readers.mysql_layouts import Layout, Role
from cdc.readers.mysql_position import Prepared
from cdc.readers.mysql_record import RecordRows, parked_keys
from transforms.tables import Table

_DUMMY_TABLE: Final = 0xFFFFFF
_TABLE_ID: Final = 6  # bytes
_KEPT_HEADS: Final = 2048


class OpenTransaction(msgspec.Struct):
    """The transaction that is being read. `first` and `next` are row numbers: of the part, and of the row to come."""

    order: int
    file: str
    start: int
    committed_at: int
    gtid: tuple[Any, ...] = ()  # what the GTID set is to be told at the end
    transaction: str = ""
    passed: bool = False  # it was handed out before, by another server: nothing of it is read
    begun: bool = False  # rows may follow; without it the first statement is all
    is_xa: bool = False  # its rows count at XA COMMIT only
    too_large: bool = False  # of an XA transaction: it is read again, its rows are not kept
    read_again: Prepared | None = None  # this is the XA COMMIT of that one
    savepoints: dict[str, int] = {}  # by name: the number of the row to come
    first: int = 0
    next: int = 0
    size: int = 0
    identity: str = ""
    comment_seen: bool = False
    rows_seen: bool = False
    wanted_seen: bool = False
    record: ApplyRecord | None = None
    record_rows: RecordRows | None = None
    resume: Position | None = None  # set with the first part: its own beginning
    rows: list[RowChange] = []
    parked: list[ParkedKey] = []
    echo_rows: int = 0
    tables: dict[int, Layout] = {}

    @property
    def has_news(self) -> bool:
        """Whether anything of it is to be handed out that has not been."""
        return bool(self.rows or self.record is not None or self.parked)

    def start_anew(self) -> None:
        """Nothing of its rows has been read."""
        self.first = self.next = self.size = self.echo_rows = 0
        self.identity, self.comment_seen, self.rows_seen, self.wanted_seen, self.too_large = (
            "",
            False,
            False,
            False,
            False,
        )
        self.record, self.record_rows, self.resume = None, None, None
        self.rows, self.parked, self.tables, self.savepoints = [], [], {}, {}

    def adopt(self, prepared: OpenTransaction) -> None:
        """Take the rows of a transaction that was prepared, and what they say."""
        self.first, self.next, self.size, self.echo_rows = 0, prepared.next, prepared.size, prepared.echo_rows
        self.record = prepared.record
        self.rows, self.parked = prepared.rows, prepared.parked


class WholeTransaction(msgspec.Struct, frozen=True, gc=False):
    """A transaction that was read at once, from `start` to `end` of a file: rows of wanted tables, and nothing else.

    `gtid` as the GTID set takes it, empty where it has none; `size`: bytes of the events of its rows.
    """

    file: str
    start: int
    end: int
    gtid: tuple[Any, ...]
    transaction: str
    committed_at: int
    identity: str
    rows: list[RowChange]
    size: int


class Parts:
    """Finished parts, in log order: `done` holds `rows` rows of wanted tables and `size` bytes of the log.

    `beginning` answers the position of a transaction's own beginning: where to read on until its end is out.
    """

    def __init__(self, wanted: Wanted, beginning: Callable[[OpenTransaction], Position]) -> None:
        self._wanted = wanted
        self._beginning = beginning
        self.done: list[LogPart] = []
        self.rows = 0
        self.size = 0
        # By kind and table id, with the bytes that say it: flags stand among them, so only events with equal flags are found again.
        self._heads: dict[tuple[int, bytes], tuple[events.RowsHeader, bytes]] = {}

    def take(self) -> list[LogPart]:
        taken, self.done, self.rows, self.size = self.done, [], 0, 0
        return taken

    def header(self, kind: int, body: bytes, at: int = 0) -> events.RowsHeader:
        """The header of a rows event whose body begins at `at`. The same object comes again for events that begin alike: most do."""
        key = kind, body[at : at + _TABLE_ID]
        known = self._heads.get(key)
        if known is None or not body.startswith(known[1], at):
            header = events.rows_header(body[at:] if at else body, kind)
            if len(self._heads) >= _KEPT_HEADS:
                self._heads.clear()
            known = self._heads[key] = header, body[at : at + header.start]
        return known[0]

    def add_whole(self, part: LogPart) -> None:
        """A transaction that was read elsewhere, in one part."""
        self.done.append(part)
        self.rows += len(part.rows)
        self.size += part.size

    def add(self, opened: OpenTransaction, kind: int, body: bytes, size: int) -> None:
        """The rows of one event. Raises HaltError, or one of MALFORMED."""
        header = self.header(kind, body)
        if header.table_id == _DUMMY_TABLE:
            return  # ends a statement, has no rows
        layout = opened.tables.get(header.table_id)
        if layout is None:
            raise ValueError("rows of a table that the transaction has not named")
        if kind in events.COMPRESSED_ROWS:
            body = body[: header.start] + events.inflate(body[header.start :])
        if opened.too_large:
            return
        if layout.role is Role.OTHER:
            self._count(opened, layout.count(kind, header, body))
        elif layout.role is Role.WANTED:
            self._wanted_rows(opened, layout, kind, header, body)
        else:
            self._our_rows(opened, layout, kind, layout.rows(kind, header, body))
        opened.size += size

    def _wanted_rows(
        self, opened: OpenTransaction, layout: Layout, kind: int, header: events.RowsHeader, body: bytes
    ) -> None:
        if opened.record_rows is not None:
            settle_record(opened)
        if opened.record is not None:
            self._count(opened, layout.count(kind, header, body), echo=True)
            return
        opened.wanted_seen = True
        rows = layout.rows(kind, header, body)
        table, at = layout.table, 0
        while at < len(rows):
            if self._is_full(opened):
                self._cut(opened)
                if opened.too_large:
                    return
            taken = rows[at : at + self._wanted.part_rows - (opened.next - opened.first)]
            opened.rows += row_changes(table, kind, opened.next, taken)
            opened.next += len(taken)
            at += len(taken)

    def _count(self, opened: OpenTransaction, rows: int, *, echo: bool = False) -> None:
        """Rows that are numbered but not handed out. They take no memory: a part that holds nothing else may be long."""
        while rows:
            if self._is_full(opened) and (opened.rows or opened.resume is not None or opened.record is not None):
                self._cut(opened)
                if opened.too_large:
                    return
            room = self._wanted.part_rows - (opened.next - opened.first)
            taken = min(rows, room) if room > 0 else rows
            opened.next += taken
            opened.echo_rows += taken if echo else 0
            rows -= taken

    def _our_rows(self, opened: OpenTransaction, layout: Layout, kind: int, rows: list[Any]) -> None:
        """datong_progress counts only where it comes before all rows of wanted tables, as our applies write it."""
        after = [row[1] for row in rows] if kind in events.UPDATES else rows
        if layout.role is Role.PROGRESS:
            if kind not in events.DELETES and not opened.wanted_seen and not sabotage.ACTIVE.forgets_echo():
                opened.record_rows = opened.record_rows or RecordRows(self._wanted)
                opened.record_rows.add(layout.table, after)
        elif kind not in events.UPDATES:  # an update only completes or rewords a row that is parked already
            parked = kind not in events.DELETES
            opened.parked += parked_keys(self._wanted, layout.table, after, parked=parked)
        opened.next += len(rows)

    def _is_full(self, opened: OpenTransaction) -> bool:
        held = opened.next - opened.first
        return held >= self._wanted.part_rows or (held > 0 and opened.size >= self._wanted.part_bytes)

    def _cut(self, opened: OpenTransaction) -> None:
        """Hand out what is there as a part; reading on starts at the transaction's beginning until its end is out."""
        if opened.is_xa:
            opened.too_large = True
            opened.rows, opened.parked, opened.size = [], [], 0
            return
        if opened.resume is None:
            opened.resume = self._beginning(opened)
        self._hand_out(opened, opened.resume, last=False)

    def end(self, opened: OpenTransaction, resume: Position) -> None:
        """The transaction is whole: hand out its last part, where it has anything to say."""
        if opened.rows or opened.resume is not None or opened.has_news:
            self._hand_out(opened, resume, last=True)

    @staticmethod
    def take_back(opened: OpenTransaction, savepoint: str) -> bool:
        """ROLLBACK TO a savepoint: its rows go, their numbers stay. False where rows of it were handed out, or it is not known."""
        if opened.too_large or (not opened.rows and opened.resume is None):
            return True
        mark = opened.savepoints.get(savepoint)
        if mark is None or mark < opened.first:
            return False
        opened.rows = [row for row in opened.rows if row.index < mark]
        return True

    def _hand_out(self, opened: OpenTransaction, resume: Position, *, last: bool) -> None:
        if opened.record_rows is not None:
            settle_record(opened)
        self.done.append(
            LogPart(
                order=opened.order,
                first=opened.first,
                end=opened.next,
                last=last,
                committed_at=opened.committed_at,
                identity=opened.identity,
                transaction=opened.transaction,
                resume=resume,
                rows=opened.rows,
                record=opened.record,
                echo_rows=opened.echo_rows,
                parked=tuple(opened.parked),
                size=opened.size,
            )
        )
        self.rows += len(opened.rows) + opened.echo_rows
        self.size += opened.size
        opened.rows, opened.parked, opened.echo_rows, opened.size = [], [], 0, 0
        opened.first = opened.next


def row_changes(table: Table, kind: int, first: int, rows: list[Any]) -> list[RowChange]:
    """The rows of an event of this kind, as `Layout.rows` gives them, numbered from `first` on."""
    if kind in events.INSERTS:
        return [RowChange(table, "insert", i, None, row) for i, row in enumerate(rows, first)]
    if kind in events.UPDATES:
        return [RowChange(table, "update", i, row[0], row[1]) for i, row in enumerate(rows, first)]
    return [RowChange(table, "delete", i, row, None) for i, row in enumerate(rows, first)]


def settle_record(opened: OpenTransaction) -> None:
    """The rows of datong_progress are complete as soon as another row or the end comes."""
    if opened.record_rows is not None:
        opened.record = opened.record_rows.record() or opened.record
        opened.record_rows = None
