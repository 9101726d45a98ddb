"""Our sink as the applier uses it: a batch is a transaction that begins with the progress row. Row writes are made before the clock runs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from bench.harness.workload import COLUMNS, TABLE
from bench.writers.contract import CHANGED, Op
from sinks import open_sink
from sinks.connections import Address
from sinks.contract import Progress, ProgressMove, RowWrite, SinkOptions, TransactionHeader
from transforms.tables import Table


class Ours:
    def __init__(self, address: Address, *, progress: bool) -> None:  # noqa: ARG002 - it always does
        self._sink = open_sink(address, SinkOptions())
        self._sink.connect()
        self._sink.prepare()
        self._epoch = self._sink.take_over("bench", "target")
        self._known = self._sink.progress("bench").get("source")
        found = self._sink.describe(None, TABLE)
        assert found is not None
        self._table: Table = found

    def prepared(self, op: Op, batch: Sequence[Any]) -> list[RowWrite]:
        """Row writes as they come out of the encoder, which another benchmark measures."""
        table = self._table
        if op == "insert":
            return [RowWrite(table, op, ("id",), (one[0],), COLUMNS, one) for one in batch]
        if op == "update":
            return [RowWrite(table, op, ("id",), (one[-1],), CHANGED, one[:-1]) for one in batch]
        return [RowWrite(table, op, ("id",), one, (), ()) for one in batch]

    def write(self, op: Op, batch: Sequence[Any]) -> None:  # noqa: ARG002 - every write says its own
        order = self._known.order + 1 if self._known else 1
        now = Progress(order, 1, complete=True, hlc=order)
        move = ProgressMove("source", self._known, now)
        self._sink.begin(TransactionHeader("bench", "target", self._epoch, secrets.token_hex(16), len(batch), (move,)))
        self._sink.write(batch)
        self._sink.identity()  # which the loop guard needs before COMMIT
        self._sink.commit()
        self._known = now

    def close(self) -> None:
        self._sink.close()
