"""Who is one person, and who decides it: rules of the configuration, numbers bound later, recycled ones, an operator's word."""

import sqlite3
from contextlib import closing

import pytest

from tests.shops import Shop, rows_of
from tests.waiting import await_that


@pytest.fixture
def cards(make_world):
    """Three channels that keep their own members and share their orders: nobody's row is made in another channel."""
    made = Shop(make_world("mysql_db", "postgresql_db", "mariadb_db", table=False))
    entity = made.world.extra["entities"]["member"]
    entity["identity"] = {
        "by": ["openid", "phone", "email"], "scope": {"openid": "app"}, "block": ["138 0013 8000"], "max_rows": 3,
    }  # fmt: skip
    entity["fields"] |= {"email": {"type": "text"}, "app": {"type": "text"}}
    made.world.extra["store"] = {"url": f"sqlite:///{made.world.folder}/store.db", "key": "s" * 32}
    for name in made.world.channels:
        mapping = made.world.extra["mappings"][f"{name}.members"]
        mapping["direction"] = "capture"
        mapping["columns"] |= {"mail": "email", "app": "app"}
    made.world.start()
    return made


def test_who_is_one_person_by_rule_by_binding_and_by_decision(cards):
    """One world for several steps: starting one takes longer than all of them."""
    shop = cards

    # Known by a phone in two channels, by an openid in the third: their orders wait where they have no row.
    one = shop.member("a", mobile="13812345678")
    theirs = shop.member("c", mobile="+86 138 1234 5678")
    other = shop.member("b", wx="o1", app="mini")
    shop.order("a", "A1", one)
    shop.order("b", "B1", other)
    await_that(lambda: shop.parked() == {"a": 1, "b": 1, "c": 1}, timeout=30, message=lambda: f"{shop.parked()}")
    shop["b"].execute("UPDATE orders SET amount = 2 WHERE order_no = 'B1'")
    # The phone is bound: from here on they are one, everywhere, and nobody was asked.
    with shop["b"].transaction() as cursor:
        cursor.execute("UPDATE members SET mobile = '13812345678' WHERE id = %s", (other,))
        cursor.execute("UPDATE orders SET amount = 3 WHERE order_no = 'B1'")
    shop.order("b", "B2", other)
    shop.order("c", "C1", theirs)

    def orders_of(name):
        return dict(shop[name].execute("SELECT order_no, member_id FROM orders"))

    for name, local in (("a", one), ("b", other), ("c", theirs)):
        expected = dict.fromkeys(("A1", "B1", "B2", "C1"), local)
        await_that(lambda n=name, e=expected: orders_of(n) == e, timeout=30,
                   message=lambda n=name: f"{orders_of(n)} {shop.parked()} {shop.world.log()[-3000:]}")  # fmt: skip
        assert shop[name].execute("SELECT amount FROM orders WHERE order_no = 'B1'") in (((3,),), [(3,)])
    await_that(lambda: shop.parked() == {"a": 0, "b": 0, "c": 0}, message=lambda: f"{shop.parked()}")

    # Rules of the configuration.
    apart = shop.member("b", wx="o1", app="official")  # an openid means something within its app only
    for name in "ab":
        shop.member(name, mobile="13800138000")
    shop.member("a", mail="Li@Example.CN")
    shop.member("b", mail=" li@example.cn ")
    for name in "abc":
        shop.member(name, mail="test@shop.cn")
    await_that(lambda: len(shop.rows_of("test@shop.cn")) == 3, timeout=60, interval=0.2)
    shop.member("a", mail="test@shop.cn")
    shop.member("b", mail="test@shop.cn")
    for name in "ab":
        shop.member(name, mobile="13900000009")  # the last of each channel
    await_that(lambda: len(shop.rows_of("13900000009")) == 2, timeout=60, interval=0.2)
    (person,) = shop.show("13812345678")
    assert shop.rows_of("13812345678") == {("a", str(one)), ("b", str(other)), ("c", str(theirs))}
    (elsewhere,) = [p for p in shop.show("o1") if p["oneid"] != person["oneid"]]
    assert rows_of(elsewhere) == {("b", str(apart))}
    assert shop.show("13800138000") == [], "blocked"
    assert {channel for channel, _ in shop.rows_of("LI@example.cn")} == {"a", "b"}
    assert shop.show("test@shop.cn") == [], "too many rows came with it"
    assert shop.questions() == []

    # A number that another person has now: a question, and each keeps what is his.
    old = shop.member("a", wx="o5", app="mini", mobile="13700000001")
    await_that(lambda: shop.rows_of("o5"), interval=0.2)
    new = shop.member("b", wx="o6", app="mini", mobile="13700000001")
    shop.order("b", "B9", new)
    (question,) = await_that(shop.questions, timeout=30, interval=0.2, message="a question")
    assert question["kind"] == "contradiction"
    assert "13700000001" not in str(question)
    assert "o5" not in str(question["other"]["identifiers"]), "masked"
    before, after = question["other"]["oneid"], question["one"]["oneid"]
    assert rows_of(question["other"]) == {("a", str(old))}
    assert rows_of(question["one"]) == {("b", str(new))}
    await_that(lambda: shop.parked()["a"] == 1, message=lambda: f"{shop.parked()}")

    split = shop.decide("split", after, before, "--to", after)
    assert shop.questions() == []
    assert [p["oneid"] for p in shop.show("13700000001")] == [after]
    shop.decide("undo", split)
    assert [p["oneid"] for p in shop.show("13700000001")] == [before]

    # The operator says that they are one: no channel has a row for both, so what waited for the one is the other's.
    merged = shop.decide("merge", after, before, "--keep", before)
    await_that(lambda: orders_of("a").get("B9") == old, timeout=30, message=lambda: f"{orders_of('a')} {shop.parked()}")
    (person,) = shop.show("13700000001")
    assert rows_of(person) == {("a", str(old)), ("b", str(new))}
    await_that(lambda: shop.parked()["a"] == 0, timeout=30, message=lambda: f"{shop.parked()}")
    shop.decide("undo", merged)
    shop.order("b", "B10", new)
    await_that(lambda: shop.parked()["a"] == 1, timeout=30, message=lambda: f"{shop.parked()}")
    for words, is_shown in ((("13700000001",), False), (("13700000001", "--reveal"), True)):
        assert ("+8613700000001" in shop.command("identity", "show", *words)) is is_shown
    with closing(sqlite3.connect(shop.world.folder / "store.db")) as store:
        revealed = store.execute("SELECT subject FROM datong_audit WHERE what = 'identity reveal'").fetchall()
    assert revealed == [(f"oneid:{before}",)]
    assert orders_of("a")["B9"] == old, "what had been written stays where it was"
    assert "13700000001" not in shop.world.all_logs()
    held = b"".join(file.read_bytes() for file in shop.world.folder.glob("store.db*"))
    assert b"datong_identifier" in held
    for canary in (b"13700000001", b"13812345678", b"example.cn"):
        assert canary not in held
