"""People whose rows refer to themselves, move, go and come again, and what refers to them meanwhile."""

from tests.shops import Shop
from tests.waiting import await_that


def test_references_of_every_shape_follow_their_people(shops):
    """One world for several steps: starting one takes longer than all of them."""
    # Somebody who invited himself, in one statement and in one transaction.
    shops["b"].execute("INSERT INTO members (id, nick, inviter_id) VALUES (2500, 'self', 2500)")
    with shops["a"].transaction() as cursor:
        cursor.execute("INSERT INTO members (nick) VALUES ('too')")
        cursor.execute("UPDATE members SET inviter_id = %s WHERE id = %s", (cursor.lastrowid, cursor.lastrowid))
    expected = {"self": (None, None, "self"), "too": (None, None, "too")}
    shops.await_people(expected)

    # An order changes hands, and belongs to nobody in the end.
    one = shops.member("a", mobile="13800000001", nick="one")
    two = shops.member("a", mobile="13800000002", nick="two", inviter_id=one)
    shops.order("a", "A1", one)
    shops.order("a", "A2", None)
    expected |= {"one": ("13800000001", None, None), "two": ("13800000002", None, "one")}
    shops.await_people(expected)
    shops.await_orders({"A1": ("one", 1), "A2": (None, 1)})
    shops["a"].execute("UPDATE orders SET member_id = %s WHERE order_no = 'A1'", two)
    shops["c"].execute(
        "UPDATE orders SET member_id = (SELECT id FROM members WHERE nick = 'one') WHERE order_no = 'A2'"
    )
    shops.await_orders({"A1": ("two", 1), "A2": ("one", 1)})
    shops["b"].execute("UPDATE orders SET member_id = NULL WHERE order_no = 'A2'")
    shops.await_orders({"A1": ("two", 1), "A2": (None, 1)})

    # A member gets another number in its own channel: the same person, whatever else changes with it.
    shops["a"].execute("UPDATE members SET id = 1900 WHERE id = %s", one)
    shops.order("a", "A3", 1900)
    shops["a"].execute("UPDATE members SET id = 1901, nick = 'uno' WHERE id = 1900")
    shops["a"].execute("UPDATE orders SET member_id = 1901 WHERE order_no = 'A3'")
    shops["a"].execute("UPDATE members SET inviter_id = 1901 WHERE id = %s", two)
    del expected["one"]
    expected |= {"uno": ("13800000001", None, None), "two": ("13800000002", None, "uno")}
    shops.await_people(expected)
    shops.await_orders({"A1": ("two", 1), "A2": (None, 1), "A3": ("uno", 1)})
    shops["c"].execute("UPDATE members SET nick = 'eins' WHERE nick = 'uno'")
    expected["eins"] = expected.pop("uno")
    expected["two"] = ("13800000002", None, "eins")
    shops.await_people(expected)
    assert shops["a"].execute("SELECT id FROM members WHERE nick = 'eins'") == ((1901,),)

    # Deleted in one channel, created again in another: the same person, under a new key everywhere.
    shops["c"].execute("UPDATE members SET inviter_id = NULL WHERE nick = 'two'")
    shops["a"].execute("DELETE FROM orders WHERE order_no = 'A3'")
    shops["a"].execute("DELETE FROM members WHERE id = 1901")
    del expected["eins"]
    expected["two"] = ("13800000002", None, None)
    shops.await_people(expected)
    again = shops.member("b", mobile="13800000001", nick="again")
    shops.order("b", "B1", again)
    expected["again"] = ("13800000001", None, None)
    shops.await_people(expected)
    shops.await_orders({"A1": ("two", 1), "A2": (None, 1), "B1": ("again", 1)})
    await_that(lambda: shops.parked() == {"a": 0, "b": 0, "c": 0}, message=lambda: f"{shops.parked()}")
    assert shops.questions() == []


def test_an_order_waits_for_its_member_through_restarts_and_changes_of_it(make_world):
    """Its member is there before the service, in one channel; the other learns of it last."""
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    old = shop.member("a", mobile="13800000009", nick="old")
    phone = shop.member("a", mobile="13800000008", nick="phone")
    openid = shop.member("b", wx="o8", nick="openid")
    shop.world.start()
    shop.order("a", "A0", old)
    await_that(lambda: shop.parked()["b"] == 1, timeout=30, message=lambda: f"parked {shop.parked()}")
    assert shop.world.stop() == 0
    shop["a"].execute("UPDATE orders SET amount = 7 WHERE order_no = 'A0'")
    shop["a"].execute("UPDATE members SET nick = 'older' WHERE id = %s", old)
    shop.world.start()
    await_that(lambda: shop.parked()["b"] == 3, timeout=30, message=lambda: f"parked {shop.parked()}")
    shop.world.kill()
    shop.world.start()
    shop.member("b", mobile="+86 138 0000 0009", nick="older")
    shop.await_orders({"A0": ("older", 7)}, timeout=60)
    await_that(lambda: shop.parked()["b"] == 0)

    # Two who are there before the service, each in one channel, turn out to be one: what waited for that goes first.
    shop["b"].execute("UPDATE members SET nick = 'first' WHERE id = %s", openid)
    shop.order("a", "A8", phone)
    await_that(lambda: shop.parked() == {"a": 1, "b": 1}, timeout=30, message=lambda: f"parked {shop.parked()}")
    shop["b"].execute("UPDATE members SET nick = 'second', mobile = '13800000008' WHERE id = %s", openid)
    await_that(
        lambda: shop.parked()["a"] == 0 and "second" in shop.people("a"),
        timeout=30,
        message=lambda: str(shop.people("a")),
    )
    shop.await_orders({"A0": ("older", 7), "A8": ("second", 1)})
    assert len(shop.people("a")) == len(shop.people("b")) == 2
    assert shop.questions() == []
