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
from sinks.taken_keys import Part, Search, UniqueIndex
from transforms.tables import Table
from transforms.values import ChannelValue, RefusedValueError

Encode: TypeAlias = Callable[[ChannelValue], Any]

_KEY: Final = "datong_k"
_VALUE: Final = "datong_c"
_ONLY: Final = "datong_o"
_FRESH: Final = "datong_f"
_EXACT: Final = "BINARY"


@dataclass(frozen=True, slots=True)
class GenericStatement:
    """A group's writes with their statements: `change` is run first, `insert` for the rows that it does not find.

    `met`, where there is one, before both: whether the row that is there is equal already; nothing where there is none.
    """

    writes: Sequence[RowWrite]
    where: str
    values: Sequence[dict[str, Any]]
    change: sa.Executable
    insert: sa.Executable | None
    met: sa.Executable | None = None


class GenericPlan:
    """How one table is written, as its catalog was when the session first wrote to it."""

    def __init__(self, table: Table, facts: TableFacts, indexes: Sequence[UniqueIndex]) -> None:
        self.table = table
        self.facts = facts
        self.indexes = indexes
        self._columns: dict[str, sa.ColumnClause[Any]] = {
            column.name: sa.column(column.name) for column in table.columns
        }
        self._core = sa.table(table.name, *self._columns.values())
        self._encoders: dict[str, Encode] = {}
        self._shapes: dict[tuple[object, ...], tuple[sa.Executable, sa.Executable | None, sa.Executable | None]] = {}

    def statement(self, group: Sequence[RowWrite]) -> GenericStatement:
        """Raises Rejected for a value that cannot be written, Halt for a column that is not there."""
        first = group[0]
        name = (first.op, first.columns, first.key_columns, first.deltas, first.only, first.fresh, first.anew)
        shape = self._shapes.get(name)
        if shape is None:
            shape = self._shapes[name] = self._shape(first)
        preposition = {"insert": "into", "update": "of", "delete": "from"}[first.op]
        where = f"{first.op} {preposition} {self.table.name}"
        return GenericStatement(group, where, [self._values(write) for write in group], *shape)

    def holder(
        self, write: RowWrite, wanted: Search, columns: Sequence[str]
    ) -> tuple[sa.Executable, dict[str, ChannelValue]]:
        """A query of `columns` of the row that holds a unique key which a write would take."""
        values = self._values(write)
        own = self._core.alias("datong_own")
        is_own = self._found(write, own.c)

        def value(part: Part) -> sa.ColumnElement[Any]:
            if part.origin == "given":
                return _bound(f"{_VALUE}{write.columns.index(part.column)}")
            standing = sa.select(own.c[part.column]).where(is_own).limit(1).scalar_subquery()
            if part.origin == "standing":
                return standing
            new = _bound(f"{_FRESH}{[name for name, _ in write.fresh].index(part.column)}")
            return sa.case((sa.exists().select_from(own).where(is_own), standing), else_=new)

        collations = wanted.index.collations or ("",) * len(wanted.parts)
        same = [
            (sa.collate(self._columns[part.column], collation) if collation else self._columns[part.column])
            == value(part)
            for part, collation in zip(wanted.parts, collations, strict=True)
        ]
        another = sa.func.coalesce(self._found(write, self._core.c), sa.false()) == sa.false()
        names: list[sa.ColumnElement[Any]] = [self._columns[name] for name in columns] or [sa.literal(1)]
        return sa.select(*names).select_from(self._core).where(*same, another).limit(1), values

    @staticmethod
    def _found(write: RowWrite, columns: Any) -> sa.ColumnElement[bool]:
        """Finds the row as it is before the write."""
        return sa.and_(
            sa.true() if write.key_columns else sa.false(),
            *(columns[name] == _bound(f"{_KEY}{number}") for number, name in enumerate(write.key_columns)),
            *(
                columns[name].is_(None) if value is None else columns[name] == _bound(f"{_ONLY}{number}")
                for number, (name, value) in enumerate(write.only)
            ),
        )

    def _shape(self, write: RowWrite) -> tuple[sa.Executable, sa.Executable | None, sa.Executable | None]:
        only, fresh = [name for name, _ in write.only], [name for name, _ in write.fresh]
        for column in (*write.key_columns, *write.columns, *only, *fresh):
            self._encoder(column)
        found = self._found(write, self._columns)
        if write.op == "delete":
            return self._core.delete().where(found), None, None
        new = {name: _bound(f"{_VALUE}{number}") for number, name in enumerate(write.columns)}
        changes: dict[str, Any] = {
            name: sa.func.coalesce(self._columns[name], 0) + value if number in write.deltas else value
            for number, (name, value) in enumerate(new.items())
        }
        update = self._core.update().where(found).values(changes)
        if write.op == "update":
            return update, None, None
        whole = new | {name: _bound(f"{_FRESH}{number}") for number, name in enumerate(fresh)}
        # To the byte, whatever the column's collation holds for equal.
        equal = sa.and_(*(sa.collate(self._columns[name], _EXACT).is_not_distinct_from(v) for name, v in new.items()))
        met = sa.select(equal).select_from(self._core).where(found) if write.anew else None
        return update, self._core.insert().values(whole), met

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
