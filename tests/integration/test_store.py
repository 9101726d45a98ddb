"""The hub store on SQLite and PostgreSQL: checkpoints, the safe cut, progress, pauses, counters."""

import stat

import pytest

from cdc.capture.state import first_checkpoint
from cdc.errors import TransientError
from cdc.hub_database import StoreRefusedError
from cdc.model import Checkpoint, Position, ProgressRow
from cdc.store import Applied, Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/hub/datong.db"
    else:
        url = request.getfixturevalue("postgresql_db").url()
    store = Store(url, "coffee")
    store.open()
    yield store
    store.close()


def checkpoint(order, last):
    return Checkpoint(Position(order, f"p{order}"), *last, 7, {"b": 3}, {"k": (1, {"b": 2})}, {}, {"5": 9}, "1", "r")


def applied(order, end):
    return Applied(ProgressRow("a", order, end, True, 1), (order, end))


def test_the_first_position_is_a_cut_at_once(store):
    assert store.safe_cut("a") is None
    store.save_checkpoint("a", first_checkpoint(Position(10, "start"), "r"), is_cut=True)
    assert store.safe_cut("a").position == Position(10, "start")
    store.save_checkpoint("a", first_checkpoint(Position(10, "start"), "r"))
    assert store.safe_cut("a").position == Position(10, "start"), "a candidate at the same place takes nothing back"


def test_the_cut_waits_for_the_slowest_applier(store):
    store.save_checkpoint("a", first_checkpoint(Position(10, "p10"), "r"), is_cut=True)
    for order in (20, 30, 40):
        store.save_checkpoint("a", checkpoint(order, (order - 1, 2)))
    assert store.advance_cut("a", ["x", "y"]).position.order == 10
    store.save_applied("x", [applied(39, 2)])
    assert store.advance_cut("a", ["x", "y"]).position.order == 10
    store.save_applied("y", [applied(29, 2)])
    assert store.advance_cut("a", ["x", "y"]).position.order == 30
    assert store.safe_cut("a") == checkpoint(30, (29, 2))
    store.save_applied("y", [applied(39, 1)])
    assert store.advance_cut("a", ["x", "y"]).position.order == 30
    store.save_applied("y", [applied(39, 2)])
    assert store.advance_cut("a", ["x", "y"]).position.order == 40


def test_a_channel_that_nobody_wants_is_released_at_once(store):
    store.save_checkpoint("a", checkpoint(20, (19, 1)))
    assert store.advance_cut("a", []).position.order == 20


def test_candidates_beyond_the_place_gone_back_to_are_dropped(store):
    store.save_checkpoint("a", first_checkpoint(Position(10, "p10"), "r"), is_cut=True)
    store.save_checkpoint("a", checkpoint(20, (19, 1)))
    store.drop_checkpoints_after("a", 10)
    assert store.advance_cut("a", []).position.order == 10


def test_progress_pauses_commands_counters_and_the_audit_trail_are_kept(store):
    store.save_applied("x", [applied(5, 1)])
    store.save_applied("x", [applied(6, 1)])
    assert store.applied("x") == {"a": applied(6, 1)}
    store.set_paused("a", "capture", True)
    assert store.paused() == {("a", "capture")}
    store.set_paused("a", "capture", False)
    assert store.paused() == set()
    store.command("a", "apply", "retry", "id-1")
    (command,) = store.commands("a", "apply")
    assert (command.command, command.argument) == ("retry", "id-1")
    store.command_done(command)
    assert store.commands("a", "apply") == []
    store.save_counters("capture.a", {"rows": 5})
    store.save_counters("capture.a", {"rows": 6, "echoes": 1})
    assert store.counters("capture.a") == {"rows": 6, "echoes": 1}
    store.audit("me", "mapping.disable", "website.members", "enabled", "disabled")
    assert store.audit_trail()[0]["subject"] == "website.members"
    store.park("x", {"id-1": b"1", "id-2": b"2"})
    store.unpark("x", ["id-1"])
    assert store.parked("x") == {"id-2": b"2"}
    store.forget_channel("x")
    assert (store.applied("x"), store.parked("x")) == ({}, {})


def test_a_target_that_stands_still_is_a_laggard_and_can_be_detached(store):
    store.save_applied("x", [applied(5, 1)])
    store.save_applied("y", [applied(9, 1)])
    assert set(store.laggards("a", ["x", "y", "never"], (9, 1))) == {"x"}
    store.detach("x", "too far behind")
    assert store.detached() == {"x": "too far behind"}
    store.forget_channel("x")
    assert store.detached() == {}


def test_progress_never_goes_back_whoever_saves_late(store):
    store.save_applied("x", [applied(9, 2)])
    store.save_applied("x", [applied(9, 1), applied(5, 7)])
    assert store.applied("x") == {"a": applied(9, 2)}


def test_while_a_target_is_away_candidates_are_thinned(store):
    store.save_checkpoint("a", first_checkpoint(Position(10, "p10"), "r"), is_cut=True)
    for order in range(20, 420):
        store.save_checkpoint("a", checkpoint(order, (order - 1, 2)))
    assert store.advance_cut("a", ["x"]).position.order == 10
    store.save_applied("x", [applied(418, 2)])
    assert store.advance_cut("a", ["x"]).position.order == 419


def test_a_decision_holds_for_whoever_comes_second(store):
    decisions = store.decisions
    assert decisions.remember("a", "era", "first") == "first"
    assert decisions.remember("a", "era", "second") == "first"
    assert decisions.remember("b", "era", "second") == "second"
    assert decisions.joined("x", {"a": (5, 1), "b": (7, 0)}) == {"a": (5, 1), "b": (7, 0)}
    assert decisions.joined("x", {"a": (9, 9)}) == {"a": (5, 1), "b": (7, 0)}
    store.forget_channel("a")
    assert decisions.joined("x", {"a": (9, 9)}) == {"b": (7, 0)}, "a stream that is made anew has no old end"
    assert decisions.remember("a", "era", "anew") == "anew"


def test_two_deployments_in_one_store_do_not_meet(store):
    store.set_paused("a", "capture", True)
    other = Store(store._database.url.render_as_string(hide_password=False), "tea")
    other.open()
    assert other.paused() == set()
    other.close()


def test_the_file_is_for_its_owner_only(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/datong.db", "coffee")
    store.open()
    store.close()
    assert stat.S_IMODE((tmp_path / "datong.db").stat().st_mode) == 0o600


def test_a_store_that_a_newer_version_wrote_is_refused(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/datong.db", "coffee")
    store.open()
    with store._transaction() as connection:
        connection.exec_driver_sql("UPDATE datong_deployment SET schema_version = 99")
    with pytest.raises(StoreRefusedError, match="newer version"):
        store.open()
    store.close()


def test_a_file_that_is_no_database_is_refused_with_its_path(tmp_path):
    (tmp_path / "datong.db").write_text("not a database" * 100)
    store = Store(f"sqlite:///{tmp_path}/datong.db", "coffee")
    with pytest.raises(TransientError, match=r"datong\.db"):
        store.open()
    store.close()


def test_a_store_that_cannot_be_reached_says_where_without_the_password():
    store = Store("postgresql://u:s3cret@127.0.0.1:1/hub", "coffee")
    with pytest.raises(TransientError) as caught:
        store.open()
    assert "127.0.0.1" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    store.close()


def test_a_store_on_postgresql_does_not_depend_on_the_defaults_of_its_database(postgresql_db):
    hostile = {
        "default_transaction_isolation": "'serializable'",
        "default_transaction_read_only": "on",
        "client_encoding": "'LATIN1'",
        "statement_timeout": "'200ms'",
        "standard_conforming_strings": "off",
        "search_path": "kept",  # where the tables are is the operator's to say
    }
    # A session of before, which has none of it.
    with postgresql_db.connect() as connection:
        connection.execute("CREATE SCHEMA kept")
        for name, value in hostile.items():
            connection.execute(f"ALTER DATABASE {postgresql_db.name} SET {name} = {value}".encode())
        store = Store(postgresql_db.url(), "coffee")
        store.open()
        try:
            store.save_applied("会员\\'", [applied(5, 1)])
            assert store.applied("会员\\'") == {"a": applied(5, 1)}
        finally:
            store.close()
        tables = (
            "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        assert connection.execute(tables).fetchall() == [("kept",)]
