"""CASES.md 2.1: the service is killed at every named place, again and again, and nothing is lost or repeated (I1, I2, I3, I7).

The service is a subprocess; `DATONG_FAULTS` kills a role's process at a fault point, the supervisor starts it again and it dies
there once more, until the test starts the service without faults. The rounds here are the short form; `make soak` runs the long one.
"""

import json
import os
import random
import secrets
import signal
import time

import pytest

from cdc.demo.servers import PostgreSQL, Redis
from cdc.faults import POINTS
from tests.ports import free_port
from tests.servers import RedisDatabase, postgresql_database, server_folder
from tests.waiting import await_that
from tests.world import World, total

ENGINES = ("mariadb_db", "postgresql_db")


class Load:
    """Seeded users' transactions on both channels on disjoint keys: inserts, updates, deletes, moved keys, several rows."""

    def __init__(self, world, seed):
        self.world = world
        self.random = random.Random(seed)
        self.changes = 0
        self.own = dict.fromkeys(world.channels, 0)
        self.next = {name: 1_000_000 * (n + 1) for n, name in enumerate(world.channels)}
        self.alive = {name: [] for name in world.channels}

    def step(self):
        for name in self.world.channels:
            with self.world[name].transaction() as cursor:
                for _ in range(self.random.randrange(1, 6)):
                    self._change(name, cursor)

    def _change(self, name, cursor):
        alive, rng = self.alive[name], self.random
        kind = rng.random()
        if kind < 0.5 or len(alive) < 3:
            key = self.next[name]
            self.next[name] += 1
            cursor.execute("INSERT INTO t VALUES (%s, %s, %s)", (key, 1, f"{name} {key} 值"))
            alive.append(key)
        elif kind < 0.8:
            cursor.execute("UPDATE t SET v = v + 1 WHERE id = %s", (rng.choice(alive),))
        elif kind < 0.9:
            key = alive.pop(rng.randrange(len(alive)))
            cursor.execute("DELETE FROM t WHERE id = %s", (key,))
        else:
            key = alive.pop(rng.randrange(len(alive)))
            cursor.execute("UPDATE t SET id = %s WHERE id = %s", (self.next[name], key))
            alive.append(self.next[name])
            self.next[name] += 1
        self.changes += 1
        self.own[name] += 1


def check_all_held(world, counters, load):
    """I1, I3: equal rows and nothing parked. I2: every user's row change stands in every log, once at most: changes of one row
    may arrive as one.
    """
    world.await_markers()
    rows = world.await_equal()
    assert set(rows) == {key for keys in load.alive.values() for key in keys}
    markers = 2 * len(world.channels) * (len(world.channels) - 1)
    for name, counter in counters.items():
        assert load.own[name] <= total(counter.take()) <= load.changes + markers
    world.await_nothing_parked()
    await_that(lambda: world.guard_records() == 0, message=lambda: f"no record left: {world.guard_records()}")


def deaths(world):
    """How many roles were killed by SIGKILL, as the supervisor saw it."""
    lines = (json.loads(line) for line in world.log().rpartition("\n")[0].splitlines() if '"role.ended"' in line)
    return sum(line["status"] == -signal.SIGKILL for line in lines)


def walk(world, point, seed, rounds, kill_at=2):
    """`kill_at`: at which of its visits to the point a process is killed; it visits its end once."""
    kill_at = 1 if point == "shutdown.mid_flush" else kill_at
    print("seed", seed, "point", point)
    load = Load(world, seed)
    world.start()
    counters = world.counters()
    load.step()
    world.await_equal()
    world.stop()
    for _ in range(rounds):
        world.start(faults=f"{point}=kill*{kill_at}", ready=False)

        def died_twice():
            load.step()
            return deaths(world) >= 2

        if point == "shutdown.mid_flush":
            world.await_ready()
            load.step()
            world.stop()
            assert deaths(world), "killed while it ended"
        else:
            await_that(
                died_twice,
                timeout=40,
                interval=0.1,
                message=lambda: f"a kill at {point}\n{world.log()[-2000:]}",
            )
            world.kill()
        load.step()
    world.start()
    load.step()
    check_all_held(world, counters, load)
    world.stop()


@pytest.mark.parametrize("point", POINTS)
def test_c1_killed_at_every_fault_point_nothing_is_lost_or_repeated(make_world, point):
    seed = secrets.randbelow(10**9)
    walk(make_world(*ENGINES), point, seed, rounds=1)


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("engines", [ENGINES, ("mysql_db", "postgresql_db"), ("mysql_db", "mariadb_db")])
def test_c1_twenty_rounds(make_world, engines, point):
    seed = secrets.randbelow(10**9)
    walk(make_world(*engines), point, seed, rounds=20)


@pytest.mark.parametrize("point", ["sink.commit_sent", "sink.after_commit"])
def test_c2_killed_around_the_commit_on_mysql_as_target(make_world, point):
    walk(make_world("mysql_db", "postgresql_db"), point, secrets.randbelow(10**9), rounds=2, kill_at=3)


def test_c4_a_large_transaction_is_read_again_from_its_beginning(make_world):
    world = make_world(*ENGINES)
    world.extra["apply"] = {"max_transaction_rows": 1000}
    world.start()
    counters = world.counters()
    world.stop()
    world.start(faults="capture.after_publish@capture.a=kill*4", ready=False)
    with world["a"].transaction() as cursor:
        for start in range(0, 10_000, 1000):
            cursor.execute("INSERT INTO t VALUES " + ", ".join(f"({n}, 1, 'x')" for n in range(start, start + 1000)))
    await_that(lambda: deaths(world), timeout=30, message=lambda: f"the kill {world.log()[-2000:]}")
    world.kill()
    world.start()
    await_that(lambda: world["b"].execute("SELECT count(*) FROM t") == ((10_000,),), timeout=60, message="all rows")
    world.await_equal()
    assert total(counters["b"].take()) == 10_000


def test_the_supervisor_killed_leaves_no_orphan_and_loses_nothing(make_world):
    world = make_world(*ENGINES)
    load = Load(world, seed=7)
    world.start()
    counters = world.counters()
    for _ in range(3):
        load.step()
        world.kill()
        load.step()
        world.start()
    load.step()
    check_all_held(world, counters, load)


def test_c25_a_clean_stop_repeats_nothing_and_ends_in_time(make_world):
    world = make_world(*ENGINES)
    load = Load(world, seed=8)
    world.start()
    counters = world.counters()
    for _ in range(20):
        load.step()
    assert world.stop(timeout=15) == 0
    load.step()
    world.start()
    check_all_held(world, counters, load)


def test_c8_a_target_killed_in_the_middle_of_a_batch_gets_it_whole_and_once(tmp_path, redis_db, mariadb_db):

    with server_folder() as folder, PostgreSQL(folder / "own") as own, postgresql_database(own, "c8") as database:
        world = World(tmp_path, redis_db, {"a": mariadb_db, "b": database})
        for channel in world.channels.values():
            channel.create_table()
        world.start(faults="sink.before_commit@apply.b=hang:600*3")
        counters = world.counters()
        counters.pop("b").close()  # its slot does not outlive the crash
        open_for = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' AND now() - xact_start > '0.3 s'"
        written = 0

        def hangs():
            nonlocal written
            world["a"].execute("INSERT INTO t VALUES (%s, 1, 'x')", written)
            written += 1
            return world["b"].execute(open_for)

        await_that(hangs, interval=0.1, message="a batch that is open")
        own.kill()
        os.kill(world.role_pid("apply", "b"), signal.SIGKILL)  # it would hang on
        own.start()
        world.await_marker("a", "b", timeout=60)
        assert len(world.await_equal(timeout=60)) == written
        assert total(counters["a"].take()) == written + 2
        world.close()


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_c9_a_target_that_is_down_does_not_hold_up_the_others(tmp_path, redis_db, mariadb_db, mysql_db, seconds):

    with server_folder() as folder, PostgreSQL(folder / "own") as own, postgresql_database(own, "c9") as database:
        world = World(tmp_path, redis_db, {"a": mariadb_db, "b": database, "c": mysql_db})
        for channel in world.channels.values():
            channel.create_table()
        world.start()
        own.kill()
        world.await_state("b", "capture", "retrying")
        await_that(lambda: world.readiness()[0] == 503, message="red while a channel retries for 5 s")
        down_until = time.monotonic() + seconds
        for n in range(100):
            world["a"].execute("INSERT INTO t VALUES (%s, 1, 'x')", n)
            time.sleep(max(0.0, (down_until - time.monotonic()) / (100 - n)))  # a steady load while the target is down
        await_that(lambda: world["c"].execute("SELECT count(*) FROM t") == ((100,),), message="a -> c goes on")
        own.start()
        world.await_ready(timeout=40)
        assert len(world.await_equal(timeout=40)) == 100
        world.close()


def test_a_target_too_far_behind_is_detached_and_frees_the_others_logs(make_world):
    world = make_world("mariadb_db", "postgresql_db", "mysql_db")
    world.extra["max_behind"] = {"bytes": "2MiB", "hours": 48}
    world.start()
    assert world.command("pause", "b", "apply").returncode == 0
    world.await_state("b", "apply", "paused")
    for start in range(0, 30_000, 1000):
        rows = ", ".join(f"({n}, 1, '{'x' * 150}')" for n in range(start, start + 1000))
        world["a"].execute(f"INSERT INTO t VALUES {rows}")
    await_that(
        lambda: world["c"].execute("SELECT count(*) FROM t") == ((30_000,),), timeout=60, message="all rows at c"
    )
    with world.redis.connect() as client:
        stream = f"datong:{world.deployment}:stream:a"
        await_that(
            lambda: client.xlen(stream) < 3, timeout=60, message=lambda: f"the stream is let go: {world.log()[-2000:]}"
        )
    assert world.command("resume", "b", "apply").returncode == 0
    answer = world.await_state("b", "apply", "halted")
    assert "DETACHED" in answer["channels"]["b"]["reason"]
    world["a"].execute("INSERT INTO t VALUES (100000, 1, 'after')")
    await_that(lambda: world["c"].execute("SELECT 1 FROM t WHERE id = 100000"), message="a -> c goes on")


def test_c12_what_the_source_may_forget_is_never_ahead_of_what_is_applied(make_world):
    world = make_world(*ENGINES)
    load = Load(world, seed=11)
    world.start()
    b = world["b"]

    def samples():
        flushed = b.execute(
            "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint FROM pg_replication_slots WHERE database = current_database() AND NOT temporary"
        )
        applied = world["a"].execute("SELECT position FROM datong_progress WHERE source = 'b'")
        return int(flushed[0][0]) if flushed else 0, int(applied[0][0]) if applied else None

    def own_head():
        return int(b.execute("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")[0][0])

    start = samples()[0]
    for n in range(12):
        load.step()
        if n % 4 == 3:
            world.kill()
            world.start()
        last_user = own_head()
        flushed, _ = samples()
        if flushed > last_user:  # beyond every commit of b: then everything of b's has to be there
            assert {key for key in world["a"].rows() if key >= 2_000_000} == set(load.alive["b"])
    load.step()
    world.await_equal()
    b.execute("CREATE TABLE elsewhere (x INT)")
    for n in range(20):
        b.execute("INSERT INTO elsewhere VALUES (%s)", n)
    goal = own_head()
    await_that(
        lambda: samples()[0] >= goal > start, timeout=20, message="the slot moves on while nothing mapped changes"
    )


@pytest.mark.parametrize("steps", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_c20_while_redis_is_down_nothing_is_applied_and_afterwards_all_of_it_is(
    tmp_path, mariadb_db, postgresql_db, steps
):

    with server_folder() as folder, Redis(folder / "redis") as own:
        world = World(tmp_path, RedisDatabase(own, 0), {"a": mariadb_db, "b": postgresql_db})
        for channel in world.channels.values():
            channel.create_table()
        load = Load(world, seed=20)
        world.start()
        counters = world.counters()
        load.step()
        world.await_equal()
        own.kill()
        await_that(lambda: world.readiness()[0] == 503, message="red while Redis is down")
        before = {name: total(c.take()) for name, c in counters.items()}
        for _ in range(steps):
            load.step()
            time.sleep(1 if steps > 5 else 0)  # the long form is a minute under load
        own_changes = {name: total(c.take()) for name, c in counters.items()}
        assert sum(own_changes.values()) == load.changes - before["a"]
        own.start()
        world.await_ready(timeout=40)
        world.await_markers()
        world.await_equal()
        after = {name: total(c.take()) for name, c in counters.items()}
        for name in counters:
            assert load.own[name] <= before[name] + own_changes[name] + after[name] <= load.changes + 4
        world.close()


def test_c21_flushing_redis_under_load_loses_and_repeats_nothing(make_world):
    world = make_world(*ENGINES)
    load = Load(world, seed=21)
    world.start()
    counters = world.counters()
    for n in range(12):
        load.step()
        if n % 4 == 2:
            with world.redis.connect() as client:
                client.flushdb()
    check_all_held(world, counters, load)


def test_c26_of_two_instances_one_applies_and_the_other_stands_by(make_world, tmp_path):
    world = make_world(*ENGINES)
    load = Load(world, seed=26)
    world.start()
    counters = world.counters()
    first = world.processes[-1]
    frozen = [first.pid, world.role_pid("apply", "b"), world.role_pid("capture", "a")]
    world.admin_port, world.path = free_port(), tmp_path / "second.yaml"
    world.start(ready=False)
    load.step()
    world.await_equal()
    world.freeze(*frozen)
    load.step()
    world.await_equal(timeout=60)  # the second instance took over when the lease had run out
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    load.step()
    check_all_held(world, counters, load)
