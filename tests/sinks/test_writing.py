"""One behaviour, every database: batches of inserts, updates, moved keys and deletes, unique values and conditions."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import msgspec
import pytest

from sinks.contract import (
    Rejected,
    RowWrite,
)
from tests.sinks.targets import Target, counter, delete, insert, items, phones, rows, update
from tests.waiting import await_that
from transforms.tables import Table
from transforms.values import ABSENT, Unrepresentable


def test_inserts_updates_key_moves_and_deletes_happen_in_order(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply(
        [
            insert(table, id=1, name="a", quantity=1),
            insert(table, id=2, name="b", quantity=2),
            update(table, 1, name="A"),
            update(table, 1, id=3),
            insert(table, id=1, name="new", quantity=9),
            update(table, 3, quantity=30),
            delete(table, 2),
            insert(table, id=2, name="again", quantity=None),
            delete(table, 77),
        ]
    )
    assert rows(target) == [(1, "new", 9), (2, "again", None), (3, "A", 30)]


def test_many_versions_of_one_row_in_one_transaction_end_in_the_last(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply(
        [
            insert(table, id=1, name="a", quantity=0),
            *(update(table, 1, quantity=number) for number in range(1, 51)),
            insert(table, id=1, name="b", quantity=51),
            insert(table, id=1, name="c", quantity=52),
        ]
    )
    assert rows(target) == [(1, "c", 52)]


def test_an_insert_whose_key_exists_updates_all_its_columns(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="old", quantity=1) for number in range(5)])
    lease.apply([insert(table, id=number, name="new", quantity=2) for number in range(8)])
    assert rows(target) == [(number, "new", 2) for number in range(8)]


def test_a_large_batch_is_written_whole(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name=f"n{number}", quantity=number) for number in range(2500)])
    lease.apply([update(table, number, quantity=-number) for number in range(2500)])
    lease.apply([delete(table, number) for number in range(0, 2500, 2)])
    assert rows(target) == [(number, f"n{number}", -number) for number in range(1, 2500, 2)]


def test_composite_keys_find_their_rows(target: Target) -> None:
    target.create("CREATE TABLE order_lines (a int, b varchar(10), v int, PRIMARY KEY (a, b))")
    table = target.table("order_lines")
    assert table.primary_key == ("a", "b")
    _, lease = target.ready()

    def line(op: str, a: int, b: str, /, **values: Any) -> RowWrite:
        return RowWrite(table, op, ("a", "b"), (a, b), tuple(values), tuple(values.values()))  # type: ignore[arg-type]

    lease.apply([line("insert", a, b, a=a, b=b, v=0) for a in range(3) for b in "xyz"])
    lease.apply(
        [line("update", 1, "y", v=5), line("update", 2, "z", b="w"), line("delete", 0, "x"), line("delete", 0, "y")]
    )
    assert rows(target, "order_lines", "a, b") == [
        (0, "z", 0), (1, "x", 0), (1, "y", 5), (1, "z", 0), (2, "w", 0), (2, "x", 0), (2, "y", 0),
    ]  # fmt: skip


def test_a_second_unique_key_never_makes_an_insert_update_another_row(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=9, phone="138", name="nine")])
    header, _ = lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([insert(table, 70, id=7, phone="138", name="seven")])
    assert caught.value.ref == 70
    lease.sink.rollback()
    assert rows(target, "phones") == [(9, "138", "nine")]
    lease.apply([insert(table, id=9, phone="139", name="nine"), insert(table, id=7, phone="138", name="seven")])
    assert rows(target, "phones") == [(7, "138", "seven"), (9, "139", "nine")]
    assert header.rows == 1


def test_a_unique_value_may_pass_from_row_to_row_in_one_batch(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, phone="1", name="a"), insert(table, id=2, phone="2", name="b")])
    lease.apply(
        [
            delete(table, 1),
            insert(table, id=3, phone="1", name="c"),
            update(table, 3, phone="3"),
            update(table, 2, phone="1"),
            insert(table, id=4, phone="2", name="d"),
            update(table, 4, phone="4"),
            update(table, 2, phone="2"),
            update(table, 3, phone="1"),
        ]
    )
    assert rows(target, "phones") == [(2, "2", "b"), (3, "1", "c"), (4, "4", "d")]


def test_updates_of_unique_values_are_one_statement_and_row_by_row_only_where_they_meet(mysql_target: Target) -> None:
    """Rows that hand values on are written in their order, in whatever order a statement of many rows would take them."""
    target = mysql_target
    table = phones(target)
    _, lease = target.ready()

    def sent(writes: list[RowWrite]) -> int:
        """How many update statements the server got."""
        counter = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_update', 'Com_update_multi')"
        before = sum(int(value) for _, value in target.execute(counter))
        lease.apply(writes)
        return sum(int(value) for _, value in target.execute(counter)) - before - 1  # of the progress

    lease.apply([insert(table, id=n, phone=f"{n}", name="a") for n in range(200)])
    assert sent([update(table, n, phone=f"new {n}") for n in range(200)]) < 10
    assert sorted(row[1] for row in rows(target, "phones")) == sorted(f"new {n}" for n in range(200))

    # A chain: each takes what the one before it in the transaction has given up; the key's order is the other way round.
    chain = [update(table, n, phone=f"new {n - 1}" if n else "free") for n in range(200)]
    sent(chain)
    assert rows(target, "phones") == [(n, f"new {n - 1}" if n else "free", "a") for n in range(200)]
    back = [update(table, n, phone=f"new {n}") for n in range(199, -1, -1)]
    sent(back)
    assert rows(target, "phones") == [(n, f"new {n}", "a") for n in range(200)]

    # Two rows exchange theirs, as a source does it: over a third value. Other rows of the batch do not mind.
    lease.apply([
        *(update(table, n, phone=f"first {n}") for n in range(100, 150)), update(table, 1, phone="aside"), update(table, 2, phone="new 1"),
        update(table, 1, phone="new 2"), *(update(table, n, phone=f"last {n}") for n in range(150, 199)),
    ])  # fmt: skip
    assert rows(target, "phones")[:3] == [(0, "new 0", "a"), (1, "new 2", "a"), (2, "new 1", "a")]
    assert {row[1].split()[0] for row in rows(target, "phones")[100:199]} == {"first", "last"}


def test_an_update_that_finds_no_row_is_refused_with_its_ref(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(table, id=2, name="b", quantity=1)])
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write(
            [update(table, 1, 11, name="x"), update(table, 5, 55, name="x"), update(table, 2, 22, name="x")]
        )
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 55)
    lease.sink.rollback()
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([update(table, 6, 66, name="x"), insert(table, id=6, name="later", quantity=0)])
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 66)
    lease.sink.rollback()


def test_an_update_to_equal_values_is_not_missing(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="a", quantity=1) for number in range(3)])
    lease.apply([update(table, 0, name="a"), update(table, 1, name="b"), update(table, 2, name="a", quantity=1)])
    assert [name for _, name, _ in rows(target)] == ["a", "b", "a"]


def test_a_missing_row_among_many_is_found(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=number, name="a", quantity=1) for number in range(1500)])
    lease.begin()
    with pytest.raises(Rejected) as caught:
        lease.sink.write([update(table, number, number, quantity=number) for number in range(1000, 2000)])
    assert (caught.value.reason, caught.value.ref) == ("missing_row", 1500)
    lease.sink.rollback()
    assert {quantity for _, _, quantity in rows(target)} == {1}


def test_counters_are_added_to_what_the_row_holds(target: Target) -> None:
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int, amount numeric(12,2))")
    table = target.table("items")
    sink, lease = target.ready()
    cents = decimal.Decimal("0.25")
    lease.apply([insert(table, id=n, name="a", quantity=n, amount=decimal.Decimal(1)) for n in range(300)])
    lease.apply([counter(table, n, quantity=10, amount=cents) for n in range(300)])
    lease.apply(
        [counter(table, 7, quantity=-3), counter(table, 7, quantity=-3), counter(table, 8, name="b", quantity=0)]
    )
    lease.apply(
        [
            update(table, 9, quantity=100),
            counter(table, 9, quantity=1, name="c"),
            counter(table, 9, name="d", quantity=1),
        ]
    )
    lease.apply([update(table, 10, quantity=None), counter(table, 10, quantity=5)])
    header, _ = lease.begin()
    rejections = sink.write_singly(
        [counter(table, 11, quantity=1), counter(table, 999, 1, quantity=1), counter(table, 12, 2, quantity=2**31 - 20)]
    )
    lease.commit(header)
    refused = [(1, "missing_row"), *([(2, "rejected")] if target.engine != "sqlite" else [])]
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == refused
    expected = {n: ["a", n + 10, decimal.Decimal("1.25")] for n in range(300)}
    expected[7][1], expected[8][0], expected[9][:2], expected[10][1] = 11, "b", ["d", 102], 5
    expected[11][1] += 1
    if (
        target.engine == "sqlite"
    ):  # whose integers have 64 bits, whatever they are called, and whose decimals are floats
        expected[12][1] += 2**31 - 20
        expected = {n: [name, quantity, float(amount)] for n, (name, quantity, amount) in expected.items()}
    assert {id_: list(others) for id_, *others in rows(target)} == expected


def test_postgresql_finds_rows_by_their_key_in_a_table_that_grew(postgresql_target: Target) -> None:
    """A plan that is kept may have been made for an empty table: it must not read the whole table for every batch ever after."""
    target = postgresql_target
    target.create(
        "CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int) WITH (autovacuum_enabled = off)"
    )
    table = target.table("items")
    _, lease = target.ready()
    for _ in range(12):
        lease.apply([insert(table, id=n, name="a", quantity=1) for n in range(20)])
        target.execute("ANALYZE items")
        lease.apply([update(table, n, name="b") for n in range(20)])
        lease.apply([delete(table, n) for n in range(20)])
    target.execute("INSERT INTO items SELECT g, 'a', 1 FROM generate_series(1000, 21000) g")
    lease.apply([update(table, n, name="b") for n in range(1000, 2000)])
    lease.apply([delete(table, n) for n in range(1000, 6000)])
    lease.sink.close()  # which tells the server's statistics what it did
    read = "SELECT n_tup_del, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'items'"
    await_that(lambda: target.execute(read)[0][0] == 12 * 20 + 5000, message="the statistics lag")
    assert target.execute(read)[0][1] < 20_000


def test_postgresql_writes_nothing_that_changes_nothing(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute(
        "CREATE TABLE wide (id int PRIMARY KEY, j json, b jsonb, n numeric, f float8, c char(5), v varchar(9), t timestamptz(3))"
    )
    table = target.table("wide")
    _, lease = target.ready()
    moment = dt.datetime(2024, 5, 1, 12, 0, 0, 123000, dt.UTC)
    values: dict[str, Any] = {
        "j": '{"a":1}', "b": '{"a":1}', "n": decimal.Decimal("1.50"), "f": 0.0, "c": "ab", "v": "cd", "t": moment,
    }  # fmt: skip
    lease.apply([insert(table, id=1, **values)])
    version = target.execute("SELECT xmin::text, ctid::text FROM wide")
    lease.apply([insert(table, id=1, **values)])
    lease.apply([update(table, 1, **values)])
    assert target.execute("SELECT xmin::text, ctid::text FROM wide") == version
    for changed in ({"j": '{"a": 1}'}, {"n": decimal.Decimal("1.5")}, {"f": -0.0}):
        lease.apply([update(table, 1, **changed)])
        assert target.execute("SELECT xmin::text, ctid::text FROM wide") != version
        version = target.execute("SELECT xmin::text, ctid::text FROM wide")


def test_absent_and_unrepresentable_values_are_never_written(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.begin()
    with pytest.raises(TypeError, match="ABSENT"):
        lease.sink.write([insert(table, id=1, name=ABSENT, quantity=1)])
    lease.sink.rollback()
    lease.sink.connect()
    lease.begin()
    with pytest.raises(Rejected, match="infinity") as caught:
        lease.sink.write([insert(table, 4, id=1, name="a", quantity=Unrepresentable("infinity"))])
    assert caught.value.ref == 4
    lease.sink.rollback()


def shops(target: Target) -> Table:
    target.create(
        "CREATE TABLE items (id int PRIMARY KEY, name varchar(40), shop int NOT NULL, secret varchar(9) NOT NULL)"
    )
    target.execute("INSERT INTO items VALUES (1, 'ours', 7, 'kept'), (2, 'theirs', 8, 'kept')")
    return target.table("items")


def conditional(write: RowWrite, **changes: Any) -> RowWrite:
    fresh = (("secret", "new"),) if write.op == "insert" else ()
    return msgspec.structs.replace(write, only=(("shop", 7),), fresh=fresh, **changes)


def test_a_write_with_conditions_touches_its_own_rows_only(target: Target) -> None:
    table = shops(target)
    _, lease = target.ready()
    lease.apply([
        conditional(insert(table, id=1, name="again", shop=7)), conditional(insert(table, id=3, name="made", shop=7)),
        conditional(delete(table, 2)), conditional(update(table, 2, name="bent"), lenient=True),
        conditional(update(table, 9, name="nobody"), lenient=True), conditional(update(table, 3, name="known")),
    ])  # fmt: skip
    assert rows(target) == [(1, "again", 7, "kept"), (2, "theirs", 8, "kept"), (3, "known", 7, "new")]


def test_a_condition_may_be_null(target: Target) -> None:
    """`where: {left: null}`: no `=` finds such a row."""
    target.create("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), left_on date)")
    target.execute("INSERT INTO items VALUES (1, 'ours', NULL), (2, 'left', '2024-01-01'), (3, 'goes', NULL)")
    table = target.table("items")
    _, lease = target.ready()

    def there(write: RowWrite, **changes: Any) -> RowWrite:
        return msgspec.structs.replace(write, only=(("left_on", None),), **changes)

    lease.apply([
        there(insert(table, id=1, name="again", left_on=None)), there(insert(table, id=4, name="made", left_on=None)),
        there(update(table, 2, name="bent"), lenient=True), there(update(table, 4, name="known")),
        there(delete(table, 2)), there(delete(table, 3)),
    ])  # fmt: skip
    found = target.execute("SELECT id, name FROM items WHERE left_on IS NULL ORDER BY id")
    assert found == [(1, "again"), (4, "known")]
    assert target.execute("SELECT id, name FROM items WHERE left_on IS NOT NULL") == [(2, "left")]
    header, _ = lease.begin()
    (rejection,) = lease.sink.write_singly([there(insert(table, 5, id=2, name="stolen", left_on=None))])
    lease.commit(header)
    assert rejection.ref == 5


def test_an_insert_that_meets_a_row_of_somebody_else_is_rejected(target: Target) -> None:
    table = shops(target)
    sink, lease = target.ready()
    writes = [
        conditional(insert(table, 5, id=2, name="stolen", shop=7)),
        conditional(insert(table, 6, id=4, name="made", shop=7)),
    ]
    lease.begin()
    with pytest.raises(Rejected):
        sink.write(writes)
    sink.rollback()
    header, _ = lease.begin()
    (rejection,) = sink.write_singly(writes)
    lease.commit(header)
    assert (rejection.ref, "stolen" in rejection.error) == (5, False)
    assert rows(target) == [(1, "ours", 7, "kept"), (2, "theirs", 8, "kept"), (4, "made", 7, "new")]


def test_a_counter_is_added_to(target: Target) -> None:
    table = items(target)
    target.execute("INSERT INTO items VALUES (1, 'a', 5), (2, 'b', NULL)")
    _, lease = target.ready()
    lease.apply([
        msgspec.structs.replace(update(table, key, quantity=3, name="x"), deltas=(0,)) for key in (1, 2, 1)
    ])  # fmt: skip
    assert rows(target) == [(1, "x", 11), (2, "x", 3)]
