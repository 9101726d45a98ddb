"""Several mappings of one entity in a channel, and counters: what the file alone shows to be wrong."""

from __future__ import annotations

import pytest

from config.load import ConfigurationRefused, parse

BASE = """
version: 1
deployment: small
channels:
  a: {{url: "mysql://u:p@h1/shop", bookkeeping: {bookkeeping}}}
  b: {{url: "postgresql://u:p@h2/shop"}}
entities:
  order:
    key: [no]
    fields:
      no: {{type: text}}
      kind: {{type: text}}
      points: {{type: integer{points}}}
mappings:
  a.first: {{channel: a, table: orders, entity: order, columns: {{no: no, points: points, {first_column}}}, where: {first}, direction: {first_direction}}}
  a.second: {{channel: a, table: {table}, entity: order, columns: {{no: no, {second_column}}}, where: {second}}}
  b.orders: {{channel: b, table: orders, entity: order, columns: {{no: no, kind: kind, points: points}}}}
"""


def said(**changes):
    options = {
        "bookkeeping": "table", "points": "", "first": "{kind: online}", "second": "{kind: shop}", "table": "orders",
        "first_column": "kind: kind", "second_column": "kind: kind", "first_direction": "both",
    }  # fmt: skip
    try:
        parse(BASE.format(**(options | changes)), {})
    except ConfigurationRefused as refused:
        return [str(problem) for problem in refused.problems]
    return []


@pytest.mark.parametrize("table", ["orders", "shop_orders"])
def test_conditions_that_cannot_both_hold_are_told_apart(table):
    assert said(table=table) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [("{}", "{}"), ("{kind: online}", "{}"), ("{kind: 1}", "{kind: '1'}"), ("{kind: true}", "{kind: 1}"), ("{kind: 1.0}", "{kind: 1}"),
     ("{kind: online}", "{other: 1}"), ("{kind: Online}", "{kind: online}")],
)  # fmt: skip
def test_conditions_that_may_both_hold_are_refused(first, second):
    (problem,) = said(first=first, second=second)
    assert "mappings.a.second: " in problem
    assert "cannot both hold" in problem


def test_what_arrives_must_tell_whose_it_is():
    (problem,) = said(first="{shop_id: 7}", second="{shop_id: 8}")
    assert "a change that arrives does not tell which of them it is for: map column shop_id" in problem
    assert said(first="{shop_id: 7}", second="{shop_id: 8}", first_direction="capture") == []


def test_a_counter_needs_a_progress_table_where_it_is_written():
    assert said(points=", merge: sum") == []
    (problem,) = said(points=", merge: sum", bookkeeping="none")
    assert problem.startswith("mappings.a.first.columns.points: field 'points' is a counter")
    assert said(points=", merge: sum", bookkeeping="none", first_direction="capture") == []


def test_a_field_that_routes_rows_somewhere_is_known_to_every_mapping():
    configuration = parse(BASE.format(
        bookkeeping="table", points="", first="{kind: online}", second="{kind: shop}", table="orders", first_column="kind: kind",
        second_column="kind: kind", first_direction="both",
    ), {})  # fmt: skip
    assert {spec.routed for spec in configuration.specs} == {frozenset({"kind"})}
