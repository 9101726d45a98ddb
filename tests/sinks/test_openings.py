"""BEGIN and the compare-and-set go in front of the first rows: what is told of them, and when."""

from __future__ import annotations

import dataclasses

import pytest

from sinks.contract import Fenced, Progress, Rejected
from tests.sinks.targets import DEPLOYMENT, Target, insert, items, parked_row, phones, rows, update


def test_a_transaction_has_its_identity_before_and_after_its_rows(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    for number in range(2):
        header, identity = lease.begin()
        before = identity()
        sink.write([insert(table, id=number, name="a", quantity=1)])
        assert identity() == before
        lease.commit(header)
        if target.postgresql:
            wrote = target.execute("SELECT xmin::text FROM datong_progress WHERE source = 'website'")
            assert wrote == target.execute(f"SELECT xmin::text FROM items WHERE id = {number}") == [(before,)]
        with pytest.raises(RuntimeError):
            identity()
    assert len(rows(target)) == 2


def test_a_fenced_writer_learns_it_at_the_latest_with_the_identity(target: Target) -> None:
    items(target)
    sink, lease = target.ready()
    lease.apply([])
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    if target.engine in ("mariadb", "mysql"):
        stale.begin()
        with pytest.raises(Fenced):
            sink.commit()
    else:
        with pytest.raises(Fenced):
            stale.begin()[1]()
    sink.rollback()
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}


def test_where_the_opening_and_a_row_are_both_refused_the_opening_is_told(target: Target) -> None:
    """A row that is refused would be parked, and then written by two."""
    table = phones(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, phone="1", name="a")])
    clash = [insert(table, id=2, phone="1", name="b")]
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    with pytest.raises(Fenced):
        stale.apply(clash)
    sink.rollback()
    lease.begin()
    with pytest.raises(Rejected):
        sink.write(clash)
    sink.rollback()
    assert len(rows(target, "phones")) == 1


@pytest.mark.parametrize("first", ["park", "unpark", "singly", "large"])
def test_whatever_comes_first_comes_after_the_opening(target: Target, first: str) -> None:
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=0, name="a", quantity=1)])
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    actions = {
        "park": lambda: sink.park([parked_row(1)]),
        "unpark": lambda: sink.unpark(["website.1"]),
        "singly": lambda: sink.write_singly([update(table, 0, name="b")]),
        "large": lambda: sink.write([insert(table, id=n, name="a", quantity=1) for n in range(1, 2500)]),
    }
    with pytest.raises(Fenced):
        stale.begin()
        actions[first]()
    sink.rollback()
    assert rows(target) == [(0, "a", 1)]
    assert sink.parked(DEPLOYMENT) == []
    header, _ = lease.begin(2500)
    actions[first]()
    lease.commit(header)
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}
    assert len(rows(target)) == (2500 if first == "large" else 1)


def test_a_batch_refused_while_its_opening_is_under_way_leaves_nothing(target: Target) -> None:
    """MySQL and MariaDB open a batch of many rows while its first rows are made."""
    table = items(target)
    sink, lease = target.ready()
    many = [insert(table, id=n, name="a", quantity=1) for n in range(100)]
    for _ in range(2):
        lease.begin(100)
        with pytest.raises(Rejected):
            sink.write([*many[:99], insert(table, id=99, name="much too long " * 9, quantity=1)])
        sink.rollback()
        assert rows(target) == []
    lease.begin(100)
    sink.write(many)
    sink.rollback()
    assert rows(target) == []
    lease.apply(many)
    lease.apply([update(table, n, quantity=2) for n in range(100)])
    assert rows(target) == [(n, "a", 2) for n in range(100)]
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}
