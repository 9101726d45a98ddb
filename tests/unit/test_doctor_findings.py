"""Findings as text, and the checks of Redis, the hub store and all channels together."""

import dataclasses
import os
import ssl

import psycopg
import pymysql
import pytest

from cdc.doctor import Finding, exit_code, render, render_sql
from cdc.doctor.deployment_checks import check_clocks, check_distinct_databases, check_mappings_together
from cdc.doctor.reach import explain
from cdc.doctor.redis_checks import RedisFacts, check_redis
from cdc.doctor.store_checks import check_store_file, gather_store_file, sqlite_file, started_channels
from tests.unit.doctor_facts import mysql_facts, only, postgresql_facts, wish

FINDINGS = [
    Finding("SYNC_BINLOG", "warning", "crm", "channels.crm.url", "sync_binlog is 0", ["SET GLOBAL sync_binlog = 1;", "my.cnf, [mysqld]: sync_binlog = 1"]),
    Finding("SLOT_MISSING", "error", "app", "channels.app.url", "no slot", ["SELECT 1;"], fixable=True),
    Finding("LOG_BIN", "error", "crm", "channels.crm.url", "log_bin is OFF", ["my.cnf, [mysqld]: log_bin = binlog"]),
    Finding("REDIS_PERSISTENCE", "info", None, "redis.url", "persistence: none"),
]  # fmt: skip


def test_findings_are_shown_by_channel_with_errors_first():
    lines = render(FINDINGS).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "deployment", "channel app", "channel crm", "2 errors, 1 warnings",
    ]  # fmt: skip
    text = "\n".join(lines)
    assert text.index("LOG_BIN") < text.index("SYNC_BINLOG")
    assert "(datong doctor --fix does this)" in text


def test_sql_holds_statements_and_everything_else_as_comments():
    assert render_sql(FINDINGS).splitlines() == [
        "-- channel app",
        "SELECT 1;",
        "-- channel crm",
        "-- my.cnf, [mysqld]: log_bin = binlog",
        "SET GLOBAL sync_binlog = 1;",
        "-- my.cnf, [mysqld]: sync_binlog = 1",
    ]


def test_only_an_error_makes_the_exit_code_1():
    assert exit_code(FINDINGS) == 1
    assert exit_code([finding for finding in FINDINGS if finding.severity != "error"]) == 0
    assert render([FINDINGS[3]]).splitlines()[-1] == "nothing is missing"


REDIS = RedisFacts("7.0.15", "noeviction", 0, 24 << 30, append_only=True, snapshots=False, is_replica=False, is_cluster=False)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"version": "6.0.16"}, "REDIS_VERSION", "error"),
        ({"policy": "allkeys-lru"}, "REDIS_EVICTION", "error"),
        ({"maxmemory": 1 << 30}, "REDIS_MEMORY", "error"),
        ({"machine_bytes": 1 << 30}, "REDIS_MEMORY", "warning"),
        ({"is_replica": True}, "REDIS_REPLICA", "error"),
        ({"is_cluster": True}, "REDIS_CLUSTER", "error"),
    ],
)
def test_a_redis_that_would_lose_changes_is_named(changes, code, severity):
    found = [f for f in check_redis(dataclasses.replace(REDIS, **changes), 1 << 30) if f.code != "REDIS_PERSISTENCE"]
    assert [(f.code, f.severity) for f in found] == [(code, severity)]
    assert found[0].mend


def test_persistence_is_reported():
    assert "append-only file" in only(check_redis(REDIS, 1 << 30)).text
    assert "none" in only(check_redis(dataclasses.replace(REDIS, append_only=False), 1 << 30)).text


def test_one_database_in_two_channels_is_an_error():
    one = mysql_facts()
    finding = only(check_distinct_databases({"website": one, "app": postgresql_facts(), "crm": one}))
    assert (finding.code, finding.channel) == ("SAME_DATABASE", "crm")
    assert "website" in finding.text


def test_clocks_are_reported_and_warned_of_when_they_differ_surely():
    ours = mysql_facts(skew_seconds=0.002)
    assert only(check_clocks({"website": ours, "app": postgresql_facts(skew_seconds=-0.3)})).code == "CLOCKS"
    finding = only(check_clocks({"website": ours, "app": postgresql_facts(skew_seconds=-7.0)}))
    assert (finding.code, finding.severity) == ("CLOCK_SKEW", "warning")
    assert "website is 7.0 s ahead of app" in finding.text
    unsure = postgresql_facts(skew_seconds=-7.0, skew_error_seconds=9.0)
    assert only(check_clocks({"website": ours, "app": unsure})).code == "CLOCKS"


def test_a_column_that_is_narrower_than_another_channels_is_warned_of():
    """Both have `nick varchar(20)`; one is made narrower than what the other may hold."""
    (spec,) = wish().mappings
    free = dataclasses.replace(
        spec.entity, fields=tuple(dataclasses.replace(f, max_length=None) for f in spec.entity.fields)
    )
    wishes = [wish("mariadb"), wish("postgresql")]
    wishes = [
        dataclasses.replace(w, channel=name, mappings=tuple(dataclasses.replace(m, name=f"{name}.m", channel=name, entity=free) for m in w.mappings))
        for name, w in zip(("a", "b"), wishes, strict=True)
    ]  # fmt: skip
    facts = {"a": mysql_facts(), "b": postgresql_facts()}
    name = wishes[1].name_of(wishes[1].mappings[0])
    assert [f for f in check_mappings_together(wishes, facts) if f.code == "NO_REST"] == []
    table = facts["b"].tables[name]
    columns = tuple(
        dataclasses.replace(c, type=dataclasses.replace(c.type, length=3)) if c.name == "nick" else c
        for c in table.catalog.columns
    )
    catalog = dataclasses.replace(table.catalog, columns=columns)
    facts["b"] = dataclasses.replace(
        facts["b"], tables={**facts["b"].tables, name: dataclasses.replace(table, catalog=catalog)}
    )
    found = [f for f in check_mappings_together(wishes, facts) if f.path == "mappings.b.m.columns.nick"]
    assert [(f.code, f.severity) for f in found] == [("NARROWER", "warning")]
    assert "add `max_length: 3` or widen the column" in found[0].mend[0]


def test_a_hub_store_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "datong.db"
    file.touch(mode=0o600)
    file.chmod(0o644)
    finding = only(check_store_file(gather_store_file(file)))
    assert (finding.code, finding.mend) == ("STORE_MODE", [f"chmod 600 {file}"])
    file.chmod(0o600)
    assert list(check_store_file(gather_store_file(file))) == []


def test_a_hub_store_below_something_that_is_no_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    facts = gather_store_file(tmp_path / "file" / "datong.db")
    assert only(check_store_file(facts)).code == "STORE_NOT_WRITABLE"
    assert not os.path.lexists(tmp_path / "file" / "datong.db")


def test_little_disk_is_a_warning(tmp_path):
    facts = dataclasses.replace(gather_store_file(tmp_path / "datong.db"), free_bytes=5 << 20)
    assert only(check_store_file(facts)).code == "STORE_DISK"


def test_looking_at_a_store_that_is_not_there_does_not_make_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'datong.db'}"
    assert started_channels(url, "coffee", ["website"]) == frozenset()
    assert sqlite_file(url) == tmp_path / "datong.db"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "message", "named"),
    [
        (1045, "Access denied for user 'datong'@'localhost' (using password: YES)", "LOGIN_REFUSED"),
        (1698, "Access denied for user 'datong'@'localhost'", "LOGIN_REFUSED"),
        (3118, "Access denied for user 'datong'@'%'. Account is locked.", "LOGIN_REFUSED"),
        (1130, "Host '10.0.0.9' is not allowed to connect to this MySQL server", "LOGIN_REFUSED"),
        (1049, "Unknown database 'shop'", "DATABASE_MISSING"),
        (1044, "Access denied for user 'datong'@'%' to database 'shop'", "DATABASE_MISSING"),
        (3159, "Connections using insecure transport are prohibited while --require_secure_transport=ON.", "TLS"),
        (2026, "SSL is required but the server doesn't support it", "TLS"),
    ],
)
def test_what_mysql_says_on_connecting_is_put_in_one_line(code, message, named):
    finding = explain(wish("mysql"), pymysql.err.OperationalError(code, message))
    assert finding.code == named
    assert "\n" not in finding.text
    assert finding.mend


@pytest.mark.parametrize(
    ("message", "named", "mend"),
    [
        ('connection failed: FATAL:  password authentication failed for user "datong"', "LOGIN_REFUSED", "url"),
        ('FATAL:  role "datong" does not exist', "LOGIN_REFUSED", "url"),
        ('FATAL:  database "shop" does not exist', "DATABASE_MISSING", "url"),
        ('FATAL:  permission denied for database "shop"', "LOGIN_REFUSED", 'GRANT CONNECT ON DATABASE "shop" TO "datong";'),
        ('FATAL:  role "datong" is not permitted to log in', "LOGIN_REFUSED", 'ALTER ROLE "datong" LOGIN;'),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "datong", database "shop", no encryption', "TLS", "tls: {ca:"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "datong", database "shop", SSL encryption', "LOGIN_REFUSED", "pg_hba.conf: hostssl shop datong"),
        ("server does not support SSL, but SSL was required", "TLS", "tls"),
        ("SSL error: certificate verify failed", "TLS", "tls"),
        ('server certificate for "db" does not match host name "db.example"', "TLS", "tls"),
        ('root certificate file "/x.pem" does not exist', "TLS", "tls"),
    ],
)  # fmt: skip
def test_what_postgresql_says_on_connecting_is_put_in_one_line(message, named, mend):
    finding = explain(wish("postgresql"), psycopg.OperationalError(f"connection to server at x failed:\n{message}"))
    assert (finding.code, finding.severity) == (named, "error")
    assert mend in finding.mend[0]
    assert "\n" not in finding.text


def test_no_finding_repeats_a_password_that_a_driver_quoted():
    here = wish(
        "postgresql", address=dataclasses.replace(wish().address, engine="postgresql", host="127.0.0.1", port=1)
    )
    finding = explain(here, psycopg.OperationalError("bad thing in postgresql://datong:s3cret-word@db/shop"))
    assert "s3cret-word" not in str(finding)
    assert finding.code == "UNREACHABLE"


def test_files_of_tls_that_cannot_be_read_are_named():
    from sinks.connections import Tls

    with_tls = wish("mysql", address=dataclasses.replace(wish("mysql").address, tls=Tls("/nowhere/ca.pem")))
    assert "/nowhere/ca.pem" in explain(with_tls, FileNotFoundError(2, "No such file or directory")).text
    assert "/nowhere/ca.pem" in explain(with_tls, ssl.SSLError(1, "x")).text
