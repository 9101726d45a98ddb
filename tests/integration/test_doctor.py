"""`datong doctor` on real servers: each thing that may be wrong is set wrong, named, mended by the very statement given, and gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB, PostgreSQL, Redis, certificates
from cdc.doctor import examine, exit_code, fix, render
from cdc.doctor.redis_checks import check_redis, gather_redis
from cdc.redis_connection import RedisAddress
from config.load import parse
from sinks.connections import Tls
from tests.integration.doctor_channels import PASSWORD, Channel, drop_role, mysql_channel, postgresql_channel
from tests.servers import (
    MySQLDatabase,
    PostgreSQLDatabase,
    RedisDatabase,
    mysql_database,
    postgresql_database,
    server_folder,
)
from tests.tcp_proxy import TcpProxy

# The private servers give up what only a power cut would need; nobody replicates from them; their accounts may not see triggers.
USUAL = {"SYNC_BINLOG", "FLUSH_LOG_AT_COMMIT", "SEMI_SYNC", "TRIGGERS_UNSEEN", "SLOT_WAL_UNLIMITED"}


@pytest.fixture(params=["mariadb", "mysql"])
def channel(request: pytest.FixtureRequest) -> Iterator[Channel]:
    database: MySQLDatabase = request.getfixturevalue(f"{request.param}_db")
    made = mysql_channel(database, engine=request.param)
    yield made
    drop_role(made)


@pytest.fixture
def pg(postgresql_db: PostgreSQLDatabase) -> Iterator[Channel]:
    made = postgresql_channel(postgresql_db)
    yield made
    drop_role(made)


def found(channel: Channel, **changes: object) -> set[str]:
    return set(channel.examine(**changes)) - USUAL


def test_a_server_that_lacks_nothing_has_nothing_to_mend(channel: Channel):
    assert found(channel) == set()


def test_a_postgresql_that_lacks_nothing_has_nothing_to_mend(pg: Channel):
    assert found(pg) == set()


@pytest.mark.parametrize(
    ("channel", "variable", "wrong", "code"),
    [
        ("mariadb", "binlog_format", "'MIXED'", "BINLOG_FORMAT"),
        ("mysql", "binlog_format", "'MIXED'", "BINLOG_FORMAT"),
        ("mariadb", "binlog_row_image", "'MINIMAL'", "BINLOG_ROW_IMAGE"),
        ("mysql", "binlog_row_image", "'MINIMAL'", "BINLOG_ROW_IMAGE"),
        ("mariadb", "binlog_row_metadata", "'MINIMAL'", "BINLOG_ROW_METADATA"),
        ("mysql", "binlog_row_metadata", "'MINIMAL'", "BINLOG_ROW_METADATA"),
        ("mysql", "binlog_row_value_options", "'PARTIAL_JSON'", "BINLOG_ROW_VALUE_OPTIONS"),
        ("mariadb", "sync_binlog", "0", "SYNC_BINLOG"),
        ("mysql", "sync_binlog", "0", "SYNC_BINLOG"),
        ("mariadb", "innodb_flush_log_at_trx_commit", "2", "FLUSH_LOG_AT_COMMIT"),
        ("mysql", "innodb_flush_log_at_trx_commit", "2", "FLUSH_LOG_AT_COMMIT"),
        ("mysql", "binlog_order_commits", "OFF", "BINLOG_ORDER_COMMITS"),
        ("mariadb", "binlog_expire_logs_seconds", "3600", "BINLOG_RETENTION"),
        ("mysql", "binlog_expire_logs_seconds", "3600", "BINLOG_RETENTION"),
        ("mariadb", "server_id", "1077000001", "SERVER_ID"),
        ("mysql", "server_id", "1077000001", "SERVER_ID"),
        ("mysql", "server_id", "0", "SERVER_ID"),
        ("mariadb", "read_only", "ON", "READ_ONLY"),
        ("mysql", "read_only", "ON", "READ_ONLY"),
        ("mysql", "super_read_only", "ON", "READ_ONLY"),
    ],
    indirect=["channel"],
)  # fmt: skip
def test_a_variable_set_wrong_is_named_and_its_statement_mends_it(
    channel: Channel, variable: str, wrong: str, code: str
):
    ((before,),) = channel.database.execute(f"SELECT @@GLOBAL.{variable}")
    try:
        channel.admin(f"SET GLOBAL {variable} = {wrong}")
        finding = channel.examine()[code]
        assert variable in finding.text or code in ("BINLOG_RETENTION", "SERVER_ID")
        channel.mend(finding)
        if variable == "super_read_only":
            channel.mend(channel.examine()[code])  # read_only came with it
        assert code not in channel.examine()
    finally:
        value = before if isinstance(before, int) else f"'{before}'"
        channel.admin(f"SET GLOBAL {variable} = {value}")
        if channel.wish.address.engine == "mysql":
            channel.admin("RESET PERSIST")


@pytest.mark.parametrize(
    ("privilege", "scope"),
    [
        ("REPLICATION SLAVE", "*.*"), ("REPLICATION CLIENT", "*.*"),
        *((p, t) for t in ("members", "datong_progress") for p in ("SELECT", "INSERT", "UPDATE", "DELETE")),
        ("DELETE", "datong_parked"),
    ],
)  # fmt: skip
def test_each_grant_taken_away_is_named_and_its_statement_gives_it_back(channel: Channel, privilege: str, scope: str):
    place = scope if scope == "*.*" else f"`{channel.database.name}`.{scope}"
    channel.admin(f"REVOKE {privilege} ON {place} FROM {channel.account}")
    findings = channel.examine()
    assert set(findings) - USUAL == {"GRANT_MISSING"}
    named = {"REPLICATION CLIENT": "REPLICATION CLIENT|BINLOG MONITOR"}.get(privilege, privilege)
    assert re.search(named, findings["GRANT_MISSING"].text)
    channel.mend(findings["GRANT_MISSING"])
    assert found(channel) == set()


def test_an_account_without_anything_is_told_all_grants_and_they_suffice(channel: Channel):
    channel.admin(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {channel.account}", f"GRANT SELECT ON `{channel.database.name}`.members TO {channel.account}")  # fmt: skip
    from cdc.doctor.channels import examine_channel

    for finding in examine_channel(channel.wish)[0]:
        if finding.code == "GRANT_MISSING":
            channel.mend(finding)
    assert found(channel) == set()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("ALTER TABLE members ENGINE = MyISAM", "NOT_TRANSACTIONAL"),
        ("ALTER TABLE members DROP PRIMARY KEY", "KEY_NOT_UNIQUE"),
        ("ALTER TABLE members DROP PRIMARY KEY, MODIFY phone VARCHAR(20) CHARACTER SET latin1 NULL COMMENT 'it''s', ADD UNIQUE (phone)", "KEY_NULLABLE"),
        ("CREATE TABLE people (id INT PRIMARY KEY); ALTER TABLE members ADD CONSTRAINT inviter FOREIGN KEY (other) REFERENCES people (id) ON DELETE CASCADE ON UPDATE CASCADE", "CASCADE"),
    ],
)  # fmt: skip
def test_a_table_made_wrong_is_named_and_its_statement_mends_it(channel: Channel, wrong: str, code: str):
    channel.admin(*wrong.split("; "))
    if code == "CASCADE" and channel.wish.address.engine == "mysql":
        assert code not in channel.examine()  # MySQL 9.7 logs what a cascade does
        return
    channel.mend(channel.examine()[code])
    assert found(channel) == set()


def test_a_trigger_on_a_mapped_table_is_a_warning_where_it_may_be_seen(channel: Channel):
    channel.admin("CREATE TRIGGER loud BEFORE INSERT ON members FOR EACH ROW SET NEW.other = 1")
    if channel.wish.address.engine == "mysql":
        assert {"TRIGGERS_UNSEEN"} == {"TRIGGER", "TRIGGERS_UNSEEN"} & set(channel.examine())
    channel.admin(f"GRANT TRIGGER ON `{channel.database.name}`.members TO {channel.account}")
    assert "loud" in channel.examine()["TRIGGER"].text
    channel.admin("DROP TRIGGER loud")
    assert "TRIGGER" not in channel.examine()


def test_tables_of_ours_that_are_missing_are_made_by_their_statement(channel: Channel):
    channel.admin("DROP TABLE datong_progress, datong_parked")
    findings = channel.examine()
    assert {"PROGRESS_TABLE", "PARKED_TABLE"} <= set(findings)
    channel.mend(findings["PROGRESS_TABLE"])
    channel.mend(findings["PARKED_TABLE"])
    assert not {"PROGRESS_TABLE", "PARKED_TABLE"} & set(channel.examine())


def test_a_table_or_column_that_does_not_exist_is_named(channel: Channel):
    channel.admin("ALTER TABLE members RENAME COLUMN nick TO nickname")
    assert channel.examine()["MAPPING_REFUSED"].path == "mappings.website.members.columns.nick"
    channel.admin("RENAME TABLE members TO guests")
    assert "members does not exist" in channel.examine()["TABLE_MISSING"].text


def test_gtid_mode_off_is_a_warning_and_its_statements_switch_it_on(mysql_db: MySQLDatabase):
    channel = mysql_channel(mysql_db, engine="mysql")
    try:
        channel.admin(
            "SET GLOBAL gtid_mode = ON_PERMISSIVE",
            "SET GLOBAL gtid_mode = OFF_PERMISSIVE",
            "SET GLOBAL gtid_mode = OFF",
        )
        channel.mend(channel.examine()["GTID_MODE"])
        assert "GTID_MODE" not in channel.examine()
    finally:
        channel.admin(*(f"SET GLOBAL gtid_mode = {step}" for step in ("ON_PERMISSIVE", "ON")), "RESET PERSIST")
        drop_role(channel)


def test_no_binary_log_and_a_filter_of_it_are_named_with_the_configuration_line():
    with server_folder() as folder, MariaDB(folder / "server", server_id=9, options={"skip_log_bin": "ON"}) as server, mysql_database(server, "bare") as database:  # fmt: skip
        channel = mysql_channel(database, engine="mariadb")
        findings = channel.examine()
        assert "LOG_BIN" in findings
        assert "log_bin = binlog" in findings["LOG_BIN"].mend[0]
        server.options = {"binlog_ignore_db": database.name}
        server.restart()
        findings = channel.examine()
        assert "LOG_BIN" not in findings
        assert f"remove binlog_ignore_db = {database.name}" in findings["BINLOG_FILTER"].mend[0]
        server.options = {"binlog_do_db": "other"}
        server.restart()
        assert f"binlog_do_db = {database.name}" in channel.examine()["BINLOG_FILTER"].mend[0]
        server.options = {"binlog_do_db": database.name}
        server.restart()
        assert "BINLOG_FILTER" not in channel.examine()


# -- reaching a server


def test_nothing_listening_wrong_password_and_no_such_database_are_one_line_each(channel: Channel):
    assert "nothing listens" in channel.at(port=1).examine()["UNREACHABLE"].text
    assert "no such host" in channel.at(host="nowhere.invalid").examine()["UNREACHABLE"].text
    assert set(channel.at(password=PASSWORD + "x").examine()) == {"LOGIN_REFUSED"}
    assert set(channel.at(user="nobody").examine()) == {"LOGIN_REFUSED"}
    assert set(channel.at(database="nowhere").examine()) == {"DATABASE_MISSING"}


def test_the_same_for_postgresql(pg: Channel):
    assert set(pg.at(port=1).examine()) == {"UNREACHABLE"}
    assert set(pg.at(host="nowhere.invalid").examine()) == {"UNREACHABLE"}
    assert set(pg.at(password=PASSWORD + "x").examine()) == {"LOGIN_REFUSED"}
    assert set(pg.at(database="nowhere").examine()) == {"DATABASE_MISSING"}
    pg.admin(f"ALTER ROLE {pg.account} NOLOGIN")
    finding = pg.examine()["LOGIN_REFUSED"]
    pg.mend(finding)
    assert found(pg) == set()


def test_a_url_of_the_wrong_engine_is_told_the_right_one(channel: Channel, pg: Channel):
    engine = channel.wish.address.engine
    other = "mariadb" if engine == "mysql" else "mysql"
    assert f"{engine}://" in channel.at(engine=other).examine()["WRONG_ENGINE"].mend[0]
    assert f"{engine}://" in channel.at(engine="postgresql").examine()["WRONG_ENGINE"].mend[0]
    assert "postgresql://" in channel.at(port=pg.wish.address.port).examine()["WRONG_ENGINE"].mend[0]


@pytest.mark.parametrize("channel", ["mariadb"], indirect=True)
def test_tls_that_the_server_does_not_offer_is_never_done_without(channel: Channel, pg: Channel, tmp_path: Path):
    tls = Tls(str(certificates(tmp_path / "ours").ca))
    assert "no TLS" in channel.at(tls=tls).examine()["TLS"].text
    assert "no TLS" in pg.at(tls=tls).examine()["TLS"].text


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_tls_wanted_and_not_trusted_are_one_line_each(engine: str, tmp_path: Path):
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs", hosts=("elsewhere.example",))
    with server_folder() as folder:
        server = (
            MariaDB(folder / "s", server_id=5, tls=ours, options={"require_secure_transport": "ON"})
            if engine == "mariadb"
            else PostgreSQL(folder / "s", tls=ours)
        )
        with server:
            for_name = mysql_database if isinstance(server, MariaDB) else postgresql_database
            with for_name(server, "tls") as database:  # type: ignore[arg-type,operator]
                secure = (
                    mysql_channel(database, engine="mariadb")
                    if isinstance(database, MySQLDatabase)
                    else postgresql_channel(database)
                )
                assert found(secure.at(tls=Tls(str(ours.ca)))) == set()
                assert "not signed by" in secure.at(tls=Tls(str(theirs.ca))).examine()["TLS"].text
                assert "cannot read" in secure.at(tls=Tls(str(tmp_path / "none.pem"))).examine()["TLS"].text
                server.tls = certificates(tmp_path / "wrong", hosts=("elsewhere.example",))
                server.restart()
                wrong = Tls(str(tmp_path / "wrong/ca.pem"))
                assert "is not for 127.0.0.1" in secure.at(tls=wrong).examine()["TLS"].text
                drop_role(secure)


# -- PostgreSQL


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("ALTER ROLE {role} NOREPLICATION", "REPLICATION_ROLE"),
        ("ALTER ROLE {role} SET idle_session_timeout = '1h'", "TIMEOUT_SET"),
        ("DROP PUBLICATION {name}", "PUBLICATION_MISSING"),
        ("ALTER PUBLICATION {name} DROP TABLE members", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} DROP TABLE datong_progress", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} DROP TABLE datong_parked", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} SET TABLE members (phone), datong_progress, datong_parked", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} SET TABLE members, datong_parked, datong_progress WHERE (source = 'x')", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} SET (publish = 'insert, update')", "PUBLICATION_INCOMPLETE"),
        ("ALTER PUBLICATION {name} SET (publish_via_partition_root = false)", "PUBLICATION_INCOMPLETE"),
        ("ALTER TABLE members REPLICA IDENTITY DEFAULT", "REPLICA_IDENTITY"),
        ("ALTER TABLE members REPLICA IDENTITY NOTHING", "REPLICA_IDENTITY"),
        ("ALTER TABLE datong_parked REPLICA IDENTITY DEFAULT", "PARKED_IDENTITY"),
        ("ALTER PUBLICATION {name} DROP TABLE members; ALTER TABLE members SET UNLOGGED", "UNLOGGED"),
        ("CREATE RULE quiet AS ON DELETE TO members DO INSTEAD NOTHING", "RULE"),
        ("ALTER TABLE members ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", "ROW_SECURITY"),
        ("ALTER TABLE members OWNER TO CURRENT_USER; GRANT SELECT, INSERT ON members TO {role}", "GRANT_MISSING"),
        ("REVOKE UPDATE ON datong_progress FROM {role}", "GRANT_MISSING"),
        ("ALTER TABLE members DROP CONSTRAINT members_pkey", "KEY_NOT_UNIQUE"),
        ("ALTER TABLE members DROP CONSTRAINT members_pkey, ALTER phone DROP NOT NULL, ADD UNIQUE (phone)", "KEY_NULLABLE"),
        ("SELECT pg_drop_replication_slot('{name}')", "SLOT_MISSING"),
        ("SELECT pg_drop_replication_slot('{name}'); SELECT pg_create_logical_replication_slot('{name}', 'test_decoding')", "SLOT_FOREIGN"),
        ("CREATE TABLE people (id int PRIMARY KEY); ALTER TABLE members ADD FOREIGN KEY (other) REFERENCES people (id) ON DELETE CASCADE", None),
        ("ALTER TABLE members ADD CONSTRAINT inviter FOREIGN KEY (nick) REFERENCES members (phone) ON DELETE CASCADE", "CASCADE"),
    ],
)  # fmt: skip
def test_what_is_set_wrong_in_postgresql_is_named_and_its_statement_mends_it(pg: Channel, wrong: str, code: str | None):
    pg.admin(*wrong.format(role=pg.account, name=pg.wish.slot).split("; "))
    if code is None:
        assert found(pg) == set()  # a cascade from a table that is not applied is in the log like any change
        return
    pg.mend(pg.examine()[code])
    left = found(pg)
    assert left <= {"SLOT_FOREIGN": {"SLOT_MISSING"}, "UNLOGGED": {"PUBLICATION_INCOMPLETE"}}.get(code, set())


def test_a_publication_of_tables_that_are_not_ours_is_left_to_their_owner(pg: Channel):
    pg.admin(f"DROP PUBLICATION {pg.wish.publication}", "ALTER TABLE members OWNER TO CURRENT_USER", f"GRANT ALL ON members TO {pg.account}")  # fmt: skip
    finding = pg.examine()["PUBLICATION_MISSING"]
    assert not finding.fixable
    pg.mend(finding)
    assert found(pg) == set()


def test_tables_of_ours_that_are_missing_in_postgresql_are_made_by_their_statement(pg: Channel):
    pg.admin("DROP TABLE datong_progress, datong_parked")
    findings = pg.examine()
    assert not findings["PROGRESS_TABLE"].fixable  # PostgreSQL 15 lets nobody create in public
    for code in ("PROGRESS_TABLE", "PARKED_TABLE", "PUBLICATION_INCOMPLETE"):
        pg.mend(findings[code])
    assert found(pg) == set()


def test_a_trigger_in_postgresql_is_a_warning(pg: Channel):
    pg.admin(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER loud BEFORE INSERT ON members FOR EACH ROW EXECUTE FUNCTION f()",
    )
    assert "loud" in pg.examine()["TRIGGER"].text
    pg.admin("ALTER TABLE members DISABLE TRIGGER loud")
    assert found(pg) == set()


def test_a_view_a_missing_table_and_a_missing_column_are_named(pg: Channel):
    pg.admin("ALTER TABLE members RENAME COLUMN nick TO nickname")
    assert pg.examine()["MAPPING_REFUSED"].path == "mappings.website.members.columns.nick"
    pg.admin("ALTER TABLE members RENAME TO guests")
    assert "TABLE_MISSING" in pg.examine()
    pg.admin("CREATE VIEW members AS SELECT * FROM guests")
    assert "view" in pg.examine()["NOT_A_TABLE"].text


def test_a_slot_of_a_channel_that_was_started_is_never_made_again(pg: Channel):
    pg.admin(f"SELECT pg_drop_replication_slot('{pg.wish.slot}')")
    assert not pg.examine(started=True)["SLOT_LOST"].fixable
    assert pg.examine()["SLOT_MISSING"].fixable


def test_wal_level_full_slots_small_retention_and_a_lost_slot():
    options = {"wal_level": "replica", "max_replication_slots": "1", "max_slot_wal_keep_size": "2MB", "max_wal_size": "32MB", "min_wal_size": "32MB", "synchronous_standby_names": ""}  # fmt: skip
    with server_folder() as folder, PostgreSQL(folder / "server", options=options) as server, postgresql_database(server, "bare") as database:  # fmt: skip
        with server.connect() as connection:
            connection.execute("SELECT pg_create_physical_replication_slot('other')")
        with pytest.raises(Exception, match=r"(?i)wal_level|slots"):
            postgresql_channel(database)
        role = Channel(database, postgresql_wish(database), f'"d_{database.name[-8:]}"')
        findings = role.examine()
        assert {"WAL_LEVEL", "SLOTS_FULL", "SLOT_WAL_SMALL"} <= set(findings)
        for code in ("WAL_LEVEL", "SLOTS_FULL"):
            role.mend(findings[code])
        server.restart()
        assert not {"WAL_LEVEL", "SLOTS_FULL"} & set(role.examine())
        role.mend(role.examine()["SLOT_MISSING"])
        assert "SLOT_MISSING" not in role.examine()
        role.admin("CREATE TABLE filler AS SELECT repeat('x', 900) FROM generate_series(1, 30000)")
        for _ in range(3):
            role.admin(
                "SELECT pg_switch_wal()", "CREATE TABLE again AS SELECT * FROM filler", "DROP TABLE again", "CHECKPOINT"
            )
        assert {"SLOT_LOST", "SLOT_UNRESERVED"} & set(role.examine())
        role.mend(findings["SLOT_WAL_SMALL"])
        assert "SLOT_WAL_SMALL" not in role.examine()
        role.admin("SELECT pg_drop_replication_slot('other')")
        drop_role(role)


def postgresql_wish(database: PostgreSQLDatabase):
    """What `postgresql_channel` makes, where the server lets it get no further than the publication."""
    from cdc.readers.postgresql_position import slot_name
    from sinks.connections import Address
    from tests.unit.doctor_facts import wish

    address = Address(
        "postgresql", "127.0.0.1", database.server.port, f"d_{database.name[-8:]}", database.name, PASSWORD
    )
    name = slot_name("coffee", database.name)
    return replace(wish("postgresql"), address=address, slot=name, publication=name)


# -- Redis, and everything together


def test_redis_is_told_to_keep_what_it_has(tmp_path: Path):
    with server_folder() as folder, Redis(folder / "server", options={"maxmemory-policy": "allkeys-lru", "maxmemory": "10mb"}) as server:  # fmt: skip
        found = {f.code: f for f in check_redis(gather_redis(RedisAddress(server.url())), 1 << 30)}
        assert {"REDIS_EVICTION", "REDIS_MEMORY"} <= set(found)
        with server.connect() as client:
            for code in ("REDIS_EVICTION", "REDIS_MEMORY"):
                client.execute_command(*found[code].mend[0].removeprefix("redis-cli ").split())
        assert {f.code for f in check_redis(gather_redis(RedisAddress(server.url())), 1 << 30)} == {"REDIS_PERSISTENCE"}


CONFIGURATION = """
version: 1
deployment: coffee
redis: {{url: "{redis}"}}
store: {{url: "sqlite:///{folder}/datong.db"}}
channels:
  website: {{url: "{website}"}}
  app: {{url: "{app}"}}
  crm: {{url: "{crm}"}}
entities:
  member:
    key: [phone]
    fields:
      phone: {{type: text, max_length: 20}}
      nickname: {{type: text, max_length: 64}}
mappings:
  website.members: &mapping
    channel: website
    table: members
    entity: member
    columns: {{phone: phone, nick: nickname}}
  app.members: {{channel: app, table: members, entity: member, columns: {{phone: phone, nick: nickname}}}}
  crm.members: {{channel: crm, table: members, entity: member, columns: {{phone: phone, nick: nickname}}}}
""".replace(" &mapping", "")


def test_everything_is_examined_and_what_may_be_mended_is(
    mariadb_db: MySQLDatabase,
    pg: Channel,
    redis_db: RedisDatabase,
    mysql_db: MySQLDatabase,
    tmp_path: Path,
    tcp_proxy: Callable[[str, int], TcpProxy],
):
    website, crm = mysql_channel(mariadb_db, engine="mariadb"), mysql_channel(mysql_db, engine="mysql")
    website.admin(
        "DROP TABLE datong_progress, datong_parked", f"GRANT CREATE ON `{mariadb_db.name}`.* TO {website.account}"
    )
    pg.admin("DROP TABLE datong_progress, datong_parked", f"DROP PUBLICATION {pg.wish.publication}", f"GRANT CREATE ON SCHEMA public TO {pg.account}")  # fmt: skip
    urls = {"redis": redis_db.url(), "folder": tmp_path, "app": url(pg), "crm": url(crm), "website": url(website)}
    configuration = parse(CONFIGURATION.format(**urls), {})
    findings = examine(configuration)
    assert {(f.channel, f.code) for f in findings if f.severity == "error"} == {
        ("website", "PROGRESS_TABLE"), ("website", "PARKED_TABLE"),
        ("app", "PROGRESS_TABLE"), ("app", "PARKED_TABLE"), ("app", "PUBLICATION_MISSING"), ("app", "SLOT_MISSING"),
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []  # looking makes nothing

    left = fix(configuration, findings)
    assert exit_code(left) == 0, render(left)
    assert "CLOCKS" in {finding.code for finding in left}
    assert "PASSWORD" not in render(left)
    assert PASSWORD not in render(findings) + render(left)

    roundabout = tcp_proxy("127.0.0.1", website.wish.address.port)
    twice = parse(CONFIGURATION.format(**urls | {"crm": url(website.at(port=roundabout.port))}), {})
    assert ("crm", "SAME_DATABASE") in {(f.channel, f.code) for f in examine(twice)}
    for channel in (website, crm):
        drop_role(channel)


def test_nothing_in_reach_is_one_finding_each(tmp_path: Path):
    nowhere = {"redis": "redis://:pw-canary@127.0.0.1:1/0", "folder": tmp_path}
    schemes = {"website": "mysql", "app": "postgresql", "crm": "mariadb"}
    urls = {name: f"{scheme}://datong:{PASSWORD}@127.0.0.1:1/{name}" for name, scheme in schemes.items()}
    findings = examine(parse(CONFIGURATION.format(**nowhere, **urls), {}))
    assert {(f.channel, f.code) for f in findings} == {
        (None, "REDIS_UNREACHABLE"), ("website", "UNREACHABLE"), ("app", "UNREACHABLE"), ("crm", "UNREACHABLE"),
    }  # fmt: skip
    assert "pw-canary" not in repr(findings)
    assert PASSWORD not in repr(findings)


def url(channel: Channel) -> str:
    address = channel.wish.address
    return f"{address.engine}://{address.user}:{PASSWORD}@{address.host}:{address.port}/{address.database}"
