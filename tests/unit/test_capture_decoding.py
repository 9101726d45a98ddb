"""Row changes become changes of the dictionary: only what changed, no no-ops, and what has no form is refused, not skipped."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.decoding import Decoder
from cdc.model import Layout, RowChange
from transforms import ABSENT, Unrepresentable
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec
from transforms.tables import Column, ColumnType, Table

MEMBER = EntitySpec("member", ("id",), (FieldSpec("id", "integer"), FieldSpec("nickname", "text"), FieldSpec("points", "integer"), FieldSpec("born", "date")))  # fmt: skip
SPEC = MappingSpec(
    "web.members", "web", "mysql", None, "members", MEMBER, "both",
    tuple(ColumnSpec(c, f) for c, f in (("id", "id"), ("nick", "nickname"), ("score", "points"), ("born", "born"))), ("id",),
)  # fmt: skip


def column(name, kind, **more):
    return Column(name, ColumnType("mysql", kind, **more))


TABLE = Table("shop", "members", (
    column("id", "bigint"), column("unmapped", "int"), column("nick", "varchar", length=64, charset="utf8mb4"),
    column("score", "int"), column("born", "date"),
))  # fmt: skip


def decode(*rows, table=TABLE):
    (decoded,) = Decoder([SPEC], "shop").decode([[RowChange(table, *row) for row in rows]])
    assert decoded.error is None
    return decoded.changes, tuple(decoded.layouts)


def test_an_insert_carries_every_mapped_field():
    (change,), (layout,) = decode(("insert", 0, None, (1, 9, "阿明", 5, None)))
    assert layout == Layout("web.members", "member", ("id", "nickname", "points", "born"))
    assert (change.op, change.key, change.values) == ("insert", (1,), (1, "阿明", 5, None))


def test_an_update_carries_the_changed_fields_and_their_values_before():
    (change,), (layout,) = decode(("update", 3, (1, 9, "x", 5, None), (1, 9, "x", 6, None)))
    assert layout.fields == ("points",)
    assert (change.index, change.key, change.values, change.before) == (3, (1,), (6,), (5,))


@pytest.mark.parametrize("after", [(1, 9, "x", 5, None), (1, 10, "x", 5, None)])
def test_an_update_of_nothing_mapped_is_no_change(after):
    assert decode(("update", 0, (1, 9, "x", 5, None), after)) == ([], ())


def test_a_moved_key_is_an_update_of_the_old_key():
    (change,), (layout,) = decode(("update", 0, (1, 9, "x", 5, None), (2, 9, "x", 5, None)))
    assert (layout.fields, change.key, change.values) == (("id",), (1,), (2,))


def test_a_delete_carries_its_key():
    (change,), _ = decode(("delete", 0, (1, 9, "x", 5, None), None))
    assert (change.op, change.key, change.values) == ("delete", (1,), ())


def test_absent_columns_are_left_alone():
    (change,), (layout,) = decode(("update", 0, None, (1, 9, ABSENT, 6, None)))
    assert layout.fields == ("id", "points", "born")
    assert change.before == ()
    (change,), (layout,) = decode(("update", 0, (1, ABSENT, ABSENT, ABSENT, ABSENT), (2, 9, "x", 6, ABSENT)))
    assert (change.key, layout.fields) == ((1,), ("id", "nickname", "points"))


def test_a_value_without_a_form_refuses_the_row_and_keeps_its_key():
    (change,), (layout,) = decode(("insert", 0, None, (1, 9, "x", 5, Unrepresentable("0000-00-00 is not a date"))))
    assert (change.op, change.key, change.values, layout.fields) == ("insert", (1,), (), ())
    assert "0000-00-00" in change.refused


def test_null_and_zero_true_and_one_are_different():
    rows = [
        ("update", 0, (1, 9, None, 0, None), (1, 9, "", 0, None)),
        ("update", 1, (1, 9, "x", 0, None), (1, 9, "x", None, None)),
    ]
    changes, layouts = decode(*rows)
    assert [layouts[c.layout].fields for c in changes] == [("nickname",), ("points",)]


def test_a_new_layout_of_the_table_is_compiled_anew():
    decoder = Decoder([SPEC], "shop")
    wider = Table("shop", "members", (column("extra", "int"), *TABLE.columns))
    (decoded,) = decoder.decode(
        [
            [
                RowChange(TABLE, "insert", 0, None, (1, 9, "x", 5, None)),
                RowChange(wider, "insert", 1, None, (0, 2, 9, "y", 5, None)),
            ]
        ]
    )
    assert [c.key for c in decoded.changes] == [(1,), (2,)]
    assert len(decoded.layouts) == 1


def test_rows_of_other_tables_are_not_mapped():
    assert decode(("insert", 0, None, (1, 9, "x", 5, None)), table=Table("other", "members", TABLE.columns)) == ([], ())


_values = st.tuples(
    st.integers(1, 3), st.integers(0, 1),
    st.one_of(st.none(), st.text(max_size=3), st.just(ABSENT)), st.one_of(st.none(), st.integers(0, 3)),
    st.one_of(st.none(), st.dates(), st.just(Unrepresentable("0000-00-00 is not a date"))),
)  # fmt: skip
_rows = st.one_of(
    st.tuples(st.just("insert"), st.none(), _values), st.tuples(st.just("delete"), _values, st.none()),
    st.tuples(st.just("update"), st.one_of(st.none(), _values), _values),
)  # fmt: skip


@given(st.lists(st.lists(st.tuples(_rows, st.booleans()), max_size=6), max_size=4))
def test_rows_decoded_together_are_what_they_are_one_by_one(parts):
    wider = Table("shop", "members", (column("extra", "int"), *TABLE.columns))

    def row(index, op, before, after, is_wide):
        def image(values):
            return values if values is None or not is_wide else (0, *values)

        return RowChange(wider if is_wide else TABLE, op, index, image(before), image(after))

    batch = [[row(n, *found, wide) for n, (found, wide) in enumerate(part)] for part in parts]
    decoder = Decoder([SPEC], "shop")
    together = decoder.decode(batch)
    for part, decoded in zip(batch, together, strict=True):
        singly = [found for one in part for found in decoder.decode([[one]])]

        def told(of):
            return [(of.layouts[c.layout], c.op, c.index, c.key, c.values, c.before, c.refused) for c in of.changes]

        assert told(decoded) == [change for one in singly for change in told(one)]


def test_a_table_that_no_longer_fits_stops_the_parts_it_is_in_only():
    gone = Table("shop", "members", TABLE.columns[:3])
    first, second, third = Decoder([SPEC], "shop").decode([
        [RowChange(TABLE, "insert", 0, None, (1, 9, "x", 5, None))],
        [RowChange(gone, "insert", 0, None, (1, 9, "x"))],
        [RowChange(TABLE, "delete", 0, (1, 9, "x", 5, None), None)],
    ])  # fmt: skip
    assert (first.error, third.error, len(first.changes), len(third.changes)) == (None, None, 1, 1)
    assert "no column 'score'" in str(second.error)


class TestTwoMappingsOfOneTable:
    """Rows with `unmapped` 1 are one mapping's, those with 2 the other's; `ORDERS` is another entity's."""

    def decode(self, row, *, other=MEMBER, counter=False, other_fields=4):
        entity = dataclasses.replace(MEMBER, fields=tuple(
            dataclasses.replace(f, merge="sum") if counter and f.name == "points" else f for f in MEMBER.fields
        ))  # fmt: skip
        first = dataclasses.replace(SPEC, name="one", entity=entity, where={"unmapped": 1}, columns=SPEC.columns[:other_fields])  # fmt: skip
        second = dataclasses.replace(
            SPEC, name="two", entity=entity if other is MEMBER else other, where={"unmapped": 2}
        )
        told = []
        for mappings in ((first, second), (second, first)):
            (decoded,) = Decoder(list(mappings), "shop").decode([[RowChange(TABLE, *row)]])
            told.append([(c.op, decoded.layouts[c.layout].mapping, c.key, c.values, c.before, c.refused) for c in decoded.changes])  # fmt: skip
        assert told[0] == told[1], "the order of the mappings in the file decides nothing"
        return told[0]

    @pytest.mark.parametrize(("was", "now", "mapping"), [(1, 2, "two"), (2, 1, "one")])
    def test_a_row_that_goes_from_one_to_the_other_lives_on(self, was, now, mapping):
        told = self.decode(("update", 0, (1, was, "x", 5, None), (3, now, "y", 5, None)))
        assert told == [("update", mapping, (1,), (3, "y", 5, None), (1, "x", 5, None), None)]

    def test_a_row_of_neither_begins_and_ends_as_ever(self):
        assert [op for op, *_ in self.decode(("update", 0, (1, 7, "x", 5, None), (1, 2, "x", 5, None)))] == ["insert"]
        assert [op for op, *_ in self.decode(("update", 0, (1, 1, "x", 5, None), (1, 7, "x", 5, None)))] == ["delete"]
        assert [op for op, *_ in self.decode(("delete", 0, (1, 1, "x", 5, None), None))] == ["delete"]

    def test_another_entitys_row_is_another_row(self):
        other = dataclasses.replace(MEMBER, name="supplier")
        told = self.decode(("update", 0, (1, 1, "x", 5, None), (1, 2, "x", 5, None)), other=other)
        assert [(op, mapping) for op, mapping, *_ in told] == [("delete", "one"), ("insert", "two")]

    def test_what_the_other_mapping_cannot_take_is_refused_and_deletes_nothing(self):
        bad = Unrepresentable("0000-00-00")
        ((op, _, key, values, _, refused),) = self.decode(("update", 0, (1, 1, "x", 5, None), (1, 2, "x", 5, bad)))
        assert (op, key, values) == ("update", (1,), ())
        assert "0000-00-00" in refused

    def test_a_counter_has_what_it_was_before_or_is_told_whole(self):
        row = ("update", 0, (1, 1, "x", 5, None), (1, 2, "x", 7, None))
        assert self.decode(row, counter=True)[0][:5] == ("update", "two", (1,), (1, "x", 7, None), (1, "x", 5, None))
        assert [op for op, *_ in self.decode(row, counter=True, other_fields=2)] == ["delete", "insert"]
