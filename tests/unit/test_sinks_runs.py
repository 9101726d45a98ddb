"""Grouping keeps the order; a refused row is found; what depends on it waits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.contract import Rejected, RowWrite
from sinks.runs import FIRST_ROWS, MOST_ROWS, in_strict_order, row_keys, runs, slices
from sinks.singly import write_apart
from transforms.tables import Table

TABLES = (Table("s", "a", ()), Table("s", "b", ()))


@st.composite
def write(draw: st.DrawFn) -> RowWrite:
    op = draw(st.sampled_from(["insert", "update", "delete"]))
    key = draw(st.integers(0, 5))
    columns: tuple[str, ...] = ()
    if op == "insert":
        columns = ("id", "v")
    elif op == "update":
        columns = draw(st.sampled_from([("v",), ("w",), ("id",), ("v", "id")]))
    values = tuple(key if column == "id" and op == "insert" else draw(st.integers(0, 5)) for column in columns)
    return RowWrite(draw(st.sampled_from(TABLES)), op, ("id",), (key,), columns, values)  # type: ignore[arg-type]


@given(st.lists(write()))
def test_runs_joined_are_the_writes_and_each_is_of_one_shape(writes: list[RowWrite]) -> None:
    found = list(runs(writes))
    assert [one for run in found for one in run] == writes
    for run in found:
        assert len({(one.table, one.op, one.columns, one.key_columns) for one in run}) == 1
    for left, right in itertools.pairwise(found):
        assert (left[0].table, left[0].op, left[0].columns) != (right[0].table, right[0].op, right[0].columns)


@given(st.lists(write()))
def test_groups_in_strict_order_joined_are_the_writes_and_touch_no_row_twice(writes: list[RowWrite]) -> None:
    found = list(in_strict_order(writes))
    assert [one for group in found for one in group] == writes
    for group in found:
        assert len({(one.table, one.op, one.columns) for one in group}) == 1
        keys = [key for one in group for key in set(row_keys(one))]
        assert len(keys) == len(set(keys))


def test_keys_that_some_collation_may_hold_for_equal_are_one_key() -> None:
    for one, other in (("Straße ", "STRASSE"), ("résumé", "RESUME"), ("e\u0301", "é")):
        deletes = [RowWrite(TABLES[0], "delete", ("k",), (key,), (), ()) for key in (one, other)]
        assert len(list(in_strict_order(deletes))) == 2


def test_a_refused_row_holds_up_its_own_key_alone() -> None:
    """`Abc` and `abc` are two rows (the dictionary's keys say so), whatever a collation holds for equal."""
    writes = [
        RowWrite(TABLES[0], "update", ("k",), (key,), ("v",), (1,), n) for n, key in enumerate(("Abc", "abc", "Abc"))
    ]

    def attempt(stretch: Sequence[RowWrite]) -> None:
        if any(one.ref == 0 for one in stretch):
            raise Rejected("no", "1", reason="because")

    found = [(rejection.ref, rejection.reason) for rejection in write_apart(writes, attempt)]
    assert found == [(0, "because"), (2, "waiting")]


@given(st.lists(write(), max_size=60), st.sets(st.integers(0, 59)))
def test_refused_rows_are_found_in_order_and_what_depends_on_them_waits(writes: list[RowWrite], bad: set[int]) -> None:
    numbered = [
        RowWrite(one.table, one.op, one.key_columns, one.key, one.columns, one.values, ref)
        for ref, one in enumerate(writes)
    ]
    written: list[int] = []

    def attempt(stretch: Sequence[RowWrite]) -> None:
        if any(one.ref in bad for one in stretch):
            raise Rejected("no", "1", reason="because")
        written.extend(one.ref for one in stretch)

    rejections = write_apart(numbered, attempt)

    blocked: set[object] = set()
    expected: list[tuple[int, str]] = []
    for one in numbered:
        keys = row_keys(one)
        if not blocked.isdisjoint(keys):
            expected.append((one.ref, "waiting"))
        elif one.ref in bad:
            expected.append((one.ref, "because"))
        else:
            continue
        blocked.update(keys)
    assert [(rejection.ref, rejection.reason) for rejection in rejections] == expected
    refused = {ref for ref, _ in expected}
    assert written == [one.ref for one in numbered if one.ref not in refused]


@pytest.mark.parametrize("rows", [0, 1, 100, 300, 301, 999, 1000, 1001, 5000])
def test_statements_begin_small_grow_and_hold_every_row_once(rows: int) -> None:
    cut = list(slices(rows))
    assert [number for one in cut for number in range(rows)[one]] == list(range(rows))
    sizes = [len(range(rows)[one]) for one in cut]
    assert max(sizes, default=0) <= MOST_ROWS * 3 // 2
    assert len(sizes) <= 1 or min(sizes) >= FIRST_ROWS
    if rows > 300:
        assert sizes[0] == FIRST_ROWS < sizes[1]
    else:
        assert len(sizes) <= 1
