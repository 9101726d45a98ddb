"""CASES.md K4, K10: an insert that is to make its row never writes over another row of its key; an equal one is done."""

from __future__ import annotations

import msgspec
import pytest

from sinks.contract import Rejected, RowWrite
from tests.sinks.targets import Lease, Target, delete, insert, items, phones, rows, update


def anew(write: RowWrite) -> RowWrite:
    return msgspec.structs.replace(write, anew=True)


def refused(lease: Lease, writes: list[RowWrite]) -> dict[int, str]:
    """What the batch is refused for as a whole, and then row by row, which is committed."""
    sink = lease.sink
    lease.begin(len(writes))
    with pytest.raises(Rejected):
        sink.write(writes)
    sink.rollback()
    header, _ = lease.begin(2 * len(writes))
    rejections = sink.write_singly(writes)
    lease.commit(header)
    return {rejection.ref: rejection.reason for rejection in rejections}


def test_a_row_that_another_one_of_its_key_meets_is_refused_and_the_rest_is_written(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    target.execute("INSERT INTO items VALUES (3, 'mine', 1), (4, 'equal', NULL), (5, 'Equal', 5), (6, NULL, 6)")
    theirs = {1: "x", 2: "y", 3: "theirs", 4: "equal", 5: "equal", 6: "", 7: "z"}
    quantity = {4: None, 5: 5, 6: 6}
    writes = [anew(insert(table, n, id=n, name=name, quantity=quantity.get(n, 1))) for n, name in theirs.items()]
    assert refused(lease, writes) == dict.fromkeys((3, 5, 6), "conflict")
    assert rows(target) == [
        (1, "x", 1), (2, "y", 1), (3, "mine", 1), (4, "equal", None), (5, "Equal", 5), (6, None, 6), (7, "z", 1),
    ]  # fmt: skip


def test_equal_rows_are_done_in_any_number(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    writes = [anew(insert(table, n, id=n, name=f"é{n}", quantity=None)) for n in range(700)]
    lease.apply(writes)
    lease.apply(writes)
    assert len(rows(target)) == 700


def test_where_a_table_has_another_unique_key_the_row_in_the_way_is_told_apart(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    target.execute("INSERT INTO phones VALUES (1, '1', 'mine'), (2, '2', 'equal'), (9, '3', 'has the phone')")
    names = {1: "theirs", 2: "equal", 3: "new", 4: "new"}
    writes = [anew(insert(table, n, id=n, phone=str(n), name=name)) for n, name in names.items()]
    assert refused(lease, writes) == {1: "conflict", 3: "rejected"}
    assert rows(target, "phones") == [(1, "1", "mine"), (2, "2", "equal"), (4, "4", "new"), (9, "3", "has the phone")]


def test_a_row_that_differs_is_a_conflict_also_where_its_other_unique_value_is_taken(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    target.execute("INSERT INTO phones VALUES (1, '123', 'mine'), (9, '999', 'has it')")
    writes = [anew(insert(table, 1, id=1, phone="999", name="theirs")), delete(table, 1, 2)]
    assert refused(lease, writes) == {1: "conflict", 2: "waiting"}
    assert rows(target, "phones") == [(1, "123", "mine"), (9, "999", "has it")]


@pytest.mark.parametrize("then", ["delete", "update"])
def test_what_waits_for_a_refused_row_is_not_let_in_with_rows_that_exchange_values(target: Target, then: str) -> None:
    """Row 2 wants the phone that row 1 has: the delete of a row 1 that never came in would free it."""
    table = phones(target)
    _, lease = target.ready()
    target.execute("INSERT INTO phones VALUES (1, '123', 'mine')")
    behind = delete(table, 1, 2) if then == "delete" else update(table, 1, 2, phone="777")
    writes = [
        anew(insert(table, 1, id=1, phone="999", name="theirs")),
        behind,
        anew(insert(table, 3, id=2, phone="123", name="theirs")),
    ]
    assert refused(lease, writes) == {1: "conflict", 2: "waiting", 3: "rejected"}
    assert rows(target, "phones") == [(1, "123", "mine")]


def test_a_row_is_met_as_it_is_though_values_are_set_aside(target: Target) -> None:
    table = phones(target)
    _, lease = target.ready()
    target.execute("INSERT INTO phones VALUES (1, 'mine', 'same'), (8, '8', 'x'), (9, '9', 'x')")
    writes = [
        update(table, 8, 1, phone="9"),
        update(table, 9, 2, phone="8"),
        anew(insert(table, 3, id=1, phone=None, name="same")),
        update(table, 1, 4, phone="theirs"),
    ]
    assert refused(lease, writes) == {3: "conflict", 4: "waiting"}
    assert rows(target, "phones") == [(1, "mine", "same"), (8, "9", "x"), (9, "8", "x")]


def test_equal_is_equal_to_the_byte(sqlite_target: Target) -> None:
    """As in every engine; SQLite alone compares by the column's collation."""
    target = sqlite_target
    target.execute("CREATE TABLE names (id integer PRIMARY KEY, name varchar(20) COLLATE NOCASE)")
    table = target.table("names")
    _, lease = target.ready()
    target.execute("INSERT INTO names VALUES (1, 'Anna'), (2, 'Bert')")
    writes = [anew(insert(table, 1, id=1, name="ANNA")), anew(insert(table, 2, id=2, name="Bert"))]
    assert refused(lease, writes) == {1: "conflict"}


def test_what_follows_in_the_batch_leaves_the_other_row_alone(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    target.execute("INSERT INTO items VALUES (1, 'mine', 1), (2, 'mine', 2), (3, 'mine', 3)")
    writes = [
        anew(insert(table, 10, id=1, name="theirs", quantity=0)),
        delete(table, 1, 11),
        anew(insert(table, 12, id=2, name="theirs", quantity=0)),
        update(table, 2, 13, name="changed"),
        delete(table, 3, 14),
        anew(insert(table, 15, id=3, name="after the delete", quantity=0)),
        anew(insert(table, 16, id=4, name="first", quantity=0)),
        anew(insert(table, 17, id=4, name="second, of a third channel", quantity=0)),
        anew(insert(table, 18, id=5, name="first", quantity=0)),
        update(table, 5, 19, name="changed"),
    ]
    assert refused(lease, writes) == {
        10: "conflict", 11: "waiting", 12: "conflict", 13: "waiting", 17: "conflict",
    }  # fmt: skip
    assert rows(target) == [
        (1, "mine", 1), (2, "mine", 2), (3, "after the delete", 0), (4, "first", 0), (5, "changed", 0),
    ]  # fmt: skip
