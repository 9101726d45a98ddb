"""What MySQL and MariaDB ask of a mapped table beyond what every engine does. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cdc.doctor.facts import MySQLFacts, Wish, facts_tables
from cdc.doctor.finding import Finding
from cdc.quoting import quote
from sinks.mysql_catalog import TRANSACTIONAL


def check_storage(wish: Wish, facts: MySQLFacts) -> Iterator[Finding]:
    """What is not transactional cannot be rolled back, nor be one with its progress."""
    for name, table in facts_tables(facts, wish):
        if table.kind == "table" and table.storage.lower() not in TRANSACTIONAL:
            yield wish.finding(
                "NOT_TRANSACTIONAL",
                "error",
                f"{table.catalog} is in {table.storage}: without transactions a change cannot be applied exactly once",
                [f"ALTER TABLE {quote('mysql', *name)} ENGINE = InnoDB;"],
                path=wish.path_of(name),
            )
