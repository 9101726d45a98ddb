"""CASES.md N9 and N4, end to end: what cannot be replicated halts that channel by name within one transaction, or is replicated
correctly, never passed over (I1, I6); missing rights and wrong passwords are named, and a rotated password is taken up.
"""

import time
from contextlib import suppress

import pymysql
import pytest

from tests.waiting import await_that

MYSQL_KINDS = ["mariadb_db", "mysql_db"]


def watched(make_world, source):
    world = make_world(source, "postgresql_db")
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'before')")
    world.await_equal()
    return world


def await_halt(world, *words):
    ready = world.await_state("a", "capture", "halted", timeout=60)
    await_that(lambda: world.readiness()[0] == 503, message=lambda: f"red: {world.readiness()}")
    reason = ready["channels"]["a"]["reason"]
    for word in words:
        assert word.lower() in reason.lower(), reason
    return reason


def in_session(channel, *statements):
    with channel.database.connect() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def halts_and_stays(world, *words):
    """Nothing after it is passed on, and it is still so after a restart: the place is not moved past."""
    await_halt(world, *words)
    world["a"].execute("INSERT INTO t VALUES (99, 1, 'after')")
    world["b"].execute("INSERT INTO t VALUES (50, 1, 'b')")
    await_that(lambda: 50 in world["a"].rows(), message="the other way goes on")
    world.stop()
    world.start(ready=False)
    await_halt(world, *words)
    assert 99 not in world["b"].rows()


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_n9_a_statement_in_the_log_halts_by_name(make_world, source):
    world = watched(make_world, source)
    in_session(world["a"], "SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO t VALUES (2, 2, 'as text')")
    halts_and_stays(world, "STATEMENT_LOGGED")


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_n9_compressed_transactions_are_replicated(make_world, source):
    """Any session of MySQL may switch compression on for itself."""
    world = watched(make_world, source)
    on = ["SET SESSION binlog_transaction_compression = ON"]
    if source == "mariadb_db":
        on = ["SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10"]
    long = "y" * 190
    try:
        in_session(
            world["a"], *on, "INSERT INTO t VALUES (2, 2, 'small')", "BEGIN", f"INSERT INTO t VALUES (3, 3, '{long}'), (4, 4, 'gone')",
            f"UPDATE t SET note = '{long}2' WHERE id = 2", "DELETE FROM t WHERE id = 4", "COMMIT",
            f"ALTER TABLE t COMMENT '{long}{long}'", "INSERT INTO t VALUES (5, 5, 'last')",
        )  # fmt: skip
    finally:
        if source == "mariadb_db":
            world["a"].execute("SET GLOBAL log_bin_compress = OFF, GLOBAL log_bin_compress_min_len = DEFAULT")
    rows = world.await_equal()
    assert rows == {1: (1, "before"), 2: (2, long + "2"), 3: (3, long), 5: (5, "last")}


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_n9_xa_transactions_are_replicated_when_they_commit(make_world, source):
    """W8: not at XA PREPARE, not after XA ROLLBACK, and not lost with a restart in between."""
    world = watched(make_world, source)
    one, two, three = (f"'x{time.time_ns()}{letter}'" for letter in "abc")

    def prepared(xid, insert):
        in_session(world["a"], f"XA START {xid}", insert, f"XA END {xid}", f"XA PREPARE {xid}")

    def decide(what, xid):
        def decided():
            with suppress(pymysql.err.OperationalError):  # the session that prepared it has not ended yet
                in_session(world["a"], f"XA {what} {xid}")
                return True
            return False

        await_that(decided)

    try:
        prepared(one, "INSERT INTO t VALUES (2, 2, 'committed')")
        prepared(two, "INSERT INTO t VALUES (3, 3, 'rolled back')")
        in_session(
            world["a"],
            f"XA START {three}",
            "INSERT INTO t VALUES (4, 4, 'at once')",
            f"XA END {three}",
            f"XA COMMIT {three} ONE PHASE",
        )
        await_that(lambda: 4 in world["b"].rows(), message=lambda: f"{world.readiness()}\n{world.log()[-1500:]}")
        assert not {2, 3} & world["b"].rows().keys()
        world.stop()
        world.start()
        decide("ROLLBACK", two)
    finally:
        decide("COMMIT", one)
    world["a"].execute("INSERT INTO t VALUES (5, 5, 'after')")
    rows = world.await_equal()
    assert rows == {1: (1, "before"), 2: (2, "committed"), 4: (4, "at once"), 5: (5, "after")}


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_n9_a_table_without_transactions_is_read_correctly(make_world, source):
    world = make_world(source, "postgresql_db", table=False)
    world["a"].execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v INT, note VARCHAR(200)) ENGINE=MyISAM DEFAULT CHARSET=utf8mb4"
    )
    world["b"].create_table()
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'one'), (2, 2, 'two')")
    world["a"].execute("UPDATE t SET v = v + 1")
    world["a"].execute("DELETE FROM t WHERE id = 1")

    def decided():
        status, ready = world.readiness()
        return world["b"].rows() == {2: (3, "two")} or (status == 503 and "halted" in str(ready["channels"]["a"]))

    await_that(decided, message=lambda: f"{world['b'].rows()} {world.readiness()}")


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_truncate_halts_and_an_edited_mapping_lets_it_go_on(make_world, source):
    world = watched(make_world, source)
    world.await_equal()
    in_session(world["a"], "TRUNCATE TABLE t")
    halts_and_stays(world, "TRUNCATED", "on_truncate")
    world.mappings = {"a.t": {"on_truncate": "ignore"}}
    world.write_configuration()
    await_that(lambda: 99 in world["b"].rows(), message=lambda: f"it went on: {world.readiness()}")
    assert 1 in world["b"].rows(), "the TRUNCATE itself is not replicated"
    world.await_ready()


@pytest.mark.parametrize("source", [*MYSQL_KINDS, "postgresql_db"])
def test_truncate_and_ddl_are_told_and_not_replicated(make_world, source):
    world = make_world(source, "mariadb_db" if source == "postgresql_db" else "postgresql_db")
    world.mappings = {"a.t": {"on_truncate": "ignore"}}
    world.start()
    a, b = world["a"], world["b"]
    a.execute("INSERT INTO t VALUES (1, 1, 'x')")
    world.await_equal()
    a.execute("TRUNCATE TABLE t")
    a.execute("ALTER TABLE t ADD COLUMN more INT")
    a.execute("INSERT INTO t (id, v, note) VALUES (2, 2, 'after')")
    await_that(lambda: b.rows() == {1: (1, "x"), 2: (2, "after")}, message=lambda: f"{b.rows()} {world.readiness()}")
    await_that(lambda: "truncat" in world.log().lower(), message=lambda: f"the truncate is told\n{world.log()[-2000:]}")
    await_that(lambda: "truncate_seen" in str(world.role("a", "capture")["notices"]), message="and shown in the status")
    world.await_ready()
    a.execute("ALTER TABLE t DROP COLUMN note")
    a.execute("INSERT INTO t (id, v) VALUES (3, 3)")
    reason = await_halt(world)
    assert "note" in reason, reason
    assert 3 not in b.rows()
    if source in MYSQL_KINDS:
        world.mappings["a.t"]["columns"] = {"id": "id", "v": "v"}
        world.write_configuration()
        await_that(lambda: b.rows().get(3) == (3, None), message=lambda: f"it went on: {b.rows()} {world.readiness()}")
        world.await_ready()


# -- N4


def account(world, name, grants, *, password="first-Password-1"):
    """An account of a's own with these grants, used by the configuration, its password in a file."""
    channel = world["a"]
    user = f"n4_{channel.database.name[-8:]}"
    secret = world.folder / "a-password"
    secret.write_text(password)
    if channel.is_postgresql:
        channel.execute(f"CREATE ROLE {user} LOGIN REPLICATION PASSWORD '{password}'")
    else:
        channel.execute(f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
    for grant in grants:
        channel.execute(grant.format(user=user if channel.is_postgresql else f"{user}@'%'", db=channel.database.name))
    url = f"{channel.engine}://{user}:${{file:{secret}}}@127.0.0.1:{channel.port}/{channel.database.name}"
    channel.url = lambda: url
    return user, secret


def drop_account(world, user):
    channel = world["a"]
    if channel.is_postgresql:
        channel.execute(f"DROP OWNED BY {user} CASCADE")
        channel.execute(f"DROP ROLE {user}")
    else:
        channel.execute(f"DROP USER {user}@'%'")


GRANTS = {
    "mariadb_db": [
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {db}.* TO {user}",
        "GRANT CREATE ON {db}.* TO {user}",
    ],
    "mysql_db": [
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {user}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON {db}.* TO {user}",
        "GRANT CREATE ON {db}.* TO {user}",
    ],
}
REVOKED = {  # privilege, where (empty: on the database), the role that needs it; `doctor` has every one of them in its own tests
    "mariadb_db": [("REPLICATION SLAVE", "*.*", "capture"), ("UPDATE", "", "apply"), ("DELETE", "", "apply")],
    "mysql_db": [("REPLICATION CLIENT", "*.*", "capture"), ("SELECT", "", "apply"), ("INSERT", "", "apply")],
}


@pytest.mark.parametrize("source", MYSQL_KINDS)
def test_n4_a_missing_grant_is_named_and_its_return_mends_it(make_world, source):
    world = make_world(source, "postgresql_db")
    user, _ = account(world, source, GRANTS[source])
    a, b = world["a"], world["b"]
    try:
        world.start()
        a.execute("INSERT INTO t VALUES (1, 1, 'x')")
        world.await_equal()
        world.stop()
        for privilege, place, role in REVOKED[source]:
            on = place or f"{a.database.name}.*"
            a.execute(f"REVOKE {privilege} ON {on} FROM {user}@'%'")
            world.start(ready=False)
            b.execute("INSERT INTO t VALUES (100, 1, 'b')")
            b.execute("UPDATE t SET v = v + 1 WHERE id = 100")
            b.execute("DELETE FROM t WHERE id = 100")
            ready = world.await_state("a", role, "halted", timeout=30)
            reason = ready["channels"]["a"]["reason"]
            assert privilege in reason or "grant" in reason.lower(), (privilege, reason)
            a.execute(f"GRANT {privilege} ON {on} TO {user}@'%'")
            world.stop()
        world.start()
        a.execute("INSERT INTO t VALUES (2, 1, 'mended')")
        world.await_equal()
    finally:
        world.close()
        drop_account(world, user)


@pytest.mark.parametrize("source", [*MYSQL_KINDS, "postgresql_db"])
def test_n4_a_rotated_password_is_taken_up_from_its_file_without_a_restart(make_world, source, tcp_proxy):
    world = make_world(source, "mariadb_db" if source == "postgresql_db" else "postgresql_db")
    grants = GRANTS.get(source) or ["ALTER ROLE {user} SUPERUSER"]
    proxy = tcp_proxy("127.0.0.1", world["a"].port)  # counts the connections of the service
    world["a"].port = proxy.port
    user, secret = account(world, source, grants)
    a, b = world["a"], world["b"]
    try:
        world.start()
        process = world.processes[-1]
        a.execute("INSERT INTO t VALUES (1, 1, 'x')")
        world.await_equal()
        if a.is_postgresql:
            a.execute(f"ALTER ROLE {user} PASSWORD 'second-Password-2'")
            a.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'")
        else:
            a.execute(f"ALTER USER {user}@'%' IDENTIFIED BY 'second-Password-2'")
            for (session,) in a.execute(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'"):
                with suppress(pymysql.err.OperationalError):  # it may have ended by itself
                    a.execute(f"KILL {session}")
        ready = world.await_state("a", "capture", "halted", timeout=60)
        world.await_state("a", "apply", "halted", timeout=60)
        assert "password" in ready["channels"]["a"]["reason"].lower(), ready
        a.execute("INSERT INTO t VALUES (2, 2, 'meanwhile')")
        before, began = proxy.accepted, time.monotonic()
        time.sleep(2)  # the length is the point
        attempts, seconds = proxy.accepted - before, time.monotonic() - began
        assert attempts <= 2 * (1 + seconds // 30), "no attempt of the two roles faster than every half minute"
        secret.write_text("second-Password-2")
        await_that(
            lambda: 2 in b.rows(), timeout=60, message=lambda: f"taken up: {world.readiness()}\n{world.log()[-1500:]}"
        )
        b.execute("INSERT INTO t VALUES (3, 3, 'and back')")
        world.await_equal()
        assert process.poll() is None and process is world.processes[-1]
        assert "Password-" not in world.log()
    finally:
        world.close()
        drop_account(world, user)


def test_n4_a_role_without_its_rights_in_postgresql_is_told_each_of_them(make_world):
    world = make_world("postgresql_db", "mariadb_db")
    a = world["a"]
    user, _ = account(world, "postgresql_db", [])
    a.execute(f"ALTER ROLE {user} NOREPLICATION")
    try:
        world.start(ready=False)
        ready = world.await_state("a", "capture", "halted", timeout=30)
        assert any(word in ready["channels"]["a"]["reason"] for word in ("REPLICATION", "GRANT", "CREATE", "OWNER"))
        doctor = world.command("doctor")
        text = doctor.stdout + doctor.stderr
        assert doctor.returncode == 1
        assert "REPLICATION" in text and "GRANT" in text, text
        world.stop()
        fixed = world.command("doctor", "--sql")
        assert fixed.returncode in (0, 1)
        assert "ALTER ROLE" in fixed.stdout, fixed.stdout
    finally:
        world.close()
        drop_account(world, user)
