"""What SQLAlchemy's inspection says of a table, as a `Table`. Read-only. Guards I6."""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa

from sinks.arranging import TableFacts
from sinks.taken_keys import UniqueIndex
from transforms.tables import Column, ColumnType, Table

_DECLARED: Final = re.compile(r"\s*([A-Za-z_][A-Za-z_0-9 ]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*")


def read_generic_table(connection: sa.Connection, name: str) -> tuple[Table, TableFacts, list[UniqueIndex]] | None:
    """Read one table; None if it does not exist."""
    inspected = sa.inspect(connection)
    inspected.clear_cache()
    if name not in inspected.get_table_names():
        return None
    primary = tuple(inspected.get_pk_constraint(name)["constrained_columns"])
    declared = dict(_declared(connection, name))
    columns = tuple(_column(found, declared[str(found["name"])], primary) for found in inspected.get_columns(name))
    indexes, others = _unique(connection, name)
    plain = {index.columns for index in indexes}
    if primary and primary not in plain:  # an INTEGER PRIMARY KEY is the table's own order, and has no index
        indexes.insert(0, UniqueIndex("PRIMARY KEY", primary))
    foreign = inspected.get_foreign_keys(name)
    table = Table("", name, columns, primary, tuple(sorted(plain - {primary})))
    facts = TableFacts(
        frozenset({*plain, *others, primary} - {()}),
        frozenset(("", str(one["referred_table"])) for one in foreign),
        frozenset(str(column) for one in foreign for column in one["constrained_columns"]),
    )
    generated = {column.name for column in columns if column.generated}
    return table, facts, [index for index in indexes if generated.isdisjoint(index.columns)]


def _unique(connection: sa.Connection, name: str) -> tuple[list[UniqueIndex], set[tuple[str, ...]]]:
    """The unique indexes, and `("",)` where one is on an expression or a part of the rows.

    Inspection does not see `phone varchar(20) UNIQUE` without a name, the pragmas do.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    rows = connection.execute(
        sa.text(
            "SELECT l.name, l.partial, i.name, i.coll FROM pragma_index_list(:table) AS l, pragma_index_xinfo(l.name) AS i"
            ' WHERE l."unique" AND i.key ORDER BY l.name, i.seqno'
        ),
        {"table": name},
    )
    for index, partial, column, collation in rows:
        found.setdefault(str(index), []).append(("" if partial or column is None else str(column), str(collation)))
    plain = []
    for index, parts in found.items():
        columns, collations = zip(*parts, strict=True)
        if "" not in columns:
            plain.append(UniqueIndex(index, columns, collations=collations))
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
