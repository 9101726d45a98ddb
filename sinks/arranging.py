"""From row writes in their order to groups for the fewest statements, the end of the transaction being the same. Guards I4. Pure.

Within one transaction only its end is seen, so writes may change places, and changes of one row become one, as long as

- changes of one row stay in their order (a delete before an insert is never dropped: what is not mapped begins anew with the row);
- where a table has another unique key, whatever may take or free its values stays in order (TRAPS.md W7);
- parents are written before children and deleted after them (foreign keys of the target), but what a child becomes never moves
  before a parent's delete that it came after: a cascade would take it along.

A group is written row by row or at once, in its order, and never holds a row twice, but for deletes. Levels keep
what must stay in order apart; within a level come inserts, then updates, then deletes. If the database refuses a group after all, the
batch is written again in strict order (`sinks.singly`), so that a wrong guess here costs time and nothing else.
"""

from __future__ import annotations

import decimal
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from sinks.contract import RowWrite
from sinks.runs import canonical, moves_key
from transforms.tables import Table
from transforms.values import ChannelValue

Name: TypeAlias = tuple[str, str]
_Key: TypeAlias = tuple[ChannelValue, ...]
# Level, phase, depth of foreign keys, number of the table, number of the shape: groups are written in this order.
_Place: TypeAlias = tuple[int, int, int, int, int]

_UPDATE: Final = 1
_DELETE: Final = 2
_PHASES: Final = {"insert": 0, "update": _UPDATE, "delete": _DELETE}


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What of a table decides about order.

    `unique`: the columns of each unique index, "" for a part that is no plain column. `parents`: tables that its foreign keys
    refer to; `foreign_columns`: those keys' columns.
    """

    unique: frozenset[tuple[str, ...]] = frozenset()
    parents: frozenset[Name] = frozenset()
    foreign_columns: frozenset[str] = frozenset()

    def unique_besides(self, key_columns: Sequence[str]) -> frozenset[str]:
        """The columns of unique indexes other than the one on these; "" stands for any."""
        key = set(key_columns)
        return frozenset(column for index in self.unique if set(index) != key for column in index)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all writes of one operation and columns have in common. `takes`: they may take or free unique values besides the key's."""

    number: int
    phase: int
    moves: bool
    takes: bool
    free: bool  # only the row itself decides about their place


@dataclass(slots=True)
class _State:
    """What has been placed of one table."""

    facts: TableFacts
    number: int
    key_columns: tuple[str, ...] = ()
    unique: frozenset[str] = frozenset()
    children: list[_State] = field(default_factory=list)
    parents: list[_State] = field(default_factory=list)
    rows: dict[_Key, _Place] = field(default_factory=dict)  # where a row was written last
    shapes: dict[tuple[object, ...], _Shape] = field(default_factory=dict)
    depth: int = 0
    floor: int = 0
    top: int = -1
    ordered: _Place | None = None  # the last write that may take or free a unique value, and its row
    ordered_row: _Key = ()
    written: int = -1  # the highest level of inserts and updates, of deletes, of updates that others may refer to
    deleted: int = -1
    moved: int = -1


def arranged(runs: Sequence[Sequence[RowWrite]], facts: Callable[[Table], TableFacts]) -> Iterator[Sequence[RowWrite]]:
    """Groups of writes of one table, operation and columns, in an order that ends as the writes' own order does.

    `runs`: the writes as `sinks.runs.runs` splits them.
    """
    if len(runs) == 1 and runs[0][0].op == "delete":
        return iter(runs)  # in order, and a row that is deleted twice is gone
    if len(runs) == 1 and not moves_key(runs[0][0]) and _are_all_others(runs[0]):
        return iter(runs)  # most of what is written: each row once, and all in the same way, already in order
    return _Arrangement(facts).of(runs)


def _are_all_others(run: Sequence[RowWrite]) -> bool:
    """Whether no row is twice in a run."""
    if len(run[0].key_columns) == 1:
        firsts = [write.key[0] for write in run]  # cheaper than their tuples
        if str not in set(map(type, firsts)):
            return len(set(firsts)) == len(run)
    return len(set(_row_names(run))) == len(run)


def _row_names(run: Sequence[RowWrite]) -> Sequence[_Key]:
    """The keys of a run's rows, equal for all that some collation may hold for equal (`canonical`)."""
    keys = [write.key for write in run]
    if str in set(map(type, itertools.chain.from_iterable(keys))):
        return [tuple(map(canonical, key)) for key in keys]
    return keys


class _Arrangement:
    def __init__(self, facts: Callable[[Table], TableFacts]) -> None:
        self._facts = facts
        self._states: dict[Name, _State] = {}
        self._groups: dict[_Place, dict[_Key, RowWrite]] = {}

    def of(self, runs: Sequence[Sequence[RowWrite]]) -> Iterator[list[RowWrite]]:
        self._meet([run[0].table for run in runs])
        for run in runs:
            first = run[0]
            state = self._states[first.table.schema, first.table.name]
            if first.key_columns != state.key_columns:
                self._change_key(state, first.key_columns)
            shape = _shape(state, first)
            keys = _row_names(run)
            if shape.free and len(set(keys)) == len(run) and state.rows.keys().isdisjoint(keys):
                self._put_all(state, keys, run, shape)
            else:
                for key, write in zip(keys, run, strict=True):
                    self._add(state, key, write, shape)
        for place in sorted(self._groups):
            if group := self._groups[place]:
                yield list(group.values())

    def _meet(self, tables: list[Table]) -> None:
        """Make the states of all tables, with their depth: how many foreign keys lead up from each."""
        for table in {id(table): table for table in tables}.values():
            name = (table.schema, table.name)
            if name not in self._states:
                self._states[name] = _State(self._facts(table), len(self._states))
        for state in self._states.values():
            for parent in state.facts.parents:
                above = self._states.get(parent)
                if above is not None and above is not state:
                    state.parents.append(above)
                    above.children.append(state)
        for state in self._states.values():
            state.depth = _depth(state, [])

    def _change_key(self, state: _State, key_columns: tuple[str, ...]) -> None:
        """Rows that are found by other columns cannot be told apart from those before: they all come after."""
        state.key_columns = key_columns
        state.unique = state.facts.unique_besides(key_columns)
        state.floor = state.top + 1
        state.rows.clear()
        state.ordered = None

    def _add(self, state: _State, key: _Key, write: RowWrite, shape: _Shape) -> None:
        before = state.rows.get(key)
        if before is not None and not shape.moves and self._unite(state, key, write, shape, before):
            return
        level = self._level(state, shape)
        if before is not None:
            level = _after(level, shape.phase, before)
        there = _moved_to(write) if shape.moves else key
        if there != key and (occupied := state.rows.get(there)) is not None:
            level = _after(level, shape.phase, occupied)
        state.rows[there] = self._put(state, key, write, shape, level)

    @staticmethod
    def _level(state: _State, shape: _Shape) -> int:
        """The lowest level that keeps a write behind what it must not overtake in other rows and tables."""
        level = state.floor
        if shape.takes and state.ordered is not None:
            last_level, last_phase, *_, last_shape = state.ordered
            overtakes = last_phase > shape.phase or (last_phase == shape.phase and last_shape != shape.number)
            level = max(level, last_level + 1 if overtakes else last_level)
        if shape.phase == _DELETE:
            return max([level, *(max(child.written, child.deleted) for child in state.children)])
        for parent in state.parents:
            level = max(level, parent.written, parent.deleted + 1, parent.moved + 1)
        if shape.phase == _UPDATE and (shape.takes or shape.moves):  # of a value that others may refer to
            level = max([level, *(max(child.written, child.deleted) + 1 for child in state.children)])
        return level

    def _unite(self, state: _State, key: _Key, write: RowWrite, shape: _Shape, place: _Place) -> bool:
        """Make one write of this and the row's last one, where nothing can tell; answers whether it could."""
        group = self._groups[place]
        last = group.get(key)
        if last is None or last.key != write.key or moves_key(last):
            return False  # another row, which only some collation holds for this one; or another row became this one
        if write.only or last.only or write.lenient or last.lenient:
            return False  # which row it is, only the database knows
        if shape.phase == _DELETE:
            if (
                last.op == "update"
                and (state.ordered != place or state.ordered_row != key)
                and _shape(state, last).takes
            ):
                return False  # some other row may have taken the unique value that this one gave up
            if last.op == "insert" and (last.anew or any(child.written >= 0 for child in state.children)):
                return False  # the row that is there may be another one; or a child may have referred to it for a while
            if last.op != "delete":
                del group[key]
                self._put(state, key, write, shape, max(place[0], self._level(state, shape)))
            return True
        if shape.phase == _UPDATE and not state.facts.foreign_columns.isdisjoint(write.columns):
            return False
        if shape.takes and (state.ordered != place or state.ordered_row != key):
            return False  # some other row may have taken or freed a unique value since
        one = united(last, write)
        if one is None or (state.unique and one.columns != last.columns):
            return False
        if one.columns == last.columns and one.deltas == last.deltas:
            group[key] = one
        else:
            del group[key]
            self._put(state, key, one, _shape(state, one), place[0])
        return True

    def _put_all(self, state: _State, keys: Sequence[_Key], writes: Sequence[RowWrite], shape: _Shape) -> None:
        """Rows that are in the batch once, of tables where only rows themselves decide."""
        place = self._put(state, keys[0], writes[0], shape, state.floor)
        self._groups[place].update(zip(keys, writes, strict=True))
        state.rows.update(dict.fromkeys(keys, place))

    def _put(self, state: _State, key: _Key, write: RowWrite, shape: _Shape, level: int) -> _Place:
        phase = shape.phase
        place = (level, phase, -state.depth if phase == _DELETE else state.depth, state.number, shape.number)
        group = self._groups.get(place)
        if group is None:
            group = self._groups[place] = {}
        group[key] = write
        state.rows[key] = place
        state.top = max(state.top, level)
        if shape.takes:
            state.ordered, state.ordered_row = place, key
        if phase == _DELETE:
            state.deleted = max(state.deleted, level)
        else:
            state.written = max(state.written, level)
            if phase == _UPDATE and (shape.takes or shape.moves):
                state.moved = max(state.moved, level)
        return place


def _shape(state: _State, write: RowWrite) -> _Shape:
    name = (
        write.op,
        write.columns,
        write.key_columns,
        write.deltas,
        write.only,
        write.fresh,
        write.lenient,
        write.anew,
    )
    shape = state.shapes.get(name)
    if shape is None:
        moves = moves_key(write)
        touched = "" in state.unique or not state.unique.isdisjoint(write.columns)
        takes = touched if write.op == "update" else bool(state.unique)
        free = not (takes or moves or state.parents or state.children)
        shape = state.shapes[name] = _Shape(len(state.shapes), _PHASES[write.op], moves, takes, free)
    return shape


def united(first: RowWrite, second: RowWrite) -> RowWrite | None:
    """One write that does what two of one row do, for an insert or update followed by an update, or an insert again; else None."""
    if second.op == "insert":
        alike = first.columns == second.columns and first.fresh == second.fresh
        same = first.op == "insert" and alike and not second.anew
        return msgspec.structs.replace(second, ref=first.ref) if same else None
    if first.op == "delete" or second.op != "update" or not {c for c, _ in first.fresh}.isdisjoint(second.columns):
        return None
    values: dict[str, ChannelValue] = dict(zip(first.columns, first.values, strict=True))
    added = {first.columns[number] for number in first.deltas}
    for number, (column, value) in enumerate(zip(second.columns, second.values, strict=True)):
        if number not in second.deltas:
            values[column] = value
            added.discard(column)
        elif column in values:
            total = _sum(values[column], value)
            if total is None:
                return None
            values[column] = total
        elif first.op == "insert":
            return None  # what the column holds by default, only the database knows
        else:
            values[column] = value
            added.add(column)
    columns = tuple(values)
    deltas = tuple(number for number, column in enumerate(columns) if column in added)
    return msgspec.structs.replace(first, columns=columns, values=tuple(values.values()), deltas=deltas)


def _sum(value: ChannelValue, delta: ChannelValue) -> ChannelValue:
    """Exact sums only; None: the database is to add."""
    if type(value) is int and type(delta) is int:
        return value + delta
    if type(value) is decimal.Decimal and type(delta) is decimal.Decimal:
        with decimal.localcontext(decimal.Context(prec=200, traps=[])) as context:
            total = value + delta
            return None if context.flags[decimal.Inexact] or not total.is_finite() else total
    return None


def _after(level: int, phase: int, place: _Place) -> int:
    """The lowest level from `level` on where a write of this phase comes after that place."""
    return max(level, place[0] if phase > place[1] else place[0] + 1)


def _moved_to(write: RowWrite) -> _Key:
    values = dict(zip(write.columns, write.values, strict=True))
    return tuple(canonical(values.get(column, old)) for column, old in zip(write.key_columns, write.key, strict=True))


def _depth(state: _State, path: list[_State]) -> int:
    """The longest way up; a circle is cut where it closes."""
    ways = [
        _depth(parent, [*path, state]) + 1 for parent in state.parents if parent not in path and parent is not state
    ]
    return max(ways, default=0)
