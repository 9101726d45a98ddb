"""Parked changes of one key tried as one: the row ends as it would have ended one after the other, and nothing is dropped."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdc.apply.folding import Attempt, fold
from cdc.model import Change, Layout

FIELDS = ("id", "v", "note", "points")
COUNTERS = frozenset({"points"})


def attempts(steps: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> list[Attempt]:
    """`steps`: operation, values, before."""
    made = []
    for ref, (op, values, before) in enumerate(steps):
        layout = Layout("a.t", "thing", tuple(values))
        change = Change(0, op, ref, (1,), tuple(values.values()), tuple(before.values()))  # type: ignore[arg-type]
        made.append(Attempt((ref,), layout, change, ("thing/[1]",)))
    return made


def folded(made: list[Attempt]) -> list[Attempt]:
    return fold(made, [COUNTERS] * len(made))


def written(row: dict[str, Any] | None, made: list[Attempt]) -> dict[str, Any] | None:
    """What a target's row becomes: registers are set, counters are added to, as `cdc.apply.write_plan` does."""
    for one in made:
        values = dict(zip(one.layout.fields, one.change.values, strict=True))
        before = dict(zip(one.layout.fields, one.change.before, strict=False))
        if one.change.op == "delete":
            row = None
        elif one.change.op == "insert":
            row = values
        elif row is not None:
            points = values.get("points")
            if points is not None:
                values["points"] = (row["points"] or 0) + points - (before["points"] or 0)
            row = {**row, **values}
    return row


numbers = st.integers(-5, 5)
registers = st.fixed_dictionaries({}, optional={"v": numbers, "note": st.text(max_size=2)})
counts = st.none() | st.tuples(st.none() | numbers, st.none() | numbers)


@given(st.lists(st.tuples(st.booleans(), registers, counts), max_size=6), st.none() | numbers)
def test_a_row_ends_the_same_and_every_change_is_in_one_attempt(steps, held):
    """`held`: what the target's row counts already; None: there is no row, and the first change makes it."""
    fresh = {"id": 1, "v": 0, "note": "", "points": 3}
    now = dict(fresh)
    made: list[tuple[str, dict[str, Any], dict[str, Any]]] = [("insert", fresh, {})] if held is None else []
    for gone, values, points in steps:
        if gone:
            made += [("delete", {}, {}), ("insert", fresh, {})]
            now = dict(fresh)
        elif values or points:
            before = {name: now[name] for name in values}
            now |= values
            if points is not None:
                before, values = {**before, "points": points[0]}, {**values, "points": points[1]}
            made.append(("update", values, before))
    each = attempts(made)
    short = folded(each)
    assert sorted(ref for one in short for ref in one.refs) == list(range(len(each)))
    start = None if held is None else {**fresh, "points": held}
    assert written(start, short) == written(start, each)


def test_an_insert_takes_the_updates_behind_it_and_counters_are_added():
    (one,) = folded(
        attempts([
            ("insert", {"id": 1, "v": 7, "note": "too long", "points": 10}, {}),
            ("update", {"note": "short", "points": 4}, {"note": "too long", "points": 3}),
            ("update", {"points": 9}, {"points": 7}),
        ])
    )  # fmt: skip
    assert (one.refs, one.change.op, one.layout.fields) == ((0, 1, 2), "insert", FIELDS)
    assert one.change.values == (1, 7, "short", 13)


def test_updates_are_one_with_what_was_before_the_first():
    (one,) = folded(
        attempts([
            ("update", {"v": 5, "points": 8}, {"v": 1, "points": 5}),
            ("update", {"note": "b", "points": 2}, {"note": "a", "points": 1}),
        ])
    )  # fmt: skip
    assert one.layout.fields == ("v", "points", "note")
    assert (one.change.values, one.change.before) == ((5, 9, "b"), (1, 5, "a"))


def test_a_delete_takes_the_updates_before_it_and_never_an_insert():
    short = folded(
        attempts([
            ("insert", {"id": 1, "v": 1, "note": "", "points": 0}, {}), ("update", {"v": 2}, {"v": 1}), ("delete", {}, {}),
            ("insert", {"id": 1, "v": 3, "note": "", "points": 0}, {}),
        ])
    )  # fmt: skip
    assert [(one.change.op, one.refs) for one in short] == [("insert", (0, 1)), ("delete", (2,)), ("insert", (3,))]
    short = folded(attempts([("update", {"v": 2}, {"v": 1}), ("delete", {}, {})]))
    assert [(one.change.op, one.refs) for one in short] == [("delete", (0, 1))]


def test_what_cannot_be_told_stays_apart():
    refused = attempts([("update", {"v": 2}, {"v": 1}), ("update", {"v": 3}, {"v": 2})])
    spoilt = Change(0, "update", 0, (1,), (), (), "no such date")
    refused[0] = Attempt((0,), Layout("a.t", "thing", ()), spoilt, ("thing/[1]",))
    assert len(folded(refused)) == 2
    to_null = [("update", {"points": None}, {"points": 3}), ("update", {"points": 5}, {"points": None})]
    assert len(folded(attempts(to_null))) == 2
    moved = attempts([("update", {"v": 2}, {"v": 1}), ("update", {"id": 2}, {"id": 1}), ("update", {"v": 3}, {"v": 2})])
    moved[1] = Attempt((1,), moved[1].layout, moved[1].change, ("thing/[1]", "thing/[2]"))
    assert len(folded(moved)) == 3
