"""Tables that are not what they seem, through the whole service: triggers and rules that keep rows away, policies that hide them, views,
partitions, tables without transactions, and one whose values a trigger makes. Nothing is silently wrong (I1, I6): it works, is parked,
or halts with its reason; once it is mended the service goes on.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from cdc.demo.servers import MariaDB
from tests.servers import mysql_database, server_folder
from tests.waiting import await_that
from tests.world import World, total

COLUMNS = "v INT, note VARCHAR(40)"
KEEPS = "CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
SHOUTS = "CREATE FUNCTION shouts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := upper(NEW.note); RETURN NEW; END $$"
# Table -> what makes it odd, and what mends it.
KEPT = {
    "no_insert": ("CREATE TRIGGER x BEFORE INSERT ON no_insert FOR EACH ROW EXECUTE FUNCTION keeps()", "DROP TRIGGER x ON no_insert"),
    "no_update": ("CREATE TRIGGER x BEFORE UPDATE ON no_update FOR EACH ROW EXECUTE FUNCTION keeps()", "DROP TRIGGER x ON no_update"),
    "no_delete": ("CREATE TRIGGER x BEFORE DELETE ON no_delete FOR EACH ROW EXECUTE FUNCTION keeps()", "DROP TRIGGER x ON no_delete"),
    "rule_insert": ("CREATE RULE x AS ON INSERT TO rule_insert DO INSTEAD NOTHING", "DROP RULE x ON rule_insert"),
    "rule_delete": ("CREATE RULE x AS ON DELETE TO rule_delete DO INSTEAD NOTHING", "DROP RULE x ON rule_delete"),
    "parts": ("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (2)", "CREATE TABLE parts_2 PARTITION OF parts DEFAULT"),
}  # fmt: skip
WORKS = ("plain", "shouts")
WAITING = {"no_insert": 5, "no_update": 1, "no_delete": 1, "rule_insert": 5, "rule_delete": 1, "parts": 2}


def of_tables(world, names):
    """Every table its own entity, from a to b."""
    kinds = {"id": "integer", "v": "integer", "note": "text"}
    world.extra["entities"] = {
        name: {"key": ["id"], "fields": {field: {"type": kind} for field, kind in kinds.items()}} for name in names
    }
    world.extra["mappings"] = {
        f"{channel}.{name}": {
            "channel": channel, "table": name, "entity": name, "columns": {f: f for f in kinds},
            "direction": "capture" if channel == "a" else "apply",
        }
        for name in names
        for channel in "ab"
    }  # fmt: skip


def parked(world):
    return json.loads(world.command("parked", "list", "--json").stdout)


def nudged(world):
    """Halted roles look again at once when the configuration has changed."""
    health = world.extra.setdefault("health", {"max_lag": 30})
    health["max_lag"] += 1
    world.write_configuration()


def halted(world, kind, *words):
    def reason():
        said = world.await_state("b", kind, "halted", timeout=60)["channels"]["b"]["reason"]
        return said if all(word in said for word in words) else ""

    return await_that(reason, timeout=60, message=lambda: f"{words}: {world.readiness()} {world.log()[-3000:]}")


def test_what_keeps_a_row_from_the_table_is_parked_and_the_rest_goes_on(make_world):
    names = (*KEPT, *WORKS)
    world = make_world("mariadb_db", "postgresql_db", table=False)
    a, b = world["a"], world["b"]
    for name in names:
        a.create_table(name, COLUMNS)
        b.execute(
            f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, {COLUMNS}){' PARTITION BY RANGE (id)' * (name == 'parts')}"
        )
    b.execute(KEEPS)
    b.execute(SHOUTS)
    for odd, _ in KEPT.values():
        b.execute(odd)
    b.execute("CREATE TRIGGER x BEFORE INSERT OR UPDATE ON shouts FOR EACH ROW EXECUTE FUNCTION shouts()")
    b.execute("INSERT INTO shouts VALUES (1, 1, 'X'), (9, 9, 'there before')")
    of_tables(world, names)
    world.start()

    def everywhere(statement, waiting):
        """In all tables, before anything else of their rows: changes of one row that come in one batch are written as one."""
        for name in names:
            a.execute(statement.format(name))
        await_that(
            lambda: world.role("b", "apply")["parked"] == waiting,
            timeout=30, message=lambda: f"{statement}: {waiting} of {parked(world)} {world.log()[-3000:]}",
        )  # fmt: skip

    everywhere("INSERT INTO {} VALUES (1, 1, 'x'), (2, 2, 'y')", 2 + 2 + 1)
    everywhere("UPDATE {} SET v = 10 WHERE id = 1", 5 + 3)
    everywhere("DELETE FROM {} WHERE id = 2", 8 + 5)
    everywhere("INSERT INTO {} VALUES (0, 0, 'z')", sum(WAITING.values()))

    def waits():
        if world.role("b", "apply")["parked"] != sum(WAITING.values()):
            return None
        found = parked(world)
        return {name: sum(row["mapping"] == f"b.{name}" for row in found) for name in KEPT} == WAITING and found

    found = await_that(waits, timeout=60, message=lambda: f"{parked(world)} {world.readiness()} {world.log()[-3000:]}")
    for row in found:
        if row["reason"] != "waiting":
            words = "no partition" if row["mapping"] == "b.parts" else "a trigger or a rule"
            assert words in row["error"], row
    await_that(lambda: b.rows("plain") == a.rows("plain"), message="the plain table")
    await_that(lambda: b.rows("shouts") == {9: (9, "THERE BEFORE"), 1: (10, "X"), 0: (0, "Z")}, message="shouted")
    assert world.role("b", "apply")["state"] in ("running", "idle")
    for _, mend in KEPT.values():
        b.execute(mend)
    assert world.command("parked", "retry").returncode == 0
    for name in KEPT:
        await_that(lambda name=name: b.rows(name) == a.rows(name), timeout=30, message=f"{name} released")
    await_that(lambda: world.role("b", "apply")["parked"] == 0, message="nothing is parked")


def test_what_a_policy_hides_halts_and_a_rule_that_postgresql_does_not_take_too(make_world):
    world = make_world("mariadb_db", "postgresql_db")
    a, b = world["a"], world["b"]
    role = f"r{secrets.token_hex(4)}"
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    b.execute(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD 'Canary.1'")
    try:
        b.execute(f"GRANT CREATE ON DATABASE {b.database.name} TO {role}")
        b.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
        b.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}")
        b.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        b.execute("CREATE POLICY few ON t USING (v < 100) WITH CHECK (true)")
        for channel in (a, b):
            channel.execute("INSERT INTO t VALUES (1, 500, 'hidden')")
        b.options["url"] = f"postgresql://{role}:Canary.1@127.0.0.1:{b.port}/{b.database.name}"
        world.start()
        assert "ROW_SECURITY" in world.command("doctor", timeout=100).stdout
        a.execute("DELETE FROM t WHERE id = 1")
        halted(world, "apply", "TARGET_42501", "row-level security", "BYPASSRLS")
        b.execute(f"ALTER ROLE {role} BYPASSRLS")
        nudged(world)
        assert world.await_equal() == {}
        b.execute("CREATE RULE also AS ON INSERT TO t DO ALSO SELECT 1")
        a.execute("INSERT INTO t VALUES (2, 2, 'y')")
        halted(world, "apply", "TARGET_0A000", "rules", "drop the table's rules")
        answer = world.command("doctor", timeout=100)
        assert "RULE" in answer.stdout
        assert "ROW_SECURITY" not in answer.stdout
        b.execute("DROP RULE also ON t")
        nudged(world)
        world.await_equal()
    finally:
        world.close()
        b.execute(f"DROP OWNED BY {role}")
        b.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("engine", ["mysql_db", pytest.param("mariadb_db", marks=pytest.mark.soak)])
def test_a_view_or_a_table_without_transactions_is_refused_by_name(make_world, engine):
    world = make_world("postgresql_db", engine)
    a, b = world["a"], world["b"]
    b.execute("RENAME TABLE t TO real_table")
    b.execute("CREATE VIEW t AS SELECT * FROM real_table")
    world.start(ready=False)
    halted(world, "capture", "TABLE_MISSING", "is a view")
    halted(world, "apply", "TABLE_MISSING", "a view is none")
    b.execute("DROP VIEW t")
    b.execute("RENAME TABLE real_table TO t")
    b.execute("ALTER TABLE t ENGINE = MyISAM")
    world.await_state("a", "capture", "idle", "running", timeout=60)  # its first start takes the log's present end
    a.execute("INSERT INTO t VALUES (1, 1, 'x')")
    nudged(world)
    halted(world, "apply", "MyISAM", "ENGINE = InnoDB")
    assert b.rows() == {}
    b.execute("ALTER TABLE t ENGINE = InnoDB PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (100))")
    nudged(world)
    world.await_ready()
    assert world.await_equal() == {1: (1, "x")}
    b.execute("INSERT INTO t VALUES (2, 2, 'y')")
    world.await_equal()
    a.execute("INSERT INTO t VALUES (100, 1, 'beyond')")
    a.execute("INSERT INTO t VALUES (3, 1, 'after')")
    await_that(lambda: 3 in b.rows(), message=lambda: f"the next row: {world.readiness()}")
    (row,) = parked(world)
    assert "no partition" in row["error"]


def test_names_that_the_server_writes_in_small_letters_are_told_and_never_missed(tmp_path, redis_db, postgresql_db):
    with server_folder() as folder:
        server = MariaDB(Path(folder) / "own", server_id=778, options={"lower_case_table_names": "1"}).start()
        try:
            with mysql_database(server, "small") as database:
                world = World(tmp_path, redis_db, {"a": database, "b": postgresql_db})
                a, b = world["a"], world["b"]
                for channel in (a, b):
                    channel.create_table()
                plain = a.url()
                a.options["url"] = plain.replace(database.name, database.name.upper())
                world.mappings["a.t"] = {"table": "T"}
                world.start(ready=False)
                try:

                    def refused(*words):
                        def said():
                            reason = world.await_state("a", "capture", "halted", timeout=60)["channels"]["a"]["reason"]
                            return all(word in reason for word in words)

                        await_that(
                            said, timeout=60, message=lambda: f"{words} {world.readiness()} {world.log()[-2000:]}"
                        )

                    refused("TABLE_MISSING", f"database {database.name.upper()} {database.name}")
                    a.options["url"] = plain
                    nudged(world)
                    refused("TABLE_MISSING", "is called", f"{database.name}.t ")
                    world.mappings["a.t"] = {"table": "t"}
                    nudged(world)
                    world.await_state("a", "capture", "running", "idle", timeout=60)
                    a.execute("INSERT INTO T VALUES (1, 1, 'x')")
                    b.execute("INSERT INTO t VALUES (2, 2, 'y')")
                    assert len(world.await_equal()) == 2
                finally:
                    world.close()
        finally:
            server.kill()


@pytest.mark.parametrize("target", ["postgresql_db", pytest.param("mysql_db", marks=pytest.mark.soak)])
def test_what_a_trigger_writes_into_another_mapped_table_is_told_stays_there_and_makes_no_loop(make_world, target):
    world = make_world("mariadb_db", target)
    a, b = world["a"], world["b"]
    for channel in (a, b):
        channel.create_table("line", COLUMNS)
    insert = "INSERT INTO line VALUES (NEW.id, NEW.v, 'by the trigger')"
    if b.is_postgresql:
        b.execute(f"CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert}; RETURN NEW; END $$")
        b.execute("CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION logs()")
    else:
        b.execute(f"CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW {insert}")
    line = {"key": ["id"], "fields": {"id": {"type": "integer"}, "v": {"type": "integer"}, "note": {"type": "text"}}}
    world.extra["entities"] = {"thing": {"key": ["id"], "fields": world.fields}, "line": line}
    for name in "ab":
        columns = {"id": "id", "v": "v", "note": "note"}
        world.mappings[f"{name}.line"] = {"channel": name, "table": "line", "entity": "line", "columns": columns}
    world.start()
    counters = world.counters()
    a.execute("INSERT INTO t VALUES (1, 1, 'x')")
    world.await_equal()
    world.await_event("echo_holds_more_rows", wrote=1, found=2)
    assert b.rows("line") == {1: (1, "by the trigger")}
    # A user's row does not go over what the trigger wrote unless it is told to; the user's transaction at b is captured with its trigger's row.
    a.execute("INSERT INTO line VALUES (1, 5, 'by a')")
    await_that(lambda: world.role("b", "apply")["parked"] == 1, message=lambda: f"parked: {world.log()[-2000:]}")
    (conflict,) = json.loads(world.command("parked", "list", "--json").stdout)
    assert (conflict["mapping"], conflict["reason"]) == ("b.line", "conflict")
    assert world.command("parked", "retry", conflict["id"], "--overwrite").returncode == 0
    b.execute("INSERT INTO t VALUES (2, 2, 'y')")
    expected = {1: (5, "by a"), 2: (2, "by the trigger")}
    await_that(
        lambda: a.rows("line") == b.rows("line") == expected,
        message=lambda: f"{a.rows('line')} {b.rows('line')} {world.readiness()} {world.log()[-2000:]}",
    )
    world.await_equal()
    world.await_marker("a", "b")
    world.await_marker("b", "a")
    # Each of the two markers made a line at b, and the one that a user of b wrote went to a.
    events = {name: counter.take() for name, counter in counters.items()}
    assert {name: total(found, "line") for name, found in events.items()} == {"a": 2 + 1, "b": 3 + 2}, events
