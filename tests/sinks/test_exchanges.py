"""Unique values and keys that rows exchange where no order of rows offers a way, a refused row among them or not (I1, I5)."""

from __future__ import annotations

import pytest

from sinks.contract import Rejected, RowWrite
from tests.sinks.targets import Lease, Target, delete, update
from tests.waiting import await_that

START = [(1, "one", 1), (2, "two", 2), (3, "three", 3), (4, "four", 4), (5, "five", 5)]


def written(lease: Lease, writes: list[RowWrite]) -> list[int]:
    """Write as an applier does; answer what was refused."""
    header, _ = lease.begin(len(writes))
    try:
        lease.sink.write(writes)
    except Rejected:
        lease.sink.rollback()
        header, _ = lease.begin(2 * len(writes))
        refused = [rejection.ref for rejection in lease.sink.write_singly(writes)]
    else:
        refused = []
    lease.commit(header)
    return refused


def test_rows_exchange_unique_values_and_keys_whatever_else_is_refused(target: Target) -> None:
    target.create("CREATE TABLE things (id int PRIMARY KEY, u varchar(20) UNIQUE, n int NOT NULL UNIQUE, v int)")
    target.create("CREATE UNIQUE INDEX both_of ON things (u, v)")
    target.execute("INSERT INTO things (id, u, n) VALUES " + ", ".join(map(str, START)))
    table = target.table("things")
    _, lease = target.ready()

    def swapped() -> list[RowWrite]:
        return [update(table, 1, 1, u="two"), update(table, 2, 2, u="one")]

    assert written(lease, swapped()) == []
    ring = [update(table, 3, 3, u="four"), update(table, 4, 4, u="five"), update(table, 5, 5, u="three")]
    assert written(lease, ring) == []
    everything = "SELECT id, u, n FROM things ORDER BY id"
    assert target.execute(everything) == [(1, "two", 1), (2, "one", 2), (3, "four", 3), (4, "five", 4), (5, "three", 5)]
    up = [update(table, n, n, n=n + 1, v=n) for n in range(1, 6)]
    assert written(lease, up) == []
    keys = [update(table, 1, 1, id=2), update(table, 2, 2, id=3), update(table, 3, 3, id=1)]
    assert written(lease, keys) == []
    assert target.execute(everything) == [(1, "four", 4), (2, "two", 2), (3, "one", 3), (4, "five", 5), (5, "three", 6)]
    # A bad one among them, which has no row.
    poisoned = [
        update(table, 4, 1, u="three"), update(table, 99, 2, u="x"), update(table, 5, 3, u="five"),
        update(table, 2, 5, id=3), update(table, 3, 6, id=2), delete(table, 1, 7),
    ]  # fmt: skip
    assert written(lease, poisoned) == [2]
    assert target.execute(everything) == [(2, "one", 3), (3, "two", 2), (4, "three", 5), (5, "five", 6)]


@pytest.mark.parametrize("engine", ["mariadb_db", "mysql_db"])
def test_a_source_that_checks_late_exchanges_values_and_keys_without_an_alarm(make_world, engine) -> None:  # type: ignore[no-untyped-def]
    """Both ways captured: what was set aside is counted, so that the echo holds no more rows than its record says."""
    world = make_world("postgresql_db", engine, table=False)
    late = "UNIQUE DEFERRABLE INITIALLY DEFERRED"
    a, b = world["a"], world["b"]
    a.execute(f"CREATE TABLE t (id BIGINT PRIMARY KEY DEFERRABLE, v INT NOT NULL {late}, note VARCHAR(20) {late})")
    a.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    b.create_table(columns="v INT NOT NULL UNIQUE, note VARCHAR(20) UNIQUE, CHECK (v < 1000)")
    world.mappings = {"a.t": {"direction": "capture"}}
    world.start()
    a.execute("INSERT INTO t SELECT n, n, 'n' || n FROM generate_series(1, 7) AS n")
    with a.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (8, 4000, 'refused')")
        cursor.execute("UPDATE t SET v = v % 3 + 1 WHERE id < 4")
        cursor.execute("UPDATE t SET note = CASE id WHEN 4 THEN 'n5' ELSE 'n4' END WHERE id IN (4, 5)")
        cursor.execute("UPDATE t SET id = 13 - id WHERE id IN (6, 7)")
    expected = {n: (n, f"n{n}") for n in range(1, 8)} | {
        1: (2, "n1"), 2: (3, "n2"), 3: (1, "n3"), 4: (4, "n5"), 5: (5, "n4"), 6: (7, "n7"), 7: (6, "n6")
    }  # fmt: skip
    await_that(lambda: b.rows() == expected, timeout=30, message=lambda: f"{b.rows()} {world.log()[-2000:]}")
    await_that(lambda: world.role("b", "apply")["parked"] == 1, message="the refused one waits")
    b.execute("INSERT INTO t VALUES (9, 9, 'own')")
    await_that(lambda: world.role("b", "capture")["rows"] >= 1, message="the capture has passed the echoes")
    assert not any(world.role("b", "capture")["alarms"].values())
