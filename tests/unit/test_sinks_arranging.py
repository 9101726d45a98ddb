"""Writes change places and become one, and the transaction ends as it would have: checked on a small database in Python."""

from __future__ import annotations

import decimal

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sinks.arranging import TableFacts, arranged, united
from sinks.contract import RowWrite
from sinks.runs import runs
from transforms.tables import Table

PARENT, CHILD, FREE = Table("s", "parent", ()), Table("s", "child", ()), Table("s", "free", ())
FACTS = {
    PARENT: TableFacts(frozenset({("id",), ("u",)})),
    CHILD: TableFacts(frozenset({("id",)}), frozenset({("s", "parent")}), frozenset({"p"})),
    FREE: TableFacts(frozenset({("id",)})),
}


class Refused(Exception):
    pass


class Database:
    """Three tables: `parent` with a second unique key, `child` with a foreign key on it, and one with neither."""

    def __init__(self, cascade):
        self.cascade = cascade
        self.tables = {
            PARENT: {1: {"id": 1, "u": 1, "n": 10, "own": "x"}, 2: {"id": 2, "u": 2, "n": 20, "own": "y"}},
            CHILD: {1: {"id": 1, "p": 1, "n": 0, "own": "x"}, 2: {"id": 2, "p": None, "n": 0, "own": "y"}},
            FREE: {1: {"id": 1, "n": 0, "m": 0, "own": "x"}},
        }  # `own` is a column that no mapping fills: it ends with the row

    def write(self, one):
        rows, (key,) = self.tables[one.table], one.key
        values = dict(zip(one.columns, one.values, strict=True))
        if one.op == "delete":
            self.delete(one.table, key)
        elif one.op == "update":
            if key not in rows:
                raise Refused("missing")
            added = {column: rows[key][column] + values[column] for column in (one.columns[at] for at in one.deltas)}
            self.put(one.table, key, rows[key] | values | added)
        else:
            self.put(one.table, key, rows.get(key, {}) | values)

    def delete(self, table, key):
        if self.tables[table].pop(key, None) is None or table is not PARENT:
            return
        for child, row in list(self.tables[CHILD].items()):
            if row["p"] == key:
                if not self.cascade:
                    raise Refused("child")
                del self.tables[CHILD][child]

    def put(self, table, key, row):
        rows = self.tables[table]
        if row["id"] != key:
            if row["id"] in rows:
                raise Refused("key")
            if table is PARENT and any(child["p"] == key for child in self.tables[CHILD].values()):
                raise Refused("referred to")
        others = [other for place, other in rows.items() if place != key]
        if table is PARENT and row["u"] is not None and any(other["u"] == row["u"] for other in others):
            raise Refused("unique")
        if table is CHILD and row["p"] is not None and row["p"] not in self.tables[PARENT]:
            raise Refused("parent")
        rows.pop(key, None)
        rows[row["id"]] = row


small = st.integers(1, 4)


@st.composite
def write(draw, tables):
    table = draw(st.sampled_from(tables))
    key, number = draw(small), draw(st.integers(0, 3))
    second = {PARENT: "u", CHILD: "p", FREE: "m"}[table]
    other = draw(st.none() | small) if table is not FREE else number
    op = draw(st.sampled_from(["insert", "update", "update", "delete"]))
    if op == "delete":
        return RowWrite(table, op, ("id",), (key,), (), ())
    if op == "insert":
        return RowWrite(table, op, ("id",), (key,), ("id", second, "n"), (key, other, number))
    columns = draw(st.sampled_from([("n",), ("n",), (second,), (second, "n"), ("id",), ("id", "n")]))
    values = {"id": draw(small), second: other, "n": number}
    deltas = tuple(at for at, column in enumerate(columns) if column == "n" and draw(st.booleans()))
    return RowWrite(table, op, ("id",), (key,), columns, tuple(values[column] for column in columns), 0, deltas)


def run(writes, cascade):
    database = Database(cascade)
    try:
        for one in writes:
            database.write(one)
    except Refused:
        return None
    return database.tables


def in_groups(writes):
    return list(arranged(runs(writes), FACTS.__getitem__))


@settings(max_examples=300, deadline=None)
@given(st.lists(write([PARENT, CHILD, FREE]), max_size=12), st.booleans())
def test_arranged_writes_end_as_the_writes_in_their_order_do_or_are_refused(writes, cascade):
    expected = run(writes, cascade)
    groups = in_groups(writes)
    found = run([one for group in groups for one in group], cascade)
    for group in groups:
        assert len({(one.table, one.op, one.columns, one.deltas) for one in group}) == 1
        assert group[0].op == "delete" or len({one.key for one in group}) == len(group)
    event(f"{'fine' if expected else 'refused'} in order, {'fine' if found else 'refused'} arranged")
    if expected is not None and found is not None:
        assert found == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(write([FREE]), max_size=15))
def test_without_other_constraints_arranged_writes_are_never_refused_where_the_order_is_not(writes):
    expected = run(writes, cascade=False)
    if expected is not None:
        assert run([one for group in in_groups(writes) for one in group], cascade=False) == expected


def one(table, op, key, **values):
    return RowWrite(table, op, ("id",), (key,), tuple(values), tuple(values.values()))


def names(groups):
    return [(group[0].table.name, group[0].op, [one.key[0] for one in group]) for group in groups]


def test_transactions_of_the_same_kind_become_one_statement_per_table_and_operation():
    writes = []
    for number in range(10, 60):
        writes += [one(PARENT, "insert", number, id=number, u=number, n=0), one(CHILD, "insert", number, id=number, p=number, n=0),
                   one(FREE, "update", number, n=1), one(FREE, "update", number, n=2), one(CHILD, "delete", number - 100)]  # fmt: skip
    assert [(table, op, len(keys)) for table, op, keys in names(in_groups(writes))] == [
        ("parent", "insert", 50), ("child", "insert", 50), ("free", "update", 50), ("child", "delete", 50),
    ]  # fmt: skip


def test_children_are_deleted_before_parents_and_a_parent_that_comes_late_is_written_first():
    writes = [one(CHILD, "insert", 9, id=9, p=9, n=0), one(PARENT, "insert", 9, id=9, u=9, n=0)]
    assert names(in_groups(writes)) == [("parent", "insert", [9]), ("child", "insert", [9])]
    writes = [one(PARENT, "delete", 1), one(CHILD, "delete", 1), one(PARENT, "delete", 2), one(CHILD, "delete", 2)]
    assert names(in_groups(writes)) == [("child", "delete", [1, 2]), ("parent", "delete", [1, 2])]


@pytest.mark.parametrize(
    "writes",
    [
        [one(PARENT, "update", 2, u=9), one(PARENT, "update", 1, u=2), one(PARENT, "delete", 2)],
        [one(CHILD, "delete", 1), one(PARENT, "update", 1, id=9)],
        [one(PARENT, "insert", 9, id=9, u=9, n=0), one(CHILD, "update", 2, p=9), one(CHILD, "update", 2, p=1), one(PARENT, "delete", 9)],
    ],
    ids=["its unique value had passed to another row", "its child was deleted", "a child referred to it for a while"],
)  # fmt: skip
def test_a_row_that_goes_or_moves_leaves_in_place_what_others_have_built_on(writes):
    expected = run(writes, cascade=False)
    assert expected is not None
    assert run([one for group in in_groups(writes) for one in group], cascade=False) == expected


def test_a_row_made_anew_is_deleted_first():
    writes = [one(FREE, "delete", 1), one(FREE, "insert", 1, id=1, n=1, m=1), one(FREE, "update", 1, n=5)]
    groups = in_groups(writes)
    assert names(groups) == [("free", "delete", [1]), ("free", "insert", [1])]
    assert groups[1][0].values == (1, 5, 1)


def test_fifty_versions_of_a_row_are_one_write():
    writes = [one(FREE, "insert", 1, id=1, n=0, m=0), *(one(FREE, "update", 1, n=n) for n in range(1, 51))]
    (group,) = in_groups(writes)
    assert [(write.op, write.values) for write in group] == [("insert", (1, 50, 0))]
    assert names(in_groups([*writes, one(FREE, "delete", 1)])) == [("free", "delete", [1])]


def test_counters_are_summed_exactly_or_left_to_the_database():
    def added(value, column="n"):
        return RowWrite(FREE, "update", ("id",), (1,), (column,), (value,), 0, (0,))

    total = united(added(2), added(-5))
    assert total is not None
    assert (total.values, total.deltas) == ((-3,), (0,))
    total = united(one(FREE, "update", 1, n=decimal.Decimal("1.10")), added(decimal.Decimal("0.20")))
    assert total is not None
    assert (str(total.values[0]), total.deltas) == ("1.30", ())
    total = united(added(1), one(FREE, "update", 1, m=3))
    assert total is not None
    assert (total.columns, total.values, total.deltas) == (("n", "m"), (1, 3), (0,))
    assert united(added(1.5), added(1.5)) is None
    assert united(one(FREE, "insert", 1, id=1, m=1), added(1)) is None
    assert united(one(FREE, "update", 1, n=None), added(1)) is None


@pytest.mark.parametrize("op", ["insert", "update", "delete"])
@pytest.mark.parametrize("before", ["insert", "update", "delete"])
def test_keys_that_differ_are_never_one_row_whatever_a_collation_holds_for_equal(before, op):
    def of(op, key, number):
        return one(FREE, op, key, **({} if op == "delete" else {"n": number} | ({"id": key} if op == "insert" else {})))

    writes = [of(before, "Key", 1), of(op, "key", 2), of(op, "KEY ", 3)]
    written = [write for group in in_groups(writes) for write in group]
    assert [(write.op, write.key, write.values) for write in written] == [(w.op, w.key, w.values) for w in writes]


@pytest.mark.parametrize("first", ["a", "Straße "])
def test_keys_that_a_collation_may_hold_for_equal_stay_in_order(first):
    writes = [
        one(FREE, "insert", first, id=first),
        one(FREE, "update", first.upper().strip(), n=1),
        one(FREE, "update", first, n=2),
    ]
    ((write,), *_) = in_groups([writes[0], writes[2]])
    assert write.op == "insert"
    assert len(in_groups(writes)) >= 1
