"""The check's verdict on made-up databases: each kind of damage is found, on the side where it shows, and nothing else is."""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from cdc.demo.business import (
    KINDS,
    SIDES,
    Key,
    Kind,
    Level,
    Member,
    Order,
    SideName,
    Status,
    Step,
    Stock,
    Transaction,
    key_of,
)
from cdc.demo.expectation import Row, key_value, row, thing
from cdc.demo.record import Record
from cdc.demo.verdict import Result, balance, differences, percentile
from cdc.demo.workload import Plan, is_canary, marker_of, owner_of, seed_things

Contents = dict[tuple[SideName, Kind], dict[str, Row]]


@pytest.fixture
def record() -> Record:
    record = Record()
    record.seed(seed_things())
    return record


def _contents(record: Record) -> Contents:
    """What the three databases hold after a perfect replication."""
    present = record.present()
    return {
        (side, kind): {key_value(side, key): row(side, it) for key, it in present.items() if key.kind is kind}
        for side in SIDES
        for kind in KINDS
    }


def _of(record: Record, kind: Kind) -> Key:
    return next(key for key in record.present() if key.kind is kind)


def _explained(record: Record) -> dict[tuple[SideName, Kind], int]:
    return {(line.side, line.kind): line.expected for line in balance(record, {})}


def test_equal_sides_have_no_differences(record: Record) -> None:
    assert list(differences(record, _contents(record))) == []


def test_a_missing_row_is_lost(record: Record) -> None:
    contents = _contents(record)
    key = _of(record, Member)
    del contents["crm", Member][key_value("crm", key)]
    (found,) = differences(record, contents)
    assert (found.verdict, found.side, found.table, found.key) == ("lost", "crm", "customers", key.name)


def test_a_row_that_stayed_behind_is_lost(record: Record) -> None:
    contents = _contents(record)
    key = _of(record, Stock)
    before = record.present()[key]
    assert isinstance(before, Stock)
    record.commit("website", (Step(key, before, replace(before, quantity=before.quantity + 1)),))
    found = list(differences(record, contents))
    assert {(it.verdict, it.side) for it in found} == {("lost", side) for side in SIDES}
    assert "quantity" in found[0].what


def test_a_row_that_should_be_gone_is_lost(record: Record) -> None:
    contents = _contents(record)
    key = _of(record, Stock)
    record.commit("miniapp", (Step(key, record.present()[key], None),))
    assert {it.verdict for it in differences(record, contents)} == {"lost"}


def test_a_value_that_never_was_is_diverged(record: Record) -> None:
    contents = _contents(record)
    key = _of(record, Member)
    held = contents["miniapp", Member][key_value("miniapp", key)]
    contents["miniapp", Member][key_value("miniapp", key)] = (*held[:3], -17, *held[4:])
    (found,) = differences(record, contents)
    assert (found.verdict, found.side) == ("diverged", "miniapp")
    assert found.what == "has a points that nobody wrote"


def test_a_row_that_never_was_is_diverged(record: Record) -> None:
    contents = _contents(record)
    contents["website", Stock]["W-NOBODY"] = ("W-NOBODY", 1)
    (found,) = differences(record, contents)
    assert (found.verdict, found.key) == ("diverged", "W-NOBODY")


def test_a_moved_key_leaves_nothing_behind(record: Record) -> None:
    key = _of(record, Member)
    before = record.present()[key]
    assert isinstance(before, Member)
    stale = _contents(record)
    record.commit("website", (Step(key, before, replace(before, mobile="13999999999")),))
    assert list(differences(record, _contents(record))) == []
    assert sorted(it.what for it in differences(record, stale) if it.side == "crm") == [
        "the row is missing",
        "the row was deleted and is still there",
    ]


def test_each_change_is_explained_once_in_every_log(record: Record) -> None:
    key = _of(record, Stock)
    before = record.present()[key]
    record.commit("crm", (Step(key, before, None),))
    record.commit("crm", (Step(key, None, before),))
    assert {key: count for key, count in _explained(record).items() if count} == {(side, Stock): 2 for side in SIDES}


def test_an_update_to_equal_values_is_in_the_log_of_postgresql_alone(record: Record) -> None:
    key = _of(record, Stock)
    same = Step(key, record.present()[key], record.present()[key])
    for side in SIDES:
        record.commit(side, (same,))
    assert {key: count for key, count in _explained(record).items() if count} == {("miniapp", Stock): 1}


def test_events_beyond_what_is_explained_are_excess(record: Record) -> None:
    counted = {**_explained(record), ("crm", Member): 3}
    (line,) = [line for line in balance(record, counted) if line.excess or line.deficit]
    assert (line.side, line.excess, line.deficit) == ("crm", 3, 0)


def test_changes_of_one_row_may_arrive_as_one_but_never_vanish_from_their_own_log(record: Record) -> None:
    key = _of(record, Stock)
    state = record.present()[key]
    record.commit("crm", (Step(key, state, None),))
    record.commit("crm", (Step(key, None, state),))
    assert not [line for line in balance(record, {**_explained(record), ("miniapp", Stock): 1}) if line.deficit]
    (line,) = [line for line in balance(record, {**_explained(record), ("crm", Stock): 1}) if line.deficit]
    assert (line.side, line.deficit) == ("crm", 1)


@pytest.mark.parametrize("wrong", ["loops", "lost", "diverged", "parked", "unlogged", "misidentified", "disturbed"])
def test_any_count_above_zero_is_a_failure(wrong: str) -> None:
    good = Result(1, transactions=5, rows_applied=10, identities=3, references_translated=6, error=None)
    assert good.document()["ok"] is True
    setattr(good, wrong, 1)
    assert good.document()["ok"] is False


def test_a_run_that_did_nothing_or_did_not_end_is_a_failure() -> None:
    assert not Result(1, error=None).ok
    assert not Result(1, transactions=5, rows_applied=10).ok


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 99) == 3.0
    assert percentile([float(n) for n in range(1, 101)], 50) == 50.0
    assert percentile([float(n) for n in range(1, 101)], 99) == 99.0


# -- the independent conversion


def test_what_each_system_writes_down() -> None:
    joined = dt.datetime(2025, 6, 18, 20, 5, 6, 123_000, tzinfo=dt.UTC)
    member = Member("13800000000", "咖啡☕", next(iter(Level)), 7, None, joined)
    assert row("website", member) == ("138-0000-0000", "咖啡☕", 0, 7, None, dt.datetime(2025, 6, 19, 4, 5, 6, 123_000))  # noqa: DTZ001
    assert row("miniapp", member) == ("+8613800000000", "咖啡☕", "basic", 7, None, joined)
    assert row("crm", member) == ("+86 138 0000 0000", "咖啡☕", "B", 7, None, 1_750_277_106_123)
    order = Order("W1", "13800000000", Status.PAID, -1905, None)
    assert row("website", order) == ("W1", "138-0000-0000", "已支付", "-19.05元", None)
    assert row("miniapp", order) == ("W1", "+8613800000000", 1, -1905, None)
    assert row("crm", order) == ("W1", "+86 138 0000 0000", "PAID", Decimal("-19.05"), None)


@pytest.mark.parametrize("side", SIDES)
def test_reading_a_row_back_gives_the_thing(side: SideName) -> None:
    plan = Plan(side, random.Random(5))
    for transaction in plan.script():
        plan.done(transaction)
    for it in plan.things.values():
        assert thing(side, type(it), row(side, it)) == it


# -- the workload


@pytest.mark.parametrize("seed", range(5))
def test_no_two_sides_ever_touch_one_key(seed: int) -> None:
    for side in SIDES:
        for transaction in _workload(side, seed):
            assert {owner_of(step.key) for step in transaction} == {side}


@pytest.mark.parametrize("side", SIDES)
def test_a_workload_can_be_committed_as_it_says(side: SideName) -> None:
    """Every insert is of a row that is not there, every update and delete of one that is, as it was."""
    held = {key_of(it): it for it in seed_things()}
    for transaction in _workload(side, 7):
        for step in transaction:
            assert held.pop(step.key, None) == step.before
            if step.after is not None:
                assert key_of(step.after) not in held
                held[key_of(step.after)] = step.after


def test_the_same_seed_makes_the_same_workload() -> None:
    assert list(_workload("crm", 3)) == list(_workload("crm", 3))
    assert list(_workload("crm", 3)) != list(_workload("crm", 4))


def test_canary_and_marker_are_left_alone() -> None:
    transactions = list(_workload("website", 11))
    assert is_canary(transactions[0][0].after or pytest.fail("no canary"))
    touched = {step.key for transaction in transactions[1:] for step in transaction}
    assert transactions[0][0].key not in touched
    assert marker_of("website") not in touched
    assert marker_of("website") in {key_of(it) for it in seed_things()}


def _workload(side: SideName, seed: int) -> Iterator[Transaction]:
    plan = Plan(side, random.Random(seed))
    for transaction in plan.script():
        plan.done(transaction)
        yield transaction
    for _ in range(300):
        transaction = plan.anything()
        plan.done(transaction)
        yield transaction
