"""CASES.md N1, end to end: a row that the target refuses waits with its reason, its key's later changes behind it, all else goes on (I1).

Every engine as the target, both kinds of bookkeeping; through the real command line. Whatever waits survives SIGKILL.
"""

import json

import pytest

from cdc.change_log import ChangeLog
from cdc.redis_connection import RedisAddress
from cdc.store import Store
from tests.waiting import await_that

SOURCES = {"mariadb_db": "postgresql_db", "mysql_db": "postgresql_db", "postgresql_db": "mariadb_db"}
FIELDS = {
    "id": {"type": "integer"},
    "v": {"type": "integer"},
    "note": {"type": "text"},
    "w": {"type": "integer"},
    "d": {"type": "date"},
}
CANARY = "canary-of-a-row"


def strict_target(make_world, target, bookkeeping="table", *, apply_only=True):
    """a -> b; b's table refuses what a's takes."""
    world = make_world(SOURCES[target], target, table=False)
    world.fields = FIELDS
    world["a"].create_table(columns="v INT, note VARCHAR(200), w INT, d DATE")
    limit = "CONSTRAINT small CHECK (v < 1000)"
    world["b"].create_table(columns=f"v INT, note VARCHAR(30), w INT NOT NULL, d DATE, {limit}")
    world["b"].options["bookkeeping"] = bookkeeping
    if apply_only:
        world.mappings["b.t"] = {"direction": "apply"}
        world.mappings["a.t"] = {"direction": "capture"}
    return world


def parked(world, *arguments):
    done = world.command("parked", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def parked_rows(world):
    return world.role("b", "apply")["parked"]


def await_parked(world, count):
    await_that(
        lambda: parked_rows(world) == count,
        timeout=30,
        message=lambda: f"{count} parked: {world.status()['channels']['b']['apply']}\n{world.log()[-2000:]}",
    )


def by_key(changes):
    """Reasons by the number in the key's text."""
    found = {}
    for change in changes:
        number = int("".join(letter for letter in change["key"].partition("/")[2] if letter.isdigit()))
        found.setdefault(number, []).append(change["reason"])
    return found


def audited(world):
    store = Store(f"sqlite:///{world.folder}/store.db", world.deployment)
    store.open()
    try:
        return [(line["what"], line["subject"]) for line in store.audit_trail()]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("target", "bookkeeping"),
    [*((target, "table") for target in SOURCES), ("mysql_db", "none"), ("postgresql_db", "none")],
)
def test_what_the_target_refuses_waits_and_everything_else_goes_on(make_world, target, bookkeeping):
    world = strict_target(make_world, target, bookkeeping)
    a, b = world["a"], world["b"]
    refused = {2: "a CHECK", 3: "too long", 4: "NULL in NOT NULL"}
    world.start()
    with a.transaction() as cursor:
        insert = "INSERT INTO t VALUES (%s, %s, %s, %s, '2024-02-29')"
        rows = [
            (1, 1, "x", 1),
            (2, 5000, CANARY, 1),
            (3, 3, CANARY + "x" * 100, 1),
            (4, 4, CANARY, None),
            (5, 5, "y", 1),
        ]
        cursor.executemany(insert, rows)
        if b.is_postgresql:
            refused[6] = "a NUL byte"
            cursor.execute(insert, (6, 6, "nul\0" + CANARY, 1))
        elif a.is_postgresql:
            refused[6] = "a date out of range"
            cursor.execute("INSERT INTO t VALUES (6, 6, 'bc', 1, '0044-03-15 BC')")
    await_that(lambda: set(b.rows()) == {1, 5}, message=lambda: f"the good rows of the transaction: {b.rows()}")
    await_parked(world, len(refused))

    a.execute("UPDATE t SET v = 6 WHERE id = 2")  # would fit, but has to wait for the insert
    a.execute("INSERT INTO t VALUES (7, 7, 'after', 1, NULL)")
    b.execute("DELETE FROM t WHERE id = 5")  # behind the service's back: b is not captured
    a.execute("UPDATE t SET v = 55 WHERE id = 5")
    await_that(lambda: 7 in b.rows(), message="other keys go on")
    await_parked(world, len(refused) + 2)
    revealed = parked(world, "--reveal")
    reasons = by_key(revealed)
    assert reasons[2][1:] == ["waiting"]
    assert reasons[5] == ["missing_row"]
    assert set(reasons) == {*refused, 5}
    status, ready = world.readiness()
    assert (status, ready["status"]) == (200, "degraded")
    assert "parked" in ready["channels"]["b"]["reason"]

    before = parked(world)
    assert all(change["key"] == "thing/***" and CANARY not in json.dumps(change) for change in before)
    assert {"id", "channel", "mapping", "key", "reason", "error", "since", "changes", "position"} <= set(before[0])
    world.kill()
    world.start()
    await_parked(world, len(before))
    assert parked(world) == before

    retry_and_drop(world, {change["id"]: next(iter(by_key([change]))) for change in revealed}, refused)
    assert CANARY not in world.all_logs()


def retry_and_drop(world, keys, refused):
    """A retry of what nothing has mended changes nothing; after that, the key's changes go in their order. `keys`: by id."""
    a, b = world["a"], world["b"]
    too_long = next(ident for ident, key in keys.items() if key == 3)
    assert world.command("parked", "retry", too_long).returncode == 0
    world.await_obeyed("b")
    assert {change["id"] for change in parked(world)} == set(keys)

    b.execute("ALTER TABLE t DROP CONSTRAINT small")
    assert world.command("parked", "retry").returncode == 0
    await_that(lambda: b.rows().get(2, (0,))[0] == 6, message=lambda: f"insert, then update: {b.rows()}")
    await_parked(world, len(keys) - 2)

    shown = world.command("parked", "show", too_long)
    assert shown.returncode == 0 and CANARY not in shown.stdout and "***" in shown.stdout
    assert CANARY in world.command("parked", "show", too_long, "--reveal").stdout
    for waiting in [i for i, key in keys.items() if key != 2]:
        assert world.command("parked", "drop", waiting).returncode == 0
    await_parked(world, 0)
    world.await_green()
    assert {
        ("parked reveal", "all"),
        ("parked reveal", too_long),
        ("parked drop", f"b {too_long}"),
        ("parked retry", f"b {too_long}"),
    } <= set(audited(world))
    a.execute("INSERT INTO t VALUES (9, 9, 'end', 1, NULL)")
    await_that(lambda: 9 in b.rows(), message="it goes on")
    assert set(b.rows()).isdisjoint(set(refused) - {2})


@pytest.mark.parametrize("target", ["mysql_db", "postgresql_db"])
def test_the_targets_own_log_names_the_keys_that_wait(make_world, target):
    """ARCHITECTURE.md section 6, rule 9: capture reads from the log when a key was set aside, and when it was released."""
    world = strict_target(make_world, target, apply_only=False)
    a, b = world["a"], world["b"]
    world.start()
    log = ChangeLog(RedisAddress(world.redis.url()), world.deployment)
    try:
        a.execute("INSERT INTO t VALUES (2, 5000, 'x', 1, NULL)")
        await_parked(world, 1)

        def aside():
            return list(log.published("b").state.aside)

        await_that(lambda: len(aside()) == 1, message=lambda: f"the key in aside: {aside()}")
        assert "thing" in aside()[0] and "2" in aside()[0]
        b.execute("INSERT INTO t VALUES (100, 1, 'b', 1, NULL)")
        await_that(lambda: 100 in a.rows(), message="b's own change at a")
        b.execute("ALTER TABLE t DROP CONSTRAINT small")
        assert world.command("parked", "retry").returncode == 0
        await_that(lambda: 2 in b.rows(), message="released")
        await_that(lambda: not aside(), message=lambda: f"nothing aside: {aside()}")
    finally:
        log.close()
    world.await_equal()


def test_a_mapping_may_halt_instead(make_world):
    """`on_error: halt`: red with the reason; nothing is skipped; an edit to `park` goes on at once."""
    world = strict_target(make_world, "postgresql_db")
    world.mappings["b.t"]["on_error"] = "halt"
    a, b = world["a"], world["b"]
    world.start()
    a.execute("INSERT INTO t VALUES (1, 1, 'x', 1, NULL)")
    await_that(lambda: set(b.rows()) == {1}, message="the row before, in a batch of its own")
    a.execute(f"INSERT INTO t VALUES (2, 5000, '{CANARY}', 1, NULL)")
    a.execute("INSERT INTO t VALUES (3, 3, 'x', 1, NULL)")
    ready = world.await_state("b", "apply", "halted")
    assert world.readiness()[0] == 503
    assert "ROW_REJECTED" in ready["channels"]["b"]["reason"] and CANARY not in json.dumps(ready)
    assert set(b.rows()) == {1}
    world.mappings["b.t"]["on_error"] = "park"
    world.write_configuration()
    await_that(lambda: set(b.rows()) == {1, 3}, message=lambda: f"{b.rows()} {world.readiness()}")
    await_parked(world, 1)


def switch(world, verb):
    """Turn b.t on or off, and wait until its applier (not only the supervisor) has taken that up."""
    resumed = world.log().count('"apply_resumed"')
    assert world.command("mapping", verb, "b.t").returncode == 0
    await_that(
        lambda: world.log().count('"apply_resumed"') > resumed, message=lambda: f"{verb}d: {world.log()[-2000:]}"
    )


def test_a_retry_while_the_mapping_is_off_loses_nothing(make_world):
    world = strict_target(make_world, "postgresql_db")
    a, b = world["a"], world["b"]
    world.start()
    a.execute("INSERT INTO t VALUES (2, 5000, 'x', 1, NULL)")
    await_parked(world, 1)
    switch(world, "disable")
    b.execute("ALTER TABLE t DROP CONSTRAINT small")
    assert world.command("parked", "retry").returncode == 0
    world.await_obeyed("b")
    assert len(parked(world)) == 1
    switch(world, "enable")
    world.await_state("b", "apply", "idle")
    assert world.command("parked", "retry").returncode == 0
    await_that(lambda: 2 in b.rows(), message="the row")
