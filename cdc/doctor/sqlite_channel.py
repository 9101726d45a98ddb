"""Examining an SQLite channel, which is only written: the file opens, and the mapped tables are there with their columns and keys."""

from __future__ import annotations

from cdc.doctor import table_checks
from cdc.doctor.facts import ServerFacts, TableFacts, Wish
from cdc.doctor.finding import Finding
from sinks import open_sink
from sinks.contract import Halt, SinkError, SinkOptions


def examine_sqlite(wish: Wish) -> tuple[list[Finding], ServerFacts | None]:
    """All findings, and what was seen there; None where the file cannot be opened. The sink makes its tables itself."""
    sink = open_sink(wish.address, SinkOptions())
    try:
        identity = sink.connect()
        described = {name: sink.describe(None, name[1]) for name in wish.tables}
    except SinkError as error:
        mend = error.mend if isinstance(error, Halt) else ""
        return [wish.finding("UNREACHABLE", "error", str(error), [mend or "try again"])], None
    finally:
        sink.close()
    tables = {name: TableFacts(table) for name, table in described.items() if table is not None}
    facts = ServerFacts(identity.version, identity.server, 0.0, 0.0, proxied=False, tables=tables)
    found = [*table_checks.check_tables_exist(wish, facts), *table_checks.check_mappings_compile(wish, facts)]
    for mapping in wish.mappings:
        name = wish.name_of(mapping)
        keys = [tables[name].catalog.primary_key, *tables[name].catalog.unique_keys] if name in tables else []
        if keys and not any(key and set(key) <= set(mapping.key) for key in keys):
            listed = ", ".join(mapping.key)
            text = f"no primary or unique key of {mapping.table} lies within ({listed}): one change could write several rows"
            index = ", ".join(f'"{column}"' for column in mapping.key)
            mend = f'CREATE UNIQUE INDEX "{mapping.table}_key" ON "{mapping.table}" ({index});'
            found.append(wish.finding("KEY_NOT_UNIQUE", "error", text, [mend], path=f"mappings.{mapping.name}.key"))
    return found, facts
