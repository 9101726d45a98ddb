"""Row writes through SQLAlchemy Core, one by one: the conservative way, for databases without a sink of their own. Guards I4, I6.

An insert is an update first, and an insert only where that found no row: so it is right on a table with other unique keys too
(TRAPS.md W1), whatever the database's upsert is. It is sound because the sink is inside a transaction that lets no other one write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from sinks.arranging import TableFacts
from sinks.contract import Halt, Rejected, RowWrite
from sinks.generic_values import value_encoder
from transforms.tables import Table
from transforms.values import ChannelValue, RefusedValueError

Encode: TypeAlias = Callable[[ChannelValue], Any]

_KEY: Final = "datong_k"
_VALUE: Final = "datong_c"
_ONLY: Final = "datong_o"
_FRESH: Final = "datong_f"


@dataclass(frozen=True, slots=True)
class GenericStatement:
    """A group's writes with their statements: `change` is run first, `insert` for the rows that it does not find."""

    writes: Sequence[RowWrite]
    where: str
    values: Sequence[dict[str, Any]]
    change: sa.Executable
    insert: sa.Executable | None


class GenericPlan:
    """How one table is written, as its catalog was when the session first wrote to it."""

    def __init__(self, table: Table, facts: TableFacts) -> None:
        self.table = table
        self.facts = facts
        self._columns: dict[str, sa.ColumnClause[Any]] = {
            column.name: sa.column(column.name) for column in table.columns
        }
        self._core = sa.table(table.name, *self._columns.values())
        self._encoders: dict[str, Encode] = {}
        self._shapes: dict[tuple[object, ...], tuple[sa.Executable, sa.Executable | None]] = {}

    def statement(self, group: Sequence[RowWrite]) -> GenericStatement:
        """Raises Rejected for a value that cannot be written, Halt for a column that is not there."""
        first = group[0]
        name = (first.op, first.columns, first.key_columns, first.deltas, first.only, first.fresh)
        shape = self._shapes.get(name)
        if shape is None:
            shape = self._shapes[name] = self._shape(first)
        preposition = {"insert": "into", "update": "of", "delete": "from"}[first.op]
        where = f"{first.op} {preposition} {self.table.name}"
        return GenericStatement(group, where, [self._values(write) for write in group], *shape)

    def other_row(self, write: RowWrite, columns: Sequence[str]) -> tuple[sa.Executable, dict[str, Any]]:
        """A search for a row with a write's values in these columns that is not the one which the write finds."""
        values = self._values(write)
        same = [self._columns[name] == _bound(f"{_VALUE}{write.columns.index(name)}") for name in columns]
        own = [self._columns[name] == _bound(f"{_KEY}{number}") for number, name in enumerate(write.key_columns)]
        query = sa.select(sa.literal(1)).select_from(self._core).where(*same, sa.not_(sa.and_(*own))).limit(1)
        return query, values

    def _shape(self, write: RowWrite) -> tuple[sa.Executable, sa.Executable | None]:
        only, fresh = [name for name, _ in write.only], [name for name, _ in write.fresh]
        for column in (*write.key_columns, *write.columns, *only, *fresh):
            self._encoder(column)
        found = sa.and_(
            *(self._columns[name] == _bound(f"{_KEY}{number}") for number, name in enumerate(write.key_columns)),
            *(
                self._columns[name].is_(None) if value is None else self._columns[name] == _bound(f"{_ONLY}{number}")
                for number, (name, value) in enumerate(write.only)
            ),
        )
        if write.op == "delete":
            return self._core.delete().where(found), None
        new = {name: _bound(f"{_VALUE}{number}") for number, name in enumerate(write.columns)}
        changes: dict[str, Any] = {
            name: sa.func.coalesce(self._columns[name], 0) + value if number in write.deltas else value
            for number, (name, value) in enumerate(new.items())
        }
        update = self._core.update().where(found).values(changes)
        if write.op == "update":
            return update, None
        whole = new | {name: _bound(f"{_FRESH}{number}") for number, name in enumerate(fresh)}
        return update, self._core.insert().values(whole)

    def _values(self, write: RowWrite) -> dict[str, Any]:
        try:
            values = {
                f"{_KEY}{n}": self._encoder(name)(value)
                for n, (name, value) in enumerate(zip(write.key_columns, write.key, strict=True))
            }
            for n, (name, value) in enumerate(zip(write.columns, write.values, strict=True)):
                values[f"{_VALUE}{n}"] = self._encoder(name)(value)
            for prefix, pairs in ((_ONLY, write.only), (_FRESH, write.fresh)):
                for n, (name, value) in enumerate(pairs):
                    values[f"{prefix}{n}"] = self._encoder(name)(value)
        except RefusedValueError as error:
            raise Rejected(f"{self.table.name}: {error}", ref=write.ref) from None
        return values

    def _encoder(self, name: str) -> Encode:
        encoder = self._encoders.get(name)
        if encoder is None:
            column = self.table.column(name)
            if column is None:
                raise Halt(f"{self.table.name}: no column {name}", mend="add it, or take it out of the mapping")
            try:
                encoder = self._encoders[name] = value_encoder(column)
            except LookupError as error:
                raise Halt(f"{self.table.name}: {error.args[0]}", mend="take it out of the mapping") from None
        return encoder


def _bound(name: str) -> sa.BindParameter[Any]:
    """A parameter whose value is the driver's own already."""
    return sa.bindparam(name, type_=sa.types.NullType())
