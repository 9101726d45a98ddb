"""CASES.md 2.2: a user's transaction is applied once per other channel, and nothing comes back (I2).

Counted in the databases' own logs by a witness that shares no code with the readers; equal rows alone prove nothing.
"""

import time

import pytest

from tests.waiting import await_that
from tests.world import total

QUIET_SECONDS = 3  # L1 says 10: the long run has that


def settle(world):
    """Everything written so far has arrived everywhere, and every echo has been read."""
    world.await_equal()
    world.await_idle()


def taken(counters):
    return {name: total(counter.take()) for name, counter in counters.items()}


def written_in_quiet(world, counters, seconds=QUIET_SECONDS):
    """What is written while nobody writes: watched for a while, since absence has no event to wait for."""
    time.sleep(seconds)
    return taken(counters)


def test_l1_one_change_is_applied_once_and_never_comes_back(ab):
    one_change_each_way(ab, QUIET_SECONDS)


@pytest.mark.soak
def test_l1_and_then_ten_seconds_of_quiet(ab):
    one_change_each_way(ab, 10)


def one_change_each_way(ab, quiet_seconds):
    ab.start()
    counters = ab.counters()
    a, b = ab["a"], ab["b"]
    for user, other in ((a, "b"), (b, "a")):
        name, key = user.name, 1 if user is a else 2
        user.execute("INSERT INTO t VALUES (%s, 1, 'x')", key)
        settle(ab)
        assert taken(counters) == {name: 1, other: 1}
        user.execute("UPDATE t SET v = 2 WHERE id = %s", key)
        settle(ab)
        assert taken(counters) == {name: 1, other: 1}
        user.execute("DELETE FROM t WHERE id = %s", key)
        settle(ab)
        assert taken(counters) == {name: 1, other: 1}
    assert ab.await_equal() == {}
    assert written_in_quiet(ab, counters, quiet_seconds) == {"a": 0, "b": 0}
    await_that(
        lambda: sum(channel["capture"]["echoes"] for channel in ab.status()["channels"].values()) >= 6,
        message=lambda: f"six echoes: {ab.status()}",
    )


def test_l2_full_mesh_applies_every_row_change_exactly_twice(abc):
    abc.start()
    counters = abc.counters()
    changes = 0
    for number, name in enumerate(abc.channels):
        base = number * 1000
        with abc[name].transaction() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, 0, 'new')", [(base + n,) for n in range(50)])
        abc.await_equal()  # what is still on its way when its row changes again may arrive as one with it
        for n in range(50):
            abc[name].execute("UPDATE t SET v = %s WHERE id = %s", n + 1, base + n)
        abc.await_equal()
        abc[name].execute("DELETE FROM t WHERE id = %s", base + 7)
        changes += 101
    settle(abc)
    counted = taken(counters)
    assert counted == dict.fromkeys("abc", changes)
    assert len(abc.await_equal()) == 147
    assert written_in_quiet(abc, counters) == dict.fromkeys("abc", 0)


def test_l4_an_update_that_changes_nothing_writes_nothing(ab):
    for channel in ab.channels.values():
        channel.execute("INSERT INTO t VALUES (1, 5, 'same')")
    ab.start()
    counters = ab.counters()
    for channel in ab.channels.values():
        channel.execute("UPDATE t SET v = v")
    ab.await_markers()
    settle(ab)
    counted = {name: counter.take() for name, counter in counters.items()}
    markers = 4  # two markers, each an insert and a delete, in both logs
    for name, events in counted.items():
        own_no_op = 1 if ab[name].is_postgresql else 0  # PostgreSQL logs the user's own no-op
        assert total(events) == markers + own_no_op, (name, events)


def test_l7_a_write_that_became_a_no_op_does_not_swallow_a_later_change(ab):
    """The row is equal already where the change is applied; then a user sets 2 -> 3 -> 2 there, and both arrive."""
    for channel in ab.channels.values():
        channel.execute("INSERT INTO t VALUES (1, 1, 'x')")
    ab["b"].execute("UPDATE t SET v = 2 WHERE id = 1")
    ab.start()
    ab["a"].execute("UPDATE t SET v = 2 WHERE id = 1")
    ab.await_marker("a", "b")  # equal rows say nothing: they are equal before it arrives
    ab["b"].execute("UPDATE t SET v = 3 WHERE id = 1")
    await_that(lambda: ab["a"].rows()[1][0] == 3, message="3 at a")
    ab["b"].execute("UPDATE t SET v = 2 WHERE id = 1")
    await_that(lambda: ab["a"].rows()[1][0] == 2, message="2 at a")


def test_l8_echoes_that_differ_from_the_write_make_one_hop(make_world):
    world = make_world("mariadb_db", "postgresql_db", table=False)
    a, b = world["a"], world["b"]
    a.execute(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v INT, code CHAR(10), doc LONGTEXT CHECK (json_valid(doc)),"
        " updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))"
    )
    b.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, v INT, code CHAR(10), doc JSONB)")
    b.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    b.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.code := upper(NEW.code); RETURN NEW; END $$"
    )
    b.execute("CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION shout()")
    world.fields = {
        "id": {"type": "integer"},
        "v": {"type": "integer"},
        "code": {"type": "text"},
        "doc": {"type": "json"},
    }
    world.start()
    counters = world.counters()
    a.execute("INSERT INTO t (id, v, code, doc) VALUES (1, 1, 'pad', '{\"b\": 1.50, \"a\": [1]}')")
    await_that(lambda: b.rows().get(1), message="the row at b")
    b.execute("UPDATE t SET v = 2 WHERE id = 1")
    await_that(lambda: a.execute("SELECT v FROM t WHERE id = 1") == ((2,),), message="2 at a")

    def idle():
        roles = [role for channel in world.status()["channels"].values() for role in channel.values()]
        return all(role["state"] == "idle" for role in roles)

    await_that(idle, message="all idle")
    assert written_in_quiet(world, counters) == {"a": 2, "b": 2}


def test_l11_a_slow_reader_makes_no_loop_and_loses_nothing(mixed):
    mixed.start()
    counters = mixed.counters()
    assert mixed.command("pause", "b", "capture").returncode == 0
    mixed.await_state("b", "capture", "paused")
    for n in range(200):
        mixed["a"].execute("INSERT INTO t VALUES (%s, %s, 'a')", n, n)
    mixed["b"].execute("INSERT INTO t VALUES (1000, 1, 'b')")
    await_that(lambda: len(mixed["b"].rows()) == 201, message="a's rows at b")
    assert mixed.guard_records() > 0
    assert mixed.command("resume", "b", "capture").returncode == 0
    settle(mixed)
    assert taken(counters) == {"a": 201, "b": 201}
    await_that(lambda: mixed.guard_records() == 0, message="no record left in the loop guard")


def test_l12_a_large_transaction_takes_one_record_of_the_loop_guard(mixed):
    mixed.extra["apply"] = {"max_transaction_rows": 5000}
    mixed.start()
    assert mixed.command("pause", "b", "capture").returncode == 0
    mixed.await_state("b", "capture", "paused")
    with mixed["a"].transaction() as cursor:
        for start in range(0, 20_000, 1000):
            values = ", ".join(f"({n}, {n}, 'bulk')" for n in range(start, start + 1000))
            cursor.execute(f"INSERT INTO t VALUES {values}")
    await_that(
        lambda: mixed["b"].execute("SELECT count(*) FROM t") == ((20_000,),), timeout=60, message="all rows at b"
    )
    assert mixed.guard_records() <= 6
    assert mixed.command("resume", "b", "capture").returncode == 0
    settle(mixed)
    await_that(lambda: mixed.guard_records() == 0, message="no record left")


def test_l14_many_changes_of_one_row_in_one_transaction_arrive_in_order(ab):
    ab.start()
    with ab["a"].transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 0, 'x')")
        for v in range(1, 51):
            cursor.execute("UPDATE t SET v = %s WHERE id = 1", (v,))
        cursor.execute("INSERT INTO t VALUES (2, 0, 'gone')")
        cursor.execute("DELETE FROM t WHERE id = 2")
        cursor.execute("INSERT INTO t VALUES (3, 1, 'first')")
        cursor.execute("DELETE FROM t WHERE id = 3")
        cursor.execute("INSERT INTO t VALUES (3, 2, 'second')")
    await_that(
        lambda: ab["b"].rows() == {1: (50, "x"), 3: (2, "second")}, message=lambda: f"final rows: {ab['b'].rows()}"
    )


def test_a_key_that_moves_stays_one_row(ab):
    ab.start()
    ab["a"].execute("INSERT INTO t VALUES (1, 7, 'x')")
    ab.await_equal()
    ab["b"].execute("INSERT INTO t VALUES (2, 8, 'y')")
    ab.await_equal()
    ab["b"].execute("UPDATE t SET id = 10 WHERE id = 1")
    await_that(lambda: ab["a"].rows() == {10: (7, "x"), 2: (8, "y")}, message=lambda: f"moved: {ab['a'].rows()}")


@pytest.mark.parametrize("engines", [("mariadb_db", "postgresql_db"), ("mysql_db", "postgresql_db")])
def test_l5_l6_losing_redis_in_the_middle_makes_no_loop_and_loses_nothing(make_world, engines):
    """C21: FLUSHALL with applied but not yet echoed transactions, and two quick changes per row."""
    world = make_world(*engines)
    world.start()
    counters = world.counters()
    for n in range(50):
        world["a"].execute("INSERT INTO t VALUES (%s, 1, 'a')", n)
    settle(world)
    assert world.command("pause", "b", "capture").returncode == 0
    world.await_state("b", "capture", "paused")
    for v in (2, 3):
        for n in range(50):
            world["a"].execute("UPDATE t SET v = %s WHERE id = %s", v, n)
        await_that(lambda v=v: all(row[0] == v for row in world["b"].rows().values()), message=f"{v} at b")
    with world.redis.connect() as client:
        client.flushdb()
    assert world.command("resume", "b", "capture").returncode == 0
    world["b"].execute("INSERT INTO t VALUES (1000, 1, 'b')")
    world.await_markers()
    settle(world)
    assert all(row[0] == 3 for n, row in world.await_equal().items() if n != 1000)
    markers = 4
    assert taken(counters) == {"a": 151 + markers, "b": 151 + markers}
    await_that(lambda: world.guard_records() == 0, message="no record left in the loop guard")
