"""Row writes as MySQL and MariaDB statements. Pure. Guards I4 (a statement keeps the order of its rows) and TRAPS.md W1, W2.

A table's plan is compiled once from its catalog: an encoder per column, and whether ON DUPLICATE KEY UPDATE may be used:
only where the table has no unique index but the one that the mapping's key is, else it might update another row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from sinks.contract import Halt, Rejected, RowWrite
from sinks.mysql_catalog import MySQLTable
from sinks.mysql_literals import Encoder, literal_encoder, quote_name
from sinks.mysql_session import Statement
from transforms.values import ChannelValue, RefusedValueError

StatementKind: TypeAlias = Literal["upsert", "insert", "update", "delete"]

MOST_ROWS: Final = 1000
MOST_KEYS: Final = 500  # below MariaDB's in_predicate_conversion_threshold
MOST_CHARACTERS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class DataStatement:
    """A statement and the writes it makes."""

    statement: Statement
    kind: StatementKind
    writes: Sequence[RowWrite]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`row_alias`: MySQL 8.0.19 and later name the new row; MariaDB has VALUES(). `comment` goes into every statement."""

    row_alias: bool
    max_packet: int
    upsert: bool = True
    comment: str = ""

    @property
    def most_characters(self) -> int:
        return min(MOST_CHARACTERS, self.max_packet // 4)


class TablePlan:
    """How one table is written, as its catalog was when the session first wrote to it."""

    def __init__(self, found: MySQLTable) -> None:
        self.table = found.table
        self.name = f"{quote_name(found.table.schema)}.{quote_name(found.table.name)}"
        self._unique_indexes = found.unique_indexes
        self._encoders: dict[str, Encoder] = {}

    def encoder(self, column: str) -> Encoder:
        """The column's encoder; raises Halt where the table has no such column, or none that can be written."""
        encoder = self._encoders.get(column)
        if encoder is None:
            found = self.table.column(column)
            if found is None:
                raise Halt(f"{self.table}: no column {column}", "1054", mend="add it, or take it out of the mapping")
            try:
                encoder = literal_encoder(found)
            except LookupError as error:
                raise Halt(f"{self.table}: {error.args[0]}", mend="take it out of the mapping") from None
            self._encoders[column] = encoder
        return encoder

    def is_only_key(self, key_columns: Sequence[str]) -> bool:
        return len(self._unique_indexes) == 1 and set(next(iter(self._unique_indexes))) == set(key_columns)

    def literals(self, write: RowWrite, columns: Sequence[str], values: Sequence[ChannelValue]) -> list[str]:
        """Encode values; raises Rejected naming table, column and type."""
        try:
            return [self.encoder(column)(value) for column, value in zip(columns, values, strict=True)]
        except RefusedValueError as error:
            raise Rejected(f"{self.table}: {error}", ref=write.ref) from None

    def found_by(self, write: RowWrite) -> str:
        """`a` = 1 AND `b` = 2: finds the row as it is before the write."""
        columns = (*write.key_columns, *(column for column, _ in write.only))
        literals = self.literals(write, columns, (*write.key, *(value for _, value in write.only)))
        return " AND ".join(
            f"{quote_name(column)} = {literal}" for column, literal in zip(columns, literals, strict=True)
        )


def statements(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect) -> Iterator[DataStatement]:
    """The statements of one run, in order. Raises Rejected for a value that cannot be written, or a row above max_allowed_packet."""
    first = run[0]
    if first.op == "insert":
        yield from _inserts(plan, run, dialect)
    elif first.op == "update":
        for write in run:
            yield update(plan, write, dialect)
    else:
        yield from _deletes(plan, run, dialect)


def update(plan: TablePlan, write: RowWrite, dialect: Dialect) -> DataStatement:
    """One row's update, also for an insert whose key exists already."""
    literals = plan.literals(write, write.columns, write.values)
    changes = ", ".join(
        f"{name} = COALESCE({name}, 0) + {literal}" if number in write.deltas else f"{name} = {literal}"
        for number, (name, literal) in enumerate(zip(map(quote_name, write.columns), literals, strict=True))
    )
    sql = f"UPDATE {dialect.comment}{plan.name} SET {changes} WHERE {plan.found_by(write)}"
    _check_size(plan, write, len(sql), sql, dialect)
    return DataStatement(Statement(sql, f"update of {plan.table}"), "update", (write,))


def insert_one(plan: TablePlan, write: RowWrite, dialect: Dialect) -> DataStatement:
    (statement,) = _inserts(plan, [write], dialect)
    return statement


def lock_row(plan: TablePlan, write: RowWrite) -> Statement:
    """A locking read of the row that a write finds."""
    sql = f"SELECT 1 FROM {plan.name} WHERE {plan.found_by(write)} LIMIT 1 FOR UPDATE"
    return Statement(sql, f"lookup in {plan.table}")


def _inserts(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect) -> Iterator[DataStatement]:
    first = run[0]
    upsert = dialect.upsert and plan.is_only_key(first.key_columns) and not first.only
    columns = (*first.columns, *(column for column, _ in first.fresh))
    fresh = tuple(value for _, value in first.fresh)
    names = ", ".join(map(quote_name, columns))
    head = f"INSERT {dialect.comment}INTO {plan.name} ({names}) VALUES "
    tail = _on_duplicate(first.columns, row_alias=dialect.row_alias) if upsert else ""
    kind: StatementKind = "upsert" if upsert else "insert"
    encoders = [plan.encoder(column) for column in columns]
    rows: list[str] = []
    start, total = 0, 0

    def made(end: int) -> DataStatement:
        sql = f"{head}{','.join(rows)}{tail}"
        return DataStatement(Statement(sql, f"insert into {plan.table}"), kind, run[start:end])

    for number, write in enumerate(run):
        try:
            row = f"({','.join([encode(value) for encode, value in zip(encoders, (*write.values, *fresh), strict=True)])})"
        except RefusedValueError as error:
            raise Rejected(f"{plan.table}: {error}", ref=write.ref) from None
        _check_size(plan, write, len(row) + len(head) + len(tail), row, dialect)
        if rows and (len(rows) >= MOST_ROWS or total + len(row) > dialect.most_characters):
            yield made(number)
            rows.clear()
            start, total = number, 0
        rows.append(row)
        total += len(row)
    yield made(len(run))


def _on_duplicate(columns: Sequence[str], *, row_alias: bool) -> str:
    names = [quote_name(column) for column in columns]
    if row_alias:
        return " AS datong_new ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = datong_new.{name}" for name in names)
    return " ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in names)


def _deletes(plan: TablePlan, run: Sequence[RowWrite], dialect: Dialect) -> Iterator[DataStatement]:
    head = f"DELETE {dialect.comment}FROM {plan.name} WHERE "
    where = f"delete from {plan.table}"
    if len(run[0].key_columns) > 1 or run[0].only:
        for write in run:
            yield DataStatement(Statement(head + plan.found_by(write), where), "delete", (write,))
        return
    column = run[0].key_columns[0]
    for start in range(0, len(run), MOST_KEYS):
        writes = run[start : start + MOST_KEYS]
        keys = ",".join(plan.literals(write, write.key_columns, write.key)[0] for write in writes)
        yield DataStatement(Statement(f"{head}{quote_name(column)} IN ({keys})", where), "delete", writes)


def _check_size(plan: TablePlan, write: RowWrite, characters: int, text: str, dialect: Dialect) -> None:
    if characters * 4 + 1024 < dialect.max_packet:
        return
    size = len(text.encode()) + 1024
    if size > dialect.max_packet:
        key = ", ".join(write.key_columns)
        raise Rejected(
            f"{plan.table}: a row (key columns {key}) of {size} bytes is above max_allowed_packet ({dialect.max_packet})",
            "1153",
            ref=write.ref,
        )
