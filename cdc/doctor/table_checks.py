"""Checks of the mapped tables that every engine shares: they exist, have the key, their columns convert, nothing else writes them. Pure.

Guards I1 (a cascade that the log does not show is a lost change) and I6 (a column that does not convert is named before the start).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cdc.doctor.facts import (
    MySQLFacts,
    ServerFacts,
    TableFacts,
    Wish,
    facts_tables,
)
from cdc.doctor.finding import Finding
from cdc.doctor.round_trips import check_round_trips
from cdc.doctor.server_checks import engine_of
from cdc.foreign_keys import TableName, logs_cascades, without_action
from cdc.quoting import quote
from transforms import compile_mapping
from transforms.compiled import MappingRefusedError
from transforms.specs import MappingSpec


def check_tables_exist(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    for name in wish.tables:
        table = facts.tables.get(name)
        if table is None:
            if isinstance(facts, MySQLFacts) and not facts.grants.any_on_table(*name):
                continue  # it may be there: check_grants names what keeps us from seeing it
            yield wish.finding(
                "TABLE_MISSING",
                "error",
                f"table {name[0]}.{name[1]} does not exist{_near(facts, name)}",
                [f"{wish.path_of(name)}: the name of a table that exists, or create {name[0]}.{name[1]}"],
                path=wish.path_of(name),
            )
        elif table.kind not in ("table", "partitioned"):
            yield wish.finding(
                "NOT_A_TABLE",
                "error",
                f"{name[0]}.{name[1]} is a {table.kind}: only a table has a log",
                [f"{wish.path_of(name)}: the table behind it"],
                path=wish.path_of(name),
            )


def check_mappings_compile(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    """Every mapped column exists and its type converts, both ways where the direction asks for it."""
    for mapping in wish.mappings:
        table = facts.tables.get(wish.name_of(mapping))
        if table is None or not table.catalog.columns or table.kind not in ("table", "partitioned"):
            continue
        try:
            compiled = compile_mapping(mapping, table.catalog, capture=mapping.captures, apply=mapping.applies)
        except MappingRefusedError as refused:
            said_with_its_statement = {finding.path for finding in check_keys(wish, facts)}
            for problem in refused.problems:
                if problem.path in said_with_its_statement:
                    continue
                yield wish.finding(
                    "MAPPING_REFUSED",
                    "error",
                    problem.message,
                    [f"{problem.path}: correct it ({table.catalog} has the columns {', '.join(c.name for c in table.catalog.columns)})"],
                    path=problem.path,
                )  # fmt: skip
        else:
            yield from check_round_trips(wish, compiled)


def check_keys(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    """The columns that find a row are unique and not null."""
    for mapping in wish.mappings:
        table = facts.tables.get(wish.name_of(mapping))
        if table is None or table.kind not in ("table", "partitioned"):
            continue
        columns = [table.catalog.column(name) for name in mapping.key]
        if None in columns or not mapping.key:
            continue  # check_mappings_compile names it
        path = f"mappings.{mapping.name}.key"
        listed = ", ".join(mapping.key)
        keys = [key for key in (table.catalog.primary_key, *table.catalog.unique_keys) if key]
        if not any(set(key) <= set(mapping.key) for key in keys):
            yield wish.finding(
                "KEY_NOT_UNIQUE",
                "error",
                f"no primary or unique key of {table.catalog} lies within ({listed}): one change could write several rows",
                [_add_unique(facts, mapping, wish.name_of(mapping))],
                path=path,
            )
        nullable = [column.name for column in columns if column is not None and column.nullable]
        if nullable:
            yield wish.finding(
                "KEY_NULLABLE",
                "error",
                f"key column {', '.join(nullable)} of {table.catalog} may be NULL: such a row could not be found again",
                [_not_null(facts, wish.name_of(mapping), table, column) for column in nullable],
                path=path,
            )


def check_triggers(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    for name, table in facts_tables(facts, wish):
        if table.triggers and name in wish.applied:
            listed = ", ".join(table.triggers)
            yield wish.finding(
                "TRIGGER",
                "warning",
                f"trigger {listed} of {table.catalog} also runs when changes are applied; what it writes then is not captured - "
                "see that it does nothing twice",
                path=wish.path_of(name),
            )
        elif name in wish.applied and _hides_triggers(facts, name):
            yield wish.finding(
                "TRIGGERS_UNSEEN",
                "info",
                f"{wish.address.user} may not see the triggers of {table.catalog}; they also run when changes are applied "
                f"(an administrator sees them with SHOW TRIGGERS FROM {quote('mysql', name[0])})",
                path=wish.path_of(name),
            )


def _hides_triggers(facts: ServerFacts, name: TableName) -> bool:
    """MySQL shows a table's triggers only to who may make them; MariaDB and PostgreSQL to who may use the table."""
    return isinstance(facts, MySQLFacts) and not facts.is_mariadb and not facts.grants.on_table("TRIGGER", *name)


def check_cascades(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    """Foreign keys that write rows by themselves (ON DELETE CASCADE and the like) on mapped tables."""
    for name, table in facts_tables(facts, wish):
        for key in table.foreign_keys:
            if not key.action:
                continue
            if key.changes(wish.read_columns(name)) and not _cascades_are_logged(facts):
                yield wish.finding(
                    "CASCADE",
                    "error",
                    f"foreign key {key.name} of {table.catalog} has {key.action}: what it does to rows is not in the log and would be lost",
                    without_action(engine_of(facts), key),
                    path=wish.path_of(name),
                )
            elif name in wish.applied and key.parent in wish.applied:
                yield wish.finding(
                    "CASCADE",
                    "warning",
                    f"foreign key {key.name} of {table.catalog} has {key.action}: a change applied to {key.parent[1]} writes more rows "
                    "than arrived, which is reported as an alarm",
                    without_action(engine_of(facts), key),
                    path=wish.path_of(name),
                )


def _cascades_are_logged(facts: ServerFacts) -> bool:
    native = facts.variables.get("innodb_native_foreign_keys", "") if isinstance(facts, MySQLFacts) else ""
    return logs_cascades(engine_of(facts), facts.version, native)


def _add_unique(facts: ServerFacts, mapping: MappingSpec, name: TableName) -> str:
    engine = engine_of(facts)
    columns = ", ".join(quote(engine, column) for column in mapping.key)
    constraint = quote(engine, f"{mapping.table}_{'_'.join(mapping.key)}_key"[:60])
    return f"ALTER TABLE {quote(engine, *name)} ADD CONSTRAINT {constraint} UNIQUE ({columns});"


def _not_null(facts: ServerFacts, name: TableName, table: TableFacts, column: str) -> str:
    engine = engine_of(facts)
    if engine == "postgresql":
        return f"ALTER TABLE {quote(engine, *name)} ALTER COLUMN {quote(engine, column)} SET NOT NULL;"
    definition, comment, rest = table.column_lines.get(column, "").partition(" COMMENT '")
    definition = re.sub(r"( NULL)? DEFAULT NULL$", "", definition)
    return f"ALTER TABLE {quote(engine, *name)} MODIFY {definition} NOT NULL{comment}{rest};"


def _near(facts: ServerFacts, name: TableName) -> str:
    """`members` where `Members` is asked for is the usual reason."""
    same = [found for found in facts.tables if found[1].lower() == name[1].lower() and found != name]
    return f" ({same[0][0]}.{same[0][1]} does)" if same else ""
