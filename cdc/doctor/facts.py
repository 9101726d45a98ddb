"""What the doctor found on each server, as plain values: gathered at the edge, judged by pure functions. No I/O here.

Nothing here may hold a password or a row's value (I9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cdc.doctor.finding import Finding, Severity
from cdc.doctor.grants import Grants
from cdc.foreign_keys import ForeignKey, TableName
from sinks.connections import Address
from transforms.specs import MappingSpec
from transforms.tables import Table


@dataclass(frozen=True, slots=True)
class Wish:
    """What the configuration asks of one channel. `mappings` are the enabled ones; `captures`, `applies` and `published` (the captured
    tables) count the disabled ones too, as the roles do.

    `disabled` are the other mappings. `server_id` is ours as a replica (MySQL, MariaDB), `slot` and `publication` are PostgreSQL's. `started`: this channel
    was captured before, so that its place in the log is known.
    """

    channel: str
    deployment: str
    address: Address
    bookkeeping: Literal["table", "none"]
    mappings: tuple[MappingSpec, ...]
    captures: bool
    applies: bool
    published: frozenset[TableName]
    server_id: int = 0
    slot: str = ""
    publication: str = ""
    started: bool = False
    disabled: tuple[MappingSpec, ...] = ()

    @property
    def path(self) -> str:
        return f"channels.{self.channel}.url"

    @property
    def schema(self) -> str:
        """Where a table without a schema is, and on MySQL and MariaDB the tables of ours."""
        if self.address.engine == "sqlite":
            return "main"
        return "public" if self.address.engine == "postgresql" else self.address.database

    @property
    def keeps_tables(self) -> bool:
        """Whether datong_progress (which holds the lease too) and datong_parked belong in this database."""
        return (self.captures or self.applies) and self.bookkeeping == "table"

    @property
    def writes_people(self) -> bool:
        """Whether datong_identity belongs in this database too: the keys of people's rows that are made here."""
        return self.keeps_tables and any(m.applies and m.entity.identity is not None for m in self.mappings)

    def name_of(self, mapping: MappingSpec) -> TableName:
        return (mapping.schema or self.schema, mapping.table)

    @property
    def tables(self) -> tuple[TableName, ...]:
        return tuple(dict.fromkeys(self.name_of(mapping) for mapping in self.mappings))

    @property
    def captured(self) -> frozenset[TableName]:
        return frozenset(self.name_of(mapping) for mapping in self.mappings if mapping.captures)

    @property
    def applied(self) -> frozenset[TableName]:
        return frozenset(self.name_of(mapping) for mapping in self.mappings if mapping.applies)

    def read_columns(self, name: TableName) -> frozenset[str]:
        """The columns of a table that its captured mappings read."""
        return frozenset().union(*(m.read_columns for m in self.mappings if m.captures and self.name_of(m) == name))

    def path_of(self, name: TableName) -> str:
        """The place of the first mapping of a table."""
        return next((f"mappings.{m.name}.table" for m in self.mappings if self.name_of(m) == name), self.path)

    def finding(
        self,
        code: str,
        severity: Severity,
        text: str,
        mend: list[str] | None = None,
        *,
        path: str | None = None,
        fixable: bool = False,
    ) -> Finding:
        return Finding(code, severity, self.channel, path or self.path, text, mend or [], fixable)


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a server numbers a table's new rows: `step` apart, `place` is one of them, between `lowest` and `highest`.

    `step` 1: nothing is known that would keep two servers apart. `sequence` is PostgreSQL's; `behind`: rows that were written with a
    number of their own have passed it, so that a new row may get a number that is taken.
    """

    step: int = 1
    place: int = 0
    lowest: int = 1
    highest: int = 2**64 - 1
    sequence: TableName | None = None
    behind: bool = False

    def meets(self, other: Numbers) -> bool:
        """Whether both may give the same number."""
        return (
            (self.place - other.place) % math.gcd(self.step, other.step) == 0
            and self.lowest <= other.highest
            and other.lowest <= self.highest
        )


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table as the catalog has it; only those that exist (and may be seen) have facts.

    `kind`: table, view, partitioned, foreign, other. `storage`: MySQL's engine; `column_lines`: its columns as SHOW CREATE TABLE writes
    them. `privileges`, `owned`, `replica_identity` (d, n, f, i), `unlogged`, `rules` and `row_security` (policies hold for our role)
    are PostgreSQL's. `numbers`: of the columns that the server numbers.
    """

    catalog: Table
    kind: str = "table"
    storage: str = ""
    triggers: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    column_lines: Mapping[str, str] = field(default_factory=dict)
    privileges: frozenset[str] = frozenset()
    owned: bool = True
    replica_identity: str = "f"
    unlogged: bool = False
    rules: tuple[str, ...] = ()
    row_security: bool = False
    numbers: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """`identity` names the physical database, `skew_seconds` its clock against ours, `skew_error_seconds` how sure that is.

    `proxied`: the session that the server sees is not the one that was opened.
    """

    version: str
    identity: str
    skew_seconds: float
    skew_error_seconds: float
    proxied: bool
    tables: Mapping[TableName, TableFacts]


@dataclass(frozen=True, slots=True)
class MySQLFacts(ServerFacts):
    """`account` as `'user'@'host'`. What may not be read with these privileges is None."""

    account: str
    variables: Mapping[str, str]
    grants: Grants
    binlog_do_db: tuple[str, ...] | None
    binlog_ignore_db: tuple[str, ...] | None
    is_replica: bool | None

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in self.version.lower()


@dataclass(frozen=True, slots=True)
class Publication:
    """`tables` with a row filter or a column list are in `filtered` too."""

    tables: frozenset[TableName]
    filtered: frozenset[TableName]
    operations: frozenset[str]
    all_tables: bool
    via_root: bool
    owned: bool


@dataclass(frozen=True, slots=True)
class Slot:
    plugin: str
    database: str
    wal_status: str  # reserved, extended, unreserved, lost
    temporary: bool
    failover: bool | None  # None before PostgreSQL 17
    active: bool


@dataclass(frozen=True, slots=True)
class PostgreSQLFacts(ServerFacts):
    """`settings` as this role's session sees them (pg_settings, base units). `existing`: which of the tables to be published are there;
    `not_ours`: which of them belong to another role.
    """

    version_number: int
    role: str
    is_superuser: bool
    may_replicate: bool
    replication_role: str | None  # a provider's role that stands for REPLICATION
    database: str
    encoding: str
    in_recovery: bool
    settings: Mapping[str, str]
    slots_used: int
    senders_used: int
    may_create_in_database: bool
    may_create_in_public: bool
    existing: frozenset[TableName]
    not_ours: frozenset[TableName]
    publication: Publication | None
    publication_statements: tuple[str, ...]  # what makes it carry what we want; empty if it does
    slot: Slot | None


def facts_tables(facts: ServerFacts, wish: Wish) -> list[tuple[TableName, TableFacts]]:
    """The mapped tables that exist."""
    return [(name, facts.tables[name]) for name in wish.tables if name in facts.tables]
