"""CASES.md K8: rows that come before their parent, or go before their last child, find their way by themselves."""

import json

from tests.waiting import await_that


def parked(world):
    done = world.command("parked", "list", "--json")
    assert done.returncode == 0, done.stderr
    return [(change["mapping"], change["reason"]) for change in json.loads(done.stdout)]


def await_parked(world, *expected):
    await_that(
        lambda: world.role("b", "apply")["parked"] == len(expected),
        timeout=30,
        message=lambda: f"{expected}: {parked(world)}\n{world.log()[-2000:]}",
    )
    assert not expected or sorted(parked(world)) == sorted(expected)


def await_rows(world, expected, table="t"):
    await_that(
        lambda: world["b"].rows(table) == expected,
        timeout=60,
        message=lambda: f"{expected}: {world['b'].rows(table)} {parked(world)}\n{world.log()[-2000:]}",
    )


def test_k8_a_child_before_its_parent_and_a_parent_before_its_child_are_tried_again_by_themselves(make_world):
    """The parents are not mapped: nothing but time tells that they have come."""
    world = make_world("mariadb_db", "postgresql_db", table=False)
    a, b = world["a"], world["b"]
    a.create_table()
    b.execute("CREATE TABLE parents (id INT PRIMARY KEY)")
    b.create_table(columns="v INT, note VARCHAR(200), FOREIGN KEY (v) REFERENCES parents (id)")
    b.execute("CREATE TABLE grandchildren (id BIGINT, FOREIGN KEY (id) REFERENCES t (id))")
    world.start()
    a.execute("INSERT INTO t VALUES (1, 5, 'child')")
    a.execute("UPDATE t SET note = 'renamed' WHERE id = 1")
    a.execute("INSERT INTO t VALUES (2, NULL, 'free')")
    await_rows(world, {2: (None, "free")})
    await_parked(world, ("b.t", "foreign_key"), ("b.t", "waiting"))
    b.execute("INSERT INTO parents VALUES (5)")
    await_rows(world, {1: (5, "renamed"), 2: (None, "free")})

    await_parked(world)
    b.execute("INSERT INTO grandchildren VALUES (2)")
    a.execute("DELETE FROM t WHERE id = 2")
    a.execute("INSERT INTO t VALUES (3, 6, 'late')")
    await_that(lambda: world.role("b", "apply")["parked"] == 2, message=lambda: f"both wait: {parked(world)}")
    world.kill()
    world.start()
    b.execute("DELETE FROM grandchildren")
    b.execute("INSERT INTO parents VALUES (6)")
    await_rows(world, {1: (5, "renamed"), 3: (6, "late")})
    await_parked(world)
    world.await_equal()


def test_k8_rows_that_refer_to_each_other_come_in_together_though_they_were_parked_apart(make_world):
    """A poison row in their transaction has them written one by one, and so refused: each needs the other."""
    world = make_world("mariadb_db", "postgresql_db")
    a, b = world["a"], world["b"]
    entities = {"thing": {"key": ["id"], "fields": world.fields}}
    for name in ("left_side", "right_side"):
        for channel in (a, b):
            channel.create_table(name, "other BIGINT")
            world.mappings[f"{channel.name}.{name}"] = {
                "channel": channel.name, "table": name, "entity": name, "columns": {"id": "id", "other": "other"},
            }  # fmt: skip
        entities[name] = {"key": ["id"], "fields": {"id": {"type": "integer"}, "other": {"type": "integer"}}}
    for name, other in (("left_side", "right_side"), ("right_side", "left_side")):
        b.execute(f"ALTER TABLE {name} ADD FOREIGN KEY (other) REFERENCES {other} DEFERRABLE INITIALLY DEFERRED")
    b.execute("ALTER TABLE t ADD CHECK (v < 1000)")
    world.extra["entities"] = entities
    world.start()
    with a.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 5000, 'poison')")
        cursor.execute("INSERT INTO left_side VALUES (1, 2)")
        cursor.execute("INSERT INTO right_side VALUES (2, 1)")
    await_rows(world, {1: (2,)}, "left_side")
    await_rows(world, {2: (1,)}, "right_side")
    await_parked(world, ("b.t", "rejected"))
