"""What arrived, told by rows alone: in order, with its latency, and never more than the rows can prove."""

from dataclasses import replace

import pytest

from cdc.demo.arrivals import STALE_SECONDS, Arrivals
from cdc.demo.business import Key, SideName, Step, Stock, Thing, key_of
from cdc.demo.expectation import Row, key_value, row
from cdc.demo.record import Committed, Record

SEED = Stock("W-LATTE-000", 10)


@pytest.fixture
def arrivals() -> Arrivals:
    record = Record()
    record.seed([SEED])
    return Arrivals(record)


def _commit(arrivals: Arrivals, before: Thing | None, after: Thing | None, side: SideName = "website") -> Committed:
    key = key_of(before or after or SEED)
    (committed,) = arrivals.record.commit(side, (Step(key, before, after),))
    arrivals.expect(committed)
    return committed


def _rows(side: SideName, *things: Thing) -> dict[str, Row]:
    return {key_value(side, key_of(it)): row(side, it) for it in things}


def _keys(arrivals: Arrivals, side: SideName) -> list[Key]:
    return [key for _, keys in arrivals.wanted(side) for key in keys]


def test_a_change_arrives_once_on_each_other_side(arrivals: Arrivals) -> None:
    after = replace(SEED, quantity=11)
    committed = _commit(arrivals, SEED, after)
    assert _keys(arrivals, "website") == []
    others: tuple[SideName, ...] = ("miniapp", "crm")
    for side in others:
        assert arrivals.saw(side, _keys(arrivals, side), _rows(side, SEED), committed.at + 1) == []
        (arrival,) = arrivals.saw(side, _keys(arrivals, side), _rows(side, after), committed.at + 2)
        assert (arrival.source, arrival.target) == ("website", side)
        assert arrival.seconds == pytest.approx(2)
        assert _keys(arrivals, side) == []
    assert arrivals.count() == 0


def test_a_later_state_proves_the_earlier_changes_too(arrivals: Arrivals) -> None:
    eleven, twelve = replace(SEED, quantity=11), replace(SEED, quantity=12)
    _commit(arrivals, SEED, eleven)
    last = _commit(arrivals, eleven, twelve)
    assert len(arrivals.saw("crm", _keys(arrivals, "crm"), _rows("crm", twelve), last.at)) == 2


def test_an_earlier_state_proves_no_later_change(arrivals: Arrivals) -> None:
    eleven, twelve = replace(SEED, quantity=11), replace(SEED, quantity=12)
    first = _commit(arrivals, SEED, eleven)
    _commit(arrivals, eleven, twelve)
    assert len(arrivals.saw("crm", _keys(arrivals, "crm"), _rows("crm", eleven), first.at)) == 1
    assert arrivals.saw("crm", _keys(arrivals, "crm"), _rows("crm", eleven), first.at) == []
    assert len(arrivals.saw("crm", _keys(arrivals, "crm"), _rows("crm", twelve), first.at)) == 1


def test_made_and_removed_again_looks_like_nothing_and_counts_as_nothing(arrivals: Arrivals) -> None:
    new = Stock("W-NEW", 1)
    _commit(arrivals, None, new)
    last = _commit(arrivals, new, None)
    assert arrivals.saw("crm", _keys(arrivals, "crm"), {}, last.at) == []
    assert arrivals.oldest(last.at + 5) == pytest.approx(5, abs=0.5)
    assert arrivals.stale("crm", last.at + 1) == []
    assert arrivals.stale("crm", last.at + STALE_SECONDS + 1) == [("website", key_of(new))]
    arrivals.settle("crm", key_of(new))
    assert _keys(arrivals, "crm") == []


def test_a_row_that_nobody_wrote_proves_nothing(arrivals: Arrivals) -> None:
    after = replace(SEED, quantity=11)
    committed = _commit(arrivals, SEED, after)
    strange = _rows("crm", replace(SEED, quantity=999))
    assert arrivals.saw("crm", _keys(arrivals, "crm"), strange, committed.at) == []
    assert arrivals.count() == 2
