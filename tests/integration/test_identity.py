"""OneID in the hub store, SQLite and PostgreSQL: one person is one OneID, whoever asks first, and never by a guess."""

import itertools
import multiprocessing
import os
import random
import signal
import sqlite3
import stat

import pytest

from cdc.errors import HaltError, TransientError
from cdc.identity.caches import RedisCache
from cdc.identity.directory import Directory, MadeLink
from cdc.identity.identifiers import Normaliser, e164
from cdc.identity.merging import IdentityRefusedError, Merging
from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.identity.words import Row, Sighting
from cdc.redis_connection import RedisAddress
from transforms.specs import IdentitySpec

RULE = IdentitySpec(("openid", "phone", "email"))
NORMAL = Normaliser(RULE)


class Hub:
    """A hub store and the captures of some channels."""

    def __init__(self, url, key=None, redis=None):
        self.url, self.key, self.redis = url, key, redis
        self.registry = Registry(url, "coffee", key)
        self.registry.open()
        self._captures = {}
        self._places = itertools.count(1)

    def capture(self, channel, max_rows=None, fresh=False):
        if fresh or channel not in self._captures:
            cache = RedisCache(self.redis, "coffee", 1000) if self.redis else None
            self._captures[channel] = Resolver(
                self.registry, channel, cache_size=100, redis=cache, max_rows={"member": max_rows}
            )
        return self._captures[channel]

    def sees(self, channel, local, *, openid=None, phone=None, email=None, at=None, max_rows=None, **more):
        at = next(self._places) if at is None else at
        sighting = Sighting(Row("member", (local,)), NORMAL.identifiers((openid, phone, email)), (at, 0), **more)
        (person,) = self.capture(channel, max_rows).resolve([sighting])
        return person

    def decide(self, what, *arguments):
        with self.registry.deciding() as deciding:
            return getattr(Merging(deciding, "coffee", "tester"), what)(*arguments)

    def directory(self, channel):
        return Directory(self.registry, channel, cache_size=100)

    def canonical(self, people):
        with self.registry.reading() as rows:
            return rows.merged(people)

    def questions(self):
        with self.registry.reading() as rows:
            sql = "SELECT kind, one, other FROM datong_identity_question WHERE deployment = ? AND decision IS NULL ORDER BY id"
            return [tuple(row) for row in rows.all(sql, "coffee")]

    def count(self, table):
        with self.registry.reading() as rows:
            return rows.one(f"SELECT COUNT(*) FROM {table} WHERE deployment = ?", "coffee")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hub/datong.db"
    return request.getfixturevalue("postgresql_db").url()


@pytest.fixture
def hub(url):
    made = Hub(url)
    yield made
    made.registry.close()


@pytest.fixture
def redis_address(redis_db):
    server = redis_db.server
    password = getattr(server, "password", "") or ""
    return RedisAddress(f"redis://{server.admin_user}:{password}@127.0.0.1:{server.port}/{redis_db.number}")


def test_one_phone_in_three_channels_is_one_person(hub):
    first = hub.sees("website", 1, phone="13812345678")
    assert hub.sees("miniapp", "u-7", phone="+86 138 1234 5678") == first
    assert hub.sees("crm", 1, phone="0086 13812345678") == first
    assert hub.sees("website", 2, phone="13912345678") != first


def test_the_same_local_key_in_two_channels_is_two_people(hub):
    assert hub.sees("website", 7, phone="13812345678") != hub.sees("crm", 7, phone="13912345678")
    assert hub.sees("website", 7, phone="13812345678") != hub.sees("crm", 7, phone="13912345678")


def test_a_row_without_any_identifier_is_a_person_of_its_own(hub):
    one, other = hub.sees("website", 1), hub.sees("website", 2)
    assert one != other
    assert hub.sees("website", 1) == one


def test_binding_a_phone_that_nobody_has_is_found_by_it_later(hub):
    person = hub.sees("miniapp", 1, openid="o1")
    assert hub.sees("miniapp", 1, openid="o1", phone="13812345678") == person
    assert hub.sees("website", 9, phone="13812345678") == person


def test_binding_a_known_phone_makes_one_person_where_no_channel_has_two_rows(hub):
    known = hub.sees("website", 9, phone="13812345678")
    other = hub.sees("miniapp", 1, openid="o1")
    assert other != known
    assert hub.sees("miniapp", 1, openid="o1", phone="13812345678") == known
    assert hub.questions() == []
    assert hub.canonical([other]) == {other: known}
    assert hub.directory("miniapp").keys([known, other]) == {known: (1,), other: (1,)}
    assert hub.directory("website").references([known, other]) == {known: (9,), other: (9,)}
    assert hub.sees("crm", 3, openid="o1") == known, "its openid went along"


def test_binding_a_known_phone_is_a_question_where_a_channel_has_two_rows(hub):
    known = hub.sees("website", 9, phone="13812345678")
    hub.sees("website", 10, openid="o1")
    other = hub.sees("miniapp", 1, openid="o1")
    assert hub.sees("miniapp", 1, openid="o1", phone="13812345678") == other
    assert hub.questions() == [("two_people", other, known)]


def test_a_recycled_number_is_a_question_and_not_a_merge(hub):
    first = hub.sees("website", 1, openid="o1", phone="13812345678")
    second = hub.sees("miniapp", 5, openid="o2", phone="13812345678")
    assert second != first
    assert hub.questions() == [("contradiction", second, first)]
    hub.sees("miniapp", 5, openid="o2", phone="13812345678", email="a@b.cn")
    assert len(hub.questions()) == 1, "asked once"


def test_a_number_that_its_owner_gave_up_is_free(hub):
    first = hub.sees("website", 1, openid="o1", phone="13812345678")
    assert hub.sees("website", 1, openid="o1", phone="13900000001") == first
    second = hub.sees("website", 2, openid="o2", phone="13812345678")
    assert second != first
    assert hub.questions() == []
    assert hub.sees("crm", 1, phone="13812345678") == second


def test_two_rows_of_one_channel_with_one_phone_are_a_question(hub):
    first, second = hub.sees("website", 1, phone="13812345678"), hub.sees("website", 2, phone="13812345678")
    assert first != second
    assert hub.questions() == [("two_rows", second, first)]


def test_an_identifier_of_too_many_rows_identifies_nobody(hub):
    people = {hub.sees("website", n, phone="13800138000", max_rows=3) for n in range(8)}
    assert len(people) == 8
    assert len(hub.questions()) == 2, "rows 2 and 3; from the fourth on the number says nothing"


def test_a_member_deleted_and_created_again_is_the_same_person(hub):
    person = hub.sees("website", 1, phone="13812345678")
    assert hub.sees("website", 1, phone="13812345678", ended=True) == person
    assert hub.sees("website", 2, phone="13812345678", begun=True) == person
    assert hub.questions() == []
    assert hub.directory("website").keys([person]) == {person: (2,)}


def test_a_key_that_is_used_again_is_another_person(hub):
    person = hub.sees("website", 1, phone="13812345678")
    hub.sees("website", 1, phone="13812345678", ended=True)
    other = hub.sees("website", 1, phone="13912345678", begun=True)
    assert other != person
    assert hub.sees("website", 1, phone="13912345678") == other


def test_what_is_read_again_after_a_crash_changes_nothing(hub):
    """The log is published again from the safe cut: the same rows are the same people, and there is no new question."""
    history = [
        ("website", 1, {"phone": "13812345678", "openid": "o1"}),
        ("website", 1, {"phone": "13900000001", "openid": "o1"}),
        ("website", 2, {"phone": "13812345678", "openid": "o2"}),
        ("website", 2, {"phone": "13812345678", "openid": "o2", "ended": True}),
        ("website", 3, {"phone": "13812345678", "openid": "o2", "begun": True}),
    ]
    first = [hub.sees(c, local, at=at, **shows) for at, (c, local, shows) in enumerate(history, 1)]
    counts = [hub.count(t) for t in ("datong_person", "datong_identifier", "datong_identity_link")]
    hub.capture("website", fresh=True)
    again = [hub.sees(c, local, at=at, **shows) for at, (c, local, shows) in enumerate(history, 1)]
    assert again == first
    assert hub.questions() == []
    assert [hub.count(t) for t in ("datong_person", "datong_identifier", "datong_identity_link")] == counts


def test_what_is_read_again_of_a_key_that_was_used_again_is_still_about_whom_it_was(hub):
    history = [
        (1, {"phone": "13800000001", "begun": True}),
        (1, {"phone": "13800000001", "ended": True}),
        (1, {"phone": "13800000002", "begun": True}),
        (2, {"begun": True}),  # nothing identifies these
        (2, {"ended": True}),
        (2, {"begun": True}),
        (2, {"ended": True}),
        (2, {"begun": True}),
    ]
    first = [hub.sees("website", local, at=at, **shows) for at, (local, shows) in enumerate(history, 1)]
    assert first == [1, 1, 2, 3, 3, 4, 4, 5]
    for _ in range(2):
        hub.capture("website", fresh=True)
        assert [hub.sees("website", local, at=at, **shows) for at, (local, shows) in enumerate(history, 1)] == first
    hub.registry.drop_tombstones("website", 6)
    assert hub.count("datong_identity_past") == 1
    hub.decide("forget", 4, {"website": 9})
    assert hub.count("datong_identity_past") == 0


def test_one_batch_decides_as_many_small_ones_do(hub, tmp_path):
    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    sightings = []
    for at in range(1, 400):
        local = dice.randrange(40)
        values = (f"o{dice.randrange(30)}" if dice.random() < 0.5 else None, f"139{dice.randrange(40):08d}" if dice.random() < 0.8 else None, None)  # fmt: skip
        sightings.append(
            Sighting(Row("member", (local,)), NORMAL.identifiers(values), (at, 0), ended=dice.random() < 0.1)
        )
    whole = hub.capture("website").resolve(sightings)
    other = Hub(f"sqlite:///{tmp_path}/other.db")
    one_by_one = [other.capture("website").resolve([s])[0] for s in sightings]
    # A join in the batch renames earlier answers of it: compare who is who in the end.
    final = hub.canonical([p for p in whole if p])
    final_other = other.canonical([p for p in one_by_one if p])
    assert [final.get(p, p) for p in whole] == [final_other.get(p, p) for p in one_by_one]
    assert len(hub.questions()) == len(other.questions())
    other.registry.close()


def test_merge_moves_identifiers_and_is_undone_exactly(hub):
    one = hub.sees("website", 1, openid="o1", phone="13812345678")
    other = hub.sees("website", 2, openid="o2")
    event = hub.decide("merge", one, other, one)
    assert hub.sees("website", 2, openid="o2") == other, "two rows of one channel go on as two rows"
    assert hub.directory("website").references([other]) == {other: (1,)}, "references follow"
    assert hub.sees("crm", 5, openid="o2") == one
    with pytest.raises(IdentityRefusedError, match="merged into"):
        hub.decide("merge", one, other, one)
    assert hub.registry.merge_of(one, other) == event.seq
    hub.decide("undo", event.seq)
    assert hub.registry.merge_of(one, other) is None
    assert hub.directory("website").references([other]) == {other: (2,)}
    assert hub.sees("miniapp", 1, openid="o2") == other
    with pytest.raises(IdentityRefusedError, match="no decision"):
        hub.decide("undo", event.seq)


def test_a_merge_closes_its_question_and_a_split_gives_the_number_away(hub):
    first = hub.sees("website", 1, openid="o1", phone="13812345678")
    second = hub.sees("miniapp", 5, openid="o2", phone="13812345678")
    event = hub.decide("merge", first, second, first)
    assert hub.questions() == []
    assert hub.sees("miniapp", 5, openid="o2", phone="13812345678") == first, (
        "no channel has two rows: one row, one OneID"
    )
    hub.decide("undo", event.seq)
    assert hub.questions() == [("contradiction", second, first)]
    assert hub.sees("miniapp", 5, openid="o2", phone="13812345678", email="x@y.cn") == second
    hub.decide("split", first, second, second)
    assert hub.questions() == []
    assert hub.sees("crm", 1, phone="13812345678") == second


def test_a_split_of_merged_people_undoes_the_merge(hub):
    one, other = hub.sees("website", 1, openid="o1"), hub.sees("website", 2, openid="o2")
    hub.decide("merge", one, other, other)
    assert hub.decide("split", one, other, None).kind == "undo"
    assert hub.sees("crm", 1, openid="o1") == one


def test_who_is_forgotten_stays_so_for_what_was_committed_before(hub):
    person = hub.sees("website", 1, phone="13812345678", at=10)
    hub.sees("crm", 4, phone="13812345678", at=10)
    hub.decide("forget", person, {"website": 20, "crm": 15})
    assert hub.count("datong_identifier") == hub.count("datong_identity_link") == hub.count("datong_person") == 0
    assert hub.sees("website", 1, phone="13812345678", at=20) is None, "late"
    assert hub.sees("crm", 9, phone="13812345678", at=15) is None, "late, in a row that was not known"
    again = hub.sees("website", 1, phone="13812345678", at=21)
    assert again not in (None, person), "the person may come again"
    assert hub.sees("crm", 4, phone="13812345678", at=16) == again


def test_people_who_were_created_are_never_created_again_after_forgetting(hub):
    person = hub.sees("website", 1, phone="13812345678")
    hub.decide("forget", person, {"website": 100})
    assert hub.sees("website", 2, phone="13912345678", at=101) > person


def test_a_forgotten_person_is_in_no_cache_and_no_late_row_links_him_again(hub, redis_address, redis_db):
    hub.redis = redis_address
    person = hub.sees("website", 1, phone="13812345678", at=1)
    hub.sees("website", 1, phone="13812345678", at=2)
    website, resolver = hub.directory("website"), hub.capture("website")
    assert website.keys([person]) == {person: (1,)}
    hub.decide("forget", person, {"website": 5})
    resolver.follow_generation()
    assert len(resolver._cache) == len(resolver._references) == 0
    assert e164.cache_info().currsize == 0
    with redis_db.connect() as client:
        assert client.keys("datong:coffee:identities:*") == []
    assert website.keys([person]) == {}
    assert website.forgotten([person]) == {person}
    assert website.link([MadeLink("member", person, (2,))]) == [], "an applier had not heard of it yet"
    assert website.keys([person]) == {}
    assert hub.count("datong_identity_link") == hub.count("datong_person") == 0


def test_a_tombstone_is_dropped_when_nothing_before_it_can_come_any_more(hub):
    person = hub.sees("website", 1, phone="13812345678", at=10)
    hub.decide("forget", person, {"website": 20, "crm": 20})
    kept = hub.count("datong_identity_tombstone")
    hub.registry.drop_tombstones("website", 20)
    assert hub.count("datong_identity_tombstone") == kept == 3, "a row and a number, in two channels"
    hub.registry.drop_tombstones("website", 21)
    assert hub.count("datong_identity_tombstone") == 1
    assert hub.sees("crm", 5, phone="13812345678", at=20) is None


def test_a_hub_store_that_was_put_back_is_not_taken_for_one_that_forgot(hub):
    person = hub.sees("website", 1, phone="13812345678")
    assert hub.directory("crm").forgotten([person]) == set()
    with pytest.raises(HaltError, match="IDENTITIES_LOST"):
        hub.directory("crm").forgotten([person, person + 1])


def test_who_is_read_from_a_table_for_a_late_change_stays_forgotten_and_for_a_later_one_comes_again(hub):
    person = hub.sees("website", 1, phone="13812345678", at=10)
    hub.decide("forget", person, {"website": 20})
    assert hub.sees("website", 1, phone="13812345678", at=0, read_for=15) is None
    assert hub.sees("website", 1, phone="13812345678", at=0, read_for=21) > person


def test_what_was_told_of_somebody_first_stands_and_later_registrations_yield_to_it(hub):
    """The same whoever is read again, and until a row of that person is deleted."""

    def registered(channel, local, *told, at):
        person = hub.sees(channel, local, phone="13812345678", at=at, begun=True, told=told)
        return person, set(hub.capture(channel).yields.get(0, ()))

    person, yields = registered("website", 1, "phone", "nick", at=1)
    assert yields == set()
    assert registered("miniapp", 1, "phone", "openid", at=1) == (person, {"phone"})
    assert registered("crm", 1, "nick", "openid", "level", at=1) == (person, {"nick", "openid"})
    hub.capture("miniapp", fresh=True)
    assert registered("miniapp", 1, "phone", "openid", at=1) == (person, {"phone"}), "read again"
    hub.sees("miniapp", 1, phone="13812345678", at=2, ended=True)
    assert registered("miniapp", 2, "phone", "openid", at=3) == (person, set())


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


# -- what appliers do


def test_a_row_that_an_applier_made_is_its_person_s(hub):
    person = hub.sees("miniapp", "u1", openid="o1")
    website = hub.directory("website")
    assert website.keys([person]) == {}
    assert website.link([MadeLink("member", person, (501,))]) == []
    assert website.keys([person]) == website.references([person]) == {person: (501,)}
    assert hub.sees("website", 501, phone="13812345678") == person, "its own capture meets the row by its link"
    assert website.link([MadeLink("member", person, (501,))]) == [], "told twice"
    website.unlink([("member", (501,))])
    assert website.keys([person]) == {}
    website.link([MadeLink("member", person, (502,))])
    assert hub.directory("website").keys([person]) == {person: (502,)}


def test_a_link_that_contradicts_is_a_question_and_moves_nothing(hub):
    person, other = hub.sees("miniapp", "u1", openid="o1"), hub.sees("website", 7, phone="13812345678")
    website = hub.directory("website")
    assert [q.kind for q in website.link([MadeLink("member", person, (7,))])] == ["two_people"]
    assert website.keys([person, other]) == {other: (7,)}
    assert [q.kind for q in website.link([MadeLink("member", other, (8,))])] == ["two_rows"]
    assert website.keys([person, other]) == {other: (7,)}
    assert len(hub.questions()) == 2


def test_references_follow_a_merge_and_keys_do_not(hub):
    one, other = hub.sees("website", 1, openid="o1"), hub.sees("website", 2, openid="o2")
    hub.decide("merge", one, other, one)
    website = hub.directory("website")
    assert website.keys([one, other]) == {one: (1,), other: (2,)}
    assert website.references([one, other]) == {one: (1,), other: (1,)}


# -- many processes


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
        people = resolver.resolve(batch)
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
