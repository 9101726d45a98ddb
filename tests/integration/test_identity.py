"""OneID in the hub store, SQLite and PostgreSQL: one person is one OneID, whoever asks first, and never by a guess."""

import random

import pytest

from cdc.errors import HaltError
from cdc.identity.directory import MadeLink
from cdc.identity.identifiers import e164
from cdc.identity.merging import IdentityRefusedError
from cdc.identity.words import Row, Sighting
from tests.identity_hub import NORMAL, Hub


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
