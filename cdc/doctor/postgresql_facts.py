"""Ask a PostgreSQL server what the doctor judges. Reads catalogs only; writes nothing. Guards I9."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import psycopg

from cdc.doctor.facts import PostgreSQLFacts, Publication, Slot, TableFacts, Wish
from cdc.doctor.postgresql_numbers import read_numbers
from cdc.foreign_keys import ForeignKey, TableName
from cdc.readers.postgresql_publication import OURS, existing, publication_statements
from sinks.bookkeeping import LINKS_TABLE
from transforms.tables import Table

Describe = Callable[[str, str], Table | None]

_KINDS: Final = {"r": "table", "p": "partitioned", "v": "view", "m": "materialized view", "f": "foreign table"}
_ACTIONS: Final = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_WRITING: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

_SERVER: Final = """
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version'),
  current_setting('server_version_num')::int, current_user::text, r.rolsuper, r.rolsuper OR r.rolreplication,
  current_database()::text, pg_encoding_to_char(d.encoding), pg_is_in_recovery(),
  has_database_privilege(current_database(), 'CREATE'), has_schema_privilege('public', 'CREATE'),
  (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication),
  d.oid::text, pg_backend_pid()
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
# Providers give a role to be a member of in place of the attribute.
_PROVIDER_ROLE: Final = """
SELECT rolname, pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles
WHERE rolname IN ('rds_replication', 'rds_superuser', 'cloudsqlsuperuser', 'polar_superuser') ORDER BY rolname LIMIT 1
"""
_TABLE: Final = """
SELECT c.oid, c.relkind::text, c.relreplident::text, c.relpersistence::text, pg_has_role(current_user, c.relowner, 'USAGE'),
  ARRAY(SELECT p FROM unnest(%s::text[]) p
        WHERE has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, p)),
  ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
        ORDER BY 1),
  ARRAY(SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled IN ('O', 'A')
        AND (r.is_instead OR r.ev_type <> '4')
        ORDER BY 1),
  c.relkind IN ('r', 'p') AND row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""
_NOT_OURS: Final = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND NOT pg_has_role(current_user, c.relowner, 'USAGE')
"""
_FOREIGN_KEYS: Final = """
SELECT k.conname::text, k.confdeltype::text, k.confupdtype::text, n.nspname::text, c.relname::text,
  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(number, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = %s AND k.conparentid = 0 ORDER BY k.conname
"""
# As JSON where a column came with a later version: prqual and prattrs with 15, failover with 17.
_PUBLICATION: Final = """
SELECT puballtables, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate, pg_has_role(current_user, pubowner, 'USAGE')
FROM pg_publication WHERE pubname = %s
"""
_PUBLISHED: Final = "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = %s"
_FILTERED: Final = """
SELECT n.nspname::text, c.relname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = %s AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)
"""
_SLOT: Final = """
SELECT coalesce(plugin::text, ''), coalesce(database::text, ''), coalesce(wal_status, ''), temporary,
  (to_jsonb(s) ->> 'failover')::boolean, active
FROM pg_replication_slots s WHERE slot_name = %s
"""


def gather_postgresql(connection: psycopg.Connection[Any], wish: Wish, describe: Describe) -> PostgreSQLFacts:
    """Raises psycopg.Error where the connection is lost on the way."""
    before = time.time()
    row = connection.execute(_SERVER).fetchone()
    after = time.time()
    assert row is not None
    provider = connection.execute(_PROVIDER_ROLE).fetchone()
    links = (("public", LINKS_TABLE),) if wish.writes_people else ()
    names = (*wish.tables, *(OURS if wish.keeps_tables else ()), *links)
    present = existing(connection, wish.published)
    wanted = {*present, *(OURS if wish.keeps_tables else ())}
    return PostgreSQLFacts(
        version=str(row[1]),
        identity=f"{_system_identifier(connection)}/{row[13]}",
        skew_seconds=float(row[0]) - (before + after) / 2,
        skew_error_seconds=(after - before) / 2,
        proxied=connection.info.backend_pid != row[14],
        tables=_tables(connection, names, describe),
        version_number=int(row[2]),
        role=str(row[3]),
        is_superuser=bool(row[4]),
        may_replicate=bool(row[5]) or bool(provider and provider[1]),
        replication_role=str(provider[0]) if provider else None,
        database=str(row[6]),
        encoding=str(row[7]),
        in_recovery=bool(row[8]),
        settings={str(n): str(v) for n, v in connection.execute("SELECT name, setting FROM pg_settings").fetchall()},
        slots_used=int(row[11]),
        senders_used=int(row[12]),
        may_create_in_database=bool(row[9]),
        may_create_in_public=bool(row[10]),
        existing=frozenset(present),
        not_ours=_not_ours(connection, wanted),
        publication=_publication(connection, wish.publication),
        publication_statements=tuple(publication_statements(connection, wish.publication, wanted)) if wanted else (),
        slot=_slot(connection, wish.slot),
    )


def _system_identifier(connection: psycopg.Connection[Any]) -> str:
    """Which cluster this is; a provider may keep pg_control_system from us, then the cluster's first database's age tells it."""
    allowed = connection.execute("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')").fetchone()
    if allowed and allowed[0]:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    else:
        row = connection.execute(
            "SELECT coalesce(inet_server_addr()::text, '') || ':' || current_setting('port')"
        ).fetchone()
    return str(row[0]) if row else ""


def _not_ours(connection: psycopg.Connection[Any], tables: set[TableName]) -> frozenset[TableName]:
    names = sorted(tables)
    rows = connection.execute(_NOT_OURS, ([schema for schema, _ in names], [name for _, name in names])).fetchall()
    return frozenset((str(schema), str(name)) for schema, name in rows)


def _publication(connection: psycopg.Connection[Any], name: str) -> Publication | None:
    row = connection.execute(_PUBLICATION, (name,)).fetchone()
    if row is None:
        return None
    operations = zip(("insert", "update", "delete", "truncate"), row[2:6], strict=True)
    return Publication(
        tables=_names(connection, _PUBLISHED, name),
        filtered=_names(connection, _FILTERED, name),
        operations=frozenset(operation for operation, published in operations if published),
        all_tables=bool(row[0]),
        via_root=bool(row[1]),
        owned=bool(row[6]),
    )


def _names(connection: psycopg.Connection[Any], statement: str, publication: str) -> frozenset[TableName]:
    return frozenset((str(s), str(t)) for s, t in connection.execute(statement.encode(), (publication,)).fetchall())


def _slot(connection: psycopg.Connection[Any], name: str) -> Slot | None:
    row = connection.execute(_SLOT, (name,)).fetchone()
    return None if row is None else Slot(*row)


def _tables(
    connection: psycopg.Connection[Any], names: tuple[TableName, ...], describe: Describe
) -> dict[TableName, TableFacts]:
    found: dict[TableName, TableFacts] = {}
    for schema, table in names:
        row = connection.execute(_TABLE, (list(_WRITING), schema, table)).fetchone()
        if row is None:
            continue
        catalog = describe(schema, table) or Table(schema, table, ())  # of a view nothing more is asked
        found[schema, table] = TableFacts(
            catalog=catalog,
            kind=_KINDS.get(str(row[1]), "other"),
            triggers=tuple(row[6]),
            foreign_keys=_foreign_keys(connection, row[0], (schema, table)),
            privileges=frozenset(row[5]),
            owned=bool(row[4]),
            replica_identity=str(row[2]),
            unlogged=str(row[3]) == "u",
            rules=tuple(row[7]),
            row_security=bool(row[8]),
        )
        found[schema, table] = replace(
            found[schema, table], numbers=read_numbers(connection, row[0], found[schema, table])
        )
    return found


def _foreign_keys(connection: psycopg.Connection[Any], oid: int, child: TableName) -> tuple[ForeignKey, ...]:
    return tuple(
        ForeignKey(
            name=str(row[0]),
            child=child,
            columns=tuple(row[5]),
            parent=(str(row[3]), str(row[4])),
            parent_columns=tuple(row[6]),
            on_delete=_ACTIONS[row[1]],
            on_update=_ACTIONS[row[2]],
        )
        for row in connection.execute(_FOREIGN_KEYS, (oid,)).fetchall()
    )
