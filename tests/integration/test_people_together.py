"""People of whom every channel has a row: registered in several at once, made one by an operator, forgotten."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress

import psycopg
import pymysql
import pytest
from pymysql.constants import ER

from tests.shops import Shop
from tests.waiting import await_that


@pytest.fixture
def shops(make_world):
    """A phone is unique in every channel, as the tables of people have it."""
    made = Shop(make_world("mysql_db", "postgresql_db", "mariadb_db", table=False))
    for channel in made.world.channels.values():
        channel.execute("CREATE UNIQUE INDEX members_mobile ON members (mobile)")
    made.world.start()
    return made


def register(shop, name, count, together):
    """Everybody registers in this channel in the same moment as in the others; who is there already is turned away."""
    with shop[name].database.connect() as connection, connection.cursor() as cursor:
        for n in range(count):
            wx = f"o{n}" if name == "c" else None  # of those who register there, one channel knows more than the others
            together.wait(30)
            with suppress(psycopg.errors.UniqueViolation, pymysql.err.IntegrityError):
                while not inserted(cursor, (f"139{n:08d}", f"{name}{n}", wx)):
                    pass


def inserted(cursor, values):
    """Whether; a server may choose it, or the service's own transaction, to break a deadlock of the two."""
    try:
        cursor.execute("INSERT INTO members (mobile, nick, wx) VALUES (%s, %s, %s)", values)
    except psycopg.errors.DeadlockDetected:
        return False
    except pymysql.err.OperationalError as error:
        if error.args[0] != ER.LOCK_DEADLOCK:
            raise
        return False
    return True


def test_people_of_whom_every_channel_has_a_row(shops):
    """One world for several steps: starting one takes longer than all of them."""
    registered_in_three_channels_at_once(shops)
    made_one_by_an_operator(shops)
    forgotten(shops)


def registered_in_three_channels_at_once(shops):
    """One OneID each, one row in each channel, and equal ones: what was told first stands, the others fill in what it left out."""
    count, together = 200, threading.Barrier(3)
    pool = ThreadPoolExecutor(3)
    registered, hanging = wait([pool.submit(register, shops, name, count, together) for name in "abc"], timeout=90)
    pool.shutdown(wait=False)
    assert not hanging
    assert [one.exception() for one in registered] == [None] * 3

    def rows(name):
        return sorted(shops[name].execute("SELECT mobile, nick, wx FROM members"))

    def differing():
        return [(name, len(rows(name)), sorted(set(rows(name)) - set(rows("a")), key=str)[:5]) for name in "abc"]

    await_that(
        lambda: len(rows("a")) == count and rows("a") == rows("b") == rows("c"),
        timeout=40, message=lambda: f"{differing()} {shops.parked()} {shops.world.log()[-5000:]}",
    )  # fmt: skip
    await_that(lambda: shops.parked() == {"a": 0, "b": 0, "c": 0}, message=lambda: f"{shops.parked()}")
    with closing(sqlite3.connect(shops.world.folder / "store.db", timeout=20)) as store:

        def known():  # the hub store is told after the commit
            counting = (
                "SELECT (SELECT COUNT(*) FROM datong_person), (SELECT COUNT(*) FROM datong_identity_link WHERE live)"
            )
            return store.execute(counting).fetchone()

        await_that(lambda: known() == (count, 3 * count), message=lambda: f"{known()}")
    assert shops.questions() == []
    # Nothing is on its way any more that may bring somebody back.
    for name in "abc":
        shops.order(name, f"Z{name}", None)
    shops.await_orders({f"Z{name}": (None, 1) for name in "abc"})
    shops["a"].execute("DELETE FROM orders")
    shops["a"].execute("DELETE FROM members")
    shops.await_orders({})
    await_that(lambda: not any(rows(name) for name in "abc"), timeout=30, message=lambda: f"{differing()}")


def made_one_by_an_operator(shops):
    """Both rows stay, in every channel; identifiers are the kept one's, references follow, and an undo takes all of it back."""
    one = shops.member("a", mobile="13800000001", wx="x1", nick="one")
    two = shops.member("a", mobile="13800000002", nick="two", inviter_id=one)
    shops.member("a", mobile="13800000003", nick="three", inviter_id=two)
    people = {
        "one": ("13800000001", "x1", None), "two": ("13800000002", None, "one"), "three": ("13800000003", None, "two"),
    }  # fmt: skip
    shops.await_people(people)

    def local(name, nick):
        return shops[name].execute("SELECT id FROM members WHERE nick = %s", nick)[0][0]

    shops.order("a", "M1", one)
    shops.order("b", "M2", local("b", "two"))
    orders = {"M1": ("one", 1), "M2": ("two", 1)}
    shops.await_orders(orders)
    kept, gone = (shops.show(phone)[0]["oneid"] for phone in ("13800000001", "13800000002"))
    # An openid that is known is bound, while both have rows everywhere: nobody is merged by that.
    shops["b"].execute("UPDATE members SET wx = 'x1' WHERE nick = 'two'")
    (question,) = await_that(shops.questions, timeout=30, message="a question")
    assert (question["one"]["oneid"], question["other"]["oneid"]) == (gone, kept)
    people["two"] = ("13800000002", "x1", "one")
    shops.await_people(people)
    assert shops.orders("c")["M2"] == ("two", 1)
    merged = shops.decide("merge", kept, gone, "--keep", kept)
    shops.await_orders({"M1": ("one", 1), "M2": ("one", 1)})
    shops.await_people(people | {"three": ("13800000003", None, "one")})
    # Two rows, still replicated as two; a new order of either is the kept one's in the other channels.
    shops["c"].execute("UPDATE members SET nick = 'too' WHERE nick = 'two'")
    shops.order("c", "M3", local("c", "too"))
    await_that(lambda: [shops.orders(n).get("M3") for n in "abc"] == [("one", 1), ("one", 1), ("too", 1)],
               timeout=30, message=lambda: str([shops.orders(n) for n in "abc"]))  # fmt: skip
    assert {p["oneid"] for phone in ("13800000001", "13800000002") for p in shops.show(phone)} == {kept}
    assert len(shops.rows_of("13800000002")) == 6
    shops["b"].execute("INSERT INTO members (nick, inviter_id) VALUES ('four', %s)", local("b", "too"))
    await_that(lambda: [shops.people(n).get("four") for n in "ab"] == [(None, None, "one"), (None, None, "too")])
    shops.decide("undo", merged)
    shops.await_orders({"M1": ("one", 1), "M2": ("too", 1), "M3": ("too", 1)})
    people["too"] = people.pop("two")
    shops.await_people(people | {"three": ("13800000003", None, "too"), "four": (None, None, "too")})
    assert [p["oneid"] for p in shops.show("13800000002")] == [gone]
    assert [question["id"] for question in shops.questions()] == [question["id"]], "open again"
    shops.decide("split", kept, gone)
    assert shops.questions() == []
    with closing(sqlite3.connect(shops.world.folder / "store.db")) as store:
        audited = store.execute(
            "SELECT what, subject FROM datong_audit WHERE what LIKE 'identity %' ORDER BY id"
        ).fetchall()
    both = f"oneid:{kept} oneid:{gone}"
    assert audited == [("identity merge", both), ("identity undo", both), ("identity split", both)]


def forgotten(shops):
    """What was committed before brings nobody back, wherever it has got to; what comes after does."""
    shops["a"].execute("DELETE FROM orders")
    shops["a"].execute("DELETE FROM members")
    person = shops.member("a", mobile="13800000031", nick="somebody")
    shops.await_people({"somebody": ("13800000031", None, None)})
    shops.await_orders({})
    (known,) = shops.show("13800000031")
    for what in (("a", "capture"), ("c", "apply")):
        shops.command("pause", *what)
        shops.world.await_state(*what, "paused")
    shops["a"].execute("UPDATE members SET nick = 'late' WHERE id = %s", person)  # not captured yet
    shops.order("a", "F1", person)
    shops["b"].execute("UPDATE members SET nick = 'too late'")  # captured, and not applied in c yet
    shops.order("b", "F2", shops["b"].execute("SELECT id FROM members")[0][0])
    await_that(lambda: shops.orders("a").get("F2"), timeout=30)
    shops.decide("forget", "13800000031", "--yes")
    with shops.world.redis.connect() as client:
        names = client.keys(f"datong:{shops.world.deployment}:identities:*")
        # At once: a while later the captures drop it too. None keeps anything new: they do before they publish, and F2 was awaited.
        assert sum(client.hlen(name) for name in names) == 0
    for what in (("a", "capture"), ("c", "apply")):
        shops.command("resume", *what)
    await_that(lambda: shops.parked() == {"a": 0, "b": 1, "c": 2}, timeout=30, message=lambda: f"{shops.parked()}")
    waiting = json.loads(shops.command("parked", "list", "--json"))
    assert {(row["channel"], row["reason"]) for row in waiting} == {("b", "refused"), ("c", "refused")}
    assert shops.show("13800000031") == []
    assert shops.show(f"oneid:{known['oneid']}") == []
    with closing(sqlite3.connect(shops.world.folder / "store.db")) as store:
        assert store.execute(
            "SELECT COUNT(*) FROM datong_identity_link WHERE person = ?", (known["oneid"],)
        ).fetchone() == (0,)
    assert set(shops.people("c")) == {"somebody"}, "nothing of it was written"

    shops["a"].execute("UPDATE members SET nick = 'back' WHERE id = %s", person)
    (again,) = await_that(
        lambda: shops.show("13800000031"),
        timeout=30,
        message=lambda: f"somebody comes again {shops.world.log()[-6000:]}",
    )
    assert again["oneid"] > known["oneid"]
    shops.order("a", "F3", person)
    # In another channel, too, by what is changed there: what waits for it follows.
    shops["b"].execute("UPDATE members SET nick = 'here'")
    await_that(lambda: shops.orders("b").get("F3", ("?",))[0] in ("back", "here"), timeout=30,
               message=lambda: f"{shops.orders('b')} {shops.parked()} {shops.world.log()[-3000:]}")  # fmt: skip
    assert {row["channel"] for row in shops.show("13800000031")[0]["rows"]} == {"a", "b"}
