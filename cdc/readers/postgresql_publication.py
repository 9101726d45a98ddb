"""Which tables our publication has to carry, and the statements that make it so. Guards I1: what is not in the publication
is not in the stream, and nobody would notice.

Ours has no row filters and no column lists, and shows partitions as their root.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import psycopg

from cdc.readers.postgresql_errors import quoted
from sinks.bookkeeping import PARKED_TABLE, PROGRESS_TABLE

TableName = tuple[str, str]

OURS: Final[tuple[TableName, ...]] = (("public", PROGRESS_TABLE), ("public", PARKED_TABLE))

_EXISTING: Final = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_PUBLICATION: Final = """
SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, puballtables OR pubviaroot
FROM pg_publication WHERE pubname = %s
"""
_COVERED: Final = "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s"
# As JSON: prqual and prattrs came with version 15.
_NARROWED: Final = """
SELECT n.nspname, c.relname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = %s AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)
"""


def existing(connection: psycopg.Connection[Any], tables: Iterable[TableName]) -> set[TableName]:
    """Which of these tables are there."""
    asked = sorted(tables)
    rows = connection.execute(_EXISTING, ([schema for schema, _ in asked], [name for _, name in asked])).fetchall()
    return {(str(schema), str(name)) for schema, name in rows}


def publication_statements(connection: psycopg.Connection[Any], name: str, tables: Iterable[TableName]) -> list[str]:
    """The statements that make publication `name` carry `tables` and, where they exist, the tables of ours; [] if it does.

    Raises psycopg.Error.
    """
    wanted = sorted({*tables, *existing(connection, OURS)})
    publication = quoted(name)
    found = connection.execute(_PUBLICATION, (name,)).fetchone()
    if found is None:
        listed = f" FOR TABLE {_list(wanted)}" if wanted else ""
        return [f"CREATE PUBLICATION {publication}{listed} WITH (publish_via_partition_root = true);"]
    statements = []
    if not found[0]:
        statements.append(f"ALTER PUBLICATION {publication} SET (publish = 'insert, update, delete, truncate');")
    if not found[1]:
        statements.append(f"ALTER PUBLICATION {publication} SET (publish_via_partition_root = true);")
    covered = set(connection.execute(_COVERED, (name,)).fetchall())
    narrowed = sorted(set(connection.execute(_NARROWED, (name,)).fetchall()) & set(wanted))
    if narrowed:
        statements.append(f"ALTER PUBLICATION {publication} DROP TABLE {_list(narrowed)};")
    missing = sorted({*(table for table in wanted if table not in covered), *narrowed})
    if missing:
        statements.append(f"ALTER PUBLICATION {publication} ADD TABLE {_list(missing)};")
    return statements


def _list(tables: Iterable[TableName]) -> str:
    return ", ".join(quoted(schema, name) for schema, name in tables)
