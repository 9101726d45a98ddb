"""`bookkeeping: none` on every engine: nothing of ours in the database, and still no loop (I2) and nothing lost (I1).

Delivery is at least once with idempotent writes, so what is counted after a crash is rows, not writes.
"""

import pytest

from tests.integration.test_loops import settle, taken, written_in_quiet
from tests.waiting import await_that

PAIRS = [("mariadb_db", "postgresql_db"), ("mysql_db", "postgresql_db")]


def without_tables(make_world, *databases):
    world = make_world(*databases)
    for channel in world.channels.values():
        channel.options["bookkeeping"] = "none"
    return world


def tables_of(channel):
    """Every relation of the database, by its own catalog; PostgreSQL's publication and slot are no tables."""
    schema = "'public'" if channel.is_postgresql else "DATABASE()"
    return {
        row[0]
        for row in channel.execute(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}")
    }


def _left(world):
    with world.redis.connect() as client:
        return {name: client.hgetall(f"datong:{world.deployment}:guard:{name}") for name in world.channels}


@pytest.mark.parametrize("engines", PAIRS)
def test_l1_changes_are_applied_once_and_never_come_back(make_world, engines):
    world = without_tables(make_world, *engines)
    world.start()
    counters = world.counters()
    for key, name in enumerate(world.channels):
        with world[name].transaction() as cursor:
            for n in range(20):
                cursor.execute("INSERT INTO t VALUES (%s, 1, 'x')", (1000 * key + n,))
        world.await_equal()
        for n in range(10):
            world[name].execute("UPDATE t SET v = 2 WHERE id = %s", 1000 * key + n)
        world.await_equal()  # else the update and the delete of a row may arrive as one
        world[name].execute("DELETE FROM t WHERE id = %s", 1000 * key)
    settle(world)
    assert taken(counters) == {"a": 62, "b": 62}
    assert len(world.await_equal()) == 38
    assert written_in_quiet(world, counters) == {"a": 0, "b": 0}
    status = world.status()["channels"]
    assert {name: status[name]["capture"]["rows"] for name in status} == {"a": 31, "b": 31}, (
        "an echo is never published"
    )
    assert {name: tables_of(channel) for name, channel in world.channels.items()} == {"a": {"t"}, "b": {"t"}}
    await_that(
        lambda: world.guard_records() == 0,
        message=lambda: f"no record left in the loop guard: {_left(world)}",
    )


def test_l2_full_mesh_of_three_engines(make_world):
    world = without_tables(make_world, "mysql_db", "postgresql_db", "mariadb_db")
    world.start()
    counters = world.counters()
    for key, name in enumerate(world.channels):
        for n in range(30):
            world[name].execute("INSERT INTO t VALUES (%s, %s, 'x')", 1000 * key + n, n)
    settle(world)
    assert taken(counters) == dict.fromkeys("abc", 90)
    assert written_in_quiet(world, counters) == dict.fromkeys("abc", 0)
    assert all(tables_of(channel) == {"t"} for channel in world.channels.values())


@pytest.mark.parametrize(
    ("engines", "point"), [(PAIRS[0], "loop_guard.after_register"), (PAIRS[1], "sink.after_commit")]
)
def test_killed_in_the_middle_nothing_is_lost_and_nothing_loops(make_world, engines, point):
    world = without_tables(make_world, *engines)
    world.start(faults=f"{point}=kill*3")
    expected = {}
    for n in range(60):
        for key, name in enumerate(world.channels):
            ident = 1000 * key + n % 20
            if n < 20:
                world[name].execute("INSERT INTO t VALUES (%s, %s, 'x')", ident, n)
            else:
                world[name].execute("UPDATE t SET v = %s WHERE id = %s", n, ident)
            expected[ident] = (n, "x")
    at = 60

    def died_twice():
        nonlocal at
        at += 1
        for key, name in enumerate(world.channels):
            world[name].execute("UPDATE t SET v = %s WHERE id = %s", at, 1000 * key)
            expected[1000 * key] = (at, "x")
        lines = [line for line in world.log().splitlines() if '"event": "role.ended"' in line]
        return sum("SIGKILL" in line for line in lines) >= 2

    await_that(died_twice, timeout=60, interval=0.1, message=lambda: f"kills\n{world.log()[-2000:]}")
    world.kill()
    world.start()
    world.await_markers()
    assert world.await_equal() == expected
    counters = world.counters()
    settle(world)
    assert written_in_quiet(world, counters) == {"a": 0, "b": 0}
    world.await_nothing_parked()


@pytest.mark.parametrize("engines", [("mariadb_db", "postgresql_db"), ("postgresql_db", "mariadb_db")])
def test_redis_lost_where_the_log_carries_the_record_costs_nothing(make_world, engines):
    world = without_tables(make_world, *engines)
    world.start()
    counters = world.counters()
    for n in range(20):
        world["a"].execute("INSERT INTO t VALUES (%s, 1, 'a')", n)
    settle(world)
    assert world.command("pause", "b", "capture").returncode == 0
    world.await_state("b", "capture", "paused")
    for v in (2, 3):
        for n in range(20):
            world["a"].execute("UPDATE t SET v = %s WHERE id = %s", v, n)
        await_that(lambda v=v: all(row[0] == v for row in world["b"].rows().values()), message=f"{v} at b")
    with world.redis.connect() as client:
        client.flushdb()
    assert world.command("resume", "b", "capture").returncode == 0
    world.await_markers()
    settle(world)
    assert all(row[0] == 3 for row in world.await_equal().values())
    assert taken(counters)["a"] == 60 + 4
    assert written_in_quiet(world, counters) == {"a": 0, "b": 0}
    assert world.role("b", "capture")["rows"] == 2, (
        "b's echoes are recognised by the log alone: only the marker was published"
    )


def test_redis_lost_where_only_the_loop_guard_knows_halts_that_channel(make_world):
    """MySQL with `none` (ARCHITECTURE.md section 5): its own writes cannot be told from the users' any more."""
    world = make_world("mysql_db", "postgresql_db")
    world["a"].options["bookkeeping"] = "none"
    world.start()
    counters = world.counters()
    for n in range(10):
        world["b"].execute("INSERT INTO t VALUES (%s, 1, 'b')", n)
    settle(world)
    assert world.command("pause", "a", "capture").returncode == 0
    world.await_state("a", "capture", "paused")
    world["b"].execute("UPDATE t SET v = 2")
    await_that(lambda: all(row[0] == 2 for row in world["a"].rows().values()), message="2 at a")
    with world.redis.connect() as client:
        client.flushdb()
    assert world.command("resume", "a", "capture").returncode == 0
    ready = world.await_state("a", "capture", "halted")
    assert world.readiness()[0] == 503
    assert "LOOP_GUARD_LOST" in ready["channels"]["a"]["reason"]
    world.kill()
    world.start(ready=False)
    world.await_state("a", "capture", "halted", timeout=30)
    world["b"].execute("INSERT INTO t VALUES (100, 1, 'b')")
    await_that(lambda: 100 in world["a"].rows(), message="the other way goes on")
    assert taken(counters) == {"a": 21, "b": 21}, "no echo came back"

    assert world.stop() == 0
    mended = world.command("remove", "a", "--yes")
    assert mended.returncode == 0, mended.stderr
    world.start()
    world["a"].execute("INSERT INTO t VALUES (200, 1, 'a')")
    await_that(lambda: 200 in world["b"].rows(), message="a is captured again, from now on")
