"""Rows of one key in several channels: where an insert is to make its row, and which parked changes go with the row that is given up."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cdc.apply.contested import given_up_with, giving_way_to, is_rival
from cdc.apply.encoding import Encoder
from cdc.apply.parking import parked_row
from cdc.compiling import is_contested
from cdc.model import Change, Entry, Layout
from config.load import parse
from tests.unit.configurations import ENVIRONMENT, SMALL
from transforms import compile_mapping
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec
from transforms.tables import Column, ColumnType, Table

LAYOUTS = (Layout("m", "thing", ("id", "kind")), Layout("m", "thing", ("id",)), Layout("m", "thing", ("kind",)))


def contested(text: str) -> list[bool]:
    configuration = parse(text, ENVIRONMENT)
    return [is_contested(spec, configuration) for spec in configuration.mappings.values()]


@pytest.mark.parametrize(
    ("was", "becomes", "expected"),
    [
        ("", "", [True, True]),
        ("    table: orders\n", "    table: orders\n    direction: apply\n", [False, False]),
        ("    table: orders\n", "    table: orders\n    direction: capture\n", [True, True]),
        ("    table: orders\n", "    table: orders\n    on_delete: ignore\n", [False, True]),
        ("    table: orders\n", "    table: orders\n    on_truncate: ignore\n", [True, False]),
        ("/mini\n", "/mini\n    bookkeeping: none\n", [True, False]),
    ],
    ids=[
        "both ways",
        "one writer",
        "one only captured",
        "deletes leave rows",
        "TRUNCATE leaves rows",
        "may be written twice",
    ],
)
def test_inserts_are_to_make_their_rows_where_several_channels_write(
    was: str, becomes: str, expected: list[bool]
) -> None:
    assert contested(SMALL.replace(was, becomes, 1)) == expected


def encoder(**rules: object) -> Encoder:
    entity = EntitySpec("thing", ("id",), (FieldSpec("id", "integer"), FieldSpec("kind", "text")))
    columns = tuple(ColumnSpec(name, name) for name in ("id", "kind"))
    spec = MappingSpec("b.t", "b", "postgresql", None, "t", entity, "both", columns, ("id",), **rules)  # type: ignore[arg-type]
    table = Table("public", "t", (
        Column("id", ColumnType("postgresql", "int8"), nullable=False), Column("kind", ColumnType("postgresql", "text"), nullable=True),
    ), ("id",))  # fmt: skip
    compiled = compile_mapping(spec, table, capture=True, apply=True)
    object.__setattr__(compiled, "contested", True)
    return Encoder([compiled])


def test_an_insert_and_an_update_that_brings_a_row_here_are_to_make_it_and_nothing_else_is() -> None:
    it = encoder(where={"kind": "web"})
    insert = Change(0, "insert", 0, (1,), (1, "web"))
    enters = Change(0, "update", 1, (1,), (1, "web"), before=(1, "shop"))
    stays = Change(0, "update", 2, (1,), (1, "web"), before=(1, "web"))
    unknown = Change(0, "update", 3, (1,), (1, "web"))
    made = [it.encode(LAYOUTS[0], change, 0)[0] for change in (insert, enters, stays, unknown)]
    assert [(write.op, write.anew) for write in made] == [
        ("insert", True), ("insert", True), ("update", False), ("update", False),
    ]  # fmt: skip
    it.writes_over = True
    assert [it.encode(LAYOUTS[0], change, 0)[0].anew for change in (insert, enters)] == [False, False]
    it.writes_over = False
    assert it.encode(LAYOUTS[0], insert, 0)[0].anew


def waiting(*told: str) -> dict[str, object]:
    """`a+1` is an insert of key 1 by source a, `a1` an update, `a-1` a delete, `a1>2` a move; by these names, in their order."""
    rows = {}
    for order, word in enumerate(told, 1):
        source, rest = word[0], word[1:]
        key, _, moved = rest.lstrip("+-").partition(">")
        if rest[0] == "+":
            change = Change(0, "insert", 0, (int(key),), (int(key), "x"))
        elif rest[0] == "-":
            change = Change(1, "delete", 0, (int(key),), ())
        elif moved:
            change = Change(1, "update", 0, (int(key),), (int(moved),))
        else:
            change = Change(2, "update", 0, (int(key),), ("y",))
        entry = Entry(source, order, 0, 1, True, 1, 7, "t", {}, {}, LAYOUTS, (change,))
        name = next(word + "'" * n for n in itertools.count() if word + "'" * n not in rows)
        rows[name] = parked_row("d", entry, LAYOUTS[change.layout], change, ("id",), "waiting", "")
    return rows


def names(rows, found):
    return {name for name, row in rows.items() if row in found}


def test_with_a_dropped_insert_goes_what_became_of_its_row_and_no_other_row() -> None:
    rows = waiting("a+1", "b+1", "a1", "b1", "a1>2", "a3>1", "a1", "a2", "a3", "b2", "a-2", "a+2", "a2")
    assert names(rows, given_up_with(rows["a+1"], list(rows.values()))) == {"a1", "a1>2", "a2", "a-2"}
    gone = waiting("a+1", "a-1", "a3>1", "a1")
    assert names(gone, given_up_with(gone["a+1"], list(gone.values()))) == {"a-1"}
    again = waiting("a+1", "a-1", "a+1", "a1")
    assert names(again, given_up_with(again["a+1"], list(again.values()))) == {"a-1"}
    assert names(again, given_up_with(again["a+1'"], list(again.values()))) == {"a1"}


def test_only_an_insert_that_met_another_row_or_waits_behind_one_takes_its_later_changes_along() -> None:
    """Behind one that was refused for itself waits what mends it."""
    rows = waiting("a+1", "a1", "b+1", "a+2")
    assert not any(is_rival(row, rows.values()) for row in rows.values())
    rows["a+1"] = replace(rows["a+1"], reason="conflict")
    assert [name for name, row in rows.items() if is_rival(row, rows.values())] == ["a+1", "b+1"]


def test_an_insert_that_is_written_over_another_row_outdoes_all_that_was_told_of_its_key_but_what_follows_from_itself() -> (
    None
):
    rows = waiting("a+1", "b+1", "a-1", "a+1", "a1", "b1>2", "b2", "c1", "a-1", "c3", "b+3")
    assert names(rows, giving_way_to(rows["a+1'"], list(rows.values()))) == {"a+1", "b+1", "a-1", "b1>2", "b2", "c1"}
    assert names(rows, giving_way_to(rows["b+1"], list(rows.values()))) == {"a+1", "a-1", "a+1'", "a1", "c1", "a-1'"}
    rows = waiting("a+1", "b3", "b3>1", "b1>2", "b2", "b-2", "b+2", "b2", "b+3", "b1")
    assert names(rows, giving_way_to(rows["a+1"], list(rows.values()))) == {"b3>1", "b1>2", "b2", "b-2", "b1"}
