"""Row writes as MySQL and MariaDB statements. Pure. Guards I4 (a statement keeps the order of its rows) and TRAPS.md W1, W2.

A table's plan is compiled once from its catalog: an encoder per column, and whether ON DUPLICATE KEY UPDATE may be used:
only where the table has no unique index but the one that the mapping's key is, else it might update another row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from sinks.contract import Halt, Rejected, RowWrite
from sinks.mysql_catalog import MySQLTable
from sinks.mysql_literals import literal_encoder, quote_name
from sinks.mysql_rows import ColumnWriter, list_text, rows_text
from sinks.mysql_session import Statement
from sinks.runs import moves_key, slices
from transforms.values import ChannelValue, RefusedValueError

StatementKind: TypeAlias = Literal["upsert", "insert", "update", "delete"]

MOST_KEYS: Final = 2500  # in one list; what a session could do against long ones is pinned (`sinks.connections`)
MOST_CHARACTERS: Final = 1 << 20
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint"})
# Types of key columns of which a derived table's values are compared as the column's own, with its index.
_JOINED: Final = _INTEGERS | {"char", "varchar", "binary", "varbinary"}


class DataStatement(msgspec.Struct, frozen=True, gc=False):
    """A statement and the writes it makes. `alone`: it may leave a harmless note, which can only be read of a packet's last one."""

    statement: Statement
    kind: StatementKind
    writes: Sequence[RowWrite]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """`row_alias`: MySQL 8.0.19 and later name the new row; MariaDB has VALUES(). `derived`: the server takes rows as a
    table, as both do but for MySQL before that. `comment` goes into every statement.
    """

    row_alias: bool
    max_packet: int
    upsert: bool = True
    derived: bool = True
    comment: str = ""

    @property
    def most_characters(self) -> int:
        return min(MOST_CHARACTERS, self.max_packet // 4 - 1024)  # a character has up to four bytes


class TablePlan:
    """How one table is written, as its catalog was when the session first wrote to it."""

    def __init__(self, found: MySQLTable) -> None:
        self.table = found.table
        self.name = f"{quote_name(found.table.schema)}.{quote_name(found.table.name)}"
        self._found = found
        self.facts = found.facts
        self.indexes = found.indexes
        self._keys = set(map(frozenset, (found.table.primary_key, *found.table.unique_keys)))
        self._writers: dict[str, ColumnWriter] = {}
        self._joins: dict[tuple[str, ...], str | None] = {}

    def writer(self, column: str) -> ColumnWriter:
        """The column's writer; raises Halt where the table has no such column, or none that can be written."""
        writer = self._writers.get(column)
        if writer is None:
            found = self.table.column(column)
            if found is None:
                raise Halt(f"{self.table}: no column {column}", "1054", mend="add it, or take it out of the mapping")
            try:
                writer = ColumnWriter(found, literal_encoder(found))
            except LookupError as error:
                raise Halt(f"{self.table}: {error.args[0]}", mend="take it out of the mapping") from None
            self._writers[column] = writer
        return writer

    @property
    def refers_to_itself(self) -> bool:
        return (self.table.schema, self.table.name) in self.facts.parents

    def is_only_key(self, key_columns: Sequence[str]) -> bool:
        indexes = self.facts.unique
        return len(indexes) == 1 and set(next(iter(indexes))) == set(key_columns)

    def joins_by(self, key_columns: Sequence[str]) -> str | None:
        """The condition that finds the rows of `datong_new` by a key; None where they are better found one by one."""
        key = tuple(key_columns)
        if key not in self._joins:
            self._joins[key] = self._join(key)
        return self._joins[key]

    def _join(self, key_columns: tuple[str, ...]) -> str | None:
        if frozenset(key_columns) not in self._keys:
            return None
        conditions = []
        for number, name in enumerate(key_columns):
            found = self.table.column(name)
            new = f"datong_new.k{number}"
            if found is None or found.type.name not in _JOINED:
                return None
            if collation := self._found.collations.get(name):
                charset = found.type.charset
                new = f"{new if charset == 'utf8mb4' else f'CONVERT({new} USING {charset})'} COLLATE {collation}"
            conditions.append(f"t.{quote_name(name)} = {new}")
        return " AND ".join(conditions)

    def literals(self, write: RowWrite, columns: Sequence[str], values: Sequence[ChannelValue]) -> list[str]:
        """Encode values; raises Rejected naming table, column and type."""
        try:
            return [self.writer(column).encode(value) for column, value in zip(columns, values, strict=True)]
        except RefusedValueError as error:
            raise Rejected(f"{self.table}: {error}", ref=write.ref) from None

    def rows(
        self,
        writes: Sequence[RowWrite],
        columns: Sequence[str],
        values: Sequence[Sequence[ChannelValue]],
        opening: str = "(",
    ) -> str:
        """Encode a row for each write; raises Rejected for the first that holds a value which its column cannot."""
        try:
            return rows_text([self.writer(column) for column in columns], values, opening)
        except RefusedValueError:
            for write, row in zip(writes, values, strict=True):
                self.literals(write, columns, row)
            raise

    def keys(self, writes: Sequence[RowWrite]) -> str:
        """Encode the keys of writes that are found by one column, as `1,2`; raises as `rows` does."""
        column = writes[0].key_columns[0]
        try:
            return list_text(self.writer(column), [write.key[0] for write in writes])
        except RefusedValueError:
            for write in writes:
                self.literals(write, (column,), write.key)
            raise

    def named_by(self, write: RowWrite) -> str:
        """Finds the row whose key is the write's to the byte: many collations hold `abc` and `ABC` for one."""
        literals = self.literals(write, write.key_columns, write.key)
        exact = [
            f" AND CAST(CONVERT({quote_name(column)} USING utf8mb4) AS BINARY) = CAST({literal} AS BINARY)"
            for column, literal in zip(write.key_columns, literals, strict=True)
            if self.is_text(column)
        ]
        return self.found_by(write) + "".join(exact)

    def is_text(self, column: str) -> bool:
        return column in self._found.collations

    def is_integer(self, column: str) -> bool:
        found = self.table.column(column)
        return found is not None and found.type.name in _INTEGERS

    def found_by(self, write: RowWrite) -> str:
        """`a` = 1 AND `b` = 2: finds the row as it is before the write."""
        columns = (*write.key_columns, *(column for column, _ in write.only))
        literals = self.literals(write, columns, (*write.key, *(value for _, value in write.only)))
        nulls = {column for column, value in write.only if value is None}
        return " AND ".join(
            f"{quote_name(column)} {'IS NULL' if column in nulls else f'= {literal}'}"
            for column, literal in zip(columns, literals, strict=True)
        )


def statements(
    plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect, *, single: bool = False
) -> Iterator[DataStatement]:
    """The statements of one run, in order; `single`: row by row where the database should name the row that it refuses.

    A statement of many updates changes its rows in any order. Where one takes a unique value that another one gives up, that may meet
    a duplicate halfway; the server then undoes the statement, and the sink writes its rows one by one, in order. Where it meets none,
    its end is the same in every order.

    Raises Rejected for a value that cannot be written, or a row above max_allowed_packet.
    """
    first = run[0]
    if first.op == "insert":
        yield from _inserts(plan, run, dialect)
        return
    join = None if single or len(run) == 1 or first.only else plan.joins_by(first.key_columns)
    if first.op == "delete":
        if plan.refers_to_itself:  # a row goes after those that refer to it, which IN would not keep
            for write in run:
                yield from _deletes(plan, [write], dialect)
        elif join is None or len(first.key_columns) == 1:
            yield from _deletes(plan, run, dialect)
        else:
            yield from _joined(plan, run, dialect, join)
    elif join is None or not dialect.derived or moves_key(first):
        for write in run:
            yield update(plan, write, dialect)
    else:
        yield from _joined(plan, run, dialect, join)


def update(plan: TablePlan, write: RowWrite, dialect: Dialect) -> DataStatement:
    """One row's update, also for an insert whose key exists already."""
    literals = plan.literals(write, write.columns, write.values)
    added = write.deltas
    changes = ", ".join([
        f"{name} = COALESCE({name}, 0) + {literal}" if number in added else f"{name} = {literal}"
        for number, (name, literal) in enumerate(zip(map(quote_name, write.columns), literals, strict=True))
    ])  # fmt: skip
    sql = f"UPDATE {dialect.comment}{plan.name} SET {changes} WHERE {plan.found_by(write)}"
    _check_size(plan, write, 0, sql, dialect)
    return DataStatement(Statement(sql, f"update of {plan.table}"), "update", (write,))


def insert_one(plan: TablePlan, write: RowWrite, dialect: Dialect) -> DataStatement:
    (statement,) = _inserts(plan, [write], dialect)
    return statement


def lock_row(plan: TablePlan, write: RowWrite) -> Statement:
    """A locking read of the row that a write finds; an insert, of the row that it names."""
    found = plan.named_by(write) if write.op == "insert" else plan.found_by(write)
    return Statement(f"SELECT 1 FROM {plan.name} WHERE {found} LIMIT 1 FOR UPDATE", f"lookup in {plan.table}")


def _inserts(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect) -> Iterator[DataStatement]:
    first = run[0]
    upsert = dialect.upsert and plan.is_only_key(first.key_columns) and not first.only
    columns = (*first.columns, *(column for column, _ in first.fresh))
    fresh = tuple(value for _, value in first.fresh)  # the same in all writes of a group
    names = ", ".join(map(quote_name, columns))
    head = f"INSERT {dialect.comment}INTO {plan.name} ({names}) VALUES "
    texts = frozenset(filter(plan.is_text, first.key_columns))
    integers = frozenset(filter(plan.is_integer, first.key_columns))
    tail = (
        _on_duplicate(plan.name, first.columns, first.key_columns, texts, integers, row_alias=dialect.row_alias)
        if upsert
        else ""
    )
    kind: StatementKind = "upsert" if upsert else "insert"

    def encode(writes: Sequence[RowWrite]) -> str:
        values = [(*write.values, *fresh) for write in writes] if fresh else [write.values for write in writes]
        return plan.rows(writes, columns, values)

    where = f"insert into {plan.table}"
    for writes, text in _chunks(plan, run, encode, len(head) + len(tail), dialect):
        yield DataStatement(Statement(f"{head}{text}{tail}", where), kind, writes)


def _chunks(
    plan: TablePlan, run: Sequence[RowWrite], encode: Callable[[Sequence[RowWrite]], str], around: int, dialect: Dialect
) -> Iterator[tuple[Sequence[RowWrite], str]]:
    """Cut rows into parts of one statement each, and encode them. Raises Rejected for a row above max_allowed_packet."""
    for part in slices(len(run)):
        yield from _chunk(plan, run[part], encode, around, dialect)


def _chunk(
    plan: TablePlan,
    writes: Sequence[RowWrite],
    encode: Callable[[Sequence[RowWrite]], str],
    around: int,
    dialect: Dialect,
) -> Iterator[tuple[Sequence[RowWrite], str]]:
    text = encode(writes)
    if len(text) + around <= dialect.most_characters:
        yield writes, text
    elif len(writes) == 1:
        _check_size(plan, writes[0], around, text, dialect)
        yield writes, text
    else:
        middle = len(writes) // 2
        yield from _chunk(plan, writes[:middle], encode, around, dialect)
        yield from _chunk(plan, writes[middle:], encode, around, dialect)


@functools.lru_cache(1024)
def _on_duplicate(
    table: str,
    columns: Sequence[str],
    key_columns: Sequence[str],
    texts: frozenset[str],
    integers: frozenset[str],
    *,
    row_alias: bool,
) -> str:
    """ON DUPLICATE KEY UPDATE that cannot change another row than the key's.

    The row that is found has another key where the column's collation holds the two for equal, or where a unique index was made since the
    catalog was read (TRAPS.md W1): the subquery of two rows is then an error (1242), and the rows are written one by one. Where the
    key is an integer, a division by zero is as good (1365), and spares the server 30 to 65 us a statement.
    """

    def new(name: str) -> str:
        return f"datong_new.{name}" if row_alias else f"VALUES({name})"

    names = [quote_name(column) for column in columns]
    own = [column for column in key_columns if column in columns]
    keys = [quote_name(column) for column in own]
    same = " AND ".join([
        f"CAST({table}.{key} AS BINARY) = CAST({new(key)} AS BINARY)" if column in texts else f"{table}.{key} = {new(key)}"
        for column, key in zip(own, keys, strict=True)
    ])  # fmt: skip
    changes = [f"{name} = {new(name)}" for name in names]
    if keys:
        first = names.index(keys[0])
        other = "1 DIV 0" if own[0] in integers else "(SELECT NULL UNION ALL SELECT NULL)"
        changes[first] = f"{keys[0]} = IF({same}, {new(keys[0])}, {other})"
        changes.insert(0, changes.pop(first))
    return f"{' AS datong_new' if row_alias else ''} ON DUPLICATE KEY UPDATE {', '.join(changes)}"


def _deletes(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect) -> Iterator[DataStatement]:
    head = f"DELETE {dialect.comment}FROM {plan.name} WHERE "
    where = f"delete from {plan.table}"
    if len(run[0].key_columns) > 1 or run[0].only:
        for write in run:
            yield DataStatement(Statement(head + plan.found_by(write), where), "delete", (write,))
        return
    head += f"{quote_name(run[0].key_columns[0])} IN ("
    for start in range(0, len(run), MOST_KEYS):
        for writes, keys in _chunk(plan, run[start : start + MOST_KEYS], plan.keys, len(head) + 1, dialect):
            yield DataStatement(Statement(f"{head}{keys})", where), "delete", writes)


def _joined(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect, join: str) -> Iterator[DataStatement]:
    """Updates or deletes of many rows at once: their keys and values are a table of their own, joined to the rows by key.

    That table comes first in the join, so that each row is found by its key and no other is locked.
    """
    first = run[0]
    names = [f"k{number}" for number in range(len(first.key_columns))]
    names += [f"c{number}" for number in range(len(first.columns))]
    if first.op == "update":
        verb, tail, where = "UPDATE", f" SET {_changes(first.columns, first.deltas)}", f"update of {plan.table}"
    else:
        verb, tail, where = "DELETE t FROM", "", f"delete from {plan.table}"
    joined = f" STRAIGHT_JOIN {plan.name} AS t ON {join}{tail}"
    around = len(joined) + 64 + 12 * len(names)
    columns = (*first.key_columns, *first.columns)

    def encode(writes: Sequence[RowWrite]) -> str:
        return plan.rows(
            writes, columns, [(*write.key, *write.values) for write in writes], "ROW(" if dialect.row_alias else "("
        )

    for writes, text in _chunks(plan, run, encode, around, dialect):
        sql = f"{verb} {dialect.comment}{_derived(names, text, dialect)}{joined}"
        # A character set's name may be deprecated.
        yield DataStatement(Statement(sql, where), first.op, writes, alone="CONVERT(" in join)


def _derived(names: Sequence[str], encoded: str, dialect: Dialect) -> str:
    """Rows as a table `datong_new`; MariaDB does not take names for the columns of VALUES, but those of a SELECT before it."""
    if dialect.row_alias:
        return f"(VALUES {encoded}) AS datong_new ({', '.join(names)})"
    nulls = ", ".join([f"NULL AS {name}" for name in names])
    return f"(SELECT {nulls} FROM DUAL WHERE FALSE UNION ALL VALUES {encoded}) AS datong_new"


@functools.lru_cache(1024)
def _changes(columns: Sequence[str], deltas: Sequence[int]) -> str:
    return ", ".join([
        f"t.{name} = COALESCE(t.{name}, 0) + datong_new.c{number}" if number in deltas else f"t.{name} = datong_new.c{number}"
        for number, name in enumerate(map(quote_name, columns))
    ])  # fmt: skip


def _check_size(plan: TablePlan, write: RowWrite, around: int, text: str, dialect: Dialect) -> None:
    """`around`: characters, of names mostly, that the statement has besides `text`."""
    if (around + len(text)) * 4 + 1024 < dialect.max_packet:
        return
    size = len(text.encode()) + 3 * around + 1024
    if size > dialect.max_packet:
        key = ", ".join(write.key_columns)
        raise Rejected(
            f"{plan.table}: a row (key columns {key}) of {size} bytes is above max_allowed_packet ({dialect.max_packet})",
            "1153",
            ref=write.ref,
        )
