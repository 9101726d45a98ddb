"""Rows of our own two tables, and our logical messages, as the log shows them -> apply records and parked keys. Pure. Guards I2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cdc.model import ApplyRecord, ParkedKey, ProgressRow
from cdc.readers.pgoutput import ProtocolError
from cdc.readers.pgoutput_runs import Row
from cdc.readers.postgresql_relations import Layout
from sinks.bookkeeping import LEASE_SOURCE, PARKED_TABLE, PROGRESS_COLUMNS, PROGRESS_TABLE, RecordText
from transforms.values import ABSENT, ChannelValue

PROGRESS: Final = ("public", PROGRESS_TABLE)
PARKED: Final = ("public", PARKED_TABLE)
TABLES_OF_OURS: Final = {
    PROGRESS: frozenset(PROGRESS_COLUMNS),
    PARKED: frozenset({"deployment", "target", "id", "entity", "key_text"}),
}


@dataclass(frozen=True, slots=True)
class ProgressLine:
    """A row of datong_progress: what it says of its source, and of the apply transaction that wrote it."""

    row: ProgressRow
    epoch: int
    token: str
    rows: int


def is_of(row: Row, layout: Layout, deployment: str, target: str) -> bool:
    return row[layout.index_of["deployment"]] == deployment and row[layout.index_of["target"]] == target


def progress_line(row: Row, layout: Layout) -> ProgressLine:
    value = {name: row[index] for name, index in layout.index_of.items()}
    progress = ProgressRow(
        _text(value["source"]),
        _number(value["position"]),
        _number(value["row_end"]),
        bool(_number(value["complete"])),
        _number(value["hlc"]),
    )
    return ProgressLine(progress, _number(value["epoch"]), _text(value["token"]), _number(value["row_count"]))


def parked_key(row: Row, layout: Layout, *, parked: bool) -> ParkedKey | None:
    """None where the log's old row lacks what names the key (the table's replica identity is not full)."""
    key, entity, text = (row[layout.index_of[name]] for name in ("id", "entity", "key_text"))
    if entity is ABSENT or text is ABSENT:
        return None
    return ParkedKey(_text(key), _text(entity), _text(text), parked)


def record_of_lines(lines: dict[str, ProgressLine], deployment: str, target: str) -> ApplyRecord:
    """The record that a transaction's progress rows make, by source; the lease line's source is not in it."""
    sources = [line for source, line in lines.items() if source != LEASE_SOURCE]
    first = sources[0] if sources else lines[LEASE_SOURCE]
    return ApplyRecord(deployment, target, first.epoch, first.token, first.rows, tuple(line.row for line in sources))


def record_of_message(text: RecordText) -> ApplyRecord:
    progress = tuple(
        ProgressRow(line.source, line.now.order, line.now.end, line.now.complete, line.now.hlc)
        for line in text.lines
        if line.source != LEASE_SOURCE
    )
    return ApplyRecord(text.deployment, text.target, text.epoch, text.token, text.rows, progress)


def _text(value: ChannelValue) -> str:
    if not isinstance(value, str):
        raise ProtocolError("a row of our own tables has a value of an unexpected type")
    return value


def _number(value: ChannelValue) -> int:
    if not isinstance(value, int):
        raise ProtocolError("a row of our own tables has a value of an unexpected type")
    return value
