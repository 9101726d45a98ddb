"""People at the edges: no identifier, one phone twice, rows that are somebody else's, what waits for one thing after another."""

import re
import sqlite3

import pytest

from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.identity.words import Row, Sighting
from tests.shops import Shop
from tests.waiting import await_that


@pytest.fixture
def shop(make_world):
    """In b a phone is unique, a row may belong to another brand, and an order needs a shop of its number."""
    made = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    made["b"].execute("ALTER TABLE members ADD brand VARCHAR(8) NOT NULL DEFAULT 'tea'")
    made["b"].execute("CREATE UNIQUE INDEX members_mobile ON members (mobile)")
    made["b"].execute("CREATE TABLE stores (id INT PRIMARY KEY)")
    made["b"].execute("INSERT INTO stores VALUES (1)")
    made["b"].execute("ALTER TABLE orders ADD FOREIGN KEY (amount) REFERENCES stores")
    made.world.extra["mappings"]["b.members"]["where"] = {"brand": "coffee"}
    return made


def test_people_at_the_edges(shop):
    """One world for several steps: starting one takes longer than all of them."""
    old = shop.member("a", mobile="13800000009", nick="old")  # there before the service: nobody has told b
    shop["b"].execute("INSERT INTO members (mobile, nick) VALUES ('13800000008', 'tea drinker')")
    shop.world.start()
    waits_for_a_person_and_then_for_another_row(shop, old)
    is_the_same_person_under_another_key(shop)
    is_never_somebody_else_s_row(shop)


def reasons(shop):
    return sorted(shop["b"].execute("SELECT mapping, reason FROM datong_parked"))


def waits_for_a_person_and_then_for_another_row(shop, old):
    shop.order("a", "A1", old, 2)
    await_that(lambda: reasons(shop) == [("b.orders", "missing_reference")], timeout=30)
    shop["b"].execute("INSERT INTO members (mobile, nick, brand) VALUES ('13800000009', 'old', 'coffee')")
    await_that(lambda: reasons(shop) == [("b.orders", "foreign_key")], timeout=30, message=lambda: str(reasons(shop)))
    shop["b"].execute("INSERT INTO stores VALUES (2)")
    await_that(lambda: shop.orders("b") == {"A1": ("old", 2)}, timeout=30, message=lambda: str(reasons(shop)))
    assert reasons(shop) == []


def is_the_same_person_under_another_key(shop):
    """Whether anything identifies it or not."""
    shop.member("a", nick="nobody")
    await_that(lambda: "nobody" in shop.people("b"), timeout=30)
    shop["a"].execute("UPDATE members SET id = 777 WHERE nick = 'nobody'")
    shop["a"].execute("UPDATE members SET nick = 'somebody' WHERE id = 777")
    await_that(lambda: "somebody" in shop.people("b"), timeout=30, message=lambda: str(reasons(shop)))
    shop["b"].execute("UPDATE members SET nick = 'anybody' WHERE nick = 'somebody'")
    await_that(lambda: "anybody" in shop.people("a"), timeout=30)
    assert reasons(shop) == []


def is_never_somebody_else_s_row(shop):
    with shop["a"].transaction() as cursor:  # two people of one phone: b has room for one
        cursor.execute("INSERT INTO members (mobile, nick) VALUES ('13800000007', 'first')")
        cursor.execute("INSERT INTO members (mobile, nick) VALUES ('13800000007', 'second')")
    await_that(lambda: reasons(shop), timeout=30)
    shop["a"].execute("UPDATE members SET nick = 'the second' WHERE nick = 'second'")
    shop.member("a", mobile="13800000008", nick="coffee drinker")
    shop["a"].execute("UPDATE members SET nick = 'the first' WHERE nick = 'first'")
    await_that(
        lambda: "the first" in shop.people("b"), timeout=30, message=lambda: f"{shop.people('b')} {reasons(shop)}"
    )
    assert set(shop.people("b")) == {"old", "anybody", "the first", "tea drinker"}
    assert [mapping for mapping, _ in reasons(shop)] == ["b.members"] * 3
    assert {row[0] for row in shop.rows_of("13800000008")} == {"a"}


def test_a_reference_to_rows_with_a_key_of_several_columns_is_refused_before_anything_is_read(make_world):
    shop = Shop(make_world("mariadb_db", "postgresql_db", table=False))
    shop["b"].execute("ALTER TABLE members DROP CONSTRAINT members_pkey, ADD PRIMARY KEY (id, mobile)")
    shop.world.start(ready=False)
    for kind in ("capture", "apply"):
        reason = shop.world.await_state("b", kind, "halted", timeout=30)["channels"]["b"]["reason"]
        said = re.split("(?:^|; )(?=capture: |apply: )", reason)
        assert [r for r in said if r.startswith(f"{kind}: ") and "MAPPING_REFUSED" in r and "inviter_id" in r], reason


def test_a_store_of_the_version_before_is_taken_up_for_a_deployment_that_is_new_in_it(tmp_path):
    url = f"sqlite:///{tmp_path}/datong.db"
    first = Registry(url, "coffee", None)
    first.open()
    first.close()
    with sqlite3.connect(tmp_path / "datong.db") as connection:
        connection.execute("ALTER TABLE datong_person DROP COLUMN told")
        connection.execute("ALTER TABLE datong_identity_link DROP COLUMN yields")
        connection.execute("UPDATE datong_identity_state SET schema_version = 1")
    for deployment in ("tea", "coffee"):
        registry = Registry(url, deployment, None)
        registry.open()
        sighting = Sighting(Row("member", (1,)), (), (1, 0), begun=True, told=("nick",))
        assert Resolver(registry, "website", cache_size=10).resolve([sighting]) == [1]
        registry.close()
