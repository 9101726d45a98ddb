"""CASES.md S6: the target's table is changed while the service runs. What is permanent parks the row or halts with its reason, what is
passing waits; once it is mended the service goes on without a restart, and nothing is lost.
"""

from __future__ import annotations

import json
import threading

import pytest

from tests.waiting import await_that


class Drift:
    """One running world a -> b, and rows numbered through all cases: at the end the tables have to be equal."""

    def __init__(self, world):
        self.world, self.a, self.b = world, world["a"], world["b"]
        self.number = 0

    def is_postgresql(self):
        return self.b.is_postgresql

    def ddl(self, postgresql, mysql):
        self.b.execute(postgresql if self.b.is_postgresql else mysql)

    def write(self, v=1, note="'x'"):
        self.number += 1
        self.a.execute(f"INSERT INTO t VALUES ({self.number}, {v}, {note})")
        return self.number

    def apply(self):
        return self.world.role("b", "apply")

    def shown(self):
        return f"{self.world.readiness()} {self.world.command('parked', 'list').stdout} {self.world.log()[-3000:]}"

    def arrived(self, *idents):
        return all(self.b.execute("SELECT 1 FROM t WHERE id = %s", ident) for ident in idents)

    def await_arrived(self, *idents, timeout=60):
        await_that(lambda: self.arrived(*idents), timeout=timeout, message=lambda: f"{idents}: {self.shown()}")

    def parks(self, ident, *words):
        """The row waits with its reason, health says so, other rows go on."""
        await_that(lambda: self.apply()["parked"] == 1, timeout=60, message=lambda: f"parked: {self.shown()}")
        self.await_arrived(self.write())
        (one,) = json.loads(self.world.command("parked", "list", "--json").stdout)
        assert one["position"].startswith("a ") and one["mapping"] == "b.t"
        assert any(word.lower() in one["error"].lower() for word in words), one["error"]

        def told():  # what is told may be from the moment before
            status, ready = self.world.readiness()
            return (status, ready.get("status")) == (200, "degraded") and "1 parked" in ready["channels"]["b"]["reason"]

        await_that(told, message=lambda: f"degraded, 1 parked: {self.shown()}")
        assert not self.arrived(ident)

    def retried(self, ident):
        assert self.world.command("parked", "retry").returncode == 0
        self.await_arrived(ident)
        await_that(lambda: self.apply()["parked"] == 0, message=lambda: f"nothing parked: {self.shown()}")

    def halts(self, *codes):
        """Red, with the code and the table's or mapping's name."""

        def halted():  # with another reason it may be from the case before
            ready = self.world.await_state("b", "apply", "halted", timeout=60)
            reason = ready["channels"]["b"]["reason"]
            return reason if any(code in reason for code in codes) else ""

        reason = await_that(halted, message=lambda: f"{codes}: {self.shown()}")
        await_that(lambda: self.world.readiness()[0] == 503, message=lambda: f"red: {self.shown()}")
        assert ".t" in reason or "table t" in reason, reason

    def nudged(self):
        """Halted roles look again every half minute, and at once when the configuration has changed."""
        health = self.world.extra.setdefault("health", {"max_lag": 30})
        health["max_lag"] += 1
        self.world.write_configuration()


def column_dropped(drift):
    """A mapped column is gone: every row would lose its value, so the channel halts."""
    drift.ddl("ALTER TABLE t DROP COLUMN note", "ALTER TABLE t DROP COLUMN note")
    ident = drift.write(note="'kept'")
    drift.halts("TARGET_42703", "TARGET_1054", "MAPPING_REFUSED")
    drift.ddl("ALTER TABLE t ADD COLUMN note VARCHAR(200)", "ALTER TABLE t ADD COLUMN note VARCHAR(200)")
    # What was in the column went with it: the administrator gives it back from the other side.
    for key, (_, note) in drift.a.rows().items():
        if drift.arrived(key):
            drift.b.execute("UPDATE t SET note = %s WHERE id = %s", note, key)
    drift.nudged()
    drift.await_arrived(ident)


def type_narrowed(drift):
    """A text of any length is no promise: only the values that do not fit wait."""
    drift.ddl("ALTER TABLE t ALTER COLUMN note TYPE VARCHAR(5)", "ALTER TABLE t MODIFY note VARCHAR(5)")
    ident = drift.write(note="'longer than five'")
    drift.parks(ident, "too long", "does not fit")
    drift.ddl("ALTER TABLE t ALTER COLUMN note TYPE VARCHAR(200)", "ALTER TABLE t MODIFY note VARCHAR(200)")
    drift.retried(ident)


def integer_narrowed(drift):
    """An integer is a promise (32 bits): the running session parks what does not fit, and the next one refuses the mapping."""
    drift.ddl("ALTER TABLE t ALTER COLUMN v TYPE SMALLINT", "ALTER TABLE t MODIFY v SMALLINT")
    ident = drift.write(v=40000)
    drift.parks(ident, "out of range", "outside", "does not fit")
    drift.nudged()
    drift.halts("MAPPING_REFUSED")
    drift.ddl("ALTER TABLE t ALTER COLUMN v TYPE INT", "ALTER TABLE t MODIFY v INT")
    drift.nudged()
    drift.world.await_state("b", "apply", "idle", timeout=60)
    drift.retried(ident)


def not_null_added(drift):
    drift.ddl("ALTER TABLE t ALTER COLUMN note SET NOT NULL", "ALTER TABLE t MODIFY note VARCHAR(200) NOT NULL")
    ident = drift.write(note="NULL")
    drift.parks(ident, "null")
    drift.ddl("ALTER TABLE t ALTER COLUMN note DROP NOT NULL", "ALTER TABLE t MODIFY note VARCHAR(200) NULL")
    drift.retried(ident)


def check_added(drift):
    add = "ALTER TABLE t ADD CONSTRAINT small CHECK (v < 1000 OR v = 40000)"
    drift.ddl(add, add)
    ident = drift.write(v=5000)
    drift.parks(ident, "small")
    drift.ddl("ALTER TABLE t DROP CONSTRAINT small", "ALTER TABLE t DROP CONSTRAINT small")
    drift.retried(ident)


def extra_column_without_default(drift):
    add = "ALTER TABLE t ADD COLUMN shelf INT"
    drift.ddl(add, add)
    drift.b.execute("UPDATE t SET shelf = 0")
    drift.ddl("ALTER TABLE t ALTER COLUMN shelf SET NOT NULL", "ALTER TABLE t MODIFY shelf INT NOT NULL")
    ident = drift.write()
    await_that(lambda: drift.apply()["parked"] == 1, timeout=60, message=drift.shown)
    (one,) = json.loads(drift.world.command("parked", "list", "--json").stdout)
    assert "shelf" in one["error"]
    await_that(lambda: drift.world.readiness()[1].get("status") == "degraded", message=drift.shown)
    drift.ddl("ALTER TABLE t ALTER COLUMN shelf SET DEFAULT 0", "ALTER TABLE t ALTER COLUMN shelf SET DEFAULT 0")
    drift.retried(ident)
    drift.ddl("ALTER TABLE t DROP COLUMN shelf", "ALTER TABLE t DROP COLUMN shelf")


def table_missing(drift):
    rename = "ALTER TABLE t RENAME TO hidden"
    drift.ddl(rename, rename)
    drift.number += 1
    ident = drift.number
    drift.a.execute(f"INSERT INTO t VALUES ({ident}, 1, 'x')")
    drift.halts("TARGET_42P01", "TARGET_1146", "TABLE_MISSING", "TARGET_REFUSED")
    back = "ALTER TABLE hidden RENAME TO t"
    drift.ddl(back, back)
    drift.nudged()
    drift.await_arrived(ident)


def world_state(drift, state):
    return drift.world.await_state("b", "apply", state, timeout=60)["channels"]["b"]["reason"]


def locked_by_ddl(drift):
    """Passing: it waits (or tries again), nothing is parked, no halt, and goes on when the lock is gone."""
    locked, go = threading.Event(), threading.Event()

    def hold():
        with drift.b.database.connect() as connection, connection.cursor() as cursor:
            if drift.is_postgresql():
                with connection.transaction():
                    cursor.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
                    locked.set()
                    go.wait(60)
            else:
                cursor.execute("LOCK TABLES t WRITE")
                locked.set()
                go.wait(60)
                cursor.execute("UNLOCK TABLES")

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert locked.wait(30)
    try:
        ident = drift.write()
        reason = world_state(drift, "retrying")
        assert "lock" in reason.lower(), reason
        assert drift.apply()["parked"] == 0
    finally:
        go.set()
        holder.join(30)
    drift.await_arrived(ident)
    assert drift.apply()["parked"] == 0


CASES = (
    locked_by_ddl,
    table_missing,
    column_dropped,
    type_narrowed,
    integer_narrowed,
    not_null_added,
    check_added,
    extra_column_without_default,
)


@pytest.mark.timeout(600)  # of a machine that does much else
@pytest.mark.parametrize(("source", "target"), [("mariadb_db", "postgresql_db"), ("postgresql_db", "mariadb_db")])
def test_a_target_that_changes_under_the_service_halts_or_parks_and_goes_on_once_it_is_mended(
    make_world, source, target
):
    world = make_world(source, target)
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    world.start(ready=False)
    world.await_ready(timeout=100)
    drift = Drift(world)
    drift.await_arrived(drift.write())
    pids = {world.role_pid("apply", "b"), world.role_pid("capture", "a")}
    for case in CASES:
        case(drift)
        await_that(lambda: drift.apply()["parked"] == 0, message=drift.shown)
    drift.await_arrived(drift.write())
    assert world.await_equal() and len(world["b"].rows()) == drift.number
    world.await_green()
    assert {world.role_pid("apply", "b"), world.role_pid("capture", "a")} == pids  # nothing was started again
