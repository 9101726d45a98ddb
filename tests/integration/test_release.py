"""Who is given up: a target that stands still while the source's log grows, and nobody else."""

from __future__ import annotations

import time

import pytest

from cdc.capture import release
from cdc.capture.release import BEHIND_SECONDS, STILL_SECONDS, Release, ReleaseOptions
from cdc.model import ProgressRow
from cdc.store import Applied, Store

DAY = 86_400.0
NEWEST = (9, 1)
LIMIT = 1000


class Clock:
    """Both clocks of this process, moved by hand."""

    def __init__(self):
        self.now = time.time()

    def time(self):
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(release, "time", clock)
    monkeypatch.setattr("cdc.store.time", clock)
    return clock


@pytest.fixture
def store(tmp_path, clock):
    store = Store(f"sqlite:///{tmp_path}/hub.db", "coffee")
    store.open()
    moves(store, 5)
    yield store
    store.close()


@pytest.fixture
def detached(store, clock):
    """`detached(bytes, after)`: which targets are given up at a look `after` seconds later."""
    options = ReleaseOptions("a", frozenset({"x"}), LIMIT, 2 * DAY, lambda _point: None)
    made = Release(options, store, None, None)

    def look(retained, after=BEHIND_SECONDS):
        clock.now += after
        return made._detached(NEWEST, retained)

    return look


def moves(store, order):
    store.save_applied("x", [Applied(ProgressRow("a", order, 1, True, 1), (order, 1))])


def test_a_target_that_had_nothing_to_do_for_days_is_not_given_up_for_the_first_change_after_them(detached, store):
    assert detached(0, after=9 * DAY) == frozenset()
    assert detached(LIMIT + 1) == frozenset()
    moves(store, 9)
    assert detached(LIMIT + 1, after=DAY) == frozenset()


def test_a_target_that_stands_still_while_the_log_grows_is_given_up(detached):
    assert detached(LIMIT + 1) == frozenset()
    assert detached(LIMIT + 1, after=STILL_SECONDS - 1) == frozenset()
    assert detached(LIMIT, after=BEHIND_SECONDS) == frozenset(), "not more than it may"
    assert detached(LIMIT + 1) == {"x"}
    assert detached(0) == {"x"}, "for good"


def test_a_target_that_is_behind_but_moves_is_not_given_up(detached, store):
    for order in (6, 7, 8):
        assert detached(LIMIT + 1, after=STILL_SECONDS - 1) == frozenset()
        moves(store, order)


def test_a_target_that_stands_still_for_as_long_as_it_may_is_given_up_whatever_the_log_keeps(detached):
    assert detached(0) == frozenset()
    assert detached(0, after=2 * DAY - 1) == frozenset()
    assert detached(0, after=BEHIND_SECONDS) == {"x"}
