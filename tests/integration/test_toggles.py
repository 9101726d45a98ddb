"""CASES.md S8: mappings, channels and roles are turned off and on under load, by every way there is, without a restart.

The writers note when each transaction was committed, so the boundaries are exact: a transaction is replicated whole or not
at all, everything outside the disabled time arrives, and a change of mind takes effect while it holds.
"""

import itertools
import json
import threading
import time
from contextlib import contextmanager

import pytest
from ruamel.yaml import YAML

from tests.waiting import await_that
from tests.world import World, _yaml

PASSED_OVER = 60  # transactions of a side, more than a second of them
ROWS = 3  # of each transaction
MARKS = itertools.count(1)


class Writer(threading.Thread):
    """Numbered transactions of three rows each on one channel, and the time around each commit."""

    def __init__(self, channel, base):
        super().__init__(daemon=True)
        self.channel, self.base = channel, base
        self.committed = {}  # number -> (before, after)
        self.stopped = threading.Event()
        self.failed = None

    def run(self):
        try:
            with self.channel.database.connect() as connection, connection.cursor() as cursor:
                number = 0
                while not self.stopped.wait(0.02):
                    number += 1
                    before = time.time()
                    cursor.execute("BEGIN")
                    for n in range(ROWS):
                        cursor.execute("INSERT INTO t VALUES (%s, %s, 'load')", (self.base + number * ROWS + n, number))
                    cursor.execute("COMMIT")
                    self.committed[number] = (before, time.time())
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failed = error

    def arrived(self, channel):
        """Which transactions are there, whole; fails on one that was split."""
        found = {}
        for ident, row in channel.rows().items():
            if self.base <= ident < self.base + 10**7:
                found[row[0]] = found.get(row[0], 0) + 1
        assert set(found.values()) <= {ROWS}, f"split transactions: { {n: c for n, c in found.items() if c != ROWS} }"
        return set(found)


@contextmanager
def load(*channels):
    writers = [Writer(channel, (n + 1) * 10**8) for n, channel in enumerate(channels)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stopped.set()
            writer.join(20)
            assert writer.failed is None, writer.failed


def gaps(writer, target):
    """The runs of transactions that did not arrive, each as (when its first one was committed, when its last one was)."""
    arrived, runs = writer.arrived(target), []
    for number in sorted(writer.committed):
        if number in arrived:
            continue
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [(writer.committed[first][1], writer.committed[last][1]) for first, last in runs]


def with_marks(world):
    """A table of a mapping that is always on: what was committed before a row of it is past once that row has arrived."""
    world.extra["entities"] = {
        "thing": {"key": ["id"], "fields": world.fields},
        "mark": {"key": ["id"], "fields": {"id": {"type": "integer"}, "n": {"type": "integer"}}},
    }
    for name, channel in world.channels.items():
        channel.create_table("marks", columns="n INT")
        world.mappings[f"{name}.marks"] = {
            "channel": name, "table": "marks", "entity": "mark", "columns": {"id": "id", "n": "n"},
        }  # fmt: skip


def await_past(world):
    """Everything that is committed by now, in either channel, has arrived in the other one or has been passed over."""
    ident = next(MARKS)
    for n, channel in enumerate(world.channels.values()):
        channel.execute("INSERT INTO marks VALUES (%s, 0)", 2 * ident + n)

    def arrived():
        return all(
            channel.execute("SELECT count(*) FROM marks WHERE id IN (%s, %s)", 2 * ident, 2 * ident + 1) == ((2,),)
            for channel in world.channels.values()
        )

    await_that(arrived, timeout=60, message=lambda: f"the marks: {world.readiness()}\n{world.log()[-2000:]}")


def await_effect(world, writers, enabled):
    """Wait until transactions are passed over on both sides - not merely late -, or the next ones arrive again."""
    known = [max(writer.committed) for writer in writers]

    def in_effect():
        committed = known if enabled else [max(writer.committed) for writer in writers]
        if not enabled:
            await_past(world)
        arrived = [max(writer.arrived(world[target])) for writer, target in zip(writers, "ba", strict=True)]
        if enabled:
            return all(last > before for last, before in zip(arrived, committed, strict=True))
        return all(before - last > PASSED_OVER for last, before in zip(arrived, committed, strict=True))

    await_that(in_effect, timeout=60, interval=0.1, message=lambda: f"in effect: {enabled} {world.readiness()}")


def by_command(world, name, enabled):
    done = world.command("mapping", "enable" if enabled else "disable", name)
    assert done.returncode == 0, done.stderr
    assert ("warning" in done.stderr and "not copied" in done.stderr) == enabled


def by_request(world, name, enabled):
    status, text = world.get(
        f"/api/mappings/{name}", method="PATCH", body=json.dumps({"enabled": enabled}),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert status == 200, text
    assert ("not copied" in text) == enabled, text


def by_editor(world, name, enabled):
    yaml = YAML()
    document = yaml.load(world.path.read_text())
    document["mappings"][name]["enabled"] = enabled
    with world.path.open("w") as file:  # as many editors do: in place, not at once
        yaml.dump(document, file)


def test_s8_a_mapping_is_off_and_on_by_every_way_under_load(mixed):
    with_marks(mixed)
    mixed.path.write_text("# why this file is as it is\n" + _yaml(mixed.configuration()) + "# the last word\n")
    mixed.start()
    process = mixed.processes[-1]
    moments = []
    with load(*mixed.channels.values()) as (at_a, at_b):
        await_that(lambda: len(at_b.arrived(mixed["a"])) > 5 and len(at_a.arrived(mixed["b"])) > 5, message="traffic")
        for way in (by_command, by_request, by_editor):
            on_before = time.time()
            await_past(mixed)  # what is committed from here on may be passed over, what came before may not
            times = [on_before]
            for enabled in (False, True):
                times.append(time.time())
                way(mixed, "b.t", enabled)
                times.append(time.time())
                await_that(
                    lambda want=enabled: mixed.status()["mappings"]["b.t"]["enabled"] is want,
                    message=f"{way.__name__} {enabled}",
                )
                await_effect(mixed, (at_a, at_b), enabled)
            moments.append((*times, time.time()))
    mixed.await_markers()
    for writer, target in ((at_a, mixed["b"]), (at_b, mixed["a"])):
        runs = gaps(writer, target)
        assert len(runs) == len(moments), (runs, moments)
        for (first, last), (on_before, _, off_done, on_asked, on_done, on_seen) in zip(runs, moments, strict=True):
            assert on_before <= first <= on_asked, f"off {first - off_done:.2f} s after it was said"
            assert off_done <= last <= on_seen, f"on {last - on_done:.2f} s after it was said"
    assert process.poll() is None and process is mixed.processes[-1]
    text = mixed.path.read_text()
    assert "# why this file is as it is" in text and "# the last word" in text


def test_s8_an_invalid_edit_leaves_what_runs_and_says_so(mixed):
    mixed.start()
    good = mixed.path.read_text()
    for broken, expected in (
        (good.replace("entity: thing", "entity: thingg", 1), "thing"),
        (good + "unheard_of: 1\n", "unheard_of"),
        (good[: len(good) // 2] + "\n  : [", ""),
    ):
        assert broken != good
        mixed.path.write_text(broken)

        def rejected(expected=expected):
            status, ready = mixed.readiness()
            told = [reason for reason in ready.get("reasons", []) if reason.startswith("reload rejected")]
            return status == 200 and ready["status"] == "degraded" and told and expected in told[0]

        await_that(rejected, message=lambda: f"rejected: {mixed.readiness()}")
        assert mixed.status()["configuration"]["reload_error"]
        mixed.await_marker("a", "b")
        mixed.await_marker("b", "a")
        mixed.path.write_text(good)
        mixed.await_green()
    assert mixed.status()["configuration"]["reload_error"] in (None, "")


def test_s8_channels_come_and_go_and_transforms_change_by_an_edit(make_world, mariadb2_db):
    world: World = make_world("mariadb_db", "postgresql_db")
    world.start()
    a, b = world["a"], world["b"]
    a.execute("INSERT INTO t VALUES (1, 1, 'plain')")
    world.await_equal()

    world.mappings["a.t"] = {
        "columns": {"id": "id", "v": "v", "note": {"field": "note", "transforms": [{"prefix": "x-"}]}}
    }
    world.write_configuration()
    await_that(lambda: world.log().count("reload.accepted") >= 1, message="the reload")
    world.await_state("a", "apply", "idle", "running")

    def through():
        b.execute("UPDATE t SET v = v + 1, note = note || '!' WHERE id = 1")
        await_that(lambda: a.rows()[1][0] == b.rows()[1][0], message=lambda: f"{a.rows()} {b.rows()}")
        return a.rows()[1][1] == "x-" + b.rows()[1][1]

    await_that(through, message="the new transform", interval=0.2)
    idents = itertools.count(1000)

    def back():
        ident = next(idents)
        a.execute("INSERT INTO t VALUES (%s, 2, 'x-cut')", ident)
        await_that(lambda: ident in b.rows(), message=lambda: f"{ident} at b: {b.rows()} {world.readiness()}")
        return b.rows()[ident] == (2, "cut")

    await_that(back, message=lambda: f"the way back: {b.rows()}", interval=0.2)

    from tests.world import Channel

    with_c = world.channels | {"c": Channel("c", mariadb2_db)}
    with_c["c"].port = mariadb2_db.server.port
    with_c["c"].create_table()
    passwords = world.folder / "c-password"
    passwords.write_text(mariadb2_db.server.password)
    world.channels = with_c
    url = with_c["c"].url().replace("${C_PASSWORD}", f"${{file:{passwords}}}")
    with_c["c"].url = lambda: url
    world.write_configuration()
    world.await_state("c", "apply", "idle", "running", timeout=30)
    world.await_state("c", "capture", "idle", "running", timeout=30)
    a.execute("INSERT INTO t VALUES (3, 3, 'x-three')")
    await_that(
        lambda: world["c"].rows().get(3) == (3, "three"),
        message=lambda: f"at c: {world['c'].rows()} {world.readiness()}\n{world.log()[-2000:]}",
    )
    world["c"].execute("INSERT INTO t VALUES (4, 4, 'four')")
    await_that(lambda: 4 in a.rows() and 4 in b.rows(), message="from c")

    leaving = [world.role_pid(kind, "c") for kind in ("capture", "apply")]
    c = world.channels.pop("c")
    world.channels = {"a": a, "b": b}
    world.write_configuration()

    def gone():
        status, ready = world.readiness()
        return status == 200 and "c" not in ready["channels"]

    await_that(gone, message=lambda: f"c is gone: {world.readiness()}")
    await_that(lambda: not set(leaving) & set(world.role_pids()), message="its roles have ended")
    b.execute("INSERT INTO t VALUES (5, 5, 'five')")
    await_that(lambda: a.rows().get(5) == (5, "x-five"), message="a and b go on")
    assert 5 not in c.rows()
    world.await_ready()


@pytest.mark.parametrize("kind", ["capture", "apply"])
def test_a_paused_role_stops_where_it_is_and_loses_nothing(mixed, kind):
    mixed.start()
    with load(*mixed.channels.values()) as (at_a, at_b):
        channel = "a" if kind == "capture" else "b"
        assert mixed.command("pause", channel, kind).returncode == 0

        def paused():
            status, ready = mixed.readiness()
            return (status, ready.get("status")) == (200, "degraded") and ready["channels"][channel][kind] == "paused"

        await_that(paused, message=lambda: f"degraded, not down, while it is paused: {mixed.readiness()}")
        known = at_a.arrived(mixed["b"])
        other = len(at_b.arrived(mixed["a"]))
        await_that(lambda: len(at_b.arrived(mixed["a"])) > other + 5, message="the other way goes on")
        if kind == "apply":
            assert at_a.arrived(mixed["b"]) == known, "nothing is written while it is paused"
        assert mixed.command("resume", channel, kind).returncode == 0
        mixed.await_state(channel, kind, "running", "idle")
    mixed.await_markers()
    mixed.await_equal()
    assert gaps(at_a, mixed["b"]) == [] and gaps(at_b, mixed["a"]) == []


def test_remove_leaves_nothing_of_ours(mixed):
    mixed.start()
    mixed["a"].execute("INSERT INTO t VALUES (1, 1, 'x')")
    mixed.await_equal()
    refused = mixed.command("remove", "b", "--yes")
    assert refused.returncode == 1 and "running" in refused.stderr
    assert mixed.stop() == 0
    slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active"
    await_that(lambda: mixed["b"].execute(slots) == ((0,),), message="its walsender to let go of the slot")
    for channel in ("a", "b"):
        done = mixed.command("remove", channel, "--yes")
        assert done.returncode == 0, done.stderr
    b = mixed["b"]
    assert b.execute("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == ()
    assert b.execute("SELECT pubname FROM pg_publication") == ()
    for channel in mixed.channels.values():
        schema = "'public'" if channel.is_postgresql else "DATABASE()"
        tables = channel.execute(f"SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}")
        assert tables == (("t",),)
    with mixed.redis.connect() as client:
        assert client.keys(f"datong:{mixed.deployment}:*") == []
    mixed.start()
    mixed["b"].execute("INSERT INTO t VALUES (2, 2, 'anew')")
    mixed.await_equal()
