"""People end to end: every channel keeps its own keys, and what refers to somebody refers to the same one everywhere."""

import json

import pytest

from tests.shops import Shop, tables
from tests.waiting import await_that


def test_a_member_and_an_order_follow_each_other_under_each_channel_s_own_keys(shops):
    """All in one transaction at the source; the keys differ in every channel."""
    with shops["a"].transaction() as cursor:
        cursor.execute("INSERT INTO members (mobile, wx, nick) VALUES ('13812345678', 'o1', 'wang')")
        key = cursor.lastrowid
        cursor.execute("INSERT INTO orders VALUES ('A1', %s, 5)", (key,))
    shops.await_people({"wang": ("13812345678", "o1", None)})
    shops.await_orders({"A1": ("wang", 5)})
    keys = {name: shops[name].execute("SELECT id FROM members")[0][0] for name in "abc"}
    assert keys == {"a": 1001, "b": 2001, "c": 3001}
    # The others' own orders, and changes of the member anywhere.
    shops.order("b", "B1", 2001, 6)
    shops.order("c", "C1", 3001, 7)
    shops["c"].execute("UPDATE members SET nick = 'wang li' WHERE id = 3001")
    shops.await_people({"wang li": ("13812345678", "o1", None)})
    shops.await_orders({"A1": ("wang li", 5), "B1": ("wang li", 6), "C1": ("wang li", 7)})
    await_that(lambda: shops.parked() == {"a": 0, "b": 0, "c": 0}, message=lambda: f"{shops.parked()}")


def test_an_inviter_is_a_reference_to_the_same_entity_and_chains_arrive(shop):
    first = shop.member("a", mobile="13800000001", nick="one")
    second = shop.member("a", mobile="13800000002", nick="two", inviter_id=first)
    shop.member("a", mobile="13800000003", nick="three", inviter_id=second)
    expected = {
        "one": ("13800000001", None, None), "two": ("13800000002", None, "one"), "three": ("13800000003", None, "two"),
    }  # fmt: skip
    shop.await_people(expected)


def test_many_new_people_and_their_orders_in_one_batch(shop):
    """Members and orders alternate; some refer to members of the same transaction."""
    with shop["a"].transaction() as cursor:
        for n in range(300):
            cursor.execute("INSERT INTO members (mobile, nick) VALUES (%s, %s)", (f"139{n:08d}", f"m{n}"))
            cursor.execute("INSERT INTO orders VALUES (%s, %s, %s)", (f"A{n}", cursor.lastrowid, n))
    shop.await_people({f"m{n}": (f"139{n:08d}", None, None) for n in range(300)})
    shop.await_orders({f"A{n}": (f"m{n}", n) for n in range(300)})


def test_a_member_deleted_and_created_again_keeps_its_orders_apart_from_nobody(shop):
    key = shop.member("a", mobile="13812345678", nick="wang")
    shop.await_people({"wang": ("13812345678", None, None)})
    shop["a"].execute("DELETE FROM members WHERE id = %s", key)
    shop.await_people({})
    again = shop.member("a", mobile="13812345678", nick="wang")
    shop.order("a", "A1", again)
    shop.await_people({"wang": ("13812345678", None, None)})
    shop.await_orders({"A1": ("wang", 1)})


def test_the_same_local_ids_in_two_channels_are_different_people(make_world):
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    for name in "ab":
        shop[name].execute("DROP TABLE members")
        shop[name].execute("DROP TABLE orders")
        tables(shop[name], 1)
    shop.world.start()
    with shop["a"].transaction() as one, shop["b"].transaction() as other:
        one.execute("INSERT INTO members (mobile, nick) VALUES ('13800000001', 'ann')")
        other.execute("INSERT INTO members (mobile, nick) VALUES ('13800000002', 'bob')")
    shop.await_people({"ann": ("13800000001", None, None), "bob": ("13800000002", None, None)})
    shop.order("a", "A1", 1)
    shop.order("b", "B1", 1)
    shop.await_orders({"A1": ("ann", 1), "B1": ("bob", 1)})


def test_what_refers_to_somebody_unknown_waits_and_a_merge_moves_it_and_an_undo_moves_it_back(make_world):
    """One world for several steps: starting one takes longer than all of them."""
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    old = shop.member("a", mobile="13800000009", nick="old")  # there before the service: nobody has told the others
    shop.world.start()
    # An order of somebody whom no capture has seen: found in the channel's own table; without a row in the target it waits.
    shop.order("a", "A0", old)
    await_that(lambda: shop.parked()["b"] == 1, timeout=30, message=lambda: f"parked {shop.parked()}")
    (waiting,) = json.loads(shop.world.command("parked", "list", "--json", timeout=90).stdout)
    assert waiting["reason"] == "missing_reference"
    shop.member("b", mobile="+86 138 0000 0009", nick="old")
    shop.await_orders({"A0": ("old", 1)})
    await_that(lambda: shop.parked()["b"] == 0)

    one = shop.member("a", mobile="13800000001", nick="one")
    two = shop.member("a", wx="o2", nick="two")
    shop.order("a", "A1", one)
    shop.order("a", "A2", two)
    shop.await_orders({"A0": ("old", 1), "A1": ("one", 1), "A2": ("two", 1)})
    # Binding a number that is known, while both have rows everywhere: a question, and nobody is merged.
    shop["a"].execute("UPDATE members SET mobile = '13800000001' WHERE id = %s", two)

    (question,) = await_that(shop.questions, timeout=60, message="a question", interval=1)
    assert question["kind"] == "two_people"
    assert "13800000001" not in str(question), "masked"
    first, second = question["other"]["oneid"], question["one"]["oneid"]
    assert shop.orders("b")["A2"] == ("two", 1)

    decided = shop.world.command("identity", "merge", str(first), str(second), "--keep", str(first), timeout=90)
    assert decided.returncode == 0, decided.stderr
    shop.await_orders({"A0": ("old", 1), "A1": ("one", 1), "A2": ("one", 1)})
    status, body = shop.world.get("/api/identities?phone=13800000001")
    assert status == 200, body
    (person,) = json.loads(body)["identities"]
    assert person["oneid"] == first
    assert {(row["channel"], row["oneid"]) for row in person["rows"]} == {(c, p) for c in "ab" for p in (first, second)}
    assert shop.world.get("/api/identities?phone=13800000001", token=None)[0] == 401

    undone = shop.world.command("identity", "undo", decided.stdout.split()[1].rstrip(":"), timeout=90)
    assert undone.returncode == 0, undone.stderr
    shop.await_orders({"A0": ("old", 1), "A1": ("one", 1), "A2": ("two", 1)})

    forgotten = shop.world.command("identity", "forget", "13800000009", "--yes", timeout=90)
    assert forgotten.returncode == 0, forgotten.stderr
    assert shop.world.command("identity", "show", "13800000009", timeout=90).returncode == 1


@pytest.mark.parametrize("point", ["sink.after_commit", "sink.commit_sent"])
def test_a_kill_between_the_commit_and_the_hub_store_loses_no_link(make_world, point):
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    shop.world.start(faults=f"{point}@apply.b=kill", ready=False)
    shop.world.await_ready(90)
    keys = [shop.member("a", mobile=f"138{n:08d}", nick=f"m{n}") for n in range(20)]
    for n, key in enumerate(keys):
        shop.order("a", f"A{n}", key)
    shop.await_people({f"m{n}": (f"138{n:08d}", None, None) for n in range(20)}, timeout=90)
    shop.await_orders({f"A{n}": (f"m{n}", 1) for n in range(20)}, timeout=90)
    # A change of a row that the killed applier made, by its own channel's users.
    shop["b"].execute("UPDATE members SET nick = 'M7' WHERE nick = 'm7'")
    await_that(lambda: "M7" in shop.people("a"), timeout=60, message=lambda: str(shop.people("a")))
    assert len(shop.people("a")) == len(shop.people("b")) == 20


def test_redis_flushed_in_the_middle_makes_nobody_twice(shop):
    for n in range(10):
        shop.order("a", f"A{n}", shop.member("a", mobile=f"136{n:08d}", nick=f"m{n}"))
    shop.await_people({f"m{n}": (f"136{n:08d}", None, None) for n in range(10)}, timeout=60)
    with shop.world.redis.connect() as client:
        client.flushdb()
    for n in range(10, 20):
        shop.order("a", f"A{n}", shop.member("a", mobile=f"136{n:08d}", nick=f"m{n}"))
    shop.await_people({f"m{n}": (f"136{n:08d}", None, None) for n in range(20)}, timeout=90)
    shop.await_orders({f"A{n}": (f"m{n}", 1) for n in range(20)}, timeout=60)
    assert shop.questions() == []


def test_a_row_that_is_there_already_is_found_by_the_columns_of_match(make_world):
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    shop.world.extra["mappings"]["b.members"]["match"] = ["mobile"]
    key = shop.member("b", mobile="13800000009", nick="before")  # no capture has seen it
    shop.world.start()
    shop.order("a", "A1", shop.member("a", mobile="13800000009", nick="now"))
    shop.await_orders({"A1": ("now", 1)}, timeout=60)
    assert [row[0] for row in shop["b"].execute("SELECT id FROM members")] == [key]
