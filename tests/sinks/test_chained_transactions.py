"""COMMIT begins the next transaction on MySQL and MariaDB: what comes next is in it, and what is not a batch never is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sinks.contract import Fenced, Rejected, Transient
from tests.sinks.targets import DEPLOYMENT, TARGET, Target, insert, items, parked_row, rows, update


@pytest.fixture(params=["mariadb", "mysql"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(request.param, request.getfixturevalue(f"{request.param}_db"))
    yield made
    for sink in made.opened:
        sink.close()


def test_batches_one_after_another_are_each_whole_or_not_there(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    for number in range(3):
        lease.apply([insert(table, id=number, name="a", quantity=1)])
        lease.begin()
        sink.write([update(table, number, quantity=2)])
        sink.rollback()
        assert rows(target)[number] == (number, "a", 1)
        lease.apply([update(table, number, quantity=3)])
        lease.begin(2)
        with pytest.raises(Rejected):
            sink.write([update(table, number, quantity=4), update(table, 99, 99, quantity=4)])
        sink.rollback()
    lease.apply([insert(table, id=3, name="a", quantity=3)])
    assert rows(target) == [(number, "a", 3) for number in range(4)]
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}


def test_a_connection_that_ends_after_a_commit_leaves_nothing_of_the_next_batch(target: Target) -> None:
    """If COMMIT did not chain, the compare-and-set would be committed by itself, without its rows."""
    table = items(target)
    sink, lease = target.ready(lock_timeout_seconds=20.0)  # the session that ends holds its locks until it is gone
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    known = lease.known
    lease.begin(2)
    sink.write([update(table, 1, quantity=2)])
    sink.close()
    sink.connect()
    assert sink.progress(DEPLOYMENT) == {"website": known}
    assert rows(target) == [(1, "a", 1)]


def test_a_fenced_writer_after_a_commit_writes_nothing(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    target.sink().take_over(DEPLOYMENT, TARGET)
    lease.begin(2)
    with pytest.raises(Fenced):
        sink.write([update(table, 1, quantity=2)])
    sink.rollback()
    assert rows(target) == [(1, "a", 1)]


@pytest.mark.parametrize("asked", ["ping", "parked", "describe", "progress"])
def test_what_is_asked_between_batches_holds_nothing(target: Target, asked: str) -> None:
    """A transaction that nobody ends would keep its tables' definitions locked: no ALTER TABLE could pass."""
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    {
        "ping": sink.ping,
        "parked": lambda: sink.parked(DEPLOYMENT),
        "describe": lambda: sink.describe(None, "items"),
        "progress": lambda: sink.progress(DEPLOYMENT),
    }[asked]()
    with closing(target.database.connect()) as other, closing(other.cursor()) as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = 20")
        for name in ("items", "datong_parked", "datong_progress"):
            cursor.execute(f"ALTER TABLE {name} COMMENT = 'altered'")
        session = sink._open().thread_id  # type: ignore[attr-defined]
        cursor.execute(f"SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = {session}")
        (open_transactions,) = cursor.fetchone()
    assert open_transactions == 0
    try:
        lease.apply([update(table, 1, quantity=2)])
    except Transient:  # the table's definition has changed
        sink.rollback()
        lease.apply([update(table, 1, quantity=2)])
    assert rows(target) == [(1, "a", 2)]


def test_a_commit_holds_nothing_while_nothing_follows(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    with closing(target.database.connect()) as other, closing(other.cursor()) as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = 20")
        cursor.execute("ALTER TABLE items COMMENT = 'altered'")
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        cursor.execute("UNLOCK TABLES")
        cursor.execute("UPDATE items SET name = 'theirs'")
    assert rows(target) == [(1, "theirs", 1)]
    header, _ = lease.begin(2)
    sink.write([update(table, 1, quantity=2)])
    sink.park([parked_row(1)])
    lease.commit(header)
    assert rows(target) == [(1, "theirs", 2)]
    assert len(sink.parked(DEPLOYMENT)) == 1


def test_what_others_committed_meanwhile_is_seen(target: Target) -> None:
    """READ COMMITTED, and no snapshot that a COMMIT would have begun."""
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    target.execute("INSERT INTO items VALUES (2, 'theirs', 1)")
    lease.apply([update(table, 2, quantity=5)])
    assert rows(target) == [(1, "a", 1), (2, "theirs", 5)]
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}
