"""Our own apply transactions, recognised in a binary log: by the rows of datong_progress or by a comment. Pure. Guards I2.

Only a comment at the start of a statement or right after its verb counts: a text that a user stores may hold anything, and must never make a user's
transaction look like ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec

from cdc.model import ApplyRecord, ParkedKey, ProgressRow
from cdc.readers import Wanted
from sinks.bookkeeping import LEASE_SOURCE, read_record_text
from transforms.tables import Table

_HEAD: Final = rb"\s*(?:(?:INSERT|UPDATE|DELETE|REPLACE)\s+)?"
MARK: Final = b"/*datong:"  # no comment of ours is without it
_TOKEN: Final = re.compile(_HEAD + rb"/\*datong:([0-9a-f]{32})\*/", re.IGNORECASE)
_RECORD: Final = re.compile(
    _HEAD + rb"(?:/\*datong:[0-9a-f]{32}\*/\s*)?/\*datong:(\[.*?\])\*/", re.DOTALL | re.IGNORECASE
)


class RecordRows:
    """Gathers an apply record from the rows of datong_progress of one transaction."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._header: tuple[int, str, int] | None = None
        self._progress: dict[str, ProgressRow] = {}

    def add(self, table: Table, after_images: Iterable[tuple[object, ...]]) -> None:
        names = [column.name for column in table.columns]
        for image in after_images:
            row = cast("dict[str, Any]", dict(zip(names, image, strict=True)))
            if (row["deployment"], row["target"]) != (self._wanted.deployment, self._wanted.target):
                continue
            source = str(row["source"])
            if self._header is None or source != LEASE_SOURCE:
                self._header = (_number(row["epoch"]), str(row["token"]), _number(row["row_count"]))
            if source != LEASE_SOURCE:
                position, end, complete, hlc = map(
                    _number, (row["position"], row["row_end"], row["complete"], row["hlc"])
                )
                self._progress[source] = ProgressRow(source, position, end, bool(complete), hlc)

    def record(self) -> ApplyRecord | None:
        """None where no row was this deployment's and target's."""
        if self._header is None:
            return None
        epoch, token, rows = self._header
        progress = tuple(self._progress.values())
        return ApplyRecord(self._wanted.deployment, self._wanted.target, epoch, token, rows, progress)


def _number(value: object) -> int:
    """Raises ValueError: someone has changed the table, or the event is corrupt."""
    if not isinstance(value, int):
        raise ValueError("a row of our own tables has a value of an unexpected type")  # noqa: TRY004 - one of MALFORMED
    return value


def parked_keys(
    wanted: Wanted, table: Table, images: Iterable[tuple[object, ...]], *, parked: bool
) -> Iterable[ParkedKey]:
    """What rows of datong_parked say, of this deployment and target."""
    names = [column.name for column in table.columns]
    for image in images:
        row = dict(zip(names, image, strict=True))
        if (row["deployment"], row["target"]) == (wanted.deployment, wanted.target):
            yield ParkedKey(str(row["id"]), str(row["entity"]), str(row["key_text"]), parked)


def comment_token(statement: bytes) -> str:
    """The token of a comment `/*datong:TOKEN*/` or of a record in one; empty where there is none."""
    if MARK not in statement:
        return ""  # the usual case, found without a regular expression
    if match := _TOKEN.match(statement):
        return match[1].decode()
    if match := _RECORD.match(statement):
        try:
            return read_record_text(match[1]).token
        except msgspec.DecodeError:
            return ""
    return ""


def comment_record(wanted: Wanted, statement: bytes) -> ApplyRecord | None:
    """The apply record in a comment at the start of a statement, where it is this deployment's and target's."""
    match = _RECORD.match(statement) if MARK in statement else None
    if match is None:
        return None
    try:
        said = read_record_text(match[1])
    except msgspec.DecodeError:
        return None
    if (said.deployment, said.target) != (wanted.deployment, wanted.target):
        return None
    progress = tuple(
        ProgressRow(line.source, line.now.order, line.now.end, line.now.complete, line.now.hlc) for line in said.lines
    )
    return ApplyRecord(said.deployment, said.target, said.epoch, said.token, said.rows, progress)
