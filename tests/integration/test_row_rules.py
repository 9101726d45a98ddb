"""where, on_insert, on_delete and counters between real databases, and what `check --explain` says of them."""

from __future__ import annotations

import json
import threading

import pytest

from tests.waiting import await_that


def started(world):
    """On a busy machine four processes take their time to start."""
    world.start(ready=False)
    world.await_ready(timeout=150)


def row(channel, ident, columns="*"):
    found = channel.execute(f"SELECT {columns} FROM t WHERE id = %s", ident)
    return found[0] if found else None


def await_row(world, channel, ident, expected, columns, timeout=100):
    await_that(
        lambda: row(world[channel], ident, columns) == expected,
        timeout=timeout,
        message=lambda: (
            f"{channel} {ident}: {expected}, is {row(world[channel], ident, columns)}; {world.log()[-3000:]}"
        ),
    )


@pytest.fixture(
    params=[("mariadb_db", "postgresql_db"), ("postgresql_db", "mysql_db")],
    ids=["mariadb-postgresql", "postgresql-mysql"],
)
def ruled(request, make_world):
    """`a` holds several shops' rows and maps one shop's; `b` marks deleted rows instead of deleting them."""
    world = make_world(*request.param, table=False)
    world["a"].create_table(
        columns="v INT, note VARCHAR(200), shop_id INT NOT NULL DEFAULT 0, secret VARCHAR(20) NOT NULL"
    )
    world["b"].create_table(columns="v INT, note VARCHAR(200), gone SMALLINT NOT NULL DEFAULT 0")
    world.mappings = {
        "a.t": {"where": {"shop_id": 7}, "on_insert": {"secret": "fresh"}},
        "b.t": {"on_delete": {"set": {"gone": 1}}},
    }
    return world


def test_conditions_and_constants_both_ways(ruled):
    world, a, b = ruled, ruled["a"], ruled["b"]
    started(world)
    a.execute("INSERT INTO t VALUES (2, 1, 'other shop', 8, 'theirs')")
    a.execute("INSERT INTO t VALUES (1, 1, 'x', 7, 'mine')")
    await_row(world, "b", 1, (1, "x", 0), "v, note, gone")
    assert row(b, 2) is None
    b.execute("INSERT INTO t VALUES (3, 3, 'from b', 0)")
    await_row(world, "a", 3, (3, "from b", 7, "fresh"), "v, note, shop_id, secret")
    # begins to match, ceases to match
    a.execute("UPDATE t SET shop_id = 7 WHERE id = 2")
    await_row(world, "b", 2, ("other shop", 0), "note, gone")
    a.execute("UPDATE t SET shop_id = 9 WHERE id = 1")
    await_row(world, "b", 1, ("x", 1), "note, gone")
    # a row that exists keeps what only its creation would have set
    b.execute("UPDATE t SET note = 'edited' WHERE id = 2")
    await_row(world, "a", 2, ("edited", 7, "theirs"), "note, shop_id, secret")
    # marked and back to life
    b.execute("UPDATE t SET gone = 1 WHERE id = 3")
    await_row(world, "a", 3, None, "note")
    b.execute("UPDATE t SET note = 'unseen' WHERE id = 3")
    b.execute("UPDATE t SET gone = 0 WHERE id = 3")
    await_row(world, "a", 3, ("unseen", 7, "fresh"), "note, shop_id, secret")
    b.execute("DELETE FROM t WHERE id = 2")
    await_row(world, "a", 2, None, "note")
    # another shop's row of the same key is never touched: what would is parked
    b.execute("UPDATE t SET gone = 0, note = 'stolen' WHERE id = 1")
    await_that(lambda: world.role("a", "apply")["parked"] == 1, message=lambda: world.log()[-3000:])
    assert row(a, 1, "note, shop_id, secret") == ("x", 9, "mine")
    (parked,) = json.loads(world.command("parked", "list", "--json").stdout)
    assert (parked["channel"], parked["mapping"]) == ("a", "a.t")
    assert "stolen" not in parked["error"]


@pytest.mark.parametrize("pair", [("mariadb_db", "postgresql_db"), ("mysql_db", "mariadb_db")], ids="-".join)
def test_both_sides_of_a_counter_add_up_also_after_a_kill(make_world, pair):
    world = make_world(*pair)
    world.fields["v"] = {"type": "integer", "merge": "sum"}
    started(world)
    world["a"].execute("INSERT INTO t VALUES (1, 10, 'x')")
    await_row(world, "b", 1, (10,), "v")
    rounds = 60

    def add(channel):
        with channel.database.connect() as connection:
            connection.autocommit = True if channel.is_postgresql else connection.autocommit(True)
            with connection.cursor() as cursor:
                for number in range(rounds):
                    cursor.execute("UPDATE t SET v = v + %s WHERE id = 1", (number % 5 - 1,))

    threads = [threading.Thread(target=add, args=(world[name],)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    world.kill()
    for thread in threads:
        thread.join()
    started(world)
    expected = 10 + 2 * sum(number % 5 - 1 for number in range(rounds))
    for name in ("a", "b"):
        await_row(world, name, 1, (expected,), "v")
    world.await_markers()
    assert [row(world[name], 1, "v") for name in ("a", "b")] == [(expected,), (expected,)]


def test_a_counter_without_before_images_halts_with_the_statement_that_mends_it(mixed):
    mixed["b"].execute("ALTER TABLE t REPLICA IDENTITY DEFAULT")
    mixed.fields["v"] = {"type": "integer", "merge": "sum"}
    mixed.start(ready=False)
    answer = mixed.await_state("b", "capture", "halted", timeout=100)
    reason = answer["channels"]["b"]["reason"]
    assert "BEFORE_IMAGES" in reason
    assert 'ALTER TABLE "public"."t" REPLICA IDENTITY FULL;' in reason
    mixed["b"].execute("ALTER TABLE t REPLICA IDENTITY FULL")
    mixed.extra["health"] = {"max_lag": 61}  # a file that says something else is tried at once, not after half a minute
    mixed.write_configuration()
    mixed.await_ready()


def test_rows_of_one_entity_live_in_two_tables_told_apart_by_a_field(make_world):
    world = make_world("mariadb_db", "postgresql_db", table=False)
    columns = {"id": "id", "note": "note", "kind": "kind"}
    world.fields = {"id": {"type": "integer"}, "note": {"type": "text"}, "kind": {"type": "text"}}
    for name in ("web", "pos"):
        world["a"].create_table(name, "kind VARCHAR(9) NOT NULL, note VARCHAR(200)")
        world.mappings[f"a.{name}"] = {
            "channel": "a", "table": name, "entity": "thing", "columns": dict(columns), "where": {"kind": name},
        }  # fmt: skip
    world["b"].create_table(columns="kind VARCHAR(9) NOT NULL, note VARCHAR(200)")
    configuration = world.configuration()
    del configuration["mappings"]["a.t"]
    world.extra = {"mappings": configuration["mappings"]}
    started(world)
    world["b"].execute("INSERT INTO t VALUES (1, 'web', 'x'), (2, 'pos', 'y'), (3, 'none', 'z')")
    await_that(lambda: (world["a"].rows("web"), world["a"].rows("pos")) == ({1: ("web", "x")}, {2: ("pos", "y")}))
    world["b"].execute("UPDATE t SET note = 'edited'")
    world["b"].execute("UPDATE t SET kind = 'pos' WHERE id = 1")
    world["b"].execute("UPDATE t SET kind = 'web' WHERE id = 3")
    await_that(
        lambda: (
            (world["a"].rows("web"), world["a"].rows("pos"))
            == ({3: ("web", "edited")}, {1: ("pos", "edited"), 2: ("pos", "edited")})
        ),
        message=lambda: f"{world['a'].rows('web')} {world['a'].rows('pos')}; {world.log()[-3000:]}",
    )
    world["a"].execute("UPDATE web SET note = 'from a' WHERE id = 3")
    await_row(world, "b", 3, ("web", "from a"), "kind, note")
    world.await_nothing_parked()


def test_explain_shows_what_each_column_becomes(make_world):
    world = make_world("mariadb_db", "postgresql_db", table=False)
    world["a"].create_table(columns="v BIGINT, note VARCHAR(200), total INT AS (v + 1) STORED, must INT NOT NULL")
    world["b"].create_table(columns="v INT NOT NULL, note VARCHAR(20)")
    world.mappings = {
        "a.t": {
            "where": {"must": 7, "total": None},
            "columns": {"id": "id", "v": "v", "note": {"field": "note", "transforms": [{"prefix": "N-"}]}},
        },
    }
    world.write_configuration()
    done = world.command("check", "--explain", "b.t")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == "b.t: b public.t <-> entity thing, direction both"
    assert lines[1].split("  ")[0] == "column"
    (points,) = [line for line in lines if line.startswith("v ")]
    assert "integer not null" in points
    assert (
        "integer up to 9223372036854775807 from a.t: beyond the column is parked - add `maximum: 2147483647`" in points
    )
    assert "NULL from a.t: is parked - add `required: true` or make the column nullable" in points
    done = world.command("check", "--explain", "a.t")
    assert "prefix: N-" in done.stdout
    assert "where must = 7, total = null: only such rows are captured" in done.stdout
    assert "where.total: column total is computed by the server and cannot be written" in done.stderr
    world.mappings["a.t"]["where"] = {"must": 7}
    world.write_configuration()
    done = world.command("check", "--explain", "a.t")
    assert "computed by the server, never written: total" in done.stdout
    world.fields["v"] = {"type": "integer", "maximum": 3000000000}
    world.write_configuration()
    done = world.command("check", "--explain", "b.t")
    assert done.returncode == 1
    wanted = (
        "column v integer cannot hold field v: integer up to 3000000000 - add `maximum: 2147483647` or widen the column"
    )
    assert wanted in done.stderr
    assert f"REFUSED: {wanted}" in done.stdout
    assert world.command("check", "--explain", "x.t").returncode == 2


def test_points_of_people_add_up_and_new_rows_get_their_constants(make_world):
    """INTERFACE's own example: members under keys of their own, points from both sides, a password that only a new row gets."""
    world = make_world("mariadb_db", "postgresql_db", table=False)
    for name, key in (("a", "INT AUTO_INCREMENT"), ("b", "INT GENERATED BY DEFAULT AS IDENTITY (START WITH 500)")):
        world[name].execute(
            f"CREATE TABLE members (id {key} PRIMARY KEY, mobile VARCHAR(20), points INT, password VARCHAR(20) NOT NULL)"
        )
    world["b"].execute("ALTER TABLE members REPLICA IDENTITY FULL")
    fields = {"phone": {"type": "text"}, "points": {"type": "integer", "merge": "sum"}}
    world.extra = {
        "entities": {"member": {"identity": ["phone"], "fields": fields}},
        "mappings": {
            f"{name}.members": {
                "channel": name, "table": "members", "entity": "member", "on_insert": {"password": f"of {name}"},
                "columns": {"mobile": {"field": "phone", "transforms": [{"phone": "CN"}]}, "points": "points"},
            }
            for name in ("a", "b")
        },
    }  # fmt: skip
    started(world)
    world["a"].execute("INSERT INTO members (mobile, points, password) VALUES ('13800138000', 5, 'own')")

    def held(name):
        return world[name].execute("SELECT points, password FROM members WHERE mobile = '13800138000'")

    def await_points(points):
        expected = [[(points, "own")], [(points, "of b")]]
        await_that(
            lambda: [[tuple(r) for r in held(name)] for name in ("a", "b")] == expected,
            timeout=100,
            message=lambda: f"{expected}, is {held('a')} {held('b')}; {world.log()[-3000:]}",
        )

    await_points(5)
    for _ in range(5):
        for name, more in (("a", 3), ("b", 2)):
            world[name].execute("UPDATE members SET points = points + %s", more)
    await_points(30)
    world["b"].execute("UPDATE members SET password = 'of b', points = points - 30")
    await_points(0)
