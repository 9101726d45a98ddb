"""CASES.md N1: one whole source transaction is left out of a target, exactly that one, exactly once, and on record."""

from __future__ import annotations

import json
import re

import pytest

from cdc.change_log import NOWHERE, ChangeLog
from cdc.redis_connection import RedisAddress
from cdc.store import Store
from tests.waiting import await_that


def started(world, **options):
    world.start(ready=False, **options)
    world.await_ready(timeout=100)


def one_way(make_world, source, target, bookkeeping="table"):
    world = make_world(source, target, table=False)
    world["a"].create_table()
    world["b"].create_table(columns="v INT, note VARCHAR(200), CONSTRAINT small CHECK (v < 1000)")
    world["b"].options["bookkeeping"] = bookkeeping
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    return world


def entries(world):
    """What `a` has published, as (order, number of changes)."""
    url = world.configuration()["redis"]["url"].replace("${REDIS_PASSWORD}", world.redis.server.password)
    log = ChangeLog(RedisAddress(url), world.deployment)
    try:
        found = log.read({"a": NOWHERE}, 1000, 0)
        return [(entry.order, len(entry.changes)) for one in found for entry, _ in one.entries if entry.end]
    finally:
        log.close()


def audited(world):
    store = Store(f"sqlite:///{world.folder}/store.db", world.deployment)
    store.open()
    try:
        return [(line["what"], line["subject"], line["after"]) for line in store.audit_trail()]
    finally:
        store.close()


def listed(world):
    return json.loads(world.command("skip", "--json").stdout)


def await_listed(world, state):
    def found():
        lines = listed(world)
        return lines[0] if lines and lines[0]["state"] == state else None

    return await_that(
        found, timeout=60, message=lambda: f"{state}: {listed(world)} {world.log()[-3000:]}", interval=0.3
    )


def refuses_wrong_requests(world):
    for words, code, said in (
        (("b", "--source", "c", "--position", "1"), 2, "b takes nothing from 'c' - its sources are: a"),
        (("x", "--source", "a", "--position", "1"), 2, "no channel 'x'"),
        (("a", "--source", "b", "--position", "1"), 2, "no mapping applies to a"),
        (("b", "--source", "a"), 2, "needs --source SOURCE and --position P"),
        (("--source", "a"), 2, "name the channel"),
        (("b", "--source", "a", "--position", "0-101-7"), 2, "a position is a number"),
        (("b", "--source", "a", "--position", str(2**62)), 1, "a has published no transaction at"),
    ):
        done = world.command("skip", *words)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done
        assert said in done.stderr


def test_a_channel_that_halts_on_a_transaction_goes_on_without_it_and_without_a_restart(make_world):
    world = one_way(make_world, "mariadb_db", "postgresql_db")
    world.mappings["b.t"]["on_error"] = "halt"
    a, b = world["a"], world["b"]
    started(world)
    refuses_wrong_requests(world)
    a.execute("INSERT INTO t VALUES (1, 1, 'good')")
    await_that(lambda: set(b.rows()) == {1}, timeout=60, message="the first")
    with a.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (2, 2, 'would be good')")
        cursor.execute("INSERT INTO t VALUES (3, 5000, 'canary-of-a-row')")
        cursor.execute("UPDATE t SET note = 'changed with it' WHERE id = 1")
    a.execute("INSERT INTO t VALUES (4, 4, 'good')")
    reason = world.await_state("b", "apply", "halted", timeout=60)["channels"]["b"]["reason"]
    told = re.search(r"`datong (skip b --source a --position (\d+))`", reason)
    assert told, reason
    assert world.log().count("apply_resumed") >= 1
    starts = len(world.role_pids())

    done = world.command(*told[1].split())
    assert done.returncode == 0, done.stderr
    assert "is not written in b" in done.stdout
    await_that(lambda: set(b.rows()) == {1, 4}, timeout=20, message=lambda: f"{b.rows()} {world.readiness()}")
    assert b.rows()[1] == (1, "good")
    record = await_listed(world, "done")
    assert (record["channel"], record["source"], record["position"]) == ("b", "a", int(told[2]))
    assert (record["changes"], record["mappings"]) == (3, ["b.t"])
    world.await_green()
    assert len(world.role_pids()) == starts

    trail = audited(world)
    assert ("skip", f"b a {told[2]}", f"transaction {record['transaction']}") in trail
    assert ("transaction skipped", f"b a {told[2]}", f"transaction {record['transaction']}: 3 changes of b.t") in trail
    assert "canary" not in json.dumps(trail) + world.log() + world.command("skip").stdout
    await_that(lambda: world.role("b", "apply")["skipped"] == 1, message=lambda: f"counted: {world.status()}")
    assert 'datong_skipped_transactions_total{channel="b"} 1.0' in world.get("/metrics")[1]
    for command in (("status",), ("parked", "list")):
        assert "`datong skip` lists them" in world.command(*command).stdout
    again = world.command(*told[1].split())
    assert again.returncode == 1 and "b has passed a at" in again.stderr
    a.execute("UPDATE t SET v = 3 WHERE id = 1")
    await_that(lambda: b.rows()[1][0] == 3, message="it goes on")


@pytest.mark.parametrize(
    ("source", "target", "bookkeeping", "killed_at"),
    [
        ("postgresql_db", "mysql_db", "table", "sink.after_commit"),
        ("mariadb_db", "postgresql_db", "none", "sink.before_commit"),
    ],
)
def test_a_large_transaction_in_the_middle_of_a_batch_is_left_out_whole_through_a_kill(
    make_world, source, target, bookkeeping, killed_at
):
    """Asked for while nothing runs; the first three attempts to pass it die."""
    world = one_way(make_world, source, target, bookkeeping)
    world.extra["apply"] = {"max_transaction_rows": 40}
    a, b = world["a"], world["b"]
    started(world)
    assert world.command("pause", "b", "apply").returncode == 0
    world.await_state("b", "apply", "paused")
    a.execute("INSERT INTO t VALUES (1, 1, 'before')")
    with a.transaction() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, 2, 'not wanted')", [(ident,) for ident in range(100, 230)])
        cursor.execute("UPDATE t SET v = 99 WHERE id = 1")
    a.execute("INSERT INTO t VALUES (3, 3, 'after')")
    a.execute("UPDATE t SET note = 'changed later' WHERE id = 1")
    await_that(
        lambda: sum(count for _, count in entries(world)) == 134, timeout=60, message=lambda: str(entries(world))
    )
    published = entries(world)
    assert len(published) > 5, "the large one comes in parts"
    (order,) = {order for order, count in published if count > 1}
    assert world.stop() == 0

    done = world.command("skip", "b", "--source", "a", "--position", f"{order}-3")
    assert done.returncode == 0 and "no service is running" in done.stdout, done.stderr
    assert world.command("resume", "b", "apply").returncode == 0
    world.start(faults=f"{killed_at}@apply.b=kill*3", ready=False)
    await_that(lambda: 3 in b.rows(), timeout=100, message=lambda: f"{b.rows()} {world.log()[-3000:]}")
    await_that(lambda: b.rows()[1][1] == "changed later", message=lambda: str(b.rows()))
    assert set(b.rows()) == {1, 3}
    record = await_listed(world, "done")
    assert (record["changes"], record["mappings"]) == (131, ["b.t"])
    assert [what for what, _, _ in audited(world)].count("transaction skipped") == 1
    world.await_nothing_parked()
