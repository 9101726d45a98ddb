"""The row that holds a unique key which a refused row would take, asked of PostgreSQL. Pure. Reads only, without a lock."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.contract import RowWrite
from sinks.postgresql_session import Query
from sinks.postgresql_statements import TablePlan
from sinks.postgresql_texts import quote_name
from sinks.taken_keys import Part, Search
from transforms.values import ChannelValue


def holder(plan: TablePlan, write: RowWrite, wanted: Search, columns: Sequence[str]) -> Query:
    """A query of `columns`, as texts, of the row that a search is for."""
    return _Lookup(plan, write).query(wanted, columns)


class _Lookup:
    def __init__(self, plan: TablePlan, write: RowWrite) -> None:
        self._plan = plan
        self._parameters: list[str] = []
        # A table that others inherit from does not share its unique keys with them; one of partitions does.
        self._rows = plan.name if plan.partitioned else f"ONLY {plan.name}"
        self._own = self._own_row(write)

    def query(self, wanted: Search, columns: Sequence[str]) -> Query:
        same = " AND ".join(self._same(part, nulls_equal=wanted.index.nulls_equal) for part in wanted.parts)
        names = ", ".join(f"{quote_name(column)}::text" for column in columns) or "1"
        sql = f"SELECT {names} FROM {self._rows} AS t WHERE {same} AND ({self._own}) IS NOT TRUE LIMIT 1"
        return Query(sql, f"lookup in {self._plan.table}", tuple(self._parameters))

    def _value(self, column: str, value: ChannelValue) -> str:
        """As the element of an array of one: the encoders write nothing else. The texts of arrays are cast by themselves."""
        found = self._plan.column(column)
        self._parameters.append(self._plan.encoder(column)((value,)))
        if found.base.type.kind == "array":
            return f"(${len(self._parameters)}::text[])[1]::{found.bare_type}"
        return f"(${len(self._parameters)}::{found.bare_type}[])[1]"

    def _own_row(self, write: RowWrite) -> str:
        """Finds the row `t` that a write would change; for an insert, the one of its very key."""
        if not write.key_columns:
            return "FALSE"
        conditions = []
        for column, value in zip(write.key_columns, write.key, strict=True):
            name, given = f"t.{quote_name(column)}", self._value(column, value)
            conditions.append(f"{name} = {given}")
            found = self._plan.column(column)
            if write.op == "insert" and found.loose:
                conditions.append(f"NOT record_image_ne(ROW({name}), ROW({given}::{found.full_type}))")
        for column, value in write.only:
            name = f"t.{quote_name(column)}"
            conditions.append(f"{name} IS NULL" if value is None else f"{name} = {self._value(column, value)}")
        return " AND ".join(conditions)

    def _same(self, part: Part, *, nulls_equal: bool) -> str:
        name = f"t.{quote_name(part.column)}"
        own = f"FROM {self._rows} AS t WHERE {self._own}"
        standing = f"(SELECT {name} {own} LIMIT 1)"
        if part.origin == "given":
            return f"{name} IS NULL" if part.value is None else f"{name} = {self._value(part.column, part.value)}"
        if part.origin == "standing":
            both_null = f"({name} IS NULL AND EXISTS (SELECT 1 {own} AND {name} IS NULL))"
            return f"({name} = {standing} OR {both_null})" if nulls_equal else f"{name} = {standing}"
        new = "NULL" if part.value is None else self._value(part.column, part.value)
        value = f"CASE WHEN EXISTS (SELECT 1 {own}) THEN {standing} ELSE {new} END"
        return f"({name} = {value} OR ({name} IS NULL AND {value} IS NULL))" if nulls_equal else f"{name} = {value}"
