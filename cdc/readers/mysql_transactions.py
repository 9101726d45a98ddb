"""Events of a binary log to committed transactions, in parts of bounded size. No I/O: bytes in, `LogPart`s out.

Guards I1 and I6 (an event that is not understood halts, at its place), I4 and I7 (positions on transaction boundaries only), I8 (a
part holds at most `part_rows` rows of the log). Rows are numbered by the log: every row of every table counts, mapped or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from cdc import sabotage
from cdc.errors import HaltError
from cdc.model import ApplyRecord, LogPart, ParkedKey, Position, RowChange
from cdc.readers import Notice, Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_statements import Statement, classify, may_touch, named_tables
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids
from cdc.readers.mysql_layouts import Layout, Layouts, Role
from cdc.readers.mysql_position import PositionWriter
from cdc.readers.mysql_record import RecordRows, comment_record, comment_token, parked_keys

_DUMMY_TABLE: Final = 0xFFFFFF
_RESYNC: Final = "run `datong resync` for this channel"


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


@dataclass(slots=True)
class _Open:
    """The transaction that is being read. `first` and `next` are row numbers: of the part, and of the row to come."""

    order: int
    file: str
    start: int
    committed_at: int
    gtid: tuple[Any, ...] = ()  # what the GTID set is to be told at the end
    transaction: str = ""
    passed: bool = False  # it was handed out before, by another server: nothing of it is read
    begun: bool = False  # rows may follow; without it the first statement is all
    is_xa: bool = False
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
    rows: list[RowChange] = field(default_factory=list)
    parked: list[ParkedKey] = field(default_factory=list)
    echo_rows: int = 0
    tables: dict[int, Layout] = field(default_factory=dict)


class Transactions:
    """Feed events in their order; take finished parts from `parts`. `boundary` is the end of the last whole transaction.

    `held` is the boundary until the first transaction has ended, where the server searched the start by GTIDs: file and offset
    would then stand before transactions that we have already.
    """

    def __init__(
        self,
        wanted: Wanted,
        layouts: Layouts,
        writer: PositionWriter,
        gtids: MySQLGtids | MariaDBGtids,
        *,
        file: str,
        offset: int,
        held: Position | None,
        probe: Callable[[str], None],
    ) -> None:
        self._wanted = wanted
        self._layouts = layouts
        self._writer = writer
        self._gtids = gtids
        self._probe = probe
        self._open: _Open | None = None
        self._boundary = (file, offset)
        self._held = held
        self.parts: list[LogPart] = []
        self.notices: list[Notice] = []
        self.rows = 0  # in `parts`
        self.size = 0
        self._actions: dict[int, Callable[[bytes, EventPlace], None]] = {
            events.TABLE_MAP: self._table_map,
            events.QUERY: self._query,
            events.QUERY_COMPRESSED: self._query,
            events.XID: self._xid,
            events.GTID: self._mysql_gtid,
            events.ANONYMOUS_GTID: self._mysql_gtid,
            events.GTID_TAGGED: self._mysql_gtid,
            events.MARIADB_GTID: self._mariadb_gtid,
            events.ANNOTATE: self._annotation,
            events.XA_PREPARE: self._xa_prepare,
            events.EXECUTE_LOAD_QUERY: self._load_query,
            events.TRANSACTION_PAYLOAD: self._payload,
            **dict.fromkeys(events.ROWS, self._rows),
            **dict.fromkeys(_PASSED_OVER, self._pass_over),
            **dict.fromkeys(_OF_FILES, self._of_files),
        }

    @property
    def boundary(self) -> Position:
        return self._held or self._writer.position(*self._boundary, str(self._gtids))

    def take(self) -> tuple[list[LogPart], list[Notice]]:
        taken = self.parts, self.notices
        self.parts, self.notices, self.rows, self.size = [], [], 0, 0
        return taken

    def event(self, body: bytes, place: EventPlace) -> None:
        """Raises HaltError, or one of MALFORMED where the bytes are not what they should be."""
        action = self._actions.get(place.kind)
        if action is None:
            self._unsupported(place, events.NAMES.get(place.kind, f"of type {place.kind}"))
        action(body, place)

    # Where a transaction starts

    def _mysql_gtid(self, body: bytes, place: EventPlace) -> None:
        found = events.tagged_gtid(body) if place.kind == events.GTID_TAGGED else events.gtid(body)
        opened = self._start(place, found.committed_at or place.timestamp * 1_000_000)
        if place.kind != events.ANONYMOUS_GTID:
            self._name(opened, (found.origin, found.number), f"{found.origin}:{found.number}")

    def _mariadb_gtid(self, body: bytes, place: EventPlace) -> None:
        number, domain, flags = events.mariadb_gtid(body)
        opened = self._start(place, place.timestamp * 1_000_000)
        self._name(opened, (domain, place.server_id, number), f"{domain}-{place.server_id}-{number}")
        opened.begun = not flags & events.STANDALONE  # the event is the BEGIN as well
        opened.is_xa = bool(flags & events.PREPARED_XA)

    def _name(self, opened: _Open, gtid: tuple[Any, ...], text: str) -> None:
        opened.gtid, opened.transaction = gtid, text
        opened.passed = self._gtids.has(*gtid)

    def _start(self, place: EventPlace, committed_at: int) -> _Open:
        if self._open is not None:
            self._torn(place)
        self._open = _Open(self._writer.order(place.file, place.start), place.file, place.start, committed_at)
        return self._open

    def _begin(self, thread_id: int, place: EventPlace) -> None:
        opened = self._open or self._start(place, place.timestamp * 1_000_000)  # a server without GTIDs
        if opened.rows_seen:
            self._torn(place)
        opened.begun = True
        if not opened.identity:
            opened.identity = str(thread_id)

    # What is in it

    def _annotation(self, body: bytes, _place: EventPlace) -> None:
        """MariaDB: the statement that wrote the rows that follow; the first one of a transaction may hold our comment."""
        opened = self._open
        if opened is None or opened.comment_seen:
            return
        opened.comment_seen = True
        if not opened.rows_seen:
            opened.identity = comment_token(body)
            opened.record = comment_record(self._wanted, body)

    def _table_map(self, body: bytes, place: EventPlace) -> None:
        if self._open is None:
            self._outside(place)
        table_id, layout = self._layouts.layout(body)
        self._open.tables[table_id] = layout

    def _rows(self, body: bytes, place: EventPlace) -> None:
        opened = self._open
        if opened is None or not opened.begun:
            self._outside(place)
        if opened.passed:
            return
        header = events.rows_header(body, place.kind)
        if header.table_id == _DUMMY_TABLE:
            return  # ends a statement, has no rows
        layout = opened.tables.get(header.table_id)
        if layout is None:
            raise ValueError("rows of a table that the transaction has not named")
        if place.kind in events.COMPRESSED_ROWS:
            body = body[: header.start] + events.inflate(body[header.start :])
        if layout.role is Role.OTHER:
            self._count(opened, layout.count(place.kind, header, body))
        elif layout.role is Role.WANTED:
            self._wanted_rows(opened, layout, place, header, body)
        else:
            self._our_rows(opened, layout, place.kind, layout.rows(place.kind, header, body))
        opened.size += place.size
        if not opened.rows_seen:
            opened.rows_seen = True
            self._probe("reader.mid_tx")

    def _wanted_rows(
        self, opened: _Open, layout: Layout, place: EventPlace, header: events.RowsHeader, body: bytes
    ) -> None:
        self._settle_record(opened)
        kind = place.kind
        if opened.record is not None:
            self._count(opened, layout.count(kind, header, body), echo=True)
            return
        opened.wanted_seen = True
        rows = layout.rows(kind, header, body)
        table, at = layout.table, 0
        while at < len(rows):
            if self._is_full(opened):
                self._cut(opened)
            taken = rows[at : at + self._wanted.part_rows - (opened.next - opened.first)]
            index = opened.next
            if kind in events.INSERTS:
                opened.rows += [RowChange(table, "insert", i, None, row) for i, row in enumerate(taken, index)]
            elif kind in events.UPDATES:
                opened.rows += [RowChange(table, "update", i, row[0], row[1]) for i, row in enumerate(taken, index)]
            else:
                opened.rows += [RowChange(table, "delete", i, row, None) for i, row in enumerate(taken, index)]
            opened.next += len(taken)
            at += len(taken)

    def _count(self, opened: _Open, rows: int, *, echo: bool = False) -> None:
        """Rows that are numbered but not handed out. They take no memory: a part that holds nothing else may be long."""
        while rows:
            if self._is_full(opened) and (opened.rows or opened.resume is not None or opened.record is not None):
                self._cut(opened)
            room = self._wanted.part_rows - (opened.next - opened.first)
            taken = min(rows, room) if room > 0 else rows
            opened.next += taken
            opened.echo_rows += taken if echo else 0
            rows -= taken

    def _our_rows(self, opened: _Open, layout: Layout, kind: int, rows: list[Any]) -> None:
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

    @staticmethod
    def _settle_record(opened: _Open) -> None:
        """The rows of datong_progress are complete as soon as another row or the end comes."""
        if opened.record_rows is not None:
            opened.record = opened.record_rows.record() or opened.record
            opened.record_rows = None

    def _is_full(self, opened: _Open) -> bool:
        held = opened.next - opened.first
        return held >= self._wanted.part_rows or (held > 0 and opened.size >= self._wanted.part_bytes)

    def _cut(self, opened: _Open) -> None:
        """Hand out what is there as a part; reading on starts at the transaction's beginning until its end is out."""
        if opened.is_xa:
            raise self._xa_error(f"{opened.file}:{opened.start}")
        if opened.resume is None:
            opened.resume = self._writer.position(opened.file, opened.start, str(self._gtids))
        self._hand_out(opened, opened.resume, last=False)

    def _hand_out(self, opened: _Open, resume: Position, *, last: bool) -> None:
        self._settle_record(opened)
        self.parts.append(
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

    # Where it ends

    def _xid(self, _body: bytes, place: EventPlace) -> None:
        if self._open is None or not self._open.begun:
            self._outside(place)
        self._finish(self._open, place)

    def _finish(self, opened: _Open, place: EventPlace) -> None:
        self._settle_record(opened)
        if opened.gtid and not opened.passed:
            self._gtids.add(*opened.gtid)
        self._boundary, self._held = (place.file, place.end), None
        if opened.rows or opened.record is not None or opened.parked or opened.resume is not None:
            self._hand_out(opened, self.boundary, last=True)
        self._open = None
        self._probe("reader.after_event")

    def _query(self, body: bytes, place: EventPlace) -> None:
        found = events.query(body, compressed=place.kind == events.QUERY_COMPRESSED)
        if found.text == b"BEGIN":
            self._begin(found.thread_id, place)
            return
        text = found.text.decode("utf-8", "replace")
        statement = classify(text)
        opened = self._open
        if statement is Statement.BEGIN:
            self._begin(found.thread_id, place)
        elif statement is Statement.XA_START:
            self._begin(found.thread_id, place)
            if self._open is not None:
                self._open.is_xa = True
        elif statement in (Statement.SAVEPOINT, Statement.XA_END):
            pass
        elif statement is Statement.ROLLBACK_TO_SAVEPOINT and opened is not None:
            if opened.rows or opened.resume is not None:
                self._unsupported(place, "ROLLBACK TO SAVEPOINT, after rows that it takes back,")
        elif statement is Statement.COMMIT and opened is not None:
            self._finish(opened, place)
        elif statement is Statement.ROLLBACK and opened is not None:
            self._roll_back(opened, place)
        else:
            self._statement(statement, text, found.schema, place)

    def _statement(self, statement: Statement, text: str, schema: str, place: EventPlace) -> None:
        """DDL and the like: told, not applied. Outside BEGIN it is a transaction of its own."""
        tables = self._wanted.tables
        if statement is Statement.DATA and may_touch(text, schema, tables):
            raise HaltError(
                "STATEMENT_LOGGED",
                f"a change in schema {schema} was logged as a statement, not as rows, at {place.file}:{place.start}",
                f"SET GLOBAL binlog_format = 'ROW' (and no session may change it), then {_RESYNC}",
            )
        if statement in (Statement.DDL, Statement.TRUNCATE):
            event = "truncate_seen" if statement is Statement.TRUNCATE else "ddl_seen"
            verb = text.split(maxsplit=1)[0].upper()[:16]
            for owner, name in named_tables(text, schema, tables):
                text_of = f"{verb} of {owner}.{name} at {place.file}:{place.start}; it is not replicated"
                order = self._open.order if self._open else self._writer.order(place.file, place.start)
                self.notices.append(Notice(event, text_of, order))
        if self._open is None:
            self._boundary, self._held = (place.file, place.end), None
        elif not self._open.begun:
            self._finish(self._open, place)

    def _roll_back(self, opened: _Open, place: EventPlace) -> None:
        if opened.resume is not None:
            self._torn(place)
        opened.rows, opened.record, opened.record_rows, opened.parked = [], None, None, []
        self._finish(opened, place)

    def _xa_prepare(self, body: bytes, place: EventPlace) -> None:
        opened = self._open
        if opened is None:
            self._outside(place)
        self._settle_record(opened)
        if not events.is_one_phase(body) and (opened.rows or opened.record is not None or opened.parked):
            self._xa(place)
        self._finish(opened, place)

    def _load_query(self, _body: bytes, place: EventPlace) -> None:
        self._unsupported(place, "EXECUTE_LOAD_QUERY (LOAD DATA, logged as a statement)")

    def _payload(self, _body: bytes, place: EventPlace) -> None:
        raise HaltError(
            "COMPRESSED_TRANSACTION",
            f"a compressed transaction at {place.file}:{place.start} cannot be read yet",
            f"SET GLOBAL binlog_transaction_compression = OFF (and no session may change it), then {_RESYNC}",
        )

    # What lies around it

    def _pass_over(self, _body: bytes, place: EventPlace) -> None:
        """Known, and without meaning for rows."""

    def _of_files(self, _body: bytes, place: EventPlace) -> None:
        """The start and end of a file. No transaction spans two; where one seems to, the server died while writing it."""
        opened = self._open
        if opened is not None:
            if opened.resume is not None:
                self._torn(place)
            self._open = None
        self._boundary = (place.file, place.end)

    def _outside(self, place: EventPlace) -> NoReturn:
        self._unsupported(place, f"of type {place.kind} outside a transaction")

    def _unsupported(self, place: EventPlace, what: str) -> NoReturn:
        raise HaltError("UNSUPPORTED_EVENT", f"event {what} at {place.file}:{place.start} cannot be read", _RESYNC)

    def _torn(self, place: EventPlace) -> NoReturn:
        raise HaltError(
            "TRANSACTION_TORN", f"a transaction was not ended in the log before {place.file}:{place.start}", _RESYNC
        )

    def _xa(self, place: EventPlace) -> NoReturn:
        raise self._xa_error(f"{place.file}:{place.start}")

    @staticmethod
    def _xa_error(place: str) -> HaltError:
        return HaltError(
            "UNSUPPORTED_EVENT",
            f"an XA transaction changes mapped tables at {place}, which cannot be read yet",
            _RESYNC,
        )


_PASSED_OVER: Final = (
    events.INTVAR, events.RAND, events.USER_VAR, events.APPEND_BLOCK, events.DELETE_FILE, events.BEGIN_LOAD_QUERY,
    events.IGNORABLE, events.ROWS_QUERY, events.TRANSACTION_CONTEXT, events.VIEW_CHANGE, events.HEARTBEAT,
    events.HEARTBEAT_2, events.START_ENCRYPTION,
)  # fmt: skip
_OF_FILES: Final = (
    events.FORMAT_DESCRIPTION, events.ROTATE, events.STOP, events.PREVIOUS_GTIDS, events.GTID_LIST, events.BINLOG_CHECKPOINT,
)  # fmt: skip
