"""What SQLAlchemy's inspection says of a table, as a `Table`. Read-only. Guards I6."""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa

from sinks.arranging import TableFacts
from transforms.tables import Column, ColumnType, Table

_DECLARED: Final = re.compile(r"\s*([A-Za-z_][A-Za-z_0-9 ]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*")


def read_generic_table(connection: sa.Connection, name: str) -> tuple[Table, TableFacts] | None:
    """Read one table; None if it does not exist."""
    inspected = sa.inspect(connection)
    inspected.clear_cache()
    if name not in inspected.get_table_names():
        return None
    primary = tuple(inspected.get_pk_constraint(name)["constrained_columns"])
    declared = dict(_declared(connection, name))
    columns = tuple(_column(found, declared[str(found["name"])], primary) for found in inspected.get_columns(name))
    plain, others = _unique(connection, name)
    foreign = inspected.get_foreign_keys(name)
    table = Table("", name, columns, primary, tuple(sorted(plain - {primary})))
    facts = TableFacts(
        frozenset({*plain, *others, primary} - {()}),
        frozenset(("", str(one["referred_table"])) for one in foreign),
        frozenset(str(column) for one in foreign for column in one["constrained_columns"]),
    )
    return table, facts


def _unique(connection: sa.Connection, name: str) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """The columns of each unique index, and `("",)` where one is on an expression or a part of the rows.

    Inspection does not see `phone varchar(20) UNIQUE` without a name, the pragmas do.
    """
    found: dict[str, list[str]] = {}
    rows = connection.execute(
        sa.text(
            "SELECT l.name, l.partial, i.name FROM pragma_index_list(:table) AS l, pragma_index_info(l.name) AS i"
            ' WHERE l."unique" ORDER BY l.name, i.seqno'
        ),
        {"table": name},
    )
    for index, partial, column in rows:
        found.setdefault(str(index), []).append("" if partial or column is None else str(column))
    plain = {tuple(columns) for columns in found.values() if "" not in columns}
    return plain, {("",)} if len(plain) < len(found) else set()


def _declared(connection: sa.Connection, name: str) -> list[tuple[str, str]]:
    """Each column's type as it was written: inspection would make it one of SQLAlchemy's."""
    rows = connection.execute(sa.text("SELECT name, type FROM pragma_table_xinfo(:table)"), {"table": name})
    return [(str(row[0]), str(row[1])) for row in rows]


def _column(found: Any, declared: str, primary: tuple[str, ...]) -> Column:
    matched = _DECLARED.fullmatch(declared)
    base, first, second = matched.groups() if matched else (declared, None, None)
    kind = " ".join(str(base).lower().split())
    decimal = kind in ("decimal", "numeric")
    return Column(
        name=str(found["name"]),
        type=ColumnType(
            "sqlite", kind,
            length=int(first) if first and not decimal else None,
            precision=int(first) if first and decimal else None,
            scale=int(second or 0) if first and decimal else None,
        ),
        nullable=bool(found["nullable"]) and found["name"] not in primary,
        generated="computed" in found,
        has_default=found.get("default") is not None or (primary == (found["name"],) and kind == "integer"),
    )  # fmt: skip
