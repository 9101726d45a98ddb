"""A column that cannot hold what the dictionary promises is refused when the service starts, not when the first such row comes."""

from __future__ import annotations

from tests.ports import free_port
from tests.waiting import await_that

REFUSED = "column v smallint cannot hold field v: integer up to 2147483647 - add `maximum: 32767` or widen the column"


def test_a_narrow_column_is_refused_by_run_until_the_field_says_its_bounds(make_world):
    world = make_world("mariadb_db", "postgresql_db", table=False)
    world["a"].create_table(columns="v INT, note VARCHAR(200)")
    world["b"].create_table(columns="v SMALLINT, note VARCHAR(200)")
    world.write_configuration()
    explained = world.command("check", "--explain", "b.t")
    assert explained.returncode == 1
    assert f"mappings.b.t.columns.v: {REFUSED}" in explained.stderr
    assert f"REFUSED: {REFUSED}" in explained.stdout
    assert world.command("check", "--explain", "a.t").returncode == 0  # its INT holds more than the SMALLINT sends
    examined = world.command("doctor", timeout=100)
    assert examined.returncode == 1
    assert f"mappings.b.t.columns.v: {REFUSED}" in examined.stdout + examined.stderr

    world.start(ready=False)
    assert REFUSED in world.await_state("b", "apply", "halted", timeout=100)["channels"]["b"]["reason"]
    assert world.readiness()[0] == 503
    for name in ("a", "b"):
        world.await_state(name, "capture", "idle", timeout=60)
    world["a"].execute("INSERT INTO t VALUES (1, 7, 'waits')")
    world["b"].execute("INSERT INTO t VALUES (2, 8, 'goes on')")
    await_that(
        lambda: 2 in world["a"].rows(), timeout=60, message=lambda: f"the other way goes on; {world.log()[-2000:]}"
    )

    world.fields["v"] = {"type": "integer", "maximum": 32767}
    world.write_configuration()
    world.await_state("b", "apply", "idle", "running", timeout=60)
    world.await_equal(timeout=60)
    world["a"].execute("INSERT INTO t VALUES (3, 40000, 'beyond')")
    await_that(
        lambda: world.role("b", "apply")["parked"] == 1, timeout=60, message="a value beyond the bounds is parked"
    )
    assert 3 not in world["b"].rows()
    assert world.command("check", "--explain", "b.t").returncode == 0


def test_narrow_columns_everywhere_need_no_bounds_and_a_source_that_is_away_holds_nothing_up(make_world):
    """SMALLINT in both: nothing is refused, and values pass. `b` starts though the channel that it is filled from does not answer."""
    world = make_world("mariadb_db", "postgresql_db", table=False)
    for name in ("a", "b"):
        world[name].create_table(columns="v SMALLINT, note VARCHAR(200)")
    there, world["a"].port = world["a"].port, free_port()
    world.start(ready=False)
    world.await_state("b", "apply", "idle", "running", timeout=100)
    assert "source_not_looked_at" in world.log()
    world["a"].port = there
    world.write_configuration()
    for name in ("a", "b"):
        world.await_state(name, "capture", "idle", timeout=100)  # its first start takes the log's present end
    world["a"].execute("INSERT INTO t VALUES (1, 32767, 'most')")
    world["b"].execute("INSERT INTO t VALUES (2, -32768, 'least')")
    assert world.await_equal(timeout=60) == {1: (32767, "most"), 2: (-32768, "least")}
