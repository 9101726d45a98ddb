"""Conditions on rows, constants and counters: what a capture tells, and what an applier makes of it."""

from __future__ import annotations

import decimal

import pytest

from cdc.apply.encoding import Encoder
from cdc.capture.decoding import Decoder
from cdc.model import Change, Layout, RowChange
from transforms import ABSENT, MappingRefusedError, RefusedValueError, compile_mapping
from transforms.narrowing import narrower
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Table

D = decimal.Decimal
ORDER = EntitySpec(
    "order", ("no",),
    (FieldSpec("no", "integer", required=True), FieldSpec("note", "text"), FieldSpec("kind", "text"), FieldSpec("points", "integer", merge="sum"),
     FieldSpec("cash", "decimal", merge="sum", scale=2)),
)  # fmt: skip


def column(name, kind, nullable=True, **more):
    return Column(name, ColumnType("mysql", kind, **more), nullable=nullable)


TABLE = Table(
    "shop", "orders",
    (column("no", "bigint", nullable=False), column("note", "varchar", length=20, charset="utf8mb4"), column("points", "int"),
     column("shop_id", "int", nullable=False), column("gone", "tinyint", nullable=False), column("left_at", "datetime"),
     column("kind", "varchar", length=9), column("cents", "bigint"), column("secret", "varchar", nullable=False, length=8),
     Column("total", ColumnType("mysql", "int"), generated=True), column("opens_at", "time")),
    ("no",),
)  # fmt: skip
PLAIN = ("no", "note", "points")


def spec(columns=PLAIN, **more):
    steps = {"cents": (TransformSpec("scale", 2),)}
    fields = {"cents": "cash"}
    chosen = tuple(ColumnSpec(c, fields.get(c, c), steps.get(c, ())) for c in columns)
    return MappingSpec("s.orders", "s", "mysql", None, "orders", ORDER, "both", chosen, ("no",), **more)


def row(no=1, note="x", points=5, shop_id=7, gone=0, left_at=None, kind="web", cents=100, secret=""):
    return (no, note, points, shop_id, gone, left_at, kind, cents, secret, 0)


def told(mapping, *rows):
    (decoded,) = Decoder([mapping], "shop").decode(
        [[RowChange(TABLE, op, n, b, a) for n, (op, b, a) in enumerate(rows)]]
    )
    assert decoded.error is None
    layouts = decoded.layouts
    return [
        (c.op, c.key, dict(zip(layouts[c.layout].fields, c.values, strict=True)), c.refused) for c in decoded.changes
    ]


def writes(mapping, op, key=(1,), fields=(), values=(), before=()):
    compiled = compile_mapping(mapping, TABLE, capture=True, apply=True)
    return Encoder([compiled]).encode(Layout("x", "order", tuple(fields)), Change(0, op, 0, key, values, before), 0)


# -- where


def test_a_row_that_begins_to_match_is_an_insert_and_one_that_ceases_to_a_delete():
    mapping = spec(where={"shop_id": 7})
    whole = {"no": 1, "note": "x", "points": 5}
    assert told(
        mapping,
        ("insert", None, row()),
        ("insert", None, row(no=2, shop_id=8)),
        ("update", row(shop_id=8), row()),
        ("update", row(), row(shop_id=8, note="other")),
        ("update", row(), row(note="y")),
        ("update", row(shop_id=8), row(shop_id=8, note="y")),
        ("update", row(no=3), row(no=4, shop_id=9)),
        ("delete", row(shop_id=8), None),
        ("delete", row(), None),
    ) == [
        ("insert", (1,), whole, None),
        ("insert", (1,), whole, None),
        ("delete", (1,), {}, None),
        ("update", (1,), {"note": "y"}, None),
        ("delete", (3,), {}, None),
        ("delete", (1,), {}, None),
    ]


def test_without_the_row_before_it_is_not_guessed():
    mapping = spec(where={"shop_id": 7})
    (update,) = told(mapping, ("update", None, row()))
    (delete,) = told(mapping, ("delete", (1, *[ABSENT] * 9), None))
    assert (update[:3], delete[:3]) == (("update", (1,), {}), ("delete", (1,), {}))
    assert "ALTER TABLE shop.orders REPLICA IDENTITY FULL" in update[3]
    assert "the log does not carry it" in delete[3]


def test_what_is_applied_holds_the_values_of_where_and_touches_no_other_row():
    mapping = spec(where={"shop_id": 7}, on_insert={"secret": "!"})
    (insert,) = writes(mapping, "insert", fields=PLAIN, values=(1, "x", 5))
    assert (insert.columns, insert.values) == ((*PLAIN, "shop_id"), (1, "x", 5, 7))
    assert (insert.only, insert.fresh) == ((("shop_id", 7),), (("secret", "!"),))
    (update,) = writes(mapping, "update", fields=("note",), values=("y",), before=("x",))
    (delete,) = writes(mapping, "delete")
    assert update.only == delete.only == (("shop_id", 7),)
    assert not update.lenient


def test_a_mapped_column_of_where_tells_whose_a_row_is():
    mapping = spec((*PLAIN, "kind"), where={"kind": "web"})
    fields = (*PLAIN, "kind")
    assert writes(mapping, "insert", fields=fields, values=(1, "x", 5, "app")) == []
    assert [w.op for w in writes(mapping, "insert", fields=fields, values=(1, "x", 5, "web"))] == ["insert"]
    came, went, never = (
        writes(mapping, "update", fields=fields, values=(1, "x", 5, now), before=(1, "x", 5, before))
        for now, before in (("web", "app"), ("app", "web"), ("app", "pos"))
    )
    assert ([w.op for w in came], [w.op for w in went], never) == (["insert"], ["delete"], [])
    (update,) = writes(mapping, "update", fields=("note",), values=("y",), before=("x",))
    assert update.lenient  # whether the row is here, only the table knows


def test_a_change_of_a_routing_field_tells_the_whole_row():
    mapping = spec((*PLAIN, "kind"), routed=frozenset({"kind"}))
    assert told(mapping, ("update", row(), row(kind="app")), ("update", row(), row(note="y"))) == [
        ("update", (1,), {"no": 1, "note": "x", "points": 5, "kind": "app"}, None),
        ("update", (1,), {"note": "y"}, None),
    ]


# -- on_delete


def test_a_row_that_comes_to_have_the_values_counts_as_deleted_and_may_come_back():
    mapping = spec(on_delete="set", deleted={"gone": 1})
    assert [
        change[:2]
        for change in told(
            mapping,
            ("update", row(), row(gone=1)),
            ("update", row(gone=1), row(gone=1, note="y")),
            ("update", row(gone=1), row(note="z")),
            ("delete", row(gone=1), None),
            ("insert", None, row(no=9, gone=1)),
            ("delete", row(), None),
        )
    ] == [("delete", (1,)), ("insert", (1,)), ("delete", (1,))]


def test_a_delete_that_arrives_sets_the_values_and_an_insert_takes_them_back():
    mapping = spec(on_delete="set", deleted={"gone": 1})
    (delete,) = writes(mapping, "delete")
    assert (delete.op, delete.columns, delete.values, delete.lenient) == ("update", ("gone",), (1,), True)
    (insert,) = writes(mapping, "insert", fields=PLAIN, values=(1, "x", 5))
    assert (insert.columns[-1], insert.values[-1]) == ("gone", 0)
    timed = spec(on_delete="set", deleted={"left_at": "2000-01-01 00:00:00"})
    (insert,) = writes(timed, "insert", fields=PLAIN, values=(1, "x", 5))
    assert (insert.columns[-1], insert.values[-1]) == ("left_at", None)
    both = spec(where={"gone": 0}, on_delete="set", deleted={"gone": 1})
    (insert,) = writes(both, "insert", fields=PLAIN, values=(1, "x", 5))
    assert (insert.columns[3:], insert.values[3:], insert.only) == (("gone",), (0,), ())


def test_a_delete_may_be_ignored():
    assert writes(spec(on_delete="ignore"), "delete") == []


# -- counters


def test_a_counter_writes_the_difference_and_an_insert_the_value():
    mapping = spec((*PLAIN, "cents"))
    (update,) = writes(mapping, "update", fields=("points", "note"), values=(7, "y"), before=(10, "x"))
    assert (update.columns, update.values, update.deltas) == (("points", "note"), (-3, "y"), (0,))
    (update,) = writes(mapping, "update", fields=("cash",), values=("2.50",), before=("1.05",))
    assert (update.values, update.deltas) == ((145,), (0,))
    (insert,) = writes(mapping, "insert", fields=PLAIN, values=(1, "x", 5))
    assert (insert.values, insert.deltas) == ((1, "x", 5), ())
    (from_null,) = writes(mapping, "update", fields=("points",), values=(4,), before=(None,))
    (to_null,) = writes(mapping, "update", fields=("points",), values=(None,), before=(4,))
    assert (from_null.values, from_null.deltas, to_null.values, to_null.deltas) == ((4,), (0,), (None,), ())


def test_a_counter_without_its_value_before_is_refused_by_name():
    with pytest.raises(RefusedValueError, match="field points: is a counter"):
        writes(spec(), "update", fields=("points",), values=(4,))
    (change,) = told(spec(), ("update", None, row()))
    assert change[1] == (1,)
    assert "a counter needs its value from before" in change[3]
    assert told(spec(("no", "note")), ("update", None, row()))[0][3] is None


# -- what a table shows to be wrong


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"where": {"shop_id": "many"}}, "where.shop_id: column shop_id: 'many' is not a value of kind integer"),
        ({"where": {"shop_id": 2**40}}, "where.shop_id: column shop_id int cannot hold the constant"),
        ({"where": {"shp": 1}}, "where.shp: no column 'shp' in table shop.orders"),
        ({"on_insert": {"secret": "much too long"}}, "on_insert.secret: column secret varchar(8) cannot hold the constant"),
        ({"on_insert": {"secret": None}}, "on_insert.secret: column secret is NOT NULL"),
        ({"on_insert": {"opens_at": "soon"}}, "'soon' is not a value of kind duration, such as 01:30:00"),
        ({"on_insert": {"opens_at": "839:00:00"}}, "column opens_at time cannot hold the constant '839:00:00'"),
        ({"on_insert": {"total": 1}}, "on_insert.total: column total is computed by the server"),
        ({"on_delete": "set", "deleted": {"secret": "gone"}}, "what column secret holds for a row that lives is not known"),
        ({"columns": ("no", "note", "total")}, "no field 'total'"),
    ],
)  # fmt: skip
def test_a_rule_that_the_table_cannot_keep_is_refused(options, said):
    with pytest.raises(MappingRefusedError) as refused:
        compile_mapping(spec(**options), TABLE, capture=True, apply=True)
    assert said in str(refused.value)


@pytest.mark.parametrize(("column_name", "said"), [("note", "cannot be added to"), ("doubled", "does not keep sums")])
def test_a_counter_needs_a_column_that_can_be_added_to(column_name, said):
    entity = EntitySpec("order", ("no",), (FieldSpec("no", "integer"), FieldSpec("points", "integer", merge="sum")))
    steps = (TransformSpec("enum", {"1": 1, "2": 2}),) if column_name == "doubled" else (TransformSpec("integer"),)
    name = "points" if column_name == "doubled" else "note"
    mapping = MappingSpec(
        "s.orders", "s", "mysql", None, "orders", entity, "both", (ColumnSpec("no", "no"), ColumnSpec(name, "points", steps)), ("no",),
    )  # fmt: skip
    with pytest.raises(MappingRefusedError, match=said):
        compile_mapping(mapping, TABLE, capture=True, apply=True)


@pytest.mark.parametrize(
    ("field", "column_type", "said"),
    [
        (
            FieldSpec("points", "integer", maximum=D(2147483647)),
            ColumnType("postgresql", "int2"),
            "column c smallint cannot hold field points: integer up to 2147483647 - add `maximum: 32767` or widen the column",
        ),
        (FieldSpec("p", "integer", minimum=D(-5)), ColumnType("mysql", "int", unsigned=True), "integer down to -5 - add `minimum: 0`"),
        (FieldSpec("p", "text", max_length=64), ColumnType("mysql", "varchar", length=20), "text up to 64 characters - add `max_length: 20`"),
        (
            FieldSpec("p", "decimal", precision=12, scale=2),
            ColumnType("mysql", "decimal", precision=10, scale=2),
            "decimal with 10 digits before and 2 after the point - add `precision: 10, scale: 2`",
        ),
        (FieldSpec("p", "enum", values=("a", "b")), ColumnType("mysql", "enum", labels=("a",)), "enum with b - add a transform"),
        (FieldSpec("p", "bytes", max_length=9), ColumnType("mysql", "varbinary", length=8), "bytes up to 9"),
        (FieldSpec("p", "bytes", max_length=300), ColumnType("mysql", "tinyblob", length=255), "add `max_length: 255`"),
        (FieldSpec("p", "text", max_length=300), ColumnType("mysql", "tinytext", length=255), "add `max_length: 255`"),
        (FieldSpec("p", "integer", maximum=D(1000)), ColumnType("postgresql", "numeric", precision=3, scale=0), "add `maximum: 999`"),
        (FieldSpec("p", "integer", minimum=D(-1)), ColumnType("mysql", "decimal", unsigned=True, precision=3, scale=0), "add `minimum: 0`"),
        (FieldSpec("p", "integer", maximum=D(16)), ColumnType("postgresql", "bit", length=4), "add `maximum: 15`"),
        (FieldSpec("p", "decimal", precision=12, scale=2), ColumnType("mysql", "float"), "decimal of 12 digits - add `precision: 6`"),
        (FieldSpec("p", "decimal", precision=18, scale=2), ColumnType("postgresql", "float8"), "decimal of 18 digits - add `precision: 15`"),
        (FieldSpec("p", "decimal", precision=12, scale=2), ColumnType("mysql", "bigint"), "add `precision: 18, scale: 0`"),
        (FieldSpec("p", "decimal", precision=12), ColumnType("postgresql", "int4"), "add `precision: 9, scale: 0`"),
        (FieldSpec("p", "enum", values=("on", "completed")), ColumnType("mysql", "varchar", length=5), "enum with completed, which is longer than 5 characters"),
        (FieldSpec("p", "enum", values=("1", "a")), ColumnType("mysql", "tinyint"), "enum with a, which is not an integer in its plain form"),
        (FieldSpec("p", "enum", values=("on", "中")), ColumnType("mysql", "varchar", length=5, charset="latin1"), "enum with 中, which holds a character outside latin1"),
    ],
)  # fmt: skip
def test_a_column_that_is_narrower_than_its_field_says_is_refused(field, column_type, said):
    entity = EntitySpec("order", ("no",), (FieldSpec("no", "integer"), field))
    table = Table("shop", "orders", (column("no", "bigint", nullable=False), Column("c", column_type)), ("no",))
    mapping = MappingSpec(
        "s.orders", "s", "mysql", None, "orders", entity, "both", (ColumnSpec("no", "no"), ColumnSpec("c", field.name)), ("no",)
    )  # fmt: skip
    with pytest.raises(MappingRefusedError) as refused:
        compile_mapping(mapping, table, capture=True, apply=True)
    assert said in str(refused.value)
    compile_mapping(mapping, table, capture=True, apply=False)


@pytest.mark.parametrize(
    ("field_type", "source", "target", "said"),
    [
        ("integer", ColumnType("mysql", "bigint", unsigned=True), ColumnType("postgresql", "int8"), "integer up to 18446744073709551615"),
        ("integer", ColumnType("postgresql", "int8"), ColumnType("mysql", "decimal", precision=5, scale=0), "integer up to 9223372036854775807"),
        ("text", ColumnType("postgresql", "text"), ColumnType("mysql", "text"), "text of any length - add `max_length: 65535`"),
        ("text", ColumnType("mysql", "varchar", length=9), ColumnType("postgresql", "varchar", length=8), "text up to 9 characters"),
        ("text", ColumnType("postgresql", "varchar", length=9), ColumnType("mysql", "varchar", length=9, charset="latin1"), "characters outside latin1"),
        ("bytes", ColumnType("postgresql", "bytea"), ColumnType("mysql", "varbinary", length=8), "bytes of any length"),
        ("decimal", ColumnType("postgresql", "numeric"), ColumnType("mysql", "decimal", precision=5, scale=2), "decimal of any size"),
        ("float", ColumnType("mysql", "double"), ColumnType("postgresql", "float4"), "float of more than 7 digits"),
        ("float", ColumnType("postgresql", "float8"), ColumnType("mysql", "double"), "NaN and infinity"),
        ("datetime", ColumnType("postgresql", "timestamp"), ColumnType("mysql", "datetime", scale=3), "fractions of a second with 6 digits"),
        ("instant", ColumnType("postgresql", "timestamptz"), ColumnType("mysql", "timestamp", scale=6), "before 1970 or after 2038"),
        ("time", ColumnType("mysql", "time", scale=6), ColumnType("postgresql", "time"), "below zero or of a day and more"),
        ("json", ColumnType("postgresql", "jsonb"), ColumnType("mysql", "json"), "numbers beyond 64 bits"),
        ("text", ColumnType("mysql", "varchar", length=9, charset="utf8mb4"), ColumnType("postgresql", "varchar", length=9), None),
        ("text", ColumnType("mysql", "char", length=9, charset="latin1"), ColumnType("mysql", "char", length=9, charset="latin1"), None),
        ("instant", ColumnType("mysql", "timestamp", scale=6), ColumnType("postgresql", "timestamptz"), None),
        ("integer", ColumnType("mysql", "int"), ColumnType("postgresql", "numeric", precision=10, scale=0), None),
    ],
)  # fmt: skip
def test_what_one_column_holds_and_the_other_does_not_is_told(field_type, source, target, said):
    found = narrower(FieldSpec("f", field_type), source, target)
    assert (found is None) if said is None else (found is not None and said in f"{found.holds} - {found.mend}")
