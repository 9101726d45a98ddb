"""Causes before effects, each source in its order, transactions whole."""

import random

import pytest

from cdc.apply.delivery import Delivery
from cdc.model import Change, Entry, Layout

LAYOUT = Layout("m", "member", ("nickname",))


def entry(channel, order, *, first=0, end=1, last=True, seen=None, changes=1):
    rows = tuple(Change(0, "insert", first + i, (f"{channel}{order}.{first + i}",), ("x",)) for i in range(changes))
    return Entry(channel, order, first, end, last, 1_000 * order, order, "t", seen or {}, {}, (LAYOUT,), rows)


def delivery(target="c", sources=("a", "b"), max_rows=100):
    return Delivery(target, dict.fromkeys(sources, 0), max_rows)


def ids(entries):
    return [(e.channel, e.order, e.end) for e in entries]


def test_entries_of_one_source_keep_their_order():
    held = delivery()
    held.add("a", [(entry("a", n), 10) for n in (1, 2, 3)])
    assert ids(held.take()) == [("a", 1, 1), ("a", 2, 1), ("a", 3, 1)]


def test_an_effect_waits_for_its_cause():
    held = delivery()
    held.add("b", [(entry("b", 5, seen={"a": 7}), 10)])
    assert held.take() == []
    assert held.waits_for() == "b at 5 waits for a up to 7"
    held.add("a", [(entry("a", 7), 10)])
    assert ids(held.take()) == [("a", 7, 1), ("b", 5, 1)]


def test_what_the_target_itself_did_is_no_cause_to_wait_for():
    held = delivery(target="c")
    held.add("a", [(entry("a", 1, seen={"c": 99}), 10)])
    assert ids(held.take()) == [("a", 1, 1)]


def test_a_channel_that_is_no_source_any_more_holds_nobody_back():
    held = delivery()
    held.add("a", [(entry("a", 1, seen={"gone": 99}), 10)])
    assert len(held.take()) == 1


def test_parts_of_a_transaction_wait_for_the_last_one():
    held = delivery()
    held.add("a", [(entry("a", 1, first=0, end=5, last=False, changes=5), 10)])
    assert held.take() == []
    held.add("a", [(entry("a", 1, first=5, end=9, last=True, changes=4), 10)])
    assert ids(held.take()) == [("a", 1, 5), ("a", 1, 9)]


def test_a_transaction_above_the_bound_comes_in_pieces():
    held = delivery(max_rows=10)
    held.add("a", [(entry("a", 1, first=0, end=12, last=False, changes=12), 10)])
    assert ids(held.take()) == [("a", 1, 12)]


def test_a_cause_counts_only_when_all_of_it_was_delivered():
    held = delivery(max_rows=10)
    held.add("a", [(entry("a", 7, first=0, end=12, last=False, changes=12), 10)])
    held.add("b", [(entry("b", 1, seen={"a": 7}), 10)])
    assert ids(held.take()) == [("a", 7, 12)]
    assert held.take() == []
    held.add("a", [(entry("a", 7, first=12, end=13), 10)])
    assert ids(held.take()) == [("a", 7, 13), ("b", 1, 1)]


def test_a_batch_does_not_cut_a_transaction_that_fits_the_next_one():
    held = delivery(max_rows=10)
    held.add("a", [(entry("a", 1, end=8, changes=8), 10), (entry("a", 2, end=8, changes=8), 10)])
    assert ids(held.take()) == [("a", 1, 8)]
    assert ids(held.take()) == [("a", 2, 8)]


def test_a_backlog_of_one_source_does_not_starve_the_other():
    held = delivery(max_rows=10)
    held.add("a", [(entry("a", n, end=10, changes=10), 10) for n in range(1, 6)])
    held.add("b", [(entry("b", 1, end=10, changes=10), 10)])
    first, second = held.take(), held.take()
    assert {e.channel for e in first + second} == {"a", "b"}


def test_a_source_that_holds_enough_is_not_read_further():
    held = delivery(max_rows=10)
    held.add("a", [(entry("a", 1, end=10, changes=10), 10)])
    assert held.hungry() == ["b"]


def test_heartbeats_move_what_is_folded():
    held = delivery()
    held.add("a", [(entry("a", 9, end=0, changes=0), 10)])
    held.add("b", [(entry("b", 1, seen={"a": 8}), 10)])
    assert ids(held.take()) == [("a", 9, 0), ("b", 1, 1)]
    assert held.waiting_since() is None


def test_a_heartbeat_says_nothing_of_a_transaction_at_its_own_place():
    """The next transaction may start exactly where the log was idle."""
    held = delivery(max_rows=100)
    held.add(
        "a",
        [
            (entry("a", 10, end=60, changes=60), 10),
            (entry("a", 20, end=0, changes=0), 10),
            (entry("a", 20, end=50, changes=50), 10),
        ],
    )
    held.add("b", [(entry("b", 1, seen={"a": 20}), 10)])
    assert [i for i in ids(held.take()) if i[0] == "b"] == []
    assert ids(held.take()) == [("a", 20, 50), ("b", 1, 1)]


@pytest.mark.parametrize("seed", range(30))
def test_any_interleaving_of_streams_is_delivered_once_whole_and_causally(seed):
    rng = random.Random(seed)
    print("seed", seed)
    sources = ("a", "b", "d")
    seen: dict[str, dict[str, int]] = {s: {} for s in sources}
    streams: dict[str, list[Entry]] = {s: [] for s in sources}
    for order in range(1, 60):
        source = rng.choice(sources)
        for other in sources:
            if other != source and streams[other] and rng.random() < 0.4:
                seen[source][other] = max(seen[source].get(other, 0), streams[other][-1].order)
        rows = rng.randrange(1, 25)
        cuts = sorted({rows, *(rng.randrange(1, rows + 1) for _ in range(rng.randrange(3)))})
        first = 0
        for end in cuts:
            streams[source].append(
                entry(
                    source, order, first=first, end=end, last=end == rows, seen=dict(seen[source]), changes=end - first
                )
            )
            first = end
    held = Delivery("c", dict.fromkeys(sources, 0), 10)
    pending = {s: list(streams[s]) for s in sources}
    delivered: list[Entry] = []
    while any(pending.values()) or held.holds():
        for source in sources:
            for _ in range(rng.randrange(3)):
                if pending[source]:
                    held.add(source, [(pending[source].pop(0), 10)])
        delivered += held.take()
    folded = dict.fromkeys(sources, 0)
    for e in delivered:
        assert all(folded[s] >= o for s, o in e.seen.items())
        folded[e.channel] = e.order if e.last else e.order - 1
    for source in sources:
        assert [e for e in delivered if e.channel == source] == streams[source]
