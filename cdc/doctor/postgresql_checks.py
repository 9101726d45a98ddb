"""What a PostgreSQL server, its role, publication and slot have to be. Pure.

Guards I1 (what is not in the publication is not in the stream, and nobody would notice), I7 and the disk (a slot keeps WAL).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cdc.doctor.facts import PostgreSQLFacts, Wish, facts_tables
from cdc.doctor.finding import Finding
from cdc.foreign_keys import TableName
from cdc.quoting import literal, quote
from sinks.bookkeeping import CREATE_LINKS_POSTGRESQL, CREATE_POSTGRESQL, LINKS_TABLE, PARKED_TABLE, PROGRESS_TABLE

WRITING: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_SMALL_WAL_MEGABYTES: Final = 1024
_OURS: Final = {("public", PROGRESS_TABLE), ("public", PARKED_TABLE)}
# Ours are pinned to 0 when a session begins; one that is still set here was set where that does not reach, or came later.
_TIMEOUTS: Final = (
    "statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout",
)  # fmt: skip


def check_server(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    if facts.encoding != "UTF8":
        yield wish.finding(
            "ENCODING",
            "error",
            f"database {facts.database} is in {facts.encoding}, not UTF8: texts of other channels would not fit",
            [f"dump it and restore it into CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0, then {wish.path}"],
        )
    if facts.in_recovery:
        yield wish.finding(
            "REPLICA",
            "error",
            "this server is a standby: it takes no writes and no publication - give the primary's address",
            [f"{wish.path}: the primary's address"],
        )
    if facts.settings.get("synchronous_standby_names"):
        yield wish.finding(
            "SYNCHRONOUS_STANDBY",
            "info",
            "commits wait for a synchronous standby: a change may be captured before it is visible here",
        )
    for name in _TIMEOUTS:
        if facts.settings.get(name, "0") != "0":
            yield wish.finding(
                "TIMEOUT_SET",
                "warning",
                f"{name} is {facts.settings[name]} ms for {facts.role}: the server ends our sessions when they wait",
                [f"ALTER ROLE {quote('postgresql', facts.role)} SET {name} = 0;"],
            )


def check_logical_decoding(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    if not wish.captures:
        return
    if facts.settings.get("wal_level") != "logical":
        yield wish.finding(
            "WAL_LEVEL",
            "error",
            f"wal_level is {facts.settings.get('wal_level')}, not logical: the log does not hold the rows",
            ["ALTER SYSTEM SET wal_level = 'logical';", "restart the server"],
        )
    for code, setting, used, what in (
        ("SLOTS_FULL", "max_replication_slots", facts.slots_used, "replication slots"),
        ("SENDERS_FULL", "max_wal_senders", facts.senders_used, "WAL senders"),
    ):
        limit = int(facts.settings.get(setting, "0"))
        ours = facts.slot is not None and (code == "SLOTS_FULL" or facts.slot.active)
        if used >= limit and not ours:
            yield wish.finding(
                code,
                "error",
                f"all {limit} {what} are in use ({setting})",
                [f"ALTER SYSTEM SET {setting} = {max(limit * 2, 10)};", "restart the server"],
            )
    if not facts.may_replicate:
        role = quote("postgresql", facts.role)
        yield wish.finding(
            "REPLICATION_ROLE",
            "error",
            f"role {facts.role} may not replicate",
            [
                f"GRANT {quote('postgresql', facts.replication_role)} TO {role};"
                if facts.replication_role
                else f"ALTER ROLE {role} REPLICATION;"
            ],
        )
    yield from _retention(wish, facts)


def _retention(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    megabytes = int(facts.settings.get("max_slot_wal_keep_size", "-1"))
    mend = ["ALTER SYSTEM SET max_slot_wal_keep_size = '20GB';", "SELECT pg_reload_conf();"]
    if megabytes == -1:
        text = "max_slot_wal_keep_size is unlimited: while this channel is stopped its slot keeps WAL until the disk is full"
        yield wish.finding("SLOT_WAL_UNLIMITED", "warning", text, mend)
    elif megabytes < _SMALL_WAL_MEGABYTES:
        text = f"max_slot_wal_keep_size is {megabytes} MB: a channel that is behind by more loses its slot and has to be resynced"
        yield wish.finding("SLOT_WAL_SMALL", "warning", text, mend)


def check_slot(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    if not wish.captures:
        return
    slot, drop = facts.slot, f"SELECT pg_drop_replication_slot({literal(wish.slot)});"
    if slot is None and wish.started:
        yield wish.finding(
            "SLOT_LOST",
            "error",
            f"replication slot {wish.slot} is gone: changes since then were not kept, and a new slot would hide that",
            [f"datong resync (each mapping of {wish.channel})"],
        )
    elif slot is None:
        fixable = facts.may_replicate and facts.settings.get("wal_level") == "logical"
        yield wish.finding(
            "SLOT_MISSING",
            "error",
            f"replication slot {wish.slot} does not exist",
            [f"SELECT pg_create_logical_replication_slot({literal(wish.slot)}, 'pgoutput');"],
            fixable=fixable,
        )
    elif slot.plugin != "pgoutput" or slot.database != facts.database or slot.temporary:
        yield wish.finding(
            "SLOT_FOREIGN",
            "error",
            f"replication slot {wish.slot} is somebody else's (plugin {slot.plugin or 'none'}, database {slot.database or 'none'})",
            [drop],
        )
    elif slot.wal_status == "lost":
        yield wish.finding(
            "SLOT_LOST",
            "error",
            f"replication slot {wish.slot} was invalidated: the server removed log that had not been captured",
            [drop, f"datong resync (each mapping of {wish.channel})"],
        )
    elif slot.wal_status == "unreserved":
        yield wish.finding(
            "SLOT_UNRESERVED",
            "warning",
            f"replication slot {wish.slot} is about to be lost: it is behind by more than max_slot_wal_keep_size",
            ["ALTER SYSTEM SET max_slot_wal_keep_size = '-1';", "SELECT pg_reload_conf();"],
        )
    elif slot.failover is False:
        yield wish.finding(
            "SLOT_FAILOVER",
            "info",
            f"replication slot {wish.slot} is not a failover slot: after a failover this channel has to be resynced",
            [
                f"psql 'dbname={facts.database} replication=database' -c 'ALTER_REPLICATION_SLOT {wish.slot} ( FAILOVER true )'"
            ],
        )


def check_publication(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    """Missing or incomplete; the statements are the reader's own, so that what is printed is what it wants."""
    if not facts.publication_statements:
        return
    statements, publication = list(facts.publication_statements), facts.publication
    wanted = wanted_in_publication(wish, facts)
    owned = not wanted & facts.not_ours
    if publication is None:
        may = owned and facts.may_create_in_database
        who = "" if may else f"; {facts.role} may not create it, a superuser has to"
        text = f"publication {wish.publication} does not exist{who}"
        yield wish.finding("PUBLICATION_MISSING", "error", text, statements, fixable=may)
        return
    problems = []
    if missing := sorted(wanted - publication.tables):
        problems.append("leaves out " + ", ".join(f"{schema}.{table}" for schema, table in missing))
    if filtered := sorted(wanted & publication.filtered):
        problems.append("has a row filter or column list on " + ", ".join(f"{s}.{t}" for s, t in filtered))
    if kept_back := sorted({"insert", "update", "delete", "truncate"} - publication.operations):
        problems.append(f"does not publish {', '.join(kept_back)}")
    if not (publication.via_root or publication.all_tables):
        problems.append("shows partitions by their own names")
    may = owned and publication.owned
    who = "" if may else f"; it or a table is not {facts.role}'s, its owner or a superuser has to mend it"
    text = f"publication {wish.publication} {' and '.join(problems) or 'is incomplete'}{who}"
    yield wish.finding("PUBLICATION_INCOMPLETE", "error", text, statements, fixable=may)


def wanted_in_publication(wish: Wish, facts: PostgreSQLFacts) -> set[TableName]:
    """The captured tables that exist, and ours (which exist, or are made by an earlier finding's statement)."""
    return {name for name in wish.published if name in facts.existing} | (_OURS if wish.keeps_tables else set())


def check_written_tables(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    """What keeps a row from being written, or from being found (I1)."""
    for name, table in facts_tables(facts, wish):
        if name not in wish.applied or table.kind not in ("table", "partitioned"):
            continue
        quoted, path = quote("postgresql", *name), wish.path_of(name)
        if table.rules:
            text = f"rule {', '.join(table.rules)} of {table.catalog} rewrites what is applied: PostgreSQL refuses our inserts, or writes nothing"
            mend = [f"DROP RULE {quote('postgresql', rule)} ON {quoted};" for rule in table.rules]
            yield wish.finding("RULE", "error", text, mend, path=path)
        if table.row_security:
            text = f"policies of {table.catalog} (row-level security) hold for {facts.role}: rows that they hide cannot be written"
            role = quote("postgresql", facts.role)
            yield wish.finding("ROW_SECURITY", "error", text, [f"ALTER ROLE {role} BYPASSRLS;"], path=path)
        if table.unlogged and name not in wish.captured:
            text = (
                f"{table.catalog} is unlogged: a crash of the server empties it, and what was applied is not sent again"
            )
            yield wish.finding("UNLOGGED", "warning", text, [f"ALTER TABLE {quoted} SET LOGGED;"], path=path)


def check_replicated_tables(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    for name, table in facts_tables(facts, wish):
        if name not in wish.captured or table.kind not in ("table", "partitioned"):
            continue
        quoted, path = quote("postgresql", *name), wish.path_of(name)
        full = [f"ALTER TABLE {quoted} REPLICA IDENTITY FULL;"]
        if table.unlogged:
            text = f"{table.catalog} is unlogged: its changes are not in the log"
            yield wish.finding("UNLOGGED", "error", text, [f"ALTER TABLE {quoted} SET LOGGED;"], path=path)
        if table.replica_identity == "n" or (table.replica_identity == "d" and not table.catalog.primary_key):
            text = f"{table.catalog} has no replica identity: once it is published, its updates and deletes fail"
            yield wish.finding("REPLICA_IDENTITY", "error", text, full, path=path)
        elif table.replica_identity != "f":
            needs = [
                need for m in wish.mappings if m.captures and wish.name_of(m) == name for need in m.before_image_needs
            ]
            what = f"{', '.join(needs)} needs them" if needs else "counters, where and conflict rules need them"
            text = f"replica identity of {table.catalog} is not FULL: the log has no values from before a change, and {what}"
            yield wish.finding("REPLICA_IDENTITY", "error" if needs else "warning", text, full, path=path)


def check_privileges(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    role = quote("postgresql", facts.role)
    for name, table in facts_tables(facts, wish):
        lacking = [p for p in WRITING if p not in table.privileges]
        if name in wish.applied and lacking:
            listed = ", ".join(lacking)
            yield wish.finding(
                "GRANT_MISSING",
                "error",
                f"{facts.role} has no {listed} on {name[0]}.{name[1]}, which it needs to apply changes",
                [f"GRANT {listed} ON {quote('postgresql', *name)} TO {role};"],
                path=wish.path_of(name),
            )


def check_own_tables(wish: Wish, facts: PostgreSQLFacts) -> Iterator[Finding]:
    """datong_progress and datong_parked: they exist, may be written, and the log shows what left datong_parked."""
    if not wish.keeps_tables:
        return
    role = quote("postgresql", facts.role)
    ours = [(PROGRESS_TABLE, "what was applied"), (PARKED_TABLE, "the changes that wait")]
    if wish.writes_people:
        ours.append((LINKS_TABLE, "the keys of people's new rows"))
    for table, what in ours:
        found = facts.tables.get(("public", table))
        creating = (*CREATE_POSTGRESQL, CREATE_LINKS_POSTGRESQL)
        statements = [f"{statement};" for statement in creating if f"public.{table} " in statement]
        if found is None:
            may = facts.may_create_in_public
            owner = [] if may else [f"ALTER TABLE public.{table} OWNER TO {role};"]
            yield wish.finding(
                f"{table.removeprefix('datong_').upper()}_TABLE",
                "error",
                f"table public.{table} is missing: it keeps {what}"
                + ("" if may else f"; {facts.role} may not create it (no CREATE on schema public)"),
                [*statements, *owner],
                fixable=may,
            )
            continue
        lacking = [p for p in WRITING if p not in found.privileges]
        if lacking:
            listed = ", ".join(lacking)
            text = f"{facts.role} has no {listed} on public.{table}, which keeps {what}"
            yield wish.finding("GRANT_MISSING", "error", text, [f"GRANT {listed} ON public.{table} TO {role};"])
        if table == PARKED_TABLE and found.replica_identity != "f":
            text = f"replica identity of public.{table} is not FULL: capture could not see which change was released"
            yield wish.finding("PARKED_IDENTITY", "error", text, statements[1:], fixable=found.owned)
