"""CASES.md K4 (its first half) and K10, end to end: rows of one key that users of two channels insert in one moment.

Nothing is written over: each side parks what the other one wrote, with what follows it, everything else flows, and nothing is tried for ever.
An operator says whose row stays, and all channels are equal again.
"""

import json

import pytest

from tests.waiting import await_that
from tests.world import Channel

KEY = 4711
INSERT = "INSERT INTO t (id, v, note) VALUES (%s, %s, %s)"


def parked(world):
    """(channel, source) -> the records that wait, in their order."""
    done = world.command("parked", "list", "--json")
    assert done.returncode == 0, done.stderr
    found = {}
    for record in json.loads(done.stdout):
        found.setdefault((record["channel"], record["position"].partition(" ")[0]), []).append(record)
    return found


def reasons(world):
    return {places: [record["reason"] for record in records] for places, records in parked(world).items()}


def await_reasons(world, expected):
    """Wait for as many changes as are expected to be parked, by channel; then these must be they."""
    wanted = dict.fromkeys(world.channels, 0)
    for (channel, _), those in expected.items():
        wanted[channel] += len(those)

    def counted():
        channels = world.status()["channels"]
        return {name: (channels[name]["apply"] or {"parked": 0})["parked"] for name in wanted}

    await_that(
        lambda: counted() == wanted,
        timeout=30,
        message=lambda: f"parked: {wanted}; are {counted()}\n{world.log()[-3000:]}",
    )
    assert reasons(world) == expected


def both_insert(world):
    """Neither commits before both have written: whichever comes first, the other side has its own row already."""
    with world["a"].transaction() as mine, world["b"].transaction() as theirs:
        mine.execute(INSERT, (KEY, 1, "a's secret"))
        theirs.execute(INSERT, (KEY, 2, "b's secret"))


def order(world, *arguments):
    done = world.command("parked", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rows_of_one_key_in_two_channels_are_parked_as_a_pair_until_an_operator_says_whose_stays(make_world):
    world = make_world("mysql_db", "postgresql_db")
    a, b = world["a"], world["b"]
    world.start()
    both_insert(world)
    await_reasons(world, {("a", "b"): ["conflict"], ("b", "a"): ["conflict"]})
    a.execute("UPDATE t SET v = 10 WHERE id = %s", KEY)
    b.execute("UPDATE t SET v = 20 WHERE id = %s", KEY)
    world.await_markers()  # others go on, and what was written first of both sides has been passed
    await_reasons(world, {("a", "b"): ["conflict", "waiting"], ("b", "a"): ["conflict", "waiting"]})
    records = parked(world)
    (mine, behind), (theirs, _) = records["b", "a"], records["a", "b"]
    assert (a.rows()[KEY], b.rows()[KEY]) == ((10, "a's secret"), (20, "b's secret"))

    # To try again changes nothing and swaps nothing; nor does anything by itself.
    order(world, "retry")
    await_that(lambda: world.log().count('"parked_retried"') == 2, message="both sides have tried again")
    assert (a.rows()[KEY], b.rows()[KEY]) == ((10, "a's secret"), (20, "b's secret"))

    # One conflict may be written over, by its name.
    unnamed = world.command("parked", "retry", "--overwrite")
    assert (unnamed.returncode, "name its ID" in unnamed.stderr) == (2, True)
    waits = world.command("parked", "retry", behind["id"], "--overwrite")
    assert (waits.returncode, "is for the insert" in waits.stderr) == (2, True)

    # The row of b gives way, and what its users did to it.
    order(world, "retry", mine["id"], "--overwrite")
    order(world, "drop", theirs["id"])
    await_reasons(world, {})
    assert world.await_equal() == {KEY: (10, "a's secret")}
    b.execute("UPDATE t SET v = v + 1 WHERE id = %s", KEY)
    await_that(lambda: a.rows() == {KEY: (11, "a's secret")}, message="the row goes on in both ways")
    world.await_green()
    assert "secret" not in world.all_logs()
    assert mine["error"].endswith("there is a row of this key with other values, inserted here or in a third channel")


@pytest.mark.parametrize(("first", "second"), ["bc", "cb"], ids=["c's insert only waits at a", "b's does"])
def test_of_three_channels_the_row_that_stays_takes_nothing_over_from_those_that_go(abc, first, second):
    """All three insert the key, and go on to change or delete their rows; c's stays, whichever came to a first."""
    world = abc
    a, b, c = (world[name] for name in "abc")
    world.start()
    assert world.command("pause", second, "capture").returncode == 0
    world.await_state(second, "capture", "paused")
    with a.transaction() as one, b.transaction() as two, c.transaction() as three:
        for cursor, v in ((one, 1), (two, 2), (three, 3)):
            cursor.execute(INSERT, (KEY, v, f"a secret {v}"))
    await_that(
        lambda: ("a", first) in reasons(world), message=lambda: f"{first}'s at a: {reasons(world)}", interval=0.3
    )
    assert world.command("resume", second, "capture").returncode == 0
    pairs = {(target, source) for target in "abc" for source in "abc" if target != source}
    await_that(lambda: pairs == reasons(world).keys(), message=lambda: f"{reasons(world)}", interval=0.3)
    a.execute("UPDATE t SET v = 10 WHERE id = %s", KEY)
    b.execute("DELETE FROM t WHERE id = %s", KEY)
    c.execute("UPDATE t SET v = 30 WHERE id = %s", KEY)
    world.await_markers()
    records = parked(world)
    assert {places: len(found) for places, found in records.items()} == dict.fromkeys(pairs, 2)
    # Where the row is refused for something else, nothing has given way to it.
    a.execute("ALTER TABLE t ADD CONSTRAINT other CHECK (note <> 'a secret 3')")
    order(world, "retry", records["a", "c"][0]["id"], "--overwrite", "--channel", "a")
    await_that(
        lambda: "rejected" in reasons(world)["a", "c"], message=lambda: f"refused: {reasons(world)}", interval=0.3
    )
    assert reasons(world)["a", "b"] == [
        "waiting" if r["reason"] == "waiting" else "conflict" for r in records["a", "b"]
    ]
    a.execute("ALTER TABLE t DROP CHECK other")
    for target in "ab":
        order(world, "retry", records[target, "c"][0]["id"], "--overwrite", "--channel", target)
    for source in "ab":
        order(world, "drop", records["c", source][0]["id"], "--channel", "c")
    await_reasons(world, {})
    assert world.await_equal() == {KEY: (30, "a secret 3")}


def test_where_one_channel_writes_an_insert_still_repairs_the_row_that_it_meets(make_world):
    """One writer cannot be in conflict: a row that is there already, by hand or from before, becomes as the source has it."""
    world = make_world("mariadb_db", "postgresql_db")
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    world["b"].execute(INSERT, KEY, 2, "stale")
    world.start()
    world["a"].execute(INSERT, KEY, 1, "true")
    assert world.await_equal() == {KEY: (1, "true")}
    assert reasons(world) == {}


def test_a_channel_that_joins_with_copied_tables_takes_what_they_hold_already_for_no_conflict(make_world, mysql_db):
    """Its streams begin before the copy was made: what it holds already is written once more, and ends the same."""
    world = make_world("mariadb_db", "postgresql_db")
    world.start()
    world.await_markers()
    assert world.command("pause", "b", "apply").returncode == 0  # so that what a writes stays in its stream
    world.await_state("b", "apply", "paused")
    world["a"].execute(INSERT, KEY, 1, "first")
    world["a"].execute("DELETE FROM t WHERE id = %s", KEY)
    world["a"].execute(INSERT, KEY, 1, "second")
    ((file, offset, *_),) = world["a"].execute("SHOW MASTER STATUS")

    def captured():
        reached = json.loads(world.role("a", "capture")["position"])
        return (reached["file"], reached["offset"]) >= (file, offset)

    await_that(captured, message=lambda: f"a's stream holds all three: {world.role('a', 'capture')} {file}:{offset}")
    world.stop()
    world.channels["c"] = Channel("c", mysql_db)
    world["c"].create_table()
    world["c"].execute(INSERT, KEY, 1, "second")
    world.write_configuration()
    world.start()
    world.await_marker("a", "c")
    assert world.command("resume", "b", "apply").returncode == 0
    world.await_markers()
    assert world.await_equal() == {KEY: (1, "second")}
    assert reasons(world) == {}
    # From then on it is as strict as the others.
    with world["a"].transaction() as mine, world["c"].transaction() as theirs:
        mine.execute(INSERT, (KEY + 1, 1, "a's"))
        theirs.execute(INSERT, (KEY + 1, 2, "c's"))
    await_that(lambda: {("a", "c"), ("c", "a")} <= reasons(world).keys(), message=lambda: f"{reasons(world)}")
