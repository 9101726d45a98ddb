"""A row that the database refuses is found among the others, told without its values, and what hangs on it waits."""

from __future__ import annotations

from typing import Any

import pytest

from sinks.contract import (
    Rejected,
    RowWrite,
)
from tests.sinks.targets import Target, delete, insert, items, phones, rows, update


def test_a_poison_row_among_a_thousand_is_found_and_later_changes_of_its_row_wait(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    batch: list[RowWrite] = [insert(table, number, id=number, name=f"n{number}", quantity=1) for number in range(1000)]
    batch[400] = insert(table, 400, id=400, name="x" * 41, quantity=1)
    batch += [
        update(table, 400, 2000, quantity=5),
        update(table, 401, 2001, quantity=5),
        update(table, 402, 2002, id=400),
        update(table, 402, 2003, quantity=6),
        delete(table, 403, 2004),
    ]
    lease.begin()
    with pytest.raises(Rejected):
        sink.write(batch)
    sink.rollback()
    header, _ = lease.begin()
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == [
        (400, "rejected"), (2000, "waiting"), (2002, "waiting"), (2003, "waiting"),
    ]  # fmt: skip
    assert "name" in rejections[0].error
    assert "xxx" not in rejections[0].error
    found = {id_: quantity for id_, _, quantity in rows(target)}
    assert found == {number: 5 if number == 401 else 1 for number in range(1000) if number not in (400, 403)}


def test_what_was_planned_once_outlives_a_transaction_that_was_rolled_back(target: Target) -> None:
    table = phones(target)
    sink, lease = target.ready()
    for number in range(8):  # statements that come often are prepared, by us or by the driver
        sink.ping()
        lease.apply([insert(table, id=number, phone=f"p{number}", name="n")])
    lease.begin()
    with pytest.raises(Rejected):
        sink.write([insert(table, id=100, phone="p1", name="n")])
    sink.rollback()
    header, _ = lease.begin()
    assert [refused.ref for refused in sink.write_singly([insert(table, 7, id=100, phone="p1", name="n")])] == [7]
    lease.commit(header)
    lease.apply([insert(table, id=100, phone="p100", name="n")])
    assert len(rows(target, "phones")) == 9


def test_rows_of_several_tables_are_written_one_by_one_after_a_refusal(target: Target) -> None:
    """After a refusal the catalogs are read again: not in the middle of what is under way."""
    table, other = items(target), phones(target)
    sink, lease = target.ready()
    batch = [insert(table, 1, id=1, name="a", quantity=1), insert(other, 2, id=1, phone="1", name="a"),
             insert(table, 3, id=2, name="x" * 50, quantity=1), insert(other, 4, id=2, phone="2", name="b")]  # fmt: skip
    lease.begin(4)
    with pytest.raises(Rejected):
        sink.write(batch)
    sink.rollback()
    header, _ = lease.begin(4)
    rejections = sink.write_singly(batch)
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [3]
    assert (len(rows(target)), len(rows(target, "phones"))) == (1, 2)


def test_a_row_that_comes_back_within_a_batch_is_written_in_one_turn(target: Target) -> None:
    """What is asked after a round trip about rows that were not found must not be answered by a later statement of it."""
    table, other = items(target), phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(other, id=1, phone="1", name="a")])
    for turn in range(
        2
    ):  # rows that are not there are deleted and made again; an update that changes nothing is followed by others
        name = f"new {turn}"
        lease.apply([
            delete(table, 7), insert(table, id=7, name=name, quantity=turn), update(table, 1, name="a"), delete(table, 8),
            insert(table, id=8, name=name, quantity=8), update(other, 1, phone="1"), update(other, 1, name=name),
            update(other, 1, phone=f"1{turn}"), delete(other, 2), insert(other, id=2, phone="1", name=name), delete(table, 1),
            insert(table, id=1, name="a", quantity=1),
        ])  # fmt: skip
        assert rows(target) == [(1, "a", 1), (7, name, turn), (8, name, 8)]
        assert rows(target, "phones") == [(1, f"1{turn}", name), (2, "1", name)]
        lease.apply([delete(other, 2), update(other, 1, phone="1")])


def test_changes_under_the_new_key_of_a_refused_move_wait_too(target: Target) -> None:
    table = phones(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, phone="1", name="a"), insert(table, id=2, phone="2", name="b")])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [
            RowWrite(table, "update", ("id",), (1,), ("id", "phone"), (5, "2"), 1),
            update(table, 5, 2, name="x"),
            update(table, 2, 3, name="fine"),
        ]
    )
    lease.commit(header)
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == [(1, "rejected"), (2, "waiting")]
    assert rows(target, "phones") == [(1, "1", "a"), (2, "2", "fine")]


def test_every_kind_of_refusal_is_answered_without_the_rows_values(target: Target) -> None:
    target.create(
        "CREATE TABLE parents (id int PRIMARY KEY)",
    )
    target.create(
        "CREATE TABLE strict (id int PRIMARY KEY, n int NOT NULL, u varchar(30) UNIQUE, p int REFERENCES parents, s smallint,"
        " c int CHECK (c < 100), d date)",
        "CREATE TABLE strict_ (id int PRIMARY KEY, n int NOT NULL, u varchar(30) UNIQUE, p int, s smallint, c int, d date,"
        " FOREIGN KEY (p) REFERENCES parents (id), CHECK (c < 100))",
    )
    table = target.table("strict" if target.engine in ("postgresql", "sqlite") else "strict_")
    sink, lease = target.ready()
    fine: dict[str, Any] = {"n": 1, "u": None, "p": None, "s": 1, "c": 1, "d": None}
    canary = "SECRET13800138000"
    lease.apply([insert(table, id=1, **{**fine, "u": canary})])
    bad: list[dict[str, Any]] = [{"n": None}, {"u": canary}, {"p": 987654}, {"s": 987654}, {"c": 987654}]
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [insert(table, number, id=number, **{**fine, **one}) for number, one in enumerate(bad, 10)]
    )
    lease.commit(header)
    too_large = [13] if target.engine != "sqlite" else []
    assert [rejection.ref for rejection in rejections] == [10, 11, 12, *too_large, 14]
    for rejection in rejections:
        assert rejection.reason == ("foreign_key" if rejection.ref == 12 else "rejected")
        assert rejection.code
        assert "SECRET" not in rejection.error
        assert "987654" not in rejection.error
        assert "\n" not in rejection.error
    assert "strict" in rejections[0].error
    assert len(rows(target, table.name)) == (1 if too_large else 2)
    parents = target.table("parents")
    lease.apply([insert(parents, id=5), insert(table, id=20, **{**fine, "p": 5})])
    header, _ = lease.begin()
    (rejection,) = sink.write_singly([delete(parents, 5)])
    lease.commit(header)
    assert rejection.reason == "foreign_key"


def test_a_row_that_meets_three_others_names_all_three_keys(target: Target) -> None:
    """CASES.md K7."""
    target.create(
        "CREATE TABLE people (id int PRIMARY KEY, phone varchar(20) UNIQUE, email varchar(40) UNIQUE, a int, b int, UNIQUE (a, b))"
    )
    table = target.table("people")
    sink, lease = target.ready()

    def person(key: int, phone: str, email: str, a: int) -> RowWrite:
        return insert(table, key, id=key, phone=phone, email=email, a=a, b=1)

    lease.apply([person(1, "1", "one", 1), person(2, "2", "two", 2), person(3, "3", "three", 3)])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [person(4, "1", "two", 3), person(5, "5", "five", 5), update(table, 5, 6, phone="2")]
    )
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [4, 6]
    held = [line.partition(" (")[2] for line in rejections[0].taken]
    assert sorted(held) == ["a, b) is held by row id=3", "email) is held by row id=2", "phone) is held by row id=1"]
    assert [line.partition(" (")[2] for line in rejections[1].taken] == ["phone) is held by row id=2"]
    assert [row[0] for row in rows(target, "people")] == [1, 2, 3, 5]


def test_a_target_whose_schema_has_drifted_parks_what_does_not_fit_and_goes_on_when_mended(
    server_target: Target,
) -> None:
    """CASES.md S6, without a restart."""
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    drifts = [
        ("ADD COLUMN extra int NOT NULL", "DROP COLUMN extra"),
        ("ADD CONSTRAINT small CHECK (quantity < 100)", "DROP CONSTRAINT small"),
        ("ADD CONSTRAINT one_name UNIQUE (name)", "DROP CONSTRAINT one_name" if target.postgresql else "DROP INDEX one_name"),
        ("ALTER COLUMN name TYPE varchar(3)" if target.postgresql else "MODIFY name varchar(3)", ""),
    ]  # fmt: skip
    for number, (drift, mend) in enumerate(drifts, 10):
        target.execute("DELETE FROM items WHERE id > 1" if "extra" not in drift else "DELETE FROM items")
        target.execute(f"ALTER TABLE items {drift}")
        bad = insert(table, 1, id=number, name="a" if "UNIQUE" in drift else "four", quantity=500)
        lease.begin()
        with pytest.raises(Rejected):
            sink.write([bad])
        sink.rollback()
        header, _ = lease.begin()
        assert [rejection.ref for rejection in sink.write_singly([bad])] == [1]
        lease.commit(header)
        if not mend:
            break
        target.execute(f"ALTER TABLE items {mend}")
        lease.apply([bad])
        if "extra" in drift:
            lease.apply([insert(table, id=1, name="a", quantity=1)])


def test_a_trigger_that_refuses_a_row_rejects_it_without_its_words(target: Target) -> None:
    table = items(target)
    if target.postgresql:
        target.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.id = 2 THEN RAISE EXCEPTION 'SECRET %', NEW.name; END IF; RETURN NEW; END $$"
        )
        target.execute("CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION gate()")
    elif target.engine == "sqlite":
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items WHEN NEW.id = 2 BEGIN SELECT RAISE(ABORT, 'SECRET'); END"
        )
    else:
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW"
            " IF NEW.id = 2 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'SECRET'; END IF"
        )
    sink, lease = target.ready()
    header, _ = lease.begin()
    rejections = sink.write_singly([insert(table, number, id=number, name="a", quantity=1) for number in range(4)])
    lease.commit(header)
    assert [rejection.ref for rejection in rejections] == [2]
    assert "SECRET" not in rejections[0].error


def test_a_table_that_was_mended_is_written_as_it_is_now_once_it_is_described_again(server_target: Target) -> None:
    target = server_target
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int)")
    table = target.table("items")
    sink, lease = target.ready()
    narrow, wide = (
        ("ALTER TABLE items ALTER COLUMN name TYPE varchar(5)", "ALTER TABLE items ALTER COLUMN name TYPE varchar(40)")
        if target.postgresql
        else ("ALTER TABLE items MODIFY name varchar(5)", "ALTER TABLE items MODIFY name varchar(40)")
    )
    target.execute(narrow)
    header, _ = lease.begin()
    (rejection,) = sink.write_singly([insert(table, 7, id=1, name="longer than five", quantity=1)])
    lease.commit(header)
    assert rejection.ref == 7
    target.execute(wide)
    assert sink.describe(None, "items") == table
    lease.apply([insert(table, 7, id=1, name="longer than five", quantity=1)])
    assert rows(target) == [(1, "longer than five", 1)]
