"""Frames of a pgoutput stream -> parts of committed transactions. Pure but for the catalog behind `Relations`.

Guards I1, I4 (nothing unknown is passed over; rows in the log's order), I2 (apply transactions of ours are recognised by their first
rows or their message), I7 (`reached` is always a transaction boundary), I8 (a transaction is never held whole).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cdc import sabotage
from cdc.errors import HaltError
from cdc.model import ApplyRecord, LogPart, Op, ParkedKey, Position, RowChange
from cdc.readers import LogBatch, Notice, Wanted
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import ProtocolError, lsn_text
from cdc.readers.postgresql_position import NativePosition
from cdc.readers.postgresql_records import (
    PARKED,
    PROGRESS,
    ProgressLine,
    is_of,
    parked_key,
    progress_line,
    record_of_lines,
    record_of_message,
)
from cdc.readers.postgresql_relations import Layout, Relations
from cdc.readers.postgresql_values import NewLabelError
from sinks.bookkeeping import MESSAGE_PREFIX, PARKED_TABLE, PROGRESS_TABLE, read_record_text

_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 4 << 20
_OPS: Final[dict[int, Op]] = {pg.INSERT: "insert", pg.UPDATE: "update", pg.DELETE: "delete"}


class _Open:
    """The transaction that is being read, and the part of it that is being filled."""

    __slots__ = (
        "begin", "echo_rows", "first", "index", "lines", "message", "parked", "resume", "rows", "size", "wanted_seen", "was_cut",
    )  # fmt: skip

    def __init__(self, begin: pg.Begin, resume: int) -> None:
        self.begin = begin
        self.resume = resume
        self.index = 0
        self.first = 0
        self.rows: list[RowChange] = []
        self.size = 0
        self.echo_rows = 0
        self.parked: list[ParkedKey] = []
        self.lines: dict[str, ProgressLine] = {}
        self.message: ApplyRecord | None = None
        self.wanted_seen = False
        self.was_cut = False

    @property
    def is_own(self) -> bool:
        return bool(self.lines) or self.message is not None


class Transactions:
    """Fed with frames in the stream's order, it collects a batch until `full`; `take` hands it out."""

    def __init__(
        self,
        wanted: Wanted,
        relations: Relations,
        native: NativePosition,
        start_lsn: int,
        notices: list[Notice],
        probe: Callable[[str], None],
    ) -> None:
        self._wanted = wanted
        self._relations = relations
        self._native = native
        self._notices = notices
        self._probe = probe
        self._layouts: dict[int, Layout | None] = {}
        self._announced: dict[int, pg.Relation] = {}
        self._progress: set[int] = set()
        self._parked: set[int] = set()
        self._open: _Open | None = None
        self._parts: list[LogPart] = []
        self._batch_rows = 0
        self._batch_bytes = 0
        self.reached = start_lsn
        self.full = False
        self._handlers: dict[int, Callable[[bytes], None]] = {
            pg.BEGIN: self._on_begin,
            pg.COMMIT: self._on_commit,
            pg.RELATION: self._on_relation,
            pg.INSERT: self._on_row,
            pg.UPDATE: self._on_row,
            pg.DELETE: self._on_row,
            pg.TRUNCATE: self._on_truncate,
            pg.MESSAGE: self._on_message,
            pg.TYPE: lambda _frame: None,  # the catalog knows more
            pg.ORIGIN: lambda _frame: None,  # the apply record decides, not an origin
        }

    @property
    def in_transaction(self) -> bool:
        return self._open is not None

    @property
    def has_parts(self) -> bool:
        return bool(self._parts)

    def feed(self, frame: bytes) -> None:
        """Take one frame. Raises HaltError with the place where what cannot be read is."""
        try:
            self._take_in(frame)
        except ProtocolError as error:
            raise HaltError(
                "LOG_UNREADABLE", f"{error} (at {self._place()})",
                "look whether something between us and the server changes the stream; report it if not",
            ) from None  # fmt: skip

    def _take_in(self, frame: bytes) -> None:
        if frame[:1] == b"k":
            alive = pg.read_keepalive(frame)
            # Frames are taken in order: all that commits before this place has been taken, unless it is still coming.
            if self._open is None and alive.wal_end > self.reached:
                self.reached = alive.wal_end
            return
        if frame[:1] != b"w":
            raise ProtocolError("a frame is neither data nor a keep-alive")
        kind = pg.message_kind(frame)
        handler = self._handlers.get(kind)
        if handler is None:
            raise HaltError(
                "UNSUPPORTED_EVENT",
                f"the stream holds a message of kind {chr(kind)!r} at {self._place()}",
                "this version of Datong does not know it: see the documentation of PostgreSQL versions",
            )
        handler(frame)

    def take(self, *, caught_up: bool) -> LogBatch:
        parts, self._parts = self._parts, []
        notices = list(self._notices)
        self._notices.clear()
        self._batch_rows = self._batch_bytes = 0
        self.full = False
        return LogBatch(parts, self._native.at(self.reached), caught_up, notices)

    def _place(self) -> str:
        return lsn_text(self._open.begin.final_lsn if self._open else self.reached)

    def _current(self) -> _Open:
        if self._open is None:
            raise ProtocolError("a message outside of any transaction")
        return self._open

    def _on_begin(self, frame: bytes) -> None:
        if self._open is not None:
            raise ProtocolError("a BEGIN inside of a transaction")
        begin = pg.read_begin(frame)
        if begin.final_lsn < self.reached:
            raise ProtocolError(f"a transaction that commits before {lsn_text(self.reached)}")
        self._open = _Open(begin, self.reached)

    def _on_commit(self, frame: bytes) -> None:
        commit = pg.read_commit(frame)
        opened = self._current()
        if commit.commit_lsn != opened.begin.final_lsn or commit.end_lsn <= commit.commit_lsn:
            raise ProtocolError("a COMMIT that does not fit its BEGIN")
        if opened.rows or opened.is_own or opened.parked or opened.was_cut:
            self._hand_out(opened, opened.index, self._native.at(commit.end_lsn), last=True)
        self._open = None
        self.reached = commit.end_lsn
        self._probe("reader.after_event")

    def _on_relation(self, frame: bytes) -> None:
        relation = pg.read_relation(frame)
        self._announced[relation.oid] = relation
        at = self._open.begin.final_lsn if self._open else self.reached
        self._layouts[relation.oid] = layout = self._relations.layout(relation, at)
        name = (relation.schema, relation.name)
        for oids, table in ((self._progress, PROGRESS), (self._parked, PARKED)):
            oids.discard(relation.oid)
            if layout is not None and name == table:
                oids.add(relation.oid)

    def _on_row(self, frame: bytes) -> None:
        opened = self._current()
        index = opened.index
        opened.index = index + 1
        oid = pg.relation_oid(frame)
        try:
            layout = self._layouts[oid]
        except KeyError:
            raise ProtocolError("a row of a relation that was not announced") from None
        if layout is None:
            return
        if oid in self._progress:
            if not sabotage.ACTIVE.forgets_echo():
                self._on_progress(frame, layout, opened)
        elif oid in self._parked:
            self._on_parked(frame, layout, opened)
        elif opened.lines or opened.message is not None:
            opened.echo_rows += 1
        else:
            self._on_wanted(frame, layout, opened, index)

    def _on_wanted(self, frame: bytes, layout: Layout, opened: _Open, index: int) -> None:
        # Only when a further row is there: so the last part is never empty.
        if len(opened.rows) >= self._wanted.part_rows or opened.size >= self._wanted.part_bytes:
            self._hand_out(opened, index, self._native.at(opened.resume), last=False)
        kind = frame[pg.MESSAGE_AT]
        while True:
            try:
                before, after = _images(kind, frame, layout)
                break
            except NewLabelError:
                layout = self._relations.layout_anew(self._announced[layout.oid], opened.begin.final_lsn) or layout
                self._layouts[layout.oid] = layout
        opened.rows.append(RowChange(layout.table, _OPS[kind], index, before, after))
        opened.size += len(frame)
        if not opened.wanted_seen:
            opened.wanted_seen = True
            self._probe("reader.mid_tx")

    def _hand_out(self, opened: _Open, end: int, resume: Position, *, last: bool) -> None:
        begin = opened.begin
        self._parts.append(
            LogPart(
                order=begin.final_lsn,
                first=opened.first,
                end=end,
                last=last,
                committed_at=begin.committed_at,
                identity=str(begin.xid),
                transaction=f"{begin.xid}/{lsn_text(begin.final_lsn)}",
                resume=resume,
                rows=opened.rows,
                record=self._record(opened),
                echo_rows=opened.echo_rows,
                parked=tuple(opened.parked),
                size=opened.size,
            )
        )
        self._batch_rows += len(opened.rows) + 1
        self._batch_bytes += opened.size
        self.full = self._batch_rows >= _BATCH_ROWS or self._batch_bytes >= _BATCH_BYTES
        opened.first = end
        opened.rows = []
        opened.parked = []
        opened.size = 0
        opened.was_cut = True

    def _record(self, opened: _Open) -> ApplyRecord | None:
        if not opened.lines:
            return opened.message
        return record_of_lines(opened.lines, self._wanted.deployment, self._wanted.target)

    def _is_ours(self, row: pg.Row, layout: Layout) -> bool:
        return is_of(row, layout, self._wanted.deployment, self._wanted.target)

    def _on_progress(self, frame: bytes, layout: Layout, opened: _Open) -> None:
        kind = frame[pg.MESSAGE_AT]
        if kind == pg.DELETE:
            return  # `datong remove`: no apply transaction deletes a line
        row = layout.rows.insert(frame) if kind == pg.INSERT else layout.rows.update(frame)[1]
        if not self._is_ours(row, layout):
            return
        if opened.wanted_seen:
            self._out_of_place(opened, f"a row of {PROGRESS_TABLE}")
            return
        line = progress_line(row, layout)
        opened.lines[line.row.source] = line

    def _on_parked(self, frame: bytes, layout: Layout, opened: _Open) -> None:
        kind = frame[pg.MESSAGE_AT]
        if kind == pg.UPDATE:
            return  # it only rewords a row that is parked already
        row = layout.rows.insert(frame) if kind == pg.INSERT else layout.rows.delete(frame)
        if not self._is_ours(row, layout):
            return
        key = parked_key(row, layout, parked=kind != pg.DELETE)
        if key is None:
            raise HaltError(
                "SCHEMA_CHANGED",
                f"a deleted row of {layout.table} lacks its key_text at {self._place()}",
                f"run ALTER TABLE public.{PARKED_TABLE} REPLICA IDENTITY FULL; and `datong resync`",
            )
        opened.parked.append(key)

    def _on_truncate(self, frame: bytes) -> None:
        at = self._current().begin.final_lsn
        for oid in pg.read_truncate(frame):
            layout = self._layouts.get(oid)
            if layout is not None and oid not in self._progress and oid not in self._parked:
                text = f"table {layout.table} was truncated at {lsn_text(at)}: not replicated"
                self._notices.append(Notice("truncate_seen", text, at))

    def _on_message(self, frame: bytes) -> None:
        message = pg.read_message(frame)
        if not message.transactional or message.prefix != MESSAGE_PREFIX:
            return
        opened = self._current()
        try:
            text = read_record_text(message.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._notices.append(
                Notice(
                    "foreign_message", f"a logical message at {self._place()} is not of ours", opened.begin.final_lsn
                )
            )
            return
        if text.deployment != self._wanted.deployment or text.target != self._wanted.target:
            return
        if opened.wanted_seen:
            self._out_of_place(opened, "an apply record")
            return
        opened.message = record_of_message(text)

    def _out_of_place(self, opened: _Open, what: str) -> None:
        text = (
            f"{what} stands after other rows in transaction {opened.begin.xid} at {self._place()}: not an apply of ours"
        )
        self._notices.append(Notice("record_out_of_place", text, opened.begin.final_lsn))


def _images(kind: int, frame: bytes, layout: Layout) -> tuple[pg.Row | None, pg.Row | None]:
    """Before and after of a row message."""
    if kind == pg.INSERT:
        return None, layout.rows.insert(frame)
    if kind == pg.UPDATE:
        return layout.rows.update(frame)
    return layout.rows.delete(frame), None
