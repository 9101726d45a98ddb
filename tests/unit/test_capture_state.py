"""`seen`, the clock and parked keys move as section 6 of the architecture says, and the same log gives the same states."""

import random

from cdc.capture.state import CaptureState, first_checkpoint
from cdc.model import ApplyRecord, LogPart, ParkedKey, Position, ProgressRow


def state():
    return CaptureState("a", first_checkpoint(Position(1, "start"), "r"))


def record(**orders):
    lines = tuple(ProgressRow(source, order, 3, complete, hlc) for source, (order, complete, hlc) in orders.items())
    return ApplyRecord("coffee", "a", 1, "t" * 32, 5, lines)


def part(order, committed_at, first=0):
    return LogPart(order, first, first + 1, True, committed_at, "", "", Position(order + 1, "p"), [])


def test_an_echo_moves_seen_and_the_clock():
    it = state()
    it.absorb(record(b=(10, True, 500)), ())
    assert it.seen == {"b": 10}
    assert it.stamp(part(2, committed_at=100)) == 501


def test_a_piece_of_a_transaction_is_not_seen_yet():
    it = state()
    it.absorb(record(b=(10, False, 500)), ())
    assert it.seen == {"b": 9}
    it.absorb(record(b=(10, True, 500)), ())
    assert it.seen == {"b": 10}


def test_seen_never_goes_back():
    it = state()
    it.absorb(record(b=(10, True, 500)), ())
    it.absorb(record(b=(4, True, 100)), ())
    assert it.seen == {"b": 10}


def test_the_clock_follows_commit_times_and_never_stands_still():
    it = state()
    assert it.stamp(part(2, 1_000)) == 1_000
    assert it.stamp(part(3, 1_000)) == 1_001
    assert it.stamp(part(4, 900)) == 1_002


def test_all_parts_of_a_transaction_have_one_stamp():
    it = state()
    assert it.stamp(part(2, 1_000)) == it.stamp(part(2, 1_000, first=10))


def test_a_parked_key_keeps_what_was_seen_before_its_transaction():
    it = state()
    it.absorb(record(b=(10, True, 500)), ())
    it.absorb(record(b=(20, True, 600)), (ParkedKey("x", "member", "member/[1]", parked=True),))
    assert {key: seen for key, (_, seen) in it.aside.items()} == {"member/[1]": {"b": 10}}
    it.absorb(record(b=(30, True, 700)), (ParkedKey("y", "member", "member/[1]", parked=True),))
    it.absorb(record(), (ParkedKey("x", "member", "member/[1]", parked=False),))
    assert {key: seen for key, (_, seen) in it.aside.items()} == {"member/[1]": {"b": 10}}
    it.absorb(record(), (ParkedKey("y", "member", "member/[1]", parked=False),))
    assert {key: seen for key, (_, seen) in it.aside.items()} == {}


def test_a_key_parked_in_a_later_part_of_an_echo_had_not_seen_that_echo():
    it = state()
    it.absorb(record(b=(10, True, 500)), ())
    it.absorb(record(b=(20, True, 600)), ())
    it.absorb(None, (ParkedKey("x", "member", "k", parked=True),))
    assert {key: seen for key, (_, seen) in it.aside.items()} == {"k": {"b": 10}}


def test_a_retry_that_fails_leaves_the_key_aside_as_it_was():
    it = state()
    it.absorb(record(b=(10, True, 500)), (ParkedKey("x", "member", "k", parked=True),))
    it.absorb(record(b=(90, True, 600)), ())
    it.absorb(record(), (ParkedKey("x", "member", "k", parked=False), ParkedKey("x", "member", "k", parked=True)))
    assert {key: seen for key, (_, seen) in it.aside.items()} == {"k": {}}


def test_news_of_parked_keys_is_told_once_and_survives_a_restart():
    it = state()
    it.absorb(record(b=(10, True, 500)), (ParkedKey("x", "member", "k", parked=True),))
    again = CaptureState("a", it.checkpoint((5, 1), "r"))
    assert again.take_news() == {"k": {}}
    assert again.take_news() == {}
    again.absorb(record(), (ParkedKey("x", "member", "k", parked=False),))
    assert again.heartbeat(9).aside == {"k": None}


def test_the_same_log_read_again_from_a_checkpoint_gives_the_same_stamps():
    rng = random.Random(5)
    steps = [
        (record(b=(n, True, rng.randrange(10_000))), None)
        if rng.random() < 0.4
        else (None, part(n, rng.randrange(10_000)))
        for n in range(1, 200)
    ]

    def run(it, some):
        stamps = []
        for echo, user in some:
            if echo is not None:
                it.absorb(echo, ())
            else:
                stamps.append((user.order, it.stamp(user), dict(it.seen)))
        return stamps

    whole = run(state(), steps)
    it = state()
    before = run(it, steps[:77])
    again = CaptureState("a", it.checkpoint((5, 1), "r"))
    assert before + run(again, steps[77:]) == whole
