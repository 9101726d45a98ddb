"""The hub store under OneID: caches that may be wrong, what its files hold, older versions, and many captures at once."""

import multiprocessing
import os
import random
import signal
import sqlite3
import stat

import pytest

from cdc.errors import HaltError, TransientError
from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.identity.words import Row, Sighting
from tests.identity_hub import NORMAL, Hub


def test_another_process_s_merge_is_seen_by_warm_caches(hub, redis_address):
    hub.redis = redis_address
    one, other = hub.sees("website", 1, openid="o1"), hub.sees("miniapp", 2, openid="o2")
    hub.sees("miniapp", 2, openid="o2")
    elsewhere = Hub(hub.url)
    elsewhere.decide("merge", one, other, one)
    elsewhere.registry.close()
    assert hub.sees("miniapp", 2, openid="o2") == one


def test_a_redis_that_says_something_else_is_never_believed_across_generations(hub, redis_address, redis_db):
    hub.redis = redis_address
    people = [hub.sees("website", n, phone=f"139{n:08d}") for n in range(50)]
    assert [hub.sees("website", n, phone=f"139{n:08d}") for n in range(50)] == people
    hub.capture("website", fresh=True)
    with redis_db.server.connect() as client:
        assert hub.sees("website", 1, phone="13900000001") == people[1]
        client.select(redis_db.number)
        client.flushdb()
    hub.capture("website", fresh=True)
    assert [hub.sees("website", n, phone=f"139{n:08d}") for n in range(50)] == people


def test_identifiers_are_sealed_with_a_key_and_another_key_is_refused(tmp_path):
    path = tmp_path / "hub" / "datong.db"
    hub = Hub(f"sqlite:///{path}", key="s" * 32)
    person = hub.sees("website", 4711, phone="13812345678", openid="oSecret")
    assert hub.directory("website").keys([person]) == {person: (4711,)}
    hub.registry.keep_moves("website", 1, [("website.orders", "member_id", b'["order-4712"]')] * 2)
    assert hub.registry.moves("website", 1) == [("website.orders", "member_id", b'["order-4712"]')]
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"datong.db", "datong.db-wal", "datong.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    held = b"".join(file.read_bytes() for file in files)
    hub.registry.close()
    for canary in (b"13812345678", b"oSecret", b"4711", b"order-4712"):
        assert canary not in held
    for key in (None, "t" * 32):
        with pytest.raises(HaltError, match="STORE_KEY_CHANGED"):
            Registry(f"sqlite:///{path}", "coffee", key).open()


def test_a_store_of_the_version_before_is_taken_up(tmp_path):
    url = f"sqlite:///{tmp_path}/datong.db"
    hub = Hub(url)
    person = hub.sees("website", 1, phone="13812345678")
    hub.registry.close()
    with sqlite3.connect(tmp_path / "datong.db") as connection:
        connection.execute("ALTER TABLE datong_person DROP COLUMN told")
        connection.execute("ALTER TABLE datong_identity_link DROP COLUMN yields")
        connection.execute("UPDATE datong_identity_state SET schema_version = 1")
    again = Hub(url)
    assert again.sees("website", 1, phone="13812345678") == person
    assert again.sees("crm", 1, phone="13812345678", begun=True, told=("phone",)) == person
    again.registry.close()


def test_a_store_that_cannot_be_reached_stops_and_nobody_is_guessed(tmp_path):
    hub = Hub(f"sqlite:///{tmp_path}/datong.db")
    hub.sees("website", 1, phone="13812345678")
    hub.registry.close()
    with sqlite3.connect(tmp_path / "datong.db") as connection:
        connection.execute("ALTER TABLE datong_identity_link RENAME TO gone")
    with pytest.raises(TransientError, match="hub store"):
        hub.sees("website", 2, phone="13812345678")


def test_a_thousand_people_seen_first_by_three_captures_at_once_are_a_thousand(hub):
    seed, count = random.randrange(10**6), 1000
    print("seed", seed)
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(4), context.Queue()
    channels = ("website", "miniapp", "crm")
    processes = [
        context.Process(target=_captures_by_phone, args=(hub.url, c, seed, count, barrier, found)) for c in channels
    ]
    for process in processes:
        process.start()
    barrier.wait()
    answers, ended = {}, 0
    while ended < len(channels):
        got = found.get(timeout=60)
        ended += got is None
        answers.update(got or ())
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    for n in range(count):
        assert len({answers[f"{c}{n}"] for c in channels}) == 1, f"person {n}"
    assert len(set(answers.values())) == count
    assert hub.count("datong_person") == hub.count("datong_identifier") == count
    assert hub.count("datong_identity_link") == 3 * count
    assert hub.questions() == []


def _resolved(resolver, batch):
    """As a role does: where SQLite's lock was not to be had in time, the next session tries again."""
    while True:
        try:
            return resolver.resolve(batch)
        except TransientError as error:
            assert "locked" in str(error), error


def _captures_by_phone(url, channel, seed, count, barrier, found, die_after=None):
    registry = Registry(url, "coffee", None)
    resolver = Resolver(registry, channel, cache_size=200)
    order = list(range(count))
    random.Random(f"{seed}{channel}").shuffle(order)
    barrier.wait()
    for start in range(0, count, 50):
        batch = [
            Sighting(Row("member", (f"{channel}{n}",)), NORMAL.identifiers((None, f"139{n:08d}", None)), (start + 1, at))
            for at, n in enumerate(order[start : start + 50])
        ]  # fmt: skip
        people = _resolved(resolver, batch)
        if die_after is not None and start >= die_after:
            os.kill(os.getpid(), signal.SIGKILL)  # decided, and never told
        found.put([(s.row.local[0], p) for s, p in zip(batch, people, strict=True)])
    found.put(None)
    found.close()
    found.join_thread()
    registry.close()


def test_a_capture_killed_between_the_hub_store_and_publishing_finds_the_same_people(hub):
    context = multiprocessing.get_context("spawn")
    for die_after, expected in ((200, -signal.SIGKILL), (None, 0)):
        barrier, found = context.Barrier(2), context.Queue()
        process = context.Process(
            target=_captures_by_phone, args=(hub.url, "website", 1, 500, barrier, found, die_after)
        )
        process.start()
        barrier.wait()
        answers = {}
        if die_after is None:
            while (got := found.get(timeout=30)) is not None:
                answers.update(got)
        process.join(30)
        assert process.exitcode == expected
    assert len(set(answers.values())) == 500
    assert hub.count("datong_person") == 500
    assert hub.questions() == []
