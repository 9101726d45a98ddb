"""Frames of a pgoutput stream -> parts of committed transactions. Pure but for the catalog behind `Relations` and the spool's files.

Guards I1, I4 (nothing unknown is passed over; rows in the log's order), I2 (apply transactions of ours are recognised by their first
rows or their message), I7 (`reached` is always a transaction boundary), I8 (a transaction is never held whole in memory).

A transaction comes from BEGIN to COMMIT, or in blocks while it is still open; then it is held in a `Spool` until its STREAM COMMIT
and read back from there like any other. Its parts have the same row numbers either way: the server sends rows in the order of its
log, and those of rolled back subtransactions not at all or with word of it. Which way it came may differ from one reading to the next.

Prepared transactions come at their COMMIT PREPARED, at that commit's place (the slot's `two_phase` is off). With it on they would come
at PREPARE, once: a reader that may not hand them out before COMMIT PREPARED would have to keep them durably over any restart, for
as long as someone forgets them. So the server keeps them, as it does with every open transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from cdc import sabotage
from cdc.model import LogPart, Position
from cdc.readers import LogBatch, Notice, Wanted
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import MESSAGE_AT, XID_SIZE, ProtocolError, lsn_text
from cdc.readers.postgresql_errors import truncated, unknown_message, unreadable, without_key
from cdc.readers.postgresql_open import OpenTransaction
from cdc.readers.postgresql_plain import OPS, Run, change, decoded_run, plain_keys
from cdc.readers.postgresql_position import NativePosition
from cdc.readers.postgresql_records import PARKED, PROGRESS
from cdc.readers.postgresql_relations import Layout, Relations
from cdc.readers.postgresql_spool import Spool
from cdc.readers.postgresql_values import NewLabelError
from sinks.bookkeeping import MESSAGE_PREFIX

_BATCH_ROWS: Final = 1_000
_BATCH_BYTES: Final = 4 << 20
_IN_BLOCK: Final = frozenset((*OPS, pg.RELATION, pg.TYPE, pg.TRUNCATE, pg.MESSAGE, pg.ORIGIN))
_WORTH: Final = 4  # frames: fewer are taken one by one
_STEP: Final = 5_000  # messages of a streamed transaction that are read back before the caller is asked again


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
        spool: Spool | None = None,
    ) -> None:
        self._wanted = wanted
        self._relations = relations
        self._at = native.places()
        self._part_rows, self._part_bytes = wanted.part_rows, wanted.part_bytes
        self._notices = notices
        self._probe = probe
        self._spool = spool or Spool(relations.wanted)
        self._layouts: dict[int, Layout | None] = {}
        self._announced: dict[int, pg.Relation] = {}
        self._progress: set[int] = set()
        self._parked: set[int] = set()
        self._open: OpenTransaction | None = None
        self._again: tuple[Iterator[bytes], int] | None = None  # a streamed transaction being read back, and its end
        # By a message's kind and relation: rows of mapped tables, and while they are to be decoded the same, else none.
        self._plans: dict[bytes, tuple[Layout, int]] = {}
        self._plans_now: dict[bytes, tuple[Layout, int]] = {}
        self._waiting: list[bytes] = []
        self._next = 0  # the first of them that has not been taken
        self._parts: list[LogPart] = []
        self._batch_rows = 0
        self._batch_bytes = 0
        self.reached = start_lsn
        self.full = False
        self._handlers: dict[int, Callable[[int, bytes, int], None]] = {
            pg.BEGIN: self._on_begin,
            pg.COMMIT: self._on_commit,
            pg.RELATION: self._on_relation,
            pg.INSERT: self._on_row,
            pg.UPDATE: self._on_row,
            pg.DELETE: self._on_row,
            pg.TRUNCATE: self._on_truncate,
            pg.MESSAGE: self._on_message,
            pg.TYPE: lambda _kind, _data, _at: None,  # the catalog knows more
            pg.ORIGIN: lambda _kind, _data, _at: None,  # the apply record decides, not an origin
            pg.STREAM_START: self._on_stream_start,
            pg.STREAM_STOP: self._on_stream_stop,
            pg.STREAM_COMMIT: self._on_stream_commit,
            pg.STREAM_ABORT: self._on_stream_abort,
        }

    @property
    def in_transaction(self) -> bool:
        return self._open is not None

    @property
    def is_reading_back(self) -> bool:
        return self._again is not None

    @property
    def has_parts(self) -> bool:
        return bool(self._parts)

    @property
    def spilled_bytes(self) -> int:
        return self._spool.spilled_bytes

    def close(self) -> None:
        self._spool.close()

    def feed(self, frames: Sequence[bytes] = ()) -> None:
        """Take in frames until the batch is full; the next call goes on. Raises HaltError with the place of what cannot be read."""
        self.hold(frames)
        try:
            if self._again is not None:
                self._read_back()
            self._take_waiting()
        except ProtocolError as error:
            raise unreadable(error, self._place()) from None

    def hold(self, frames: Sequence[bytes]) -> None:
        """Keep frames for the next `feed`."""
        if frames:
            self._waiting = [*self._waiting[self._next :], *frames]
            self._next = 0

    def _take_waiting(self) -> None:
        frames = self._waiting
        singly = 0  # up to this frame they are taken one by one
        while self._next < len(frames) and not self.full and self._again is None:
            at = self._next
            if at >= singly and not self._spool.in_block and (self._open is None or self._plans_now):
                keys = plain_keys(frames, at, self._plans)
                singly = at + len(keys)
                if len(keys) >= _WORTH and self._take_run(frames[at:singly], keys):
                    self._next = singly
                    continue
            self._next = at + 1
            frame = frames[at]
            plan = self._plans_now.get(frame[25:30])
            if plan is None or frame[0] != pg.FRAME_DATA:
                self._take_in(frame)
            else:
                self._on_wanted(plan, frame, MESSAGE_AT)

    def _take_run(self, frames: list[bytes], keys: list[bytes]) -> bool:
        """Take plain frames all at once; False, and nothing is taken, where that cannot be."""
        if (self._open.size if self._open else 0) + sum(map(len, frames)) >= self._part_bytes:
            return False  # a part's end may be among them
        run = decoded_run(frames, keys, self._plans)
        if run is None:
            return False
        at = 0
        for border, following in pairwise((*run.borders, len(frames))):
            if border < at:
                continue
            if at < border:
                self._on_rows(run, at, border)
            at = border + 1
            if frames[border][MESSAGE_AT] == pg.COMMIT:
                self._on_commit(pg.COMMIT, frames[border], MESSAGE_AT)
            elif self._open is None and at < following < len(frames) and self._take_whole(run, border, following):
                at = following + 1
            else:
                self._on_begin(pg.BEGIN, frames[border], MESSAGE_AT)
        if at < len(frames):
            self._on_rows(run, at, len(frames))
        return True

    def _take_whole(self, run: Run, begin: int, commit: int) -> bool:
        """Take the transaction from frame `begin` to `commit`, without an object of what is open; False where it is not as usual."""
        part = run.part(begin, commit, self._at, self.reached) if commit - begin <= self._part_rows else None
        if part is None:
            return False
        self._probe("reader.mid_tx")
        self._add(part)
        self.reached = part.resume.order
        self._probe("reader.after_event")
        return True

    def _on_rows(self, run: Run, at: int, end: int) -> None:
        """Rows of mapped tables, those of a run's frames [at, end)."""
        opened = self._current()
        while at < end:
            if len(opened.rows) >= self._part_rows:
                self._hand_out(opened, opened.index, self._at(opened.resume), last=False)
            count = min(end - at, self._part_rows - len(opened.rows))
            opened.rows += run.changes(at, at + count, opened.index)
            opened.index += count
            opened.size += sum(map(len, run.frames[at : at + count]))
            at += count
        self._saw_wanted(opened)

    def _take_in(self, frame: bytes) -> None:
        if frame[:1] == b"w":
            kind = pg.message_kind(frame)
            handler = self._handlers.get(kind) or self._known(kind)
            if not self._spool.in_block or kind == pg.STREAM_STOP:
                handler(kind, frame, MESSAGE_AT)
            elif kind not in _IN_BLOCK:
                raise ProtocolError(f"a message of kind {chr(kind)!r} within a block")
            elif kind != pg.ORIGIN:  # which has no transaction's number
                self._spool.add(frame)
        elif frame[:1] == b"k":
            alive = pg.read_keepalive(frame)
            # Frames are taken in order: all that commits before this place has been taken, unless it is still coming.
            if self._open is None and not self._spool.in_block and alive.wal_end > self.reached:
                self.reached = alive.wal_end
        else:
            raise ProtocolError("a frame is neither data nor a keep-alive")

    def _known(self, kind: int) -> Callable[[int, bytes, int], None]:
        handler = self._handlers.get(kind)
        if handler is None:
            raise unknown_message(kind, self._place())
        return handler

    def take(self, *, caught_up: bool) -> LogBatch:
        parts, self._parts = self._parts, []
        notices = list(self._notices)
        self._notices.clear()
        self._batch_rows = self._batch_bytes = 0
        self.full = False
        return LogBatch(parts, self._at(self.reached), caught_up, notices)

    def _place(self) -> str:
        return lsn_text(self._open.begin.final_lsn if self._open else self.reached)

    def _current(self) -> OpenTransaction:
        if self._open is None:
            raise ProtocolError("a message outside of any transaction")
        return self._open

    def _on_begin(self, _kind: int, data: bytes, at: int) -> None:
        self._begin(pg.read_begin(data, at))

    def _begin(self, begin: pg.Begin) -> None:
        if self._open is not None:
            raise ProtocolError("a BEGIN inside of a transaction")
        if begin.final_lsn < self.reached:
            raise ProtocolError(f"a transaction that commits before {lsn_text(self.reached)}")
        self._open = OpenTransaction(begin, self.reached, self._wanted, self._notices)
        self._plans_now = self._plans

    def _on_commit(self, _kind: int, data: bytes, at: int) -> None:
        commit = pg.read_commit(data, at)
        opened = self._current()
        if commit.commit_lsn != opened.begin.final_lsn or commit.end_lsn <= commit.commit_lsn:
            raise ProtocolError("a COMMIT that does not fit its BEGIN")
        self._end(opened, commit.end_lsn)

    def _end(self, opened: OpenTransaction, end_lsn: int) -> None:
        if opened.rows or opened.is_own or opened.parked or opened.was_cut:
            self._hand_out(opened, opened.index, self._at(end_lsn), last=True)
        self._open = None
        self._plans_now = {}
        self.reached = end_lsn
        self._probe("reader.after_event")

    def _on_stream_start(self, _kind: int, data: bytes, at: int) -> None:
        if self._open is not None:
            raise ProtocolError("a STREAM START inside of a transaction")
        xid, first = pg.read_stream_start(data, at)
        self._spool.start(xid, first=first)

    def _on_stream_stop(self, _kind: int, _data: bytes, _at: int) -> None:
        self._spool.stop()

    def _on_stream_abort(self, _kind: int, data: bytes, at: int) -> None:
        self._spool.abort(*pg.read_stream_abort(data, at))

    def _on_stream_commit(self, _kind: int, data: bytes, at: int) -> None:
        commit = pg.read_stream_commit(data, at)
        if commit.end_lsn <= commit.commit_lsn:
            raise ProtocolError("a STREAM COMMIT that ends before it begins")
        messages = self._spool.commit(commit.xid)
        self._begin(pg.Begin(commit.commit_lsn, commit.committed_at, commit.xid))
        self._again = messages, commit.end_lsn
        self._read_back()

    def _read_back(self) -> None:
        """Take messages of the streamed transaction until the batch is full, or some thousand."""
        assert self._again is not None
        messages, end_lsn = self._again
        for taken, message in enumerate(messages, 1):
            plan = self._plans_now.get(message[:1] + message[1 + XID_SIZE : 5 + XID_SIZE])
            if plan is None:
                self._known(message[0])(message[0], message, XID_SIZE)
            else:
                self._on_wanted(plan, message, XID_SIZE)
            if self.full or taken >= _STEP:
                return
        self._again = None
        self._end(self._current(), end_lsn)

    def _on_relation(self, _kind: int, data: bytes, at: int) -> None:
        relation = pg.read_relation(data, at)
        self._announced[relation.oid] = relation
        place = self._open.begin.final_lsn if self._open else self.reached
        layout = self._relations.layout(relation, place)
        name = (relation.schema, relation.name)
        for oids, table in ((self._progress, PROGRESS), (self._parked, PARKED)):
            oids.discard(relation.oid)
            if layout is not None and name == table:
                oids.add(relation.oid)
        self._set_layout(relation.oid, layout)

    def _set_layout(self, oid: int, layout: Layout | None) -> None:
        self._layouts[oid] = layout
        for kind in OPS:
            key = bytes((kind,)) + oid.to_bytes(4, "big")
            if layout is None or oid in self._progress or oid in self._parked or (layout.unkeyed and kind != pg.INSERT):
                self._plans.pop(key, None)
            else:
                self._plans[key] = layout, kind

    def _on_row(self, kind: int, data: bytes, at: int) -> None:
        """A row that is not simply one of a mapped table: `_on_wanted` has those."""
        opened = self._current()
        opened.index += 1
        oid = pg.relation_oid(data, at)
        try:
            layout = self._layouts[oid]
        except KeyError:
            raise ProtocolError("a row of a relation that was not announced") from None
        if layout is None:
            return
        if oid in self._progress:
            if not sabotage.ACTIVE.forgets_echo():
                opened.take_progress(kind, data, at, layout)
            if opened.is_own:
                self._plans_now = {}
        elif oid in self._parked:
            opened.take_parked(kind, data, at, layout)
        elif opened.is_own:
            opened.echo_rows += 1
        else:
            raise without_key(layout.table, layout.unkeyed, self._place())

    def _on_wanted(self, plan: tuple[Layout, int], data: bytes, at: int) -> None:
        opened = self._open
        assert opened is not None
        index = opened.index
        opened.index = index + 1
        # Only when a further row is there: so the last part is never empty.
        if len(opened.rows) >= self._part_rows or opened.size >= self._part_bytes:
            self._hand_out(opened, index, self._at(opened.resume), last=False)
        while True:
            try:
                opened.rows.append(change(plan, index, data, at))
                break
            except NewLabelError as error:
                error.remember()
                plan = self._renewed(plan[0]), plan[1]
        opened.size += len(data)
        self._saw_wanted(opened)

    def _saw_wanted(self, opened: OpenTransaction) -> None:
        if not opened.wanted_seen:
            opened.wanted_seen = True
            self._probe("reader.mid_tx")

    def _renewed(self, layout: Layout) -> Layout:
        """The layout with an enum's labels as they are now."""
        found = self._relations.layout_anew(self._announced[layout.oid], self._current().begin.final_lsn) or layout
        self._set_layout(layout.oid, found)
        return found

    def _hand_out(self, opened: OpenTransaction, end: int, resume: Position, *, last: bool) -> None:
        self._add(opened.cut(end, resume, last=last))

    def _add(self, part: LogPart) -> None:
        self._parts.append(part)
        self._batch_rows += len(part.rows) + 1
        self._batch_bytes += part.size
        self.full = self._batch_rows >= _BATCH_ROWS or self._batch_bytes >= _BATCH_BYTES

    def _on_truncate(self, _kind: int, data: bytes, at: int) -> None:
        place = self._current().begin.final_lsn
        for oid in pg.read_truncate(data, at):
            layout = self._layouts.get(oid)
            if layout is None or oid in self._progress or oid in self._parked:
                continue
            table = layout.table
            if (table.schema, table.name) not in self._wanted.ignore_truncate:
                raise truncated(table, lsn_text(place))
            text = f"table {table} was truncated at {lsn_text(place)}: not replicated"
            self._notices.append(Notice("truncate_seen", text, place))

    def _on_message(self, _kind: int, data: bytes, at: int) -> None:
        message = pg.read_message(data, at)
        if message.transactional and message.prefix == MESSAGE_PREFIX:
            opened = self._current()
            opened.take_message(message)
            if opened.is_own:
                self._plans_now = {}
