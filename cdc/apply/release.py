"""Trying parked changes again, or dropping one: an operator said so, or what they waited for may have come. Guards I4: a key's changes
go in their order.

Where rows of one key were inserted in two channels, the operator says whose row stays: `overwrite` where the other one is to come in,
`drop` where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from cdc.apply.bookkeeping import Bookkeeping
from cdc.apply.contested import given_up_with, giving_way_to, is_insert, is_rival
from cdc.apply.encoding import Encoder
from cdc.apply.folding import Attempt, fold
from cdc.apply.parking import ParkedKeys, parked_change
from cdc.apply.people import People
from cdc.model import Change, Layout
from cdc.store import Command
from sinks.contract import ParkedRow, Rejection, RowWrite, Sink
from transforms.compiled import CompiledMapping
from transforms.values import RefusedValueError

log = structlog.get_logger()

MOST_TOGETHER: Final = 200  # changes of one transaction

Transact = Callable[[int, Callable[[], None]], None]  # rows, what to do inside the marked transaction


@dataclass(frozen=True, slots=True)
class Hooks:
    """`describe` compiles the target's mappings against its tables as they are now; `alive` gives a beat between two keys."""

    describe: Callable[[], Iterable[CompiledMapping]]
    alive: Callable[[], None]


def hanging_together(rows: Sequence[ParkedRow], wanted: Iterable[str]) -> list[list[ParkedRow]]:
    """Groups of parked changes that share keys, directly or through a row that moves; those that touch a wanted key, in order."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for row in rows:
        for key in row.keys[1:]:
            parent[root(key)] = root(row.keys[0])
    roots = {root(key) for key in wanted}
    groups: dict[str, list[ParkedRow]] = {}
    for row in rows:
        if (of := root(row.keys[0])) in roots:
            groups.setdefault(of, []).append(row)
    return list(groups.values())


class Release:
    """Works off `retry` and `drop`. What hangs together goes in one transaction, with the removal of what it wrote."""

    def __init__(
        self,
        sink: Sink,
        encoder: Encoder,
        books: Bookkeeping,
        waiting: ParkedKeys,
        transact: Transact,
        hooks: Hooks,
        people: People | None = None,
    ) -> None:
        """`people` writes the changes of a target that has any; without it they go by the encoder alone."""
        self._people = people
        self._sink = sink
        self._encoder = encoder
        self._describe = hooks.describe
        self._alive = hooks.alive
        self._books = books
        self._waiting = waiting
        self._transact = transact
        # Who is told of changes that are parked for another reason than before: somebody else may be to release them.
        self.parked_anew: list[Callable[[Sequence[ParkedRow]], None]] = []

    def obey(self, command: Command) -> None:
        """The table may have been mended since this session began: it is described anew."""
        self._encoder.renew(self._describe())
        rows = self._books.parked()
        named = [row for row in rows if row.id == command.argument] if command.argument else rows
        if command.command == "overwrite":
            for row in named:
                self._overwrite(row, rows)
            return
        going: dict[str, ParkedRow] = {}
        if command.command == "drop":
            going = {row.id: row for row in named} | {row.id: row for row in self._given_up(named, rows)}
            self._drop(list(going.values()))
            rows = [row for row in rows if row.id not in going]
        self._retry_all(rows, hanging_together(rows, {key for row in (*named, *going.values()) for key in row.keys}))

    def _overwrite(self, insert: ParkedRow, rows: Sequence[ParkedRow]) -> None:
        """Let a row in over the one that is there. What gives way to it goes in the same transaction, or stays where the row is refused."""
        giving_way = giving_way_to(insert, rows) if self._is_contested(insert) else []
        gone = {row.id for row in giving_way}
        rest = [row for row in rows if row.id not in gone]
        self._alive()
        groups = hanging_together(rest, insert.keys)
        released = [row.id for group in groups for row in self._retry(group, over=insert, giving_way=giving_way)]
        # Where the insert is refused nothing gave way: tried again, it would be told to wait for those, and its own reason be lost.
        if giving_way and insert.id in released:
            left = self._books.parked()
            self._retry_all(left, hanging_together(left, {key for row in giving_way for key in row.keys}))

    def _given_up(self, named: Sequence[ParkedRow], rows: Sequence[ParkedRow]) -> list[ParkedRow]:
        """What goes with changes that are dropped: all that came of a row of which another one stays."""
        inserts = [row for row in named if self._is_contested(row) and is_rival(row, rows)]
        return [one for insert in inserts for one in given_up_with(insert, rows)]

    def _is_contested(self, row: ParkedRow) -> bool:
        mapping = self._encoder.mappings.get(row.entity)
        return mapping is not None and mapping.contested and is_insert(row)

    def parked(self) -> list[ParkedRow]:
        return self._books.parked()

    def retry(self, ids: Collection[str]) -> None:
        """Try changes again of which what they waited for has come, with what hangs together with them."""
        rows = self._books.parked()
        self._retry_all(rows, hanging_together(rows, {key for row in rows if row.id in ids for key in row.keys}))

    def retry_together(self, ids: Collection[str]) -> None:
        """Try changes again in one transaction, since rows that refer to each other are let in together only; none where all is in vain."""
        rows = self._books.parked()
        groups = hanging_together(rows, {key for row in rows if row.id in ids for key in row.keys})
        together = {row.id for group in groups for row in group}
        self._alive()
        if together:
            self._retry([row for row in rows if row.id in together], in_vain=False)

    def _retry_all(self, rows: Sequence[ParkedRow], groups: Sequence[list[ParkedRow]]) -> None:
        """Several groups in one transaction: a commit for each of thousands would hold up everything else. People's go one by one."""
        most = 1 if self._people is not None else MOST_TOGETHER
        chosen: set[str] = set()
        for number, group in enumerate(groups, 1):
            chosen.update(row.id for row in group)
            if len(chosen) >= most or number == len(groups):
                self._alive()
                self._retry([row for row in rows if row.id in chosen] if len(chosen) > len(group) else group)
                chosen = set()

    def _drop(self, rows: list[ParkedRow]) -> None:
        self._transact(0, lambda: self._books.unpark(rows))
        self._books.unparked(rows)
        self._waiting.remove(rows)
        _tell_dropped(rows)

    def _retry(
        self,
        rows: list[ParkedRow],
        *,
        in_vain: bool = True,
        over: ParkedRow | None = None,
        giving_way: Sequence[ParkedRow] = (),
    ) -> Sequence[ParkedRow]:
        """Write changes in their order; those that still cannot be stay, and what waits for them. Answers what was written.

        `in_vain`: also where none can be. `over` is written over the row of its key; where it could be, what gives way to it is dropped.
        """
        done: list[ParkedRow] = []
        anew: list[ParkedRow] = []  # for another reason than before
        gone: list[ParkedRow] = []

        def write() -> None:
            rejected, tried = self._tried(rows, over)
            gone.extend(giving_way if over is not None and rows.index(over) in {*tried} - rejected.keys() else ())
            done.extend(rows[ref] for ref in tried if ref not in rejected)
            if not done and not in_vain:
                raise _InVainError
            # Of what nothing maps now the reason stays.
            told = [(rows[ref], r.reason or rows[ref].reason, r) for ref, r in sorted(rejected.items())]
            anew.extend(
                replace(row, reason=reason, error=r.error, taken=r.taken)
                for row, reason, r in told
                if (reason, r.error, r.taken) != (row.reason, row.error, row.taken)
            )
            self._books.unpark([*done, *anew, *gone])
            self._books.park(anew, 0)

        try:
            self._transact(self._most_rows(rows), write)
        except _InVainError:
            self._sink.rollback()
            return ()
        if self._people is not None:
            self._people.committed()
        self._books.unparked([*done, *gone])
        self._waiting.remove([*done, *gone])
        _tell_dropped(gone)
        for tell in self.parked_anew:
            tell(anew)
        log.info("parked_retried", key_changes=len(rows), released=len(done), still_parked=len(rows) - len(done))
        return done

    def _most_rows(self, rows: list[ParkedRow]) -> int:
        if self._people is None:
            return 2 * len(rows)  # what is set aside first is written twice
        parked = [parked_change(row) for row in rows]
        return self._people.rows([(one.layout, one.change) for one in parked])

    def _tried(self, rows: list[ParkedRow], overwriting: ParkedRow | None) -> tuple[dict[int, Rejection], list[int]]:
        """What could not be written, by place, and the places that were tried: not what follows a change that cannot be encoded.

        The changes of a key are tried as one first: a later one may have mended what an earlier one was refused for.
        """
        attempts = [self._attempt(row, ref) for ref, row in enumerate(rows)]
        over = {ref for ref, row in enumerate(rows) if row is overwriting}
        if self._people is not None:
            with self._writing_over(bool(over)):
                return self._write(attempts, over)
        specs = [self._encoder.mapping_of(one.layout) for one in attempts]
        folded = fold(attempts, [spec.counters if spec is not None else frozenset() for spec in specs])
        rejected, tried = self._write(folded, over)
        if len(folded) == len(attempts):
            return rejected, tried
        done = {ref for one in folded if one.refs[0] in tried and one.refs[0] not in rejected for ref in one.refs}
        rejected, tried = self._write([one for one in attempts if one.refs[0] not in done], over)
        return rejected, sorted([*done, *tried])

    @contextmanager
    def _writing_over(self, over: bool) -> Iterator[None]:
        before = self._encoder.writes_over
        self._encoder.writes_over = before or over
        try:
            yield
        finally:
            self._encoder.writes_over = before

    def _write(self, attempts: Sequence[Attempt], over: Collection[int]) -> tuple[dict[int, Rejection], list[int]]:
        """Write in order, those of `over` over the rows of their keys; what could not be written and what was tried, by the first place."""
        rejected: dict[int, Rejection] = {}
        tried: list[int] = []
        work: list[tuple[Layout, Change]] = []
        writes: list[RowWrite] = []
        stopped: set[str] = set()
        for one in attempts:
            ref = one.refs[0]
            if stopped.isdisjoint(one.keys):
                try:
                    with self._writing_over(not set(over).isdisjoint(one.refs)):
                        writes += self._writes(one)
                except RefusedValueError as error:
                    reason = "refused" if self._encoder.mapping_of(one.layout) is not None else ""
                    rejected[ref] = Rejection(ref, reason, str(error), "")
                else:
                    tried.append(ref)
                    work.append((one.layout, one.change))
                    continue
            stopped.update(one.keys)
        if self._people is not None:
            rejected |= {tried[r.ref]: r for r in self._people.singly(work)}
        else:
            rejected |= {r.ref: r for r in self._sink.write_singly(writes)}
        return rejected, tried

    def _attempt(self, row: ParkedRow, ref: int) -> Attempt:
        parked = parked_change(row)
        return Attempt((ref,), parked.layout, parked.change, tuple(row.keys))

    def _writes(self, one: Attempt) -> list[RowWrite]:
        """The writes of a change, by the mapping as it is now; people say theirs in the transaction. Raises RefusedValueError."""
        if self._encoder.mapping_of(one.layout) is None:
            raise RefusedValueError(f"entity {one.layout.entity}", "no enabled mapping writes it here")
        return [] if self._people is not None else self._encoder.encode(one.layout, one.change, one.refs[0])


def _tell_dropped(rows: Iterable[ParkedRow]) -> None:
    for row in rows:
        log.warning("parked_dropped", id=row.id, mapping=row.mapping, reason=row.reason)


class _InVainError(Exception):
    """Nothing could be written: nothing is to be committed."""
