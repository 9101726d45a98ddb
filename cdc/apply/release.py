"""Trying parked changes again, or dropping one, because an operator said so. Guards I4: a key's changes go in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from cdc.apply.bookkeeping import Bookkeeping
from cdc.apply.encoding import Encoder
from cdc.apply.parking import ParkedKeys, parked_change
from cdc.store import Command
from sinks.contract import ParkedRow, Rejection, RowWrite, Sink
from transforms.values import RefusedValueError

log = structlog.get_logger()

Transact = Callable[[int, Callable[[], None]], None]  # rows, what to do inside the marked transaction


class Release:
    """Works off `retry` and `drop`; each key in one transaction of its own, with the removal of what it wrote."""

    def __init__(
        self, sink: Sink, encoder: Encoder, books: Bookkeeping, waiting: ParkedKeys, transact: Transact
    ) -> None:
        self._sink = sink
        self._encoder = encoder
        self._books = books
        self._waiting = waiting
        self._transact = transact

    def obey(self, command: Command) -> None:
        rows = self._books.parked()
        named = [row for row in rows if row.id == command.argument] if command.argument else rows
        if command.command == "drop":
            self._drop(named)
            rows = [row for row in rows if row not in named]
        keys = dict.fromkeys(row.key_text for row in named)
        for key in keys:
            self._retry([row for row in rows if row.key_text == key])

    def _drop(self, rows: list[ParkedRow]) -> None:
        self._transact(0, lambda: self._books.unpark(rows))
        self._books.unparked(rows)
        self._waiting.remove(rows)
        for row in rows:
            log.warning("parked_dropped", id=row.id, mapping=row.mapping, reason=row.reason)

    def _retry(self, rows: list[ParkedRow]) -> None:
        """Write the changes of one key in their order, up to the first that still cannot be."""
        done: list[ParkedRow] = []
        still: list[ParkedRow] = []

        def write() -> None:
            writes, failed = self._encode(rows)
            rejected = {r.ref: r for r in self._sink.write_singly(writes)} | failed
            first = min(rejected, default=len(rows))
            done.extend(rows[:first])
            if first < len(rows):
                still.append(replace(rows[first], reason=rejected[first].reason, error=rejected[first].error))
            self._books.unpark([*done, *still])
            self._books.park(still, 0)

        self._transact(len(rows), write)
        self._books.unparked(done)
        self._waiting.remove(done)
        log.info("parked_retried", key_changes=len(rows), released=len(done), still_parked=len(rows) - len(done))

    def _encode(self, rows: list[ParkedRow]) -> tuple[list[RowWrite], dict[int, Rejection]]:
        """The writes up to the first change that cannot be encoded, and that one."""
        writes: list[RowWrite] = []
        for ref, row in enumerate(rows):
            parked = parked_change(row)
            if self._encoder.mapping_of(parked.layout) is None:
                return writes, {ref: Rejection(ref, row.reason, "no enabled mapping writes this entity here", "")}
            try:
                write = self._encoder.encode(parked.layout, parked.change, ref)
            except RefusedValueError as error:
                return writes, {ref: Rejection(ref, "refused", str(error), "")}
            if write is not None:
                writes.append(write)
        return writes, {}
