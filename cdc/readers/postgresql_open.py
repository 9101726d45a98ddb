"""The transaction that is being read, and the part of it that is being filled. Guards I2: what marks it as an apply of ours.

Our own transactions say so in their first rows (`datong_progress`) or in a logical message before any other row; the same after other
rows marks nothing, and is said.
"""

from __future__ import annotations

import msgspec

from cdc.errors import HaltError
from cdc.model import ApplyRecord, LogPart, ParkedKey, Position, RowChange
from cdc.readers import Notice, Wanted
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import lsn_text
from cdc.readers.pgoutput_runs import Row
from cdc.readers.postgresql_records import (
    ProgressLine,
    is_of,
    parked_key,
    progress_line,
    record_of_lines,
    record_of_message,
)
from cdc.readers.postgresql_relations import Layout
from sinks.bookkeeping import PARKED_TABLE, PROGRESS_TABLE, read_record_text


class OpenTransaction:
    """`index`: how many rows have been read; `resume`: where the log is read again if it ends before the transaction does."""

    __slots__ = (
        "_first", "_lines", "_message", "_notices", "_wanted", "begin", "echo_rows", "index", "parked", "resume", "rows", "size",
        "wanted_seen", "was_cut",
    )  # fmt: skip

    def __init__(self, begin: pg.Begin, resume: int, wanted: Wanted, notices: list[Notice]) -> None:
        self.begin = begin
        self.resume = resume
        self.index = 0
        self.rows: list[RowChange] = []
        self.size = 0
        self.echo_rows = 0
        self.parked: list[ParkedKey] = []
        self.wanted_seen = False
        self.was_cut = False
        self._first = 0
        self._lines: dict[str, ProgressLine] = {}
        self._message: ApplyRecord | None = None
        self._wanted = wanted
        self._notices = notices

    @property
    def is_own(self) -> bool:
        return bool(self._lines) or self._message is not None

    def cut(self, end: int, resume: Position, *, last: bool) -> LogPart:
        """What has been read since the last cut, as a part that ends before row `end`."""
        order, committed_at, xid = self.begin
        part = LogPart(
            order=order,
            first=self._first,
            end=end,
            last=last,
            committed_at=committed_at,
            identity=str(xid),
            transaction=f"{xid}/{lsn_text(order)}",
            resume=resume,
            rows=self.rows,
            record=self._record(),
            echo_rows=self.echo_rows,
            parked=tuple(self.parked),
            size=self.size,
        )
        self._first, self.rows, self.parked, self.size, self.was_cut = end, [], [], 0, True
        return part

    def take_progress(self, kind: int, data: bytes, at: int, layout: Layout) -> None:
        """A row of datong_progress."""
        if kind == pg.DELETE:
            return  # `datong remove`: no apply transaction deletes a line
        row = layout.rows.insert(data, at) if kind == pg.INSERT else layout.rows.update(data, at)[1]
        if not self._is_ours(row, layout):
            return
        if self.wanted_seen:
            self._out_of_place(f"a row of {PROGRESS_TABLE}")
            return
        line = progress_line(row, layout)
        self._lines[line.row.source] = line

    def take_parked(self, kind: int, data: bytes, at: int, layout: Layout) -> None:
        """A row of datong_parked. Raises HaltError where the log does not say of which key."""
        if kind == pg.UPDATE:
            return  # it only rewords a row that is parked already
        row = layout.rows.insert(data, at) if kind == pg.INSERT else layout.rows.delete(data, at)
        if not self._is_ours(row, layout):
            return
        key = parked_key(row, layout, parked=kind != pg.DELETE)
        if key is None:
            raise HaltError(
                "SCHEMA_CHANGED",
                f"a deleted row of {layout.table} lacks its key_text at {lsn_text(self.begin.final_lsn)}",
                f"run ALTER TABLE public.{PARKED_TABLE} REPLICA IDENTITY FULL; and `datong resync`",
            )
        self.parked.append(key)

    def take_message(self, message: pg.LogicalMessage) -> None:
        """A logical message with our prefix."""
        place = self.begin.final_lsn
        try:
            text = read_record_text(message.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = f"a logical message at {lsn_text(place)} is not of ours"
            self._notices.append(Notice("foreign_message", said, place))
            return
        if text.deployment != self._wanted.deployment or text.target != self._wanted.target:
            return
        if self.wanted_seen:
            self._out_of_place("an apply record")
            return
        self._message = record_of_message(text)

    def _record(self) -> ApplyRecord | None:
        if not self._lines:
            return self._message
        return record_of_lines(self._lines, self._wanted.deployment, self._wanted.target)

    def _is_ours(self, row: Row, layout: Layout) -> bool:
        return is_of(row, layout, self._wanted.deployment, self._wanted.target)

    def _out_of_place(self, what: str) -> None:
        place = self.begin.final_lsn
        text = (
            f"{what} stands after other rows in transaction {self.begin.xid} at {lsn_text(place)}: not an apply of ours"
        )
        self._notices.append(Notice("record_out_of_place", text, place))
