"""Tables that refer to each other: parents before children, and the other way round for deletes."""

from __future__ import annotations

import pytest

from sinks.contract import (
    Rejected,
)
from tests.sinks.targets import Target, delete, insert, rows, update
from transforms.tables import Table


def shop(target: Target, rule: str = "") -> tuple[Table, Table]:
    reference = f"REFERENCES parents (id) {rule}"
    target.create(
        "CREATE TABLE parents (id int PRIMARY KEY, name varchar(20))",
        "CREATE TABLE parents (id int PRIMARY KEY, name varchar(20))",
    )
    target.create(
        f"CREATE TABLE children (id int PRIMARY KEY, p int {reference}, name varchar(20))",
        f"CREATE TABLE children (id int PRIMARY KEY, p int, name varchar(20), FOREIGN KEY (p) {reference})",
    )
    return target.table("parents"), target.table("children")


@pytest.mark.parametrize("rule", ["", "ON DELETE CASCADE"])
def test_parents_come_before_children_and_go_after_them(target: Target, rule: str) -> None:
    """CASES.md K8: whatever the order in the transaction, with and without a cascade in the target."""
    parents, children = shop(target, rule)
    _sink, lease = target.ready()
    family = [insert(children, id=n, p=n % 5, name="c") for n in range(50)]
    lease.apply([*family, *(insert(parents, id=n, name="p") for n in range(5))])
    assert len(rows(target, "children")) == 50
    lease.apply(
        [
            delete(parents, 1), *(delete(children, n) for n in range(50) if n % 5 == 1),
            insert(children, id=100, p=9, name="late"), insert(parents, id=9, name="new"),
            update(children, 2, p=9), update(children, 7, p=0), *(delete(children, n) for n in range(12, 50, 5)), delete(parents, 2),
        ]
    )  # fmt: skip
    assert [row[0] for row in rows(target, "parents")] == [0, 3, 4, 9]
    assert {row[0]: row[1] for row in rows(target, "children")} == {
        **{n: n % 5 for n in range(50) if n % 5 in (0, 3, 4)}, 100: 9, 2: 9, 7: 0,
    }  # fmt: skip


def test_rows_that_refer_to_each_other_are_written_where_the_database_checks_late(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TABLE a (id int PRIMARY KEY, b int)")
    target.execute("CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE)")
    target.execute("ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED")
    a, b = target.table("a"), target.table("b")
    sink, lease = target.ready()
    lease.apply([insert(a, id=1, b=1), insert(b, id=1, a=1)])
    header, _ = lease.begin()
    with pytest.raises(Rejected):  # before COMMIT, whose error names no row
        sink.write([insert(a, id=2, b=77)])
    sink.rollback()
    header, _ = lease.begin()
    batch = [
        insert(a, 1, id=2, b=2),
        insert(b, 2, id=2, a=2),
        *(insert(a, 10 + n, id=10 + n, b=None) for n in range(200)),
        insert(a, 3, id=3, b=77),
    ]
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [3]
    assert len(rows(target, "a")) == 202


def test_a_table_that_refers_to_itself_is_written_and_emptied(target: Target) -> None:
    target.create(
        "CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree (id))",
        "CREATE TABLE tree (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES tree (id))",
    )
    tree = target.table("tree")
    _, lease = target.ready()
    lease.apply([insert(tree, id=50 - n, parent=51 - n if n else None) for n in range(50)])
    lease.apply([insert(tree, id=60, parent=None), update(tree, 60, parent=1)])
    assert len(rows(target, "tree")) == 51
    lease.apply([delete(tree, key) for key in (60, *range(1, 51))])
    assert rows(target, "tree") == []
