"""The row that holds a unique key which a refused row would take, asked of MySQL and MariaDB. Pure. Reads only, without a lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sinks.contract import RowWrite
from sinks.mysql_literals import quote_name
from sinks.mysql_session import Statement
from sinks.mysql_statements import TablePlan
from sinks.taken_keys import Part, Search

_BINARIES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit"})


def holder(plan: TablePlan, write: RowWrite, wanted: Search, columns: Sequence[str]) -> Statement:
    """A query of `columns`, as texts, of the row that a search is for. Raises Rejected for a value that cannot be written."""
    own = own_row(plan, write)

    def value(part: Part) -> str:
        standing = f"(SELECT {quote_name(part.column)} FROM {plan.name} WHERE {own} LIMIT 1)"
        if part.origin == "standing":
            return standing
        (literal,) = plan.literals(write, (part.column,), (part.value,))
        if part.origin == "given":
            return literal
        return f"CASE WHEN EXISTS (SELECT 1 FROM {plan.name} WHERE {own}) THEN {standing} ELSE {literal} END"

    same = " AND ".join(f"{quote_name(part.column)} = {value(part)}" for part in wanted.parts)
    names = ", ".join(_text(plan, column) for column in columns) or "1"
    sql = f"SELECT {names} FROM {plan.name} WHERE {same} AND ({own}) IS NOT TRUE LIMIT 1"
    return Statement(sql, f"lookup in {plan.table}")


def own_row(plan: TablePlan, write: RowWrite) -> str:
    """Finds the row that a write would change; for an insert, the one of its very key."""
    if not write.key_columns:
        return "FALSE"
    return plan.named_by(write) if write.op == "insert" else plan.found_by(write)


def _text(plan: TablePlan, column: str) -> str:
    name, found = quote_name(column), plan.table.column(column)
    if found is not None and found.type.name in _BINARIES:
        return f"CONCAT('0x', HEX({name}))"
    return f"CAST({name} AS CHAR CHARACTER SET utf8mb4)"
