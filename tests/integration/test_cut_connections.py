"""The line to a target breaks, or falls silent for a while, after any number of bytes: nothing is lost, nothing is written twice (I1, I4).

Counters show it: with `merge: sum` what is applied twice is in the sum. The seed is printed; `make soak` runs the long form.
"""

from __future__ import annotations

import random
import time

import pytest

KEYS = 20
FIELDS = {"id": {"type": "integer"}, "v": {"type": "integer", "merge": "sum"}, "note": {"type": "text"}}
SIZES = (
    300,
    3_000,
    30_000,
)  # bytes, at most, before the line breaks: within a connection's beginning, a statement, a batch


def break_the_line(world, tcp_proxy, seconds, least):
    """Counters are changed at a while the line to b breaks, for so long and so often; what b holds has to be what a holds each time."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    a, b = world["a"], world["b"]
    world.fields = FIELDS
    world.mappings = {"a.t": {"direction": "capture"}, "b.t": {"direction": "apply"}}
    proxy = tcp_proxy("127.0.0.1", b.port)
    b.port = proxy.port
    for channel in (a, b):
        channel.create_table(columns="v INT, note TEXT")
        channel.execute("INSERT INTO t VALUES " + ", ".join(f"({key}, 0, '')" for key in range(KEYS)))
    world.start()
    until = time.monotonic() + seconds
    number = KEYS
    while time.monotonic() < until or (proxy.cuts < least and time.monotonic() < until + 90):
        if not proxy.will_cut:
            proxy.cut_after(dice.randrange(dice.choice(SIZES)), gently=dice.random() < 0.5)
        for _ in range(dice.randint(1, 3)):
            with a.transaction() as cursor:
                for _ in range(dice.randint(1, 30)):
                    number += 1
                    note = "x" * dice.choice((3, 300, 3000))
                    cursor.execute(
                        f"UPDATE t SET v = v + {dice.randint(1, 9)}, note = '{note}{number}' WHERE id = {dice.randrange(KEYS)}"
                    )
                cursor.execute(f"INSERT INTO t VALUES ({number}, 7, 'new')")
        if dice.random() < 0.2:
            proxy.freeze()
            time.sleep(0.2)  # the fault itself: a silence, long enough for a batch to be under way
            proxy.thaw()
        world.await_equal(timeout=60)
    assert proxy.cuts >= least
    world.await_nothing_parked()


PAIRS = [("mariadb_db", "postgresql_db"), ("postgresql_db", "mysql_db")]
MORE_PAIRS = [*PAIRS, ("postgresql_db", "mariadb_db")]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_line_that_breaks_anywhere_loses_nothing_and_repeats_nothing(make_world, tcp_proxy, source, target):
    world = make_world(source, target, table=False)
    break_the_line(world, tcp_proxy, seconds=4, least=3)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("source", "target"), MORE_PAIRS)
def test_a_line_that_breaks_for_minutes_loses_nothing_and_repeats_nothing(make_world, tcp_proxy, source, target):
    world = make_world(source, target, table=False)
    break_the_line(world, tcp_proxy, seconds=120, least=40)
