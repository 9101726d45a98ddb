"""CASES.md K8: what a foreign key's cascade does to captured rows arrives, or the capture says why it would not."""

from __future__ import annotations

import pytest

from tests.waiting import await_that

CHILD = {"id": {"type": "integer"}, "parent": {"type": "integer"}, "note": {"type": "text"}}


def family(make_world, *databases, rule="ON DELETE CASCADE", keyed="ab"):
    """Parents and children in every channel; the channels of `keyed` have the foreign key with `rule`."""
    world = make_world(*databases, table=False)
    for name, channel in world.channels.items():
        channel.create_table("parents", "note VARCHAR(200)")
        key = f", CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parents (id) {rule}" if name in keyed else ""
        channel.create_table("children", f"parent BIGINT, note VARCHAR(200){key}")
    names = {"parents": "parent", "children": "child"}
    world.extra = {
        "entities": {
            "parent": {"key": ["id"], "fields": {"id": {"type": "integer"}, "note": {"type": "text"}}},
            "child": {"key": ["id"], "fields": CHILD},
        },
        "mappings": {
            f"{channel}.{table}": {
                "channel": channel, "table": table, "entity": entity,
                "columns": {field: field for field in (CHILD if table == "children" else ("id", "note"))},
            }
            for channel in world.channels
            for table, entity in names.items()
        },
    }  # fmt: skip
    return world


def await_family(world, children, *, parents=None):
    for table, wanted in (("children", children), ("parents", parents)):
        for name in world.channels:
            await_that(
                lambda name=name, table=table, wanted=wanted: wanted is None or world[name].rows(table) == wanted,
                timeout=60,
                message=lambda name=name, table=table, wanted=wanted: (
                    f"{name}.{table} {wanted}: {world[name].rows(table)} {world.readiness()} {world.log()[-2000:]}"
                ),
            )


def halted(world):
    return world.await_state("a", "capture", "halted", timeout=100)["channels"]["a"]["reason"]


def test_mariadb_does_not_log_a_cascade_so_its_captured_children_are_refused_until_it_is_gone(make_world):
    world = family(make_world, "mariadb_db", "postgresql_db", keyed="a")
    children = world.extra["mappings"]["a.children"]
    children["direction"] = "apply"  # written, not captured: nothing is lost
    world.start(ready=False)
    world.await_ready(timeout=100)

    children["direction"] = "both"
    world.write_configuration()
    reason = halted(world)
    assert "CASCADE: a: foreign key of_parent of" in reason and "(ON DELETE CASCADE, from parents)" in reason
    statements = reason[reason.index("ALTER TABLE") :].split(";")[:2]
    assert [statement.split()[3] for statement in statements] == ["DROP", "ADD"], reason
    world["b"].execute("INSERT INTO parents VALUES (1, 'goes on')")
    await_that(lambda: 1 in world["a"].rows("parents"), message="the other way goes on")
    for statement in statements:
        world["a"].execute(statement)
    children["on_truncate"] = "ignore"  # an edit, so that it looks at once
    world.write_configuration()
    world.await_ready(timeout=60)
    world["a"].execute("INSERT INTO children VALUES (10, 1, 'of one')")
    await_family(world, {10: (1, "of one")})

    world["a"].execute("ALTER TABLE children DROP FOREIGN KEY of_parent")
    world["a"].execute(
        "ALTER TABLE children ADD CONSTRAINT anew FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE SET NULL"
    )
    assert "foreign key anew of" in halted(world)  # at once, without a restart
    del children["columns"]["parent"]
    world.write_configuration()
    world.await_ready(timeout=60)  # what it changes is not read


@pytest.mark.parametrize("rule", ["ON DELETE CASCADE", "ON DELETE SET NULL"])
def test_a_cascade_that_both_logs_show_arrives_once(make_world, rule):
    """MySQL 9.7 and PostgreSQL, the key in both: the children follow, nothing is parked, nothing goes round or is done twice."""
    world = family(make_world, "mysql_db", "postgresql_db", rule=rule)
    world.start(ready=False)
    world.await_ready(timeout=100)
    with world["a"].transaction() as cursor:
        for parent in (1, 2, 3):
            cursor.execute("INSERT INTO parents VALUES (%s, 'p')", (parent,))
            for child in (10 * parent, 10 * parent + 1):
                cursor.execute("INSERT INTO children VALUES (%s, %s, 'c')", (child, parent))
    await_family(world, {10 * p + c: (p, "c") for p in (1, 2, 3) for c in (0, 1)})
    counters = world.counters()
    world["a"].execute("DELETE FROM parents WHERE id = 1")
    world["b"].execute("DELETE FROM parents WHERE id = 2")
    orphans = {} if "CASCADE" in rule else {10 * p + c: (None, "c") for p in (1, 2) for c in (0, 1)}
    await_family(world, {30: (3, "c"), 31: (3, "c")} | orphans, parents={3: ("p",)})
    with world["b"].transaction() as cursor:  # after those before in each stream
        cursor.execute("UPDATE children SET note = 'last' WHERE id = 30")
    world["a"].execute("UPDATE children SET note = 'last' WHERE id = 31")
    await_family(world, {30: (3, "last"), 31: (3, "last")} | orphans)
    world.await_idle()
    status = world.status()["channels"]
    for name in world.channels:
        assert status[name]["apply"]["parked"] == 0
        assert status[name]["capture"]["alarms"] == {}
        written = {
            table: events.total
            for (_, table), events in counters[name].take().items()
            if table in ("parents", "children")
        }
        # Each log: two parents deleted, two children changed with each of them, and one change at either end.
        assert written == {"parents": 2, "children": 6}, (name, written)
