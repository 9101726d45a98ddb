"""What a review found and must not come back: Redis lost while all is quiet, transactions beyond the change log's share, removals."""

from tests.waiting import await_that
from tests.world import total


def test_redis_emptied_while_the_source_is_quiet_loses_nothing(mixed):
    mixed.start()
    assert mixed.command("pause", "b", "apply").returncode == 0
    mixed.await_state("b", "apply", "paused")
    for n in range(5):
        mixed["a"].execute("INSERT INTO t VALUES (%s, 1, 'x')", n)
    await_that(lambda: mixed.role("a", "capture")["rows"] == 5, message="published")
    with mixed.redis.connect() as client:
        client.flushdb()
    assert mixed.command("resume", "b", "apply").returncode == 0
    assert len(mixed.await_equal(timeout=30)) == 5


def test_a_stream_evicted_alone_while_the_source_is_quiet_loses_nothing(mixed):
    mixed.start()
    assert mixed.command("pause", "b", "apply").returncode == 0
    mixed.await_state("b", "apply", "paused")
    mixed["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
    await_that(lambda: mixed.role("a", "capture")["rows"] == 1, message="published")
    with mixed.redis.connect() as client:
        assert client.delete(f"datong:{mixed.deployment}:stream:a") == 1
    assert mixed.command("resume", "b", "apply").returncode == 0
    assert len(mixed.await_equal(timeout=30)) == 1


def test_a_transaction_larger_than_the_change_logs_share_goes_through_in_pieces(mixed):
    mixed.extra["change_log"] = {"kind": "redis", "max_bytes": "2MiB"}
    mixed.extra["apply"] = {"max_transaction_rows": 1000}
    mixed.start()
    counters = mixed.counters()
    with mixed["a"].transaction() as cursor:
        for start in range(0, 20_000, 1000):
            rows = ", ".join(f"({n}, 1, '{'x' * 180}')" for n in range(start, start + 1000))
            cursor.execute(f"INSERT INTO t VALUES {rows}")
    await_that(
        lambda: mixed["b"].execute("SELECT count(*) FROM t") == ((20_000,),),
        timeout=90, message=lambda: f"all rows: {mixed['b'].execute('SELECT count(*) FROM t')} {mixed.status()}",
    )  # fmt: skip
    mixed.await_equal()
    assert total(counters["b"].take()) == 20_000


def test_a_full_change_log_is_told_and_drains_when_the_target_is_back(mixed):
    mixed.extra["change_log"] = {"kind": "redis", "max_bytes": "1MiB"}
    mixed.extra["health"] = {"max_lag": 2}
    mixed.start()
    assert mixed.command("pause", "b", "apply").returncode == 0
    mixed.await_state("b", "apply", "paused")
    for start in range(0, 20_000, 500):
        rows = ", ".join(f"({n}, 1, '{'x' * 180}')" for n in range(start, start + 500))
        mixed["a"].execute(f"INSERT INTO t VALUES {rows}")
    await_that(lambda: "full" in mixed.role("a", "capture")["reason"], message=lambda: f"told: {mixed.status()}")
    await_that(lambda: mixed.role("a", "capture")["lag_seconds"] > 2, message="the lag grows")
    with mixed.redis.connect() as client:
        used = client.memory_usage(f"datong:{mixed.deployment}:stream:a", samples=0)
        assert used < 3 << 20, used
    assert mixed.command("resume", "b", "apply").returncode == 0
    await_that(
        lambda: mixed["b"].execute("SELECT count(*) FROM t") == ((20_000,),), timeout=60, message="all rows at b"
    )
    mixed.await_equal()


def test_a_removed_channel_can_be_started_anew(make_world):
    world = make_world("mariadb_db", "postgresql_db", "mysql_db")
    world.start()
    for name in world.channels:
        world[name].execute("INSERT INTO t VALUES (%s, 1, 'x')", ord(name))
    world.await_equal()
    world.stop()
    answer = world.command("remove", "b", "--yes")
    assert answer.returncode == 0, answer.stderr
    assert world["b"].execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == ()
    world.start()
    for name in world.channels:
        world[name].execute("INSERT INTO t VALUES (%s, 2, 'y')", 1000 + ord(name))
    assert len(world.await_equal()) == 6


def test_a_retry_sees_the_table_as_it_was_mended(make_world):
    world = make_world("mariadb_db", "postgresql_db")
    world["b"].execute("ALTER TABLE t ALTER COLUMN note TYPE varchar(5)")
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'much too long')")
    await_that(lambda: world.role("b", "apply")["parked"] == 1, message="parked")
    world["b"].execute("ALTER TABLE t ALTER COLUMN note TYPE varchar(200)")
    assert world.command("parked", "retry").returncode == 0
    assert world.await_equal() == {1: (1, "much too long")}
    await_that(lambda: world.role("b", "apply")["parked"] == 0, message="released")


def test_nothing_overtakes_a_parked_move_of_a_key(make_world):
    world = make_world("mariadb_db", "postgresql_db")
    world["b"].execute("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 100)")
    world.start()
    world["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
    world.await_equal()
    world["a"].execute("UPDATE t SET id = 2, v = 5000 WHERE id = 1")
    await_that(lambda: world.role("b", "apply")["parked"] == 1, message="the move is parked")
    world["a"].execute("DELETE FROM t WHERE id = 2")
    await_that(lambda: world.role("b", "apply")["parked"] == 2, message="the delete of its new place waits")
    world["b"].execute("ALTER TABLE t DROP CONSTRAINT small")
    assert world.command("parked", "retry").returncode == 0
    assert world.await_equal() == {}
    await_that(lambda: world.role("b", "apply")["parked"] == 0, message="released")
