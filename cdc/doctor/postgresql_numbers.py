"""The sequences behind a PostgreSQL table's columns, and whether rows have passed them. Reads only. Guards I9: no number of a row is kept."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from cdc.doctor.facts import Numbers, TableFacts

# The sequence of a default, of an identity.
_SEQUENCES: Final = """
SELECT a.attname::text, n.nspname::text, c.relname::text, s.seqincrement, s.seqstart, s.seqmin, s.seqmax,
  has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_attribute a
JOIN LATERAL (
  SELECT d.refobjid AS oid FROM pg_attrdef f
  JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
  WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum
  UNION SELECT d.objid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i') q ON true
JOIN pg_sequence s ON s.seqrelid = q.oid JOIN pg_class c ON c.oid = q.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_NUMERIC: Final = frozenset({"int2", "int4", "int8", "numeric"})


def read_numbers(connection: psycopg.Connection[Any], oid: int, table: TableFacts) -> dict[str, Numbers]:
    """Column -> its numbers. What may not be read is taken as the sequence was made. Raises psycopg.Error."""
    found: dict[str, Numbers] = {}
    for column, schema, name, step, start, lowest, highest, readable in connection.execute(
        _SEQUENCES, (oid,)
    ).fetchall():
        upcoming = start
        if readable:
            state = sql.SQL("SELECT last_value + CASE WHEN is_called THEN {} ELSE 0 END FROM {}")
            (upcoming,) = _one(connection, state.format(step, sql.Identifier(schema, name)))
        behind = readable and step > 0 and _is_passed(connection, table, column, upcoming)
        found[column] = Numbers(abs(step), upcoming, lowest, highest, (schema, name), behind=behind)
    return found


def _is_passed(connection: psycopg.Connection[Any], table: TableFacts, column: str, upcoming: int) -> bool:
    """Whether the table holds the coming number or a higher one; asked only where an index answers, and we may."""
    catalog = table.catalog
    described = catalog.column(column)
    indexed = any(key[:1] == (column,) for key in (catalog.primary_key, *catalog.unique_keys))
    if not indexed or described is None or described.type.name not in _NUMERIC:
        return False
    if "SELECT" not in table.privileges or table.row_security:
        return False
    query = sql.SQL("SELECT max({}) >= {} FROM {}").format(
        sql.Identifier(column), upcoming, sql.Identifier(catalog.schema, catalog.name)
    )
    (passed,) = _one(connection, query)
    return bool(passed)


def _one(connection: psycopg.Connection[Any], query: sql.Composed) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None
    return row
