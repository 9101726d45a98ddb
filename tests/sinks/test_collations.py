"""Keys and unique values that a collation of MySQL or MariaDB holds for equal."""

from __future__ import annotations

import pytest

from sinks.contract import (
    Rejected,
    RowWrite,
)
from tests.sinks.targets import DEPLOYMENT, Target, insert, rows, update


def test_unique_values_that_a_collation_holds_for_equal_are_refused_by_row(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE phones (id int PRIMARY KEY, phone varchar(20) COLLATE utf8mb4_unicode_ci UNIQUE, name varchar(20))"
    )
    table = target.table("phones")
    sink, lease = target.ready()
    lease.apply([insert(table, id=n, phone=f"{n}", name="a") for n in range(10)])
    # E takes the place of e only after that has gone, in the transaction's order.
    lease.apply([update(table, 1, phone="é"), update(table, 2, phone="2b"), update(table, 3, phone="3b")])
    lease.apply([update(table, 1, phone="gone"), update(table, 2, phone="E "), update(table, 3, phone="3c")])
    assert [row[1] for row in rows(target, "phones")][1:4] == ["gone", "E ", "3c"]
    clash = [update(table, 4, 40, phone="ß"), update(table, 5, 50, phone="x"), update(table, 6, 60, phone="SS")]
    lease.begin(3)
    with pytest.raises(Rejected) as caught:
        sink.write(clash)
    assert (caught.value.code, caught.value.ref) == ("1062", 60)
    sink.rollback()
    header, _ = lease.begin(3)
    assert [rejection.ref for rejection in sink.write_singly(clash)] == [60]
    lease.commit(header)
    assert [row[1] for row in rows(target, "phones")][4:7] == ["ß", "x", "6"]


def test_rows_are_found_by_keys_of_every_collation(mysql_target: Target) -> None:
    target = mysql_target
    collations = [
        "utf8mb4 COLLATE utf8mb4_bin",
        "utf8mb4 COLLATE utf8mb4_unicode_ci",
        "latin1 COLLATE latin1_german2_ci",
        "utf8mb3",
    ]
    for number, collation in enumerate(collations):
        target.execute(f"CREATE TABLE c{number} (code varchar(20) CHARACTER SET {collation} PRIMARY KEY, v int, w int)")
        table = target.table(f"c{number}")
        sink, lease = target.ready()
        lease.known = sink.progress(DEPLOYMENT).get("website")
        keys = ["a", "Bé", "it's", "Müller", *(f"k{n}" for n in range(200))]
        lease.apply([RowWrite(table, "insert", ("code",), (key,), ("code", "v", "w"), (key, 1, 1)) for key in keys])
        lease.apply([RowWrite(table, "update", ("code",), (key,), ("v",), (n,)) for n, key in enumerate(keys)])
        assert dict(target.execute(f"SELECT code, v FROM c{number}")) == {key: n for n, key in enumerate(keys)}
        lease.apply([RowWrite(table, "delete", ("code",), (key,), (), ()) for key in keys[1:]])
        assert target.execute(f"SELECT code FROM c{number}") == [("a",)]
        sink.close()


def test_keys_that_differ_in_case_are_two_rows_or_the_second_is_refused(target: Target) -> None:
    """Never one row over the other: neither in a batch nor one after the other."""
    target.create("CREATE TABLE codes (code varchar(20) PRIMARY KEY, v int, u varchar(20) UNIQUE)")
    target.create("CREATE TABLE plain (code varchar(20) PRIMARY KEY, v int)")
    is_mysql = target.engine in ("mysql", "mariadb")
    sink, lease = target.ready()
    for name in ("codes", "plain"):
        table = target.table(name)
        writes = [
            RowWrite(table, "insert", ("code",), (key,), ("code", "v"), (key, n), n)
            for n, key in enumerate(["Abc", "abc", "other", "ABC"])
        ]
        if is_mysql:
            lease.begin()
            with pytest.raises(Rejected):
                sink.write(writes)
            sink.rollback()
            header, _ = lease.begin()
            refused = sink.write_singly(writes)
            lease.commit(header)
            assert [rejection.ref for rejection in refused] == [1, 3]
            lease.apply([writes[0]])  # again, and it finds itself
        else:
            lease.apply(writes)
            lease.apply(writes)
        there = {"Abc": 0, "other": 2} if is_mysql else {"Abc": 0, "abc": 1, "other": 2, "ABC": 3}
        assert {code: v for code, v, *_ in target.execute(f"SELECT code, v FROM {name}")} == there


def test_keys_that_a_collation_holds_for_equal_are_all_written(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE c (code varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci PRIMARY KEY, v int)"
    )
    table = target.table("c")
    sink, lease = target.ready()
    lease.apply([RowWrite(table, "insert", ("code",), ("resume",), ("code", "v"), ("resume", 1))])
    batch = [
        RowWrite(table, "update", ("code",), (key,), ("v",), (n,), n)
        for n, key in enumerate(["résumé", "resume", "RESUMÉ"])
    ]
    header, _ = lease.begin()
    try:
        sink.write(batch)
    except Rejected:
        sink.rollback()
        header, _ = lease.begin()
        assert sink.write_singly(batch) == []
    lease.commit(header)
    assert target.execute("SELECT v FROM c") == [(2,)]
