"""Servers that lack nothing, as facts: each test takes one and breaks one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from cdc.doctor.facts import MySQLFacts, PostgreSQLFacts, Publication, Slot, TableFacts, Wish
from cdc.doctor.finding import Finding
from cdc.doctor.grants import read_grants
from sinks.connections import Address
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec
from transforms.tables import Column, ColumnType, Engine, Table

MEMBER = EntitySpec(
    "member",
    ("phone",),
    (FieldSpec("phone", "text", required=True, max_length=20), FieldSpec("nickname", "text", max_length=64)),
)


def wish(engine: Engine = "mariadb", **changes: Any) -> Wish:
    schema = "public" if engine == "postgresql" else "shop"
    spec = MappingSpec(
        name="website.members", channel="website", engine=engine, schema=None, table="members", entity=MEMBER,
        direction="both", columns=(ColumnSpec("phone", "phone"), ColumnSpec("nick", "nickname")), key=("phone",),
    )  # fmt: skip
    usual = Wish(
        channel="website", deployment="coffee", address=Address(engine, "db.example", 3306, "datong", "shop", "s3cret-word"),
        bookkeeping="table", mappings=(spec,), captures=True, applies=True, published=frozenset({(schema, "members")}),
        server_id=1077000001, slot="datong_coffee_website", publication="datong_coffee_website",
    )  # fmt: skip
    return dataclasses.replace(usual, **changes)


def members(engine: Engine, **changes: Any) -> TableFacts:
    kind = ColumnType(engine, "varchar", length=20, charset=None if engine == "postgresql" else "utf8mb4")
    nick = dataclasses.replace(kind, length=64)
    table = Table(
        "public" if engine == "postgresql" else "shop",
        "members",
        (Column("phone", kind, nullable=False), Column("nick", nick)),
        ("phone",),
    )
    usual = TableFacts(
        catalog=dataclasses.replace(table, **changes.pop("catalog", {})),
        storage="InnoDB",
        column_lines={"phone": "`phone` varchar(20) NOT NULL", "nick": "`nick` varchar(64) DEFAULT NULL"},
        privileges=frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    )
    return dataclasses.replace(usual, **changes)


def own_table(schema: str, name: str) -> TableFacts:
    privileges = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
    return TableFacts(Table(schema, name, ()), storage="InnoDB", privileges=privileges)


VARIABLES = {
    "log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL", "server_id": "7",
    "sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1", "binlog_expire_logs_seconds": "604800", "read_only": "OFF",
}  # fmt: skip
FLAVOURS = {
    "mariadb": {"log_bin_compress": "OFF", "expire_logs_days": "7.000000", "rpl_semi_sync_master_enabled": "ON"},
    "mysql": {
        "binlog_row_value_options": "", "binlog_transaction_compression": "OFF", "binlog_order_commits": "ON", "gtid_mode": "ON",
        "server_uuid": "0f6c", "rpl_semi_sync_source_enabled": "ON",
    },
}  # fmt: skip


def mysql_facts(engine: Engine = "mariadb", variables: dict[str, str] | None = None, **changes: Any) -> MySQLFacts:
    usual = MySQLFacts(
        version="10.11.6-MariaDB-0+deb12u1-log" if engine == "mariadb" else "9.7.0",
        identity="one/shop",
        skew_seconds=0.0,
        skew_error_seconds=0.001,
        proxied=False,
        tables={
            ("shop", "members"): members(engine),
            ("shop", "datong_progress"): own_table("shop", "datong_progress"),
            ("shop", "datong_parked"): own_table("shop", "datong_parked"),
        },
        account="'datong'@'%'",
        variables=VARIABLES | FLAVOURS[engine] | (variables or {}),
        grants=read_grants(["GRANT ALL PRIVILEGES ON *.* TO `datong`@`%`"]),
        binlog_do_db=(),
        binlog_ignore_db=(),
        is_replica=False,
    )
    return dataclasses.replace(usual, **changes)


def postgresql_facts(settings: dict[str, str] | None = None, **changes: Any) -> PostgreSQLFacts:
    own = {("public", "datong_progress"), ("public", "datong_parked")}
    usual = PostgreSQLFacts(
        version="15.14",
        identity="two/16384",
        skew_seconds=0.0,
        skew_error_seconds=0.001,
        proxied=False,
        tables={("public", "members"): members("postgresql"), **{name: own_table(*name) for name in own}},
        version_number=150014,
        role="datong",
        is_superuser=False,
        may_replicate=True,
        replication_role=None,
        database="shop",
        encoding="UTF8",
        in_recovery=False,
        settings={
            "wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10", "max_slot_wal_keep_size": "20480",
        } | (settings or {}),
        slots_used=1,
        senders_used=1,
        may_create_in_database=True,
        may_create_in_public=True,
        existing=frozenset({("public", "members")}),
        not_ours=frozenset(),
        publication=Publication(
            frozenset({("public", "members"), *own}), frozenset(),
            frozenset({"insert", "update", "delete", "truncate"}), all_tables=False, via_root=True, owned=True,
        ),
        publication_statements=(),
        slot=Slot("pgoutput", "shop", "reserved", temporary=False, failover=None, active=False),
    )  # fmt: skip
    return dataclasses.replace(usual, **changes)


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding
