"""CASES.md 2.9, C6 and C11 end to end: health is true (I10). Red within five seconds naming the role, green again when it is well.

Every process of a role is killed, stopped and hung; every dependency goes silent without closing a connection; nothing is lost
by any of it. Counters are compared with the script's own count.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.waiting import await_that

ROLES = [("capture", "a"), ("apply", "a"), ("capture", "b"), ("apply", "b")]


def await_red_while(world, kind, channel, pid, word):
    """Wait for 503 that names this role, while the process that does not move is still there (how soon: `tests/unit/test_health.py`)."""

    def red():
        status, ready = world.readiness()
        it = ready.get("channels", {}).get(channel, {})
        return status == 503 and it[kind] == "dead" and f"{kind}: " in it["reason"] and word in it["reason"]

    await_that(red, message=lambda: f"red for {kind} {channel}: {world.readiness()}")
    assert Path(f"/proc/{pid}").exists(), "told only after it was replaced"


def replace_after(world, time_):
    world.extra["health"] = {"hung_after": time_}
    world.write_configuration()


def moving(world, ident):
    """Both ways still work."""
    world["a"].execute("INSERT INTO t VALUES (%s, 1, 'a')", ident)
    world["b"].execute("INSERT INTO t VALUES (%s, 1, 'b')", ident + 1)
    world.await_equal()


def metrics(world):
    status, text = world.get("/metrics")
    assert status == 200
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_o1_a_role_that_is_killed_or_stopped_is_red_and_comes_back(mixed):
    mixed.extra["health"] = {"hung_after": "10m"}
    mixed.start()
    ident = 1
    for kind, channel in ROLES:
        os.kill(mixed.role_pid(kind, channel), signal.SIGKILL)
        mixed.await_event("health.changed", f'"{channel}: {kind}: killed by SIGKILL', status="down")
        mixed.await_ready()
        assert mixed.get("/healthz", token=None)[0] == 200
        moving(mixed, ident := ident + 10)
    for kind, channel in (("capture", "a"), ("apply", "b")):
        pid = mixed.role_pid(kind, channel)
        mixed.freeze(pid)
        await_red_while(mixed, kind, channel, pid, "hung")
        replace_after(mixed, "6s")
        await_that(lambda was=pid: not Path(f"/proc/{was}").exists(), timeout=15, message="the hung one is replaced")
        mixed.await_ready()
        assert mixed.role_pid(kind, channel) != pid
        replace_after(mixed, "10m")
        moving(mixed, ident := ident + 10)
    killed = [json.loads(line) for line in mixed.log().splitlines() if '"role.killed"' in line]
    assert {("capture", "a"), ("apply", "b")} <= {(line["role"], line["channel"]) for line in killed}
    restarts = {name: value for name, value in metrics(mixed).items() if name.startswith("datong_role_restarts_total")}
    assert len(restarts) == len(ROLES)
    assert sum(restarts.values()) == len(ROLES) + len(killed)


@pytest.mark.parametrize("fault", ["sink.before_commit@apply.b", "capture.before_publish@capture.a"])
def test_o1_a_role_that_hangs_is_red_and_replaced(mixed, fault):
    """It hangs in the middle of its work; the one that replaces it would too, after as much work again."""
    kind, _, channel = fault.partition("@")[2].partition(".")
    mixed.extra["health"] = {"hung_after": "10m"}
    mixed.start(faults=f"{fault}=hang:600*6")
    pid = mixed.role_pid(kind, channel)
    known = 0

    def works_until_it_hangs():
        nonlocal known
        known += 1
        mixed["a"].execute("INSERT INTO t VALUES (%s, 1, 'x')", known)
        return mixed.readiness()[0] == 503

    await_that(works_until_it_hangs, timeout=30, interval=0.3, message=lambda: f"red: {mixed.readiness()}")
    await_red_while(mixed, kind, channel, pid, "hung")
    replace_after(mixed, "6s")
    await_that(lambda: not Path(f"/proc/{pid}").exists(), timeout=15, message="the hung one is killed")
    await_that(lambda: len(mixed["b"].rows()) == known, timeout=30, message="its successor does the work")


def test_o3_o4_o6_idle_is_green_and_what_is_counted_is_true(mixed):
    mixed.start()
    counted = {"a": 0, "b": 0}
    transactions = {"a": 0, "b": 0}

    def script(base):
        for n, name in enumerate(mixed.channels):
            start = base + 1000 * n
            with mixed[name].transaction() as cursor:
                cursor.executemany("INSERT INTO t VALUES (%s, 1, 'x')", [(start + k,) for k in range(10)])
            mixed.await_equal()
            mixed[name].execute("UPDATE t SET v = 2 WHERE id BETWEEN %s AND %s", start, start + 4)
            mixed[name].execute("DELETE FROM t WHERE id = %s", start)
            counted[name] += 16
            transactions[name] += 3
        mixed.await_equal()

    def numbers():
        channels = mixed.status()["channels"]
        return {
            (name, kind): (channels[name][kind]["transactions"], channels[name][kind]["rows"])
            for name in channels for kind in ("capture", "apply")
        }  # fmt: skip

    def expected():
        other = {"a": "b", "b": "a"}
        return {
            (name, kind): (transactions[source], counted[source])
            for name in "ab" for kind, source in (("capture", name), ("apply", other[name]))
        }  # fmt: skip

    for round_ in (1, 2):
        script(10_000 * round_)
        await_that(lambda: numbers() == expected(), message=lambda: f"{numbers()} for {expected()}")
        assert mixed.stop() == 0
        mixed.start()
        await_that(lambda: numbers() == expected(), message=lambda: f"{numbers()} for {expected()}")

    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 2.5:  # a heartbeat or two
        status, ready = mixed.readiness()
        assert (status, ready["status"]) == (200, "ok"), ready
        assert all(role["lag_seconds"] == 0 for c in mixed.status()["channels"].values() for role in c.values())
        time.sleep(0.2)

    found = metrics(mixed)
    for name in "ab":
        label = f'{{channel="{name}"}}'
        assert found[f"datong_captured_rows_total{label}"] == counted[name]
        assert found[f"datong_applied_rows_total{label}"] == counted["b" if name == "a" else "a"]
        assert found[f"datong_echoes_dropped_total{label}"] >= 2
        assert found[f"datong_parked_rows{label}"] == 0
        assert f"datong_source_retained_bytes{label}" in found
        for kind in ("capture", "apply"):
            assert found[f'datong_lag_seconds{{channel="{name}",role="{kind}"}}'] == 0
    assert found["datong_up"] == 1
    assert found['datong_source_slot_active{channel="b",role="capture"}'] == 1
    assert found['datong_source_slot_wal_status{channel="b",role="capture"}'] == 0
    shown = mixed.command("status", "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["channels"]["a"]["capture"]["rows"] == counted["a"]


def test_o4_what_a_source_keeps_for_a_paused_capture_shows(mixed):
    mixed.start()
    assert mixed.command("pause", "b", "capture").returncode == 0
    mixed.await_state("b", "capture", "paused")
    mixed["b"].execute("INSERT INTO t SELECT n, n, repeat('x', 150) FROM generate_series(1, 20000) AS n")
    mixed["a"].execute("INSERT INTO t VALUES (1000001, 1, 'x')")
    retained = (
        "SELECT pg_current_wal_flush_lsn() - restart_lsn FROM pg_replication_slots WHERE database = current_database()"
    )
    kept = int(mixed["b"].execute(retained)[0][0])
    assert mixed.command("resume", "b", "capture").returncode == 0
    seen = await_that(
        lambda: metrics(mixed).get('datong_source_retained_bytes{channel="b"}', 0) > kept / 2,
        message=f"{kept} bytes kept",
    )
    assert seen
    mixed.await_equal(timeout=60)


@pytest.fixture
def proxied(make_world, tcp_proxy):
    """a and b, each behind a proxy of its own, and Redis behind a third."""
    world = make_world("mariadb_db", "postgresql_db")
    proxies = {name: tcp_proxy("127.0.0.1", channel.port) for name, channel in world.channels.items()}
    for name, channel in world.channels.items():
        channel.port = proxies[name].port
    proxies["redis"] = tcp_proxy("127.0.0.1", world.redis_port)
    world.redis_port = proxies["redis"].port
    return world, proxies


def test_c6_whatever_goes_silent_is_noticed_and_everything_recovers(proxied):
    """A black hole, not a closed connection: nothing but a clock can notice it."""
    world, proxies = proxied
    world.start()
    moving(world, 10)
    for n, name in enumerate(("a", "b", "redis")):
        proxies[name].freeze()
        directly = {"a": "b", "b": "a", "redis": "a"}[name]  # a side that users still reach
        world[directly].execute("INSERT INTO t VALUES (%s, 7, 'meanwhile')", 1000 + n)

        def noticed(name=name):
            status, ready = world.readiness()
            if name == "redis":
                return status == 503 and any("Redis" in reason for reason in ready["reasons"])
            return status == 503 and ready["channels"][name]["reason"]

        await_that(noticed, timeout=45, message=lambda name=name: f"{name} is silent: {world.readiness()}")
        assert world.get("/healthz", token=None)[0] == 200
        proxies[name].thaw()
        proxies[name].reset()
        world.await_ready(timeout=45)
        moving(world, 100 * (n + 2))
    rows = world.await_equal()
    assert {1000, 1001, 1002} <= set(rows)


def test_a_target_that_is_gone_shows_while_nothing_is_to_be_written(proxied):
    """b is only written: no capture notices for it that its database is away."""
    world, proxies = proxied
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    world.start()
    proxies["b"].refuse()
    proxies["b"].reset()
    world.await_state("b", "apply", "retrying")
    await_that(lambda: world.readiness()[0] == 503, message="red while it stays away")
    proxies["b"].accept()
    world.await_ready(timeout=30)


def test_c11_a_slow_target_does_not_cost_the_source_its_connection(make_world):
    """PostgreSQL cuts off a consumer that is silent for wal_sender_timeout; the target is locked for much longer."""
    world = make_world("postgresql_db", "mariadb_db")
    a, b = world["a"], world["b"]
    b.execute("INSERT INTO t VALUES (1, 0, 'x')")
    a.execute("INSERT INTO t VALUES (1, 0, 'x')")
    a.execute(f"ALTER DATABASE \"{a.database.name}\" SET wal_sender_timeout = '6s'")
    world.start()
    counters = world.counters()
    sender = "SELECT pid FROM pg_stat_replication WHERE pid IN (SELECT active_pid FROM pg_replication_slots WHERE database = current_database() AND NOT temporary)"
    pid = await_that(lambda: a.execute(sender), message="the walsender")
    with b.transaction() as cursor:
        cursor.execute("SELECT * FROM t WHERE id = 1 FOR UPDATE")
        a.execute("UPDATE t SET v = 5 WHERE id = 1")
        for n in range(10):
            a.execute("INSERT INTO t VALUES (%s, 1, 'x')", 100 + n)
            time.sleep(1)  # the lock lasts longer than the source's patience
        assert a.execute(sender) == pid, "the replication connection is the same"
    await_that(lambda: b.rows().get(1) == (5, "x"), message="applied once the lock is gone")
    world.await_equal()
    assert a.execute(sender) == pid
    events = counters["b"].take()
    assert sum(event.total for (_, table), event in events.items() if table == "t") == 11
