"""Events of a binary log to committed transactions, in parts of bounded size. No I/O: bytes in, `LogPart`s out.

Guards I1 and I6 (an event that is not understood halts, at its place), I4 and I7 (positions on transaction boundaries only), I8 (a
part holds at most `part_rows` rows of the log). Rows are numbered by the log: every row of every table counts, mapped or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NoReturn

from msgspec import structs

from cdc.errors import HaltError
from cdc.model import LogPart, Position
from cdc.readers import Notice, Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_statements import Statement, classify, savepoint_name
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids, mariadb_gtid
from cdc.readers.mysql_layouts import Layouts, Role
from cdc.readers.mysql_log_events import EventPlace
from cdc.readers.mysql_parts import OpenTransaction, Parts, WholeTransaction, settle_record
from cdc.readers.mysql_position import PositionWriter, Prepared
from cdc.readers.mysql_record import comment_record, comment_token
from cdc.readers.mysql_statements import notices
from cdc.readers.mysql_xa import PreparedTransactions, xid_of

_XA_VERB: Final = 40
QUERY_REST: Final = 8  # of a QUERY's body: behind the thread's id and how long it took


class Transactions:
    """Feed events in their order; take finished parts from `parts`. `boundary` is the end of the last whole transaction.

    `held` is the boundary until the first transaction has ended, where the server searched the start by GTIDs: file and offset
    would then stand before transactions that we have already. Otherwise a GTID that we have is a sign of another history.
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
        prepared: Iterable[Prepared] = (),
        read_again: Callable[[Prepared, str, EventPlace], None],
        look_back: Callable[[EventPlace, str], Prepared | None],
    ) -> None:
        """`prepared`: XA transactions that are not decided. `read_again` puts the rows of one behind the event at hand; `look_back`
        finds one by its name, before a place.
        """
        self._wanted = wanted
        self.layouts = layouts
        self._writer = writer
        self.gtids = gtids
        self._probe = probe
        self._open: OpenTransaction | None = None
        self._boundary = (file, offset)
        self._held = held
        self.begin_rest: bytes | None = None  # of the last BEGIN: the next one is most often the same
        self._may_repeat = held is not None
        self._prepared = PreparedTransactions(prepared)
        self._read_again = read_again
        self._look_back = look_back
        writer.set_prepared(self._prepared.text)
        self.parts = Parts(wanted, self._beginning)
        self.notices: list[Notice] = []
        self.actions: dict[int, Callable[[bytes, EventPlace], None]] = {
            events.TABLE_MAP: self._table_map,
            events.QUERY: self._query,
            events.QUERY_COMPRESSED: self._query,
            events.XID: self._xid,
            # Each server's own: the other's would speak of another kind of GTID set.
            **(
                {events.MARIADB_GTID: self._mariadb_gtid}
                if isinstance(gtids, MariaDBGtids)
                else dict.fromkeys((events.GTID, events.ANONYMOUS_GTID, events.GTID_TAGGED), self._mysql_gtid)
            ),
            events.ANNOTATE: self._annotation,
            events.XA_PREPARE: self._xa_prepare,
            events.EXECUTE_LOAD_QUERY: self._load_query,
            events.PARTIAL_UPDATE: self._partial_rows,
            **dict.fromkeys(events.ROWS, self._rows),
            **dict.fromkeys(_PASSED_OVER, self._pass_over),
            **dict.fromkeys(_OF_FILES, self._of_files),
        }

    @property
    def boundary(self) -> Position:
        return self._held or self._writer.position(*self._boundary, str(self.gtids))

    @property
    def is_reading_again(self) -> bool:
        """Whether the rows of a prepared transaction are being read at its XA COMMIT."""
        return self._open is not None and self._open.read_again is not None

    def take(self) -> tuple[list[LogPart], list[Notice]]:
        told, self.notices = self.notices, []
        return self.parts.take(), told

    @property
    def is_between(self) -> bool:
        """Whether the next event is the first of a transaction, or of none."""
        return self._open is None

    def event(self, body: bytes, place: EventPlace) -> None:
        """Raises HaltError, or one of MALFORMED where the bytes are not what they should be."""
        action = self.actions.get(place.kind)
        if action is None:
            self.unsupported(place)
        action(body, place)

    # Where a transaction starts

    def _mysql_gtid(self, body: bytes, place: EventPlace) -> None:
        found = events.tagged_gtid(body) if place.kind == events.GTID_TAGGED else events.gtid(body)
        opened = self._start(place, found.committed_at or place.timestamp * 1_000_000)
        if place.kind != events.ANONYMOUS_GTID:
            self._name(opened, (found.origin, found.number), f"{found.origin}:{found.number}", place)

    def _mariadb_gtid(self, body: bytes, place: EventPlace) -> None:
        number, domain, flags = events.mariadb_gtid(body)
        opened = self._start(place, place.timestamp * 1_000_000)
        self._name(opened, (domain, place.server_id, number), mariadb_gtid(domain, place.server_id, number), place)
        opened.begun = not flags & events.STANDALONE  # the event is the BEGIN as well
        opened.is_xa = bool(flags & events.PREPARED_XA)

    def _name(self, opened: OpenTransaction, gtid: tuple[Any, ...], text: str, place: EventPlace) -> None:
        opened.gtid, opened.transaction = gtid, text
        opened.passed = self.gtids.has(*gtid)
        if opened.passed and not self._may_repeat:
            raise HaltError(
                "POSITION_AHEAD",
                f"{text} at {place.file}:{place.start} is a GTID that we have read before: the server was restored from a backup",
                RESYNC,
            )

    def _beginning(self, opened: OpenTransaction) -> Position:
        """Where to read on while it is not whole."""
        return self._writer.position(opened.file, opened.start, str(self.gtids))

    def _start(self, place: EventPlace, committed_at: int) -> OpenTransaction:
        if self._open is not None:
            self._torn(place)
        self._open = OpenTransaction(self._writer.order(place.file, place.start), place.file, place.start, committed_at)
        return self._open

    def _begin(self, thread_id: int, place: EventPlace) -> OpenTransaction:
        opened = self._open or self._start(place, place.timestamp * 1_000_000)  # a server without GTIDs
        if opened.rows_seen:
            self._torn(place)
        opened.begun = True
        if not opened.identity:
            opened.identity = str(thread_id)
        return opened

    # What is in it

    def _annotation(self, body: bytes, _place: EventPlace) -> None:
        """MariaDB: the statement that wrote the rows that follow; the first one of a transaction may hold our comment."""
        opened = self._open
        if opened is None or opened.comment_seen or opened.is_xa or opened.read_again is not None:
            return
        opened.comment_seen = True
        if not opened.rows_seen:
            opened.identity = comment_token(body)
            opened.record = comment_record(self._wanted, body)

    def _table_map(self, body: bytes, place: EventPlace) -> None:
        if self._open is None:
            self._outside(place)
        at = (place.file, place.start) if self._open.read_again is None else None  # else it stands before its place
        table_id, layout = self.layouts.layout(body, at)
        self._open.tables[table_id] = layout

    def _rows(self, body: bytes, place: EventPlace) -> None:
        opened = self._open
        if opened is None or not opened.begun:
            self._outside(place)
        if opened.passed:
            return
        self.parts.add(opened, place.kind, body, place.size)
        if not opened.rows_seen:
            opened.rows_seen = True
            self._probe("reader.mid_tx")

    def _partial_rows(self, body: bytes, place: EventPlace) -> None:
        """MySQL's event 39: differences of JSON documents, not their values. Of an unwanted table they only count."""
        opened = self._open
        if opened is None or not opened.begun:
            self._outside(place)
        layout = opened.tables.get(int.from_bytes(body[:6], "little"))
        if layout is None:
            raise ValueError("rows of a table that the transaction has not named")
        if layout.role is Role.WANTED and not opened.passed:
            raise HaltError(
                "LOG_PARTIAL_JSON",
                f"PARTIAL_UPDATE_ROWS of {layout.schema}.{layout.name} at {place.file}:{place.start}: JSON was logged as differences",
                f"SET GLOBAL binlog_row_value_options = '' (and no session may change it), then {RESYNC}",
            )
        opened.next += 1

    # Where it ends

    def _xid(self, _body: bytes, place: EventPlace) -> None:
        if self._open is None or not self._open.begun:
            self._outside(place)
        self._finish(self._open, place)

    def _finish(self, opened: OpenTransaction, place: EventPlace) -> None:
        if opened.record_rows is not None:
            settle_record(opened)
        if opened.gtid and not opened.passed:
            self.gtids.add(*opened.gtid)
        self._boundary, self._held = (place.file, place.end), None
        if opened.rows or opened.resume is not None or opened.has_news:
            self.parts.end(opened, self.boundary)
        self._open = None
        self._probe("reader.after_event")

    def add_whole(self, whole: WholeTransaction) -> None:
        """One that was read elsewhere (`cdc.readers.mysql_small_transactions`): the next in the log, and not passed before."""
        self._probe("reader.mid_tx")
        if whole.gtid:
            self.gtids.add(*whole.gtid)
        self._boundary, self._held = (whole.file, whole.end), None
        order = self._writer.order(whole.file, whole.start)
        self.parts.add_whole(
            LogPart(
                order, 0, len(whole.rows), True, whole.committed_at, whole.identity, whole.transaction, self.boundary,
                whole.rows, size=whole.size,
            )
        )  # fmt: skip
        self._probe("reader.after_event")

    def _query(self, body: bytes, place: EventPlace) -> None:
        if body[QUERY_REST:] == self.begin_rest:
            self._begin(events.query_thread(body), place)
            return
        found = events.query(body, compressed=place.kind == events.QUERY_COMPRESSED)
        if found.text == b"BEGIN":
            if place.kind == events.QUERY:
                self.begin_rest = body[QUERY_REST:]
            self._begin(found.thread_id, place)
            return
        text = found.text.decode("utf-8", "replace")
        statement = classify(text)
        opened = self._open
        if statement is Statement.BEGIN:
            self._begin(found.thread_id, place)
        elif statement is Statement.XA_START:
            started = self._begin(found.thread_id, place)
            # Ours are never XA, and its session's number may be another session's, of ours, by the time it commits.
            started.identity, started.is_xa = "", started.read_again is None
        elif statement is Statement.XA_END:
            pass
        elif statement is Statement.XA_DECISION:
            self._decided(text, opened or self._start(place, place.timestamp * 1_000_000), place)
        elif statement is Statement.SAVEPOINT and opened is not None:
            opened.savepoints[savepoint_name(text)] = opened.next
        elif statement is Statement.ROLLBACK_TO_SAVEPOINT and opened is not None:
            if not self.parts.take_back(opened, savepoint_name(text)):
                self._unsupported(place, "ROLLBACK TO SAVEPOINT, after rows that it takes back were handed out,")
        elif statement is Statement.COMMIT and opened is not None:
            self._finish(opened, place)
        elif statement is Statement.ROLLBACK and opened is not None:
            self._roll_back(opened, place)
        else:
            self._statement(statement, text, found.schema, place)

    def _statement(self, statement: Statement, text: str, schema: str, place: EventPlace) -> None:
        """DDL and the like: told, not applied. Outside BEGIN it is a transaction of its own."""
        opened = self._open
        if opened is None or not opened.passed:
            order = opened.order if opened else self._writer.order(place.file, place.start)
            told = notices(statement, text, schema, self._wanted, f"{place.file}:{place.start}")
            self.notices += [Notice(event, line, order) for event, line in told]
        if opened is None:
            self._boundary, self._held = (place.file, place.end), None
        elif not opened.begun:
            self._finish(opened, place)

    def _roll_back(self, opened: OpenTransaction, place: EventPlace) -> None:
        if opened.resume is not None:
            self._torn(place)
        opened.rows, opened.record, opened.record_rows, opened.parked = [], None, None, []
        self._finish(opened, place)

    # XA transactions: see `cdc.readers.mysql_xa`

    def _xa_prepare(self, body: bytes, place: EventPlace) -> None:
        """The rows of an XA transaction are complete: they wait for their XA COMMIT, or this is it (in one phase)."""
        opened = self._open
        if opened is None:
            self._outside(place)
        settle_record(opened)
        one_phase, xid = events.xa_prepare(body)
        if opened.read_again is not None:
            if opened.read_again.xid != xid:
                raise ValueError("another transaction than the one that was prepared")
            self._forget(xid)
        elif opened.passed:
            pass
        elif not one_phase:
            self._hold(opened, xid, place)
        elif opened.too_large:
            self._commit(opened, self._place_of(opened, xid), place)
            return
        self._finish(opened, place)

    def _hold(self, opened: OpenTransaction, xid: str, place: EventPlace) -> None:
        idle = not (opened.has_news or opened.too_large)
        known = self._place_of(opened, xid, idle=idle)
        kept = None if opened.too_large or idle else structs.replace(opened)
        self._prepared.hold(known, kept, f"{place.file}:{place.start}")
        self._writer.set_prepared(self._prepared.text)
        opened.start_anew()

    def _place_of(self, opened: OpenTransaction, xid: str, *, idle: bool = False) -> Prepared:
        before = str(self.gtids) if isinstance(self.gtids, MariaDBGtids) else ""
        return Prepared(xid, opened.file, opened.start, opened.transaction, before, idle)

    def _decided(self, text: str, opened: OpenTransaction, place: EventPlace) -> None:
        xid = xid_of(text)
        if not opened.passed and "ROLLBACK" not in text[:_XA_VERB].upper():
            known = self._prepared.find(xid, f"{place.file}:{place.start}", partial(self._look_back, place))
            kept = self._prepared.cached(xid)
            if kept is not None:
                opened.adopt(kept)
            elif not known.idle:
                self._commit(opened, known, place)
                return
        if not opened.passed:
            self._forget(xid)
        self._finish(opened, place)

    def _forget(self, xid: str) -> None:
        self._prepared.forget(xid)
        self._writer.set_prepared(self._prepared.text)

    def _commit(self, opened: OpenTransaction, known: Prepared, place: EventPlace) -> None:
        """Its rows come next, read again from their place; its XA PREPARE will end them."""
        opened.start_anew()
        opened.read_again, opened.begun, opened.is_xa = known, True, False
        self._read_again(known, str(self.gtids), place)

    # What lies around it

    def _load_query(self, body: bytes, place: EventPlace) -> None:
        found = events.load_query(body)
        text = found.text.decode("utf-8", "replace")
        if self._open is None or not self._open.passed:
            notices(Statement.DATA, text, found.schema, self._wanted, f"{place.file}:{place.start}")
        if self._open is not None and not self._open.begun:
            self._finish(self._open, place)

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

    def unsupported(self, place: EventPlace) -> NoReturn:
        """An event of a kind that has no action."""
        self._unsupported(place, events.NAMES.get(place.kind, f"of type {place.kind}"))

    def _unsupported(self, place: EventPlace, what: str) -> NoReturn:
        raise HaltError("UNSUPPORTED_EVENT", f"event {what} at {place.file}:{place.start} cannot be read", RESYNC)

    def _torn(self, place: EventPlace) -> NoReturn:
        raise HaltError(
            "TRANSACTION_TORN", f"a transaction was not ended in the log before {place.file}:{place.start}", RESYNC
        )


_PASSED_OVER: Final = (
    events.INTVAR, events.RAND, events.USER_VAR, events.APPEND_BLOCK, events.DELETE_FILE, events.BEGIN_LOAD_QUERY,
    events.IGNORABLE, events.ROWS_QUERY, events.TRANSACTION_CONTEXT, events.VIEW_CHANGE, events.HEARTBEAT,
    events.HEARTBEAT_2, events.START_ENCRYPTION,
)  # fmt: skip
_OF_FILES: Final = (
    events.FORMAT_DESCRIPTION, events.ROTATE, events.STOP, events.PREVIOUS_GTIDS, events.GTID_LIST, events.BINLOG_CHECKPOINT,
)  # fmt: skip
