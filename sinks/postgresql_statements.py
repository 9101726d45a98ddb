"""Row writes as PostgreSQL statements. Pure. Guards I4 and TRAPS.md G6, W4.

A statement takes a whole segment: one array parameter per column, joined to the table by key. A write that would change
nothing is not written, because PostgreSQL would log it: `record_image_ne`, the function behind `*<>`, compares stored images, so that it needs no equality of the type (json has
none) and tells 1.0 from 1.00 and 0 from -0. An update answers the numbers of the rows that it changed; `lookup` tells what the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sinks.contract import Halt, Rejected, RowWrite
from sinks.postgresql_arrays import ArrayEncoder, ElementsEncoder, array_encoder, elements_encoder
from sinks.postgresql_binary import copied_column
from sinks.postgresql_catalog import PostgreSQLColumn, PostgreSQLTable
from sinks.postgresql_session import Query
from sinks.postgresql_staging import StagingTable, are_small, staging_table
from sinks.postgresql_texts import quote_name
from sinks.runs import moves_key, slices
from transforms.tables import Column
from transforms.values import ChannelValue, RefusedValueError

MOST_KEYS: Final = 1000
# Types of which to be equal is to be equal to the byte, and costs next to nothing to see.
_CHEAP: Final = frozenset({"int2", "int4", "int8", "timestamp", "timestamptz", "date"})
MOST_CHARACTERS: Final = 8 << 20

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class DataQuery:
    """A statement, the writes it makes, and for updates and deletes the lookup of what it found no row for.

    `staged`: the writes' values are COPYed into that table first, as `copied` makes them.
    """

    query: Query
    writes: Sequence[RowWrite]
    lookup: Query | None
    answers_rows: bool
    staged: StagingTable | None = None


class TablePlan:
    """How one table is written, as its catalog was when the session first wrote to it. Statements are compiled per shape."""

    def __init__(self, found: PostgreSQLTable) -> None:
        self.table = found.table
        self.name = f"{quote_name(found.table.schema)}.{quote_name(found.table.name)}"
        self.keys = frozenset(map(frozenset, (found.table.primary_key, *found.table.unique_keys)))
        self.facts = found.facts
        self.deferrable = found.deferrable
        self.indexes = found.indexes
        self.partitioned = found.partitioned
        self._columns = found.columns
        self._encoders: dict[str, ArrayEncoder] = {}
        self._shapes: dict[tuple[object, ...], Shape] = {}

    def column(self, name: str) -> PostgreSQLColumn:
        found = self._columns.get(name)
        if found is None:
            raise Halt(f"{self.table}: no column {name}", "42703", mend="add it, or take it out of the mapping")
        return found

    def encoder(self, name: str) -> ArrayEncoder:
        encoder = self._encoders.get(name)
        if encoder is None:
            encoder = self._encoders[name] = self._compiled(array_encoder, name)
        return encoder

    def elements(self, name: str) -> ElementsEncoder:
        return self._compiled(elements_encoder, name)

    def _compiled(self, make: Callable[[Column], E], name: str) -> E:
        try:
            return make(self.column(name).base)
        except LookupError as error:
            raise Halt(f"{self.table}: {error.args[0]}", mend="take it out of the mapping") from None

    def orders_rows(self, update: RowWrite) -> bool:
        """Whether updates like this one may take unique values that others give up."""
        unique = self.facts.unique_besides(())
        return "" in unique or not unique.isdisjoint(update.columns) or moves_key(update)

    def shape(self, write: RowWrite, *, staged: bool = False) -> Shape:
        """The statement for writes like this one. `staged`: out of a temporary table, where their columns allow that."""
        only, fresh = (tuple(column for column, _ in pairs) for pairs in (write.only, write.fresh))
        name = (
            write.op,
            write.key_columns,
            write.columns,
            write.deltas,
            only,
            _nulls(write),
            fresh,
            write.anew,
            staged,
        )
        shape = self._shapes.get(name)
        if shape is None:
            shape = self._shapes[name] = _MAKERS[write.op](self, write, only, fresh, staged)
        return shape


@dataclass(frozen=True, slots=True)
class Shape:
    """SQL of one (operation, key columns, columns), and which values it takes in which order."""

    sql: str
    lookup: str | None
    encoders: tuple[ArrayEncoder, ...]
    takes_key: bool
    takes_values: bool
    where: str
    mend: str = ""
    staged: StagingTable | None = None


def statements(plan: TablePlan, group: Sequence[RowWrite]) -> Iterator[DataQuery]:
    """The statements of a group, in order. Raises Rejected for a value that cannot be written."""
    first = group[0]
    shape = plan.shape(first)
    # A statement changes its rows in any order it likes: where that could meet a unique key halfway, row by row.
    if first.op == "update" and plan.orders_rows(first):
        for start in range(len(group)):
            yield from _statement(plan, shape, group[start : start + 1])
        return
    for part in slices(len(group)) if first.op != "delete" else _delete_slices(len(group)):
        yield from _statement(plan, shape, group[part])


def staged_statement(
    plan: TablePlan, group: Sequence[RowWrite], take: Callable[[StagingTable], bool]
) -> DataQuery | None:
    """The one statement that merges a group out of a temporary table; None where it is not to be written so."""
    first = group[0]
    if first.op != "insert":
        return None  # a few columns are no dearer as arrays
    shape = plan.shape(first, staged=True)
    if shape.staged is None or not are_small(group) or not take(shape.staged):
        return None
    lookup = Query(shape.lookup, shape.where) if shape.lookup else None
    query = Query(shape.sql, shape.where, (), shape.mend)
    return DataQuery(query, group, lookup, answers_rows=False, staged=shape.staged)


def copied(plan: TablePlan, table: StagingTable, writes: Sequence[RowWrite]) -> Iterator[tuple[Any, ...]]:
    """The rows of a staged statement, made in parts. Raises Rejected as `statements` does."""
    shape = plan.shape(writes[0], staged=True)
    for part in slices(len(writes)):
        segment = writes[part]
        rows = _rows(shape, segment)
        try:
            columns = [
                copied.values(values) for copied, values in zip(table.columns, zip(*rows, strict=True), strict=True)
            ]
        except RefusedValueError:
            for write, row in zip(segment, rows, strict=True):
                _check(plan, [copied.values for copied in table.columns], write, row)
            raise
        yield from zip(*columns, strict=True)


def _delete_slices(rows: int) -> Iterator[slice]:
    """A key costs next to nothing to make, so that nothing is won by beginning early."""
    return (slice(start, start + MOST_KEYS) for start in range(0, rows, MOST_KEYS))


def _statement(plan: TablePlan, shape: Shape, writes: Sequence[RowWrite]) -> Iterator[DataQuery]:
    arrays = _arrays(plan, shape, writes)
    if len(writes) > 1 and sum(map(len, arrays)) > MOST_CHARACTERS:
        middle = len(writes) // 2
        yield from _statement(plan, shape, writes[:middle])
        yield from _statement(plan, shape, writes[middle:])
        return
    lookup = Query(shape.lookup, shape.where, arrays) if shape.lookup else None
    answers_rows = writes[0].op == "update"
    yield DataQuery(
        Query(shape.sql, shape.where, arrays, shape.mend, prepared=True), writes, lookup, answers_rows=answers_rows
    )


def _arrays(plan: TablePlan, shape: Shape, segment: Sequence[RowWrite]) -> tuple[str, ...]:
    rows = _rows(shape, segment)
    try:
        columns = zip(shape.encoders, zip(*rows, strict=True), strict=True)
        return tuple([encode(values) for encode, values in columns])
    except RefusedValueError:
        for write, row in zip(segment, rows, strict=True):
            _check(plan, shape.encoders, write, row)
        raise


def _rows(shape: Shape, segment: Sequence[RowWrite]) -> list[tuple[ChannelValue, ...]]:
    """The values of each write in the order of the shape's encoders."""
    only = tuple(value for _, value in segment[0].only)  # the same in all writes of a group
    fresh = tuple(value for _, value in segment[0].fresh)
    if not shape.takes_values:
        return [(*write.key, *only) for write in segment] if only else [write.key for write in segment]
    if shape.takes_key:
        return [(*write.key, *only, *write.values) for write in segment]
    return [(*write.values, *fresh) for write in segment] if fresh else [write.values for write in segment]


def _check(
    plan: TablePlan, encoders: Sequence[Callable[[Sequence[Any]], object]], write: RowWrite, row: Sequence[ChannelValue]
) -> None:
    try:
        for encode, value in zip(encoders, row, strict=True):
            encode((value,))
    except RefusedValueError as error:
        raise Rejected(f"{plan.table}: {error}", ref=write.ref) from None


def _read(plan: TablePlan, names: Sequence[tuple[str, str]], *, staged: bool) -> tuple[str, StagingTable | None]:
    """What a statement reads its rows from, and the temporary table that it is, if it is one."""
    table = None
    if staged:
        columns = [(plan.column(column), alias) for column, alias in names]
        fields = [(c, a, copied_column(c.base, plan.elements(c.base.name))) for c, a in columns]
        table = staging_table(plan.name, fields)
    return (table.source if table else _source(plan, names, numbered=False)), table


def _source(plan: TablePlan, names: Sequence[tuple[str, str]], *, numbered: bool) -> str:
    """`unnest($1::int4[], $2::text[]) WITH ORDINALITY AS v (k0, c0, n)`.

    `unnest` would open arrays within: values of an array's type come as text, and are cast row by row.
    """
    columns = [(plan.column(column), alias) for column, alias in names]
    opened = [column.base.type.kind == "array" for column, _ in columns]
    types = ["text" if is_array else column.bare_type for is_array, (column, _) in zip(opened, columns, strict=True)]
    arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
    aliases = ", ".join([*(alias for _, alias in names), *(("n",) if numbered else ())])
    rows = f"unnest({arrays}){' WITH ORDINALITY' if numbered else ''} AS v ({aliases})"
    if not any(opened):
        return rows
    cast = [
        f"{a}::{column.bare_type} AS {a}" if is_array else a
        for is_array, (column, a) in zip(opened, columns, strict=True)
    ]
    return f"(SELECT {', '.join([*cast, *(('n',) if numbered else ())])} FROM {rows}) AS v"


def _nulls(write: RowWrite) -> frozenset[str]:
    """The columns that must hold NULL in the row that is meant."""
    return frozenset(column for column, value in write.only if value is None)


def _found(keys: Sequence[tuple[str, str]], nulls: frozenset[str]) -> str:
    """Only `=` can use an index; it finds no NULL."""
    return " AND ".join(
        f"t.{quote_name(column)} {'IS NULL' if column in nulls else f'= v.{alias}'}" for column, alias in keys
    )


def _named_otherwise(column: str, value: str) -> str:
    """Whether the row that a key has met has another one, which only its type or collation holds for equal."""
    return f"record_image_ne(ROW(t.{quote_name(column)}), ROW({value}))"


def _insert(plan: TablePlan, write: RowWrite, only: tuple[str, ...], fresh: tuple[str, ...], staged: bool) -> Shape:
    key, own = write.key_columns, write.columns
    columns = (*own, *fresh)
    names = [(column, f"c{number}") for number, column in enumerate(columns)]
    source, table = _read(plan, names, staged=staged)
    others = [column for column in own if column not in key]
    loose = [column for column in key if plan.column(column).loose]
    quoted = ", ".join(map(quote_name, columns))
    if others and not write.anew:
        changes = ", ".join(f"{quote_name(column)} = excluded.{quote_name(column)}" for column in others)
        old = ", ".join(f"t.{quote_name(column)}" for column in others)
        new = ", ".join(f"excluded.{quote_name(column)}" for column in others)
        ours = "".join(
            f"t.{quote_name(column)} IS NOT DISTINCT FROM excluded.{quote_name(column)} AND " for column in only
        )
        ours += "".join(f"NOT {_named_otherwise(column, f'excluded.{quote_name(column)}')} AND " for column in loose)
        differs = f"record_image_ne(ROW({old}), ROW({new}))"
        if plain := [quote_name(column) for column in others if plan.column(column).base.type.name in _CHEAP]:
            # Most rows differ in one of these already; whether two are equal to the byte is for the others only.
            seen = " OR ".join(f"t.{name} IS DISTINCT FROM excluded.{name}" for name in plain)
            differs = f"({seen} OR {differs})"
        action = f"UPDATE SET {changes} WHERE {ours}{differs}"
    else:
        action = "NOTHING"
    sql = (
        f"INSERT INTO {plan.name} AS t ({quoted}) SELECT {', '.join(alias for _, alias in names)}"
        f" FROM {source} ON CONFLICT ({', '.join(map(quote_name, key))}) DO {action}"
    )
    mend = ""
    if frozenset(key) not in plan.keys:
        mend = f"CREATE UNIQUE INDEX ON {plan.name} ({', '.join(map(quote_name, key))})"
    encoders = tuple(map(plan.encoder, columns))
    aliases = dict(names)
    met = " AND ".join(f"t.{quote_name(column)} = v.{aliases[column]}" for column in key)
    # A row of this key that is another one was not touched, and must not pass for written.
    foreign = [f"t.{quote_name(column)} IS DISTINCT FROM v.{aliases[column]}" for column in only]
    foreign += [_named_otherwise(column, f"v.{aliases[column]}::{plan.column(column).full_type}") for column in loose]
    differs = "false"
    if others:
        given = ", ".join(f"v.{aliases[column]}::{plan.column(column).full_type}" for column in others)
        differs = f"record_image_ne(ROW({', '.join(f't.{quote_name(column)}' for column in others)}), ROW({given}))"
    there = f"t.{quote_name(key[0])}"  # NULL only where no row was met; a system column would need SELECT on the whole table
    lookup = (
        f"SELECT o.foreign_, o.absent FROM {source} LEFT JOIN {plan.name} AS t ON {met} CROSS JOIN LATERAL"
        f" (SELECT {there} IS NOT NULL AND ({' OR '.join(foreign) or 'false'}) AS foreign_, {there} IS NULL AS absent) AS o"
        f" WHERE o.foreign_ OR o.absent OR {differs} ORDER BY 1 DESC LIMIT 1"
    )
    return Shape(
        sql,
        lookup,
        encoders,
        takes_key=False,
        takes_values=True,
        where=f"insert into {plan.table}",
        mend=mend,
        staged=table,
    )


def _update(plan: TablePlan, write: RowWrite, only: tuple[str, ...], _fresh: tuple[str, ...], _staged: bool) -> Shape:
    key, columns = (*write.key_columns, *only), write.columns
    keys = [(column, f"k{number}") for number, column in enumerate(key)]
    values = [(column, f"c{number}") for number, column in enumerate(columns)]
    source = _source(plan, [*keys, *values], numbered=True)
    found = _found(keys, _nulls(write))
    changes, old, new, added = [], [], [], []
    for number, (column, alias) in enumerate(values):
        name = quote_name(column)
        if number in write.deltas:
            changes.append(f"{name} = COALESCE(t.{name}, 0) + v.{alias}")
            added.append(f"v.{alias} <> 0")
        else:
            changes.append(f"{name} = v.{alias}")
            old.append(f"t.{name}")
            new.append(f"v.{alias}::{plan.column(column).full_type}")
    differs = " OR ".join([f"record_image_ne(ROW({', '.join(old)}), ROW({', '.join(new)}))", *added])
    return Shape(
        f"UPDATE {plan.name} AS t SET {', '.join(changes)} FROM {source} WHERE {found} AND ({differs}) RETURNING v.n",
        f"SELECT v.n, NOT ({differs}) FROM {source} JOIN {plan.name} AS t ON {found}",
        tuple(map(plan.encoder, (*key, *columns))),
        takes_key=True,
        takes_values=True,
        where=f"update of {plan.table}",
    )


def _delete(plan: TablePlan, write: RowWrite, only: tuple[str, ...], _fresh: tuple[str, ...], _staged: bool) -> Shape:
    key = (*write.key_columns, *only)
    keys = [(column, f"k{number}") for number, column in enumerate(key)]
    source = _source(plan, keys, numbered=False)
    found = _found(keys, _nulls(write))
    return Shape(
        f"DELETE FROM {plan.name} AS t USING {source} WHERE {found}",
        f"SELECT 1 FROM {source} JOIN {plan.name} AS t ON {found} LIMIT 1",
        tuple(map(plan.encoder, key)),
        takes_key=True,
        takes_values=False,
        where=f"delete from {plan.table}",
    )


_MAKERS: Final = {"insert": _insert, "update": _update, "delete": _delete}
