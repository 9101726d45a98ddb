"""Frames in which nothing stands but BEGIN, COMMIT and rows of mapped tables: their rows are decoded together, table by table. Pure.

Guards I4: the rows come out in the order of the log, whatever was decoded first. What a run holds was decoded without an error, so
whatever is wrong with frames is found by reading them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby, repeat
from struct import error as StructError  # noqa: N812 - a class with a name in lower case
from typing import Final, TypeAlias

from cdc.model import LogPart, Op, Position, RowChange
from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import MESSAGE_AT
from cdc.readers.pgoutput_runs import Row
from cdc.readers.postgresql_relations import Layout
from cdc.readers.postgresql_values import NewLabelError
from transforms.tables import Table

OPS: Final[dict[int, Op]] = {pg.INSERT: "insert", pg.UPDATE: "update", pg.DELETE: "delete"}
_BORDERS: Final = (pg.BEGIN, pg.COMMIT)
_BORDER_KINDS: Final = (b"B", b"C")
_KIND_AND_RELATION: Final = slice(MESSAGE_AT, MESSAGE_AT + 5)

Plans: TypeAlias = Mapping[bytes, tuple[Layout, int]]  # by a message's kind and relation
_Decoded: TypeAlias = tuple[Table, Op, Iterator[Row | None], Iterator[Row | None]]


class Run:
    """`frames` that are plain; `borders`: the numbers of those that are BEGIN or COMMIT."""

    __slots__ = ("_decoded", "_keys", "_only", "borders", "frames")

    def __init__(self, frames: list[bytes], keys: list[bytes], decoded: dict[bytes, _Decoded]) -> None:
        self.frames = frames
        self._keys = keys
        self._decoded = decoded
        self._only = next(iter(decoded.values())) if len(decoded) == 1 else None
        self.borders = (
            [number for number, key in enumerate(keys) if key[0] in _BORDERS] if len(set(keys)) > len(decoded) else []
        )

    def changes(self, start: int, end: int, index: int) -> Iterable[RowChange]:
        """The rows of the frames [start, end), of which the first is row `index` of its transaction.

        They are to be asked for in order, each once, and taken before the next are asked for.
        """
        if self._only is not None:
            table, op, before, after = self._only
            # Numbers first: where they end nothing more is taken of the rows.
            return map(RowChange, repeat(table), repeat(op), range(index, index + end - start), before, after)
        return chain.from_iterable(self._by_key(start, end, index))

    def _by_key(self, start: int, end: int, index: int) -> Iterator[Iterable[RowChange]]:
        for key, same in groupby(self._keys[start:end]):
            count = sum(1 for _ in same)
            table, op, before, after = self._decoded[key]
            yield map(RowChange, repeat(table), repeat(op), range(index, index + count), before, after)
            index += count

    def part(self, begin: int, commit: int, resume: Callable[[int], Position], after: int) -> LogPart | None:
        """The transaction from frame `begin` to frame `commit`, whole; None where those do not fit, or not behind place `after`."""
        frames = self.frames
        if frames[commit][MESSAGE_AT] != pg.COMMIT:
            return None
        try:
            order, committed_at, xid = pg.begin_fields(frames[begin], MESSAGE_AT)
            _flags, commit_lsn, end_lsn, _time = pg.commit_fields(frames[commit], MESSAGE_AT)
        except StructError:
            return None
        if order < after or commit_lsn != order or end_lsn <= order:
            return None
        if commit == begin + 2 and self._only is not None:
            table, op, old, new = self._only
            rows = [RowChange(table, op, 0, next(old), next(new))]
            size = len(frames[begin + 1])
        else:
            rows = list(self.changes(begin + 1, commit, 0))
            size = sum(map(len, frames[begin + 1 : commit]))
        return LogPart(
            order, 0, len(rows), True, committed_at + pg.EPOCH_2000, str(xid), f"{xid}/{order >> 32:X}/{order & 0xFFFFFFFF:X}",
            resume(end_lsn), rows, None, 0, (), size,
        )  # fmt: skip


def plain_keys(frames: list[bytes], at: int, plans: Plans) -> list[bytes]:
    """Kind and relation of each frame from `at` on, up to the first that is not plain."""
    some = frames[at:]
    keys = [frame[_KIND_AND_RELATION] for frame in some]
    others = {key for key in set(keys) if not (key in plans or key[:1] in _BORDER_KINDS)}
    if not others and [frame[0] for frame in some].count(pg.FRAME_DATA) == len(some):
        return keys
    for number, frame in enumerate(some):
        if keys[number] in others or frame[0] != pg.FRAME_DATA:
            return keys[:number]
    return keys


def decoded_run(frames: list[bytes], keys: list[bytes], plans: Plans) -> Run | None:
    """Plain frames, decoded; None where they had better be read one by one."""
    decoded: dict[bytes, _Decoded] = {}
    kinds = set(keys)
    try:
        for key in kinds:
            if (plan := plans.get(key)) is None:
                continue
            layout, kind = plan
            some = frames if len(kinds) == 1 else [frames[number] for number, its in enumerate(keys) if its == key]
            found = layout.rows.runs.read(kind, some)
            if found is None:
                return None
            decoded[key] = layout.table, OPS[kind], iter(found[0]), iter(found[1])
    except NewLabelError:
        return None
    return Run(frames, keys, decoded)


def change(plan: tuple[Layout, int], index: int, data: bytes, at: int) -> RowChange:
    """One row of a mapped table, read by itself."""
    layout, kind = plan
    before, after = layout.rows.row(kind, data, at)
    return RowChange(layout.table, OPS[kind], index, before, after)
