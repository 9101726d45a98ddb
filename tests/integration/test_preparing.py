"""What a role asks of a channel's database before it reads there: each refusal of a server is what it is, and no other one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdc.errors import HaltError
from cdc.preparing import prepare, require_before_images, require_logged_cascades, require_tables
from cdc.readers.postgresql_position import slot_name
from sinks.connections import Address
from tests.servers import MySQLDatabase, PostgreSQLDatabase
from tests.waiting import await_that
from tests.world import World
from transforms.tables import Engine


def address_of(made: MySQLDatabase | PostgreSQLDatabase, engine: Engine, **changes: str) -> Address:
    server = made.server
    found = {"user": server.admin_user, "password": server.password, "database": made.name} | changes
    return Address(engine, "127.0.0.1", server.port, found["user"], found["database"], found["password"])


@pytest.fixture(params=["mariadb", "mysql"])
def address(request: pytest.FixtureRequest) -> Address:
    return address_of(request.getfixturevalue(f"{request.param}_db"), request.param)


def test_no_table_and_no_database_are_a_missing_table(address: Address):
    for name in ((address.database, "nowhere"), ("no_such_database", "nowhere")):
        with pytest.raises(HaltError, match=r"TABLE_MISSING: website: there is no table .*\.nowhere - create it"):
            require_tables(address, "website", [name])


def test_another_refusal_than_a_missing_table_keeps_its_own_words(address: Address):
    with pytest.raises(HaltError, match=r"SERVER_ERROR: .*error (1059|1103): I"):
        require_tables(address, "website", [(address.database, "t" * 65)])


def test_a_table_whose_foreign_keys_cannot_be_read_is_not_taken_for_one_without_any(mariadb_db: MySQLDatabase):
    address = address_of(mariadb_db, "mariadb")
    mariadb_db.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    ((folder,),) = mariadb_db.execute("SELECT @@datadir")
    definition = Path(str(folder), mariadb_db.name, "t.frm")
    sound = definition.read_bytes()
    definition.write_bytes(b"broken")
    try:
        mariadb_db.execute("FLUSH TABLES")
        with pytest.raises(HaltError, match=r"SERVER_ERROR: .*error 1033: Incorrect information"):
            require_logged_cascades(address, "website", {(mariadb_db.name, "t"): frozenset({"id"})})
    finally:
        definition.write_bytes(sound)


def test_a_table_that_is_not_there_or_not_ours_to_see_is_left_to_the_reader(address: Address):
    require_logged_cascades(address, "website", {(address.database, "nowhere"): frozenset({"id"})})


def test_a_postgresql_database_or_login_that_is_refused_halts_and_is_not_tried_for_ever(
    postgresql_db: PostgreSQLDatabase,
):
    nowhere = address_of(postgresql_db, "postgresql", database="no_such_database")
    nobody = address_of(postgresql_db, "postgresql", user="nobody_here")
    for address, code in ((nowhere, "DATABASE_MISSING"), (nobody, "ACCESS_DENIED")):
        with pytest.raises(HaltError, match=code):
            require_before_images(address, "app", {("public", "t"): "where"})
        with pytest.raises(HaltError, match=code):
            prepare(address, "coffee", "app", [("public", "t")], bookkeeping="none")


@pytest.mark.parametrize("there", [False, True], ids=["no publication yet", "one of other tables"])
def test_roles_that_prepare_in_the_same_moment_all_find_what_one_of_them_made(
    postgresql_db: PostgreSQLDatabase, there: bool
):
    address = address_of(postgresql_db, "postgresql")
    for name in ("t", "u"):
        postgresql_db.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY)")
    together, rounds = 4, 8
    tables = [("public", "t"), ("public", "u")]
    for number in range(rounds):
        publication = slot_name(f"coffee{number}", "app")
        if there:
            postgresql_db.execute(f'CREATE PUBLICATION "{publication}" FOR TABLE t')
        start = threading.Barrier(together)

        def meet(_: int, start: threading.Barrier = start, deployment: str = f"coffee{number}") -> None:
            start.wait()
            prepare(address, deployment, "app", tables, bookkeeping="table")

        with ThreadPoolExecutor(together) as pool:
            list(pool.map(meet, range(together)))
        carried = postgresql_db.execute("SELECT tablename FROM pg_publication_tables WHERE pubname = %s", publication)
        assert {name for (name,) in carried} == {"t", "u", "datong_progress", "datong_parked"}


def test_what_the_log_holds_of_a_table_that_was_dropped_meanwhile_is_captured_once_there_is_one_again(mixed: World):
    a, b = mixed["a"], mixed["b"]
    mixed.start()
    a.execute("INSERT INTO t VALUES (1, 1, 'x')")
    mixed.await_equal()
    mixed.stop()
    a.execute("INSERT INTO t VALUES (2, 2, 'unread')")
    a.execute("DROP TABLE t")
    mixed.start(ready=False)
    halted = mixed.await_state("a", "capture", "halted", timeout=60)
    assert "an empty one will do" in halted["channels"]["a"]["reason"], halted
    a.create_table()
    mixed.extra["health"] = {"max_lag": 31}
    mixed.write_configuration()  # halted roles look again at once
    await_that(
        lambda: mixed.role("a", "capture")["state"] == "halted" and "TABLE_GONE" in str(mixed.role("a", "capture")["reason"]),
        timeout=60, message=lambda: f"the place of the DROP: {mixed.readiness()}",
    )  # fmt: skip
    await_that(lambda: set(b.rows()) == {1, 2}, message=lambda: f"what was unread: {b.rows()}")
