"""Leaving out a transaction: what progress has passed is refused, what was begun is finished, parts are counted once."""

from __future__ import annotations

import pytest

from cdc.apply.skips import Skipped, Skips
from cdc.model import Entry
from cdc.store import Store
from sinks.contract import Progress


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/store.db", "coffee")
    store.open()
    yield store
    store.close()


def at(order: int, end: int = 1, *, complete: bool = True) -> dict[str, Progress]:
    return {"a": Progress(order, end, complete=complete, hlc=0)}


def part(order: int, first: int, end: int, *, last: bool) -> Skipped:
    return Skipped(Entry("a", order, first, end, last, 0, 0, "0-1-7", {}, {}, (), ()), ("b.t",), end - first)


def asked(store: Store, order: int = 7, source: str = "a") -> Skips:
    store.skips.request("b", source, order, "cli me", "0-1-7")
    return Skips(store, "b")


def record(store: Store):
    (only,) = store.skips.all()
    return only


def test_parts_are_left_out_one_after_the_other_and_counted_once_through_a_crash(store):
    skips = asked(store)
    skips.look(at(6))
    assert ("a", 7) in skips and ("a", 6) not in skips and ("b", 7) not in skips
    skips.begin([part(7, 0, 100, last=False)])
    assert record(store).state == "skipping"
    assert skips.done([part(7, 0, 100, last=False)]) == 0

    again = Skips(store, "b")  # after a crash before the next part's progress
    again.look(at(7, 100, complete=False))
    assert ("a", 7) in again
    again.begin([part(7, 50, 100, last=False), part(7, 100, 130, last=True)])
    assert again.done([part(7, 100, 130, last=True)]) == 1
    done = record(store)
    assert (done.state, done.changes, done.mappings, done.transaction, done.who) == (
        "done",
        130,
        ("b.t",),
        "0-1-7",
        "cli me",
    )
    (line,) = [line for line in store.audit_trail() if line["what"] == "transaction skipped"]
    assert line["subject"] == "b a 7"
    assert line["after"] == "transaction 0-1-7: 130 changes of b.t"
    assert line["before"] == "asked for by cli me"


def test_a_crash_after_the_commit_and_before_the_record_is_finished_without_leaving_out_anything_else(store):
    skips = asked(store)
    skips.look(at(6))
    skips.begin([part(7, 0, 3, last=True)])
    again = Skips(store, "b")
    again.look(at(7, 3))
    assert not again
    assert (record(store).state, record(store).changes) == ("done", 3)


@pytest.mark.parametrize(
    ("passed", "why"),
    [
        (at(7, 3), "it was applied before"),
        (at(9, 1), "it was applied before, or there is no such transaction"),
        (at(9, 0), "it was applied before, or there is no such transaction"),
        (at(7, 3, complete=False), "it is applied in part"),
        ({"c": Progress(1, 1, complete=True, hlc=0)}, "b takes nothing from a"),
    ],
)
def test_what_cannot_be_left_out_whole_is_refused_and_on_record(store, passed, why):
    skips = asked(store)
    skips.look(passed)
    assert not skips
    refused = record(store)
    assert refused.state == "refused" and refused.outcome.startswith(why)
    assert [line["what"] for line in store.audit_trail()] == ["skip refused"]


def test_a_heartbeat_at_the_very_place_has_not_passed_it(store):
    skips = asked(store)
    skips.look(at(7, 0))
    assert ("a", 7) in skips


def test_what_was_refused_may_be_asked_for_again_and_what_is_done_is_not(store):
    asked(store).look(at(9))
    assert store.skips.request("b", "a", 7, "cli you", "").state == "requested"
    skips = Skips(store, "b")
    skips.look(at(6))
    skips.begin([part(7, 0, 1, last=True)])
    skips.done([part(7, 0, 1, last=True)])
    assert store.skips.request("b", "a", 7, "cli you", "").state == "done"
    store.forget_channel("a")
    assert store.skips.all() == []
