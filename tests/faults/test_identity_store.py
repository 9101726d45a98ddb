"""The hub store goes away under the running service: nobody is guessed, nobody comes twice, and everything arrives afterwards."""

import sqlite3
from contextlib import closing

from cdc.demo.servers import PostgreSQL
from tests.servers import postgresql_database, server_folder
from tests.shops import Shop
from tests.waiting import await_that
from tests.world import World


def buy(shop, name, numbers):
    for n in numbers:
        shop.order(name, f"{name}{n}", shop.member(name, mobile=f"139{n:08d}", nick=f"m{n}"))


def check_everybody_arrived(shop, numbers):
    people, orders = {}, {}
    for name, of in numbers.items():
        people |= {f"m{n}": (f"139{n:08d}", None, None) for n in of}
        orders |= {f"{name}{n}": (f"m{n}", 1) for n in of}
    shop.await_people(people, timeout=60)
    shop.await_orders(orders, timeout=60)
    shop.world.await_nothing_parked()
    assert shop.questions() == []


def await_red(world):
    """The reason names the hub store."""
    return await_that(
        lambda: world.readiness()[0] == 503 and "hub store" in str(told := world.readiness()[1]) and told,
        timeout=20,
        message=lambda: f"red: {world.readiness()}",
    )


def test_a_hub_store_in_postgresql_that_is_killed_twice_makes_nobody_twice(
    tmp_path, redis_db, mariadb_db, postgresql_db
):
    with server_folder() as folder, PostgreSQL(folder / "hub") as hub, postgresql_database(hub, "hub") as database:
        world = World(tmp_path, redis_db, {"a": mariadb_db, "b": postgresql_db})
        try:
            shop = Shop(world, store={"url": database.url()})
            world.start()
            buy(shop, "a", range(20))
            hub.kill()
            buy(shop, "a", range(20, 40))
            buy(shop, "b", range(100, 120))
            answer = await_red(world)
            assert hub.password not in str(answer) + world.all_logs()
            assert not set(shop.people("b")) & {f"m{n}" for n in range(20, 40)}
            hub.start()
            buy(shop, "b", range(120, 140))
            hub.kill()
            hub.start()
            buy(shop, "a", range(40, 60))
            world.await_ready(60)
            check_everybody_arrived(shop, {"a": range(60), "b": range(100, 140)})
            assert database.execute("SELECT COUNT(*) FROM datong_person") == ((100,),)
        finally:
            world.close()


def test_a_hub_store_in_sqlite_that_is_locked_for_a_while_loses_nobody(make_world):
    world = make_world("mariadb_db", "postgresql_db", table=False)
    shop = Shop(world)
    world.start()
    buy(shop, "a", range(5))
    with closing(sqlite3.connect(world.folder / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        buy(shop, "a", range(5, 10))
        buy(shop, "b", range(100, 105))
        answer = await_red(world)
        assert "locked" in str(answer), answer
        other.execute("ROLLBACK")
    world.await_ready(60)
    check_everybody_arrived(shop, {"a": range(10), "b": range(100, 105)})
