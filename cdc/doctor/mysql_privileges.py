"""Which privileges a channel's account lacks on MySQL or MariaDB, each with its exact GRANT; and the tables of ours. Pure.

Guards I1: a privilege that is missing is named before the first change waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cdc.doctor.facts import MySQLFacts, Wish
from cdc.doctor.finding import Finding
from cdc.foreign_keys import TableName
from cdc.quoting import quote
from sinks.bookkeeping import CREATE_LINKS_MYSQL, CREATE_MYSQL, LINKS_TABLE, PARKED_TABLE, PROGRESS_TABLE

_KEEPS: Final = {
    PROGRESS_TABLE: "what was applied",
    PARKED_TABLE: "the changes that wait",
    LINKS_TABLE: "the keys of people's new rows",
}
WRITING: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")


def check_grants(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    for privilege, why in (
        ("REPLICATION SLAVE", "to read the log"),
        ("REPLICATION CLIENT", "to ask where the log ends"),
    ):
        if wish.captures and not facts.grants.everywhere(privilege):
            shown = "BINLOG MONITOR" if facts.is_mariadb and privilege == "REPLICATION CLIENT" else privilege
            yield _missing(wish, facts, [shown], "*.*", why, wish.path)
    for name in wish.tables:
        wanted = WRITING if name in wish.applied else ("SELECT",)
        columns = _mapped_columns(wish, name)
        lacking = [p for p in wanted if not facts.grants.on_table(p, *name, () if p == "DELETE" else columns)]
        if lacking:
            why = "to apply changes" if name in wish.applied else "to know its columns"
            yield _missing(wish, facts, lacking, quote("mysql", *name), why, wish.path_of(name))


def check_own_tables(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """datong_progress and datong_parked, and datong_identity where people are written: they exist and may be written, or may be created."""
    if not wish.keeps_tables:
        return
    ours = list(zip((PROGRESS_TABLE, PARKED_TABLE), CREATE_MYSQL, strict=True))
    if wish.writes_people:
        ours.append((LINKS_TABLE, CREATE_LINKS_MYSQL))
    for table, statement in ours:
        name = (wish.schema, table)
        exists = name in facts.tables
        wanted = WRITING if exists else (*WRITING, "CREATE")
        lacking = [p for p in wanted if not facts.grants.on_table(p, *name)]
        if lacking:
            yield _missing(wish, facts, lacking, quote("mysql", *name), "to keep what was applied", wish.path)
        if not exists:
            yield wish.finding(
                f"{table.removeprefix('datong_').upper()}_TABLE",
                "error",
                f"table {wish.schema}.{table} is missing: it keeps {_KEEPS[table]}",
                [f"{_in_schema(statement, wish.schema, table)};"],
                fixable=not lacking,
            )


def _in_schema(statement: str, schema: str, table: str) -> str:
    return statement.replace(quote("mysql", table), quote("mysql", schema, table), 1)


def _missing(wish: Wish, facts: MySQLFacts, privileges: list[str], scope: str, why: str, path: str) -> Finding:
    listed = ", ".join(privileges)
    return wish.finding(
        "GRANT_MISSING",
        "error",
        f"{facts.account} has no {listed} on {scope.replace('`', '')}, which it needs {why}",
        [f"GRANT {listed} ON {scope} TO {facts.account};"],
        path=path,
    )


def _mapped_columns(wish: Wish, name: TableName) -> list[str]:
    return [column.column for mapping in wish.mappings if wish.name_of(mapping) == name for column in mapping.columns]
