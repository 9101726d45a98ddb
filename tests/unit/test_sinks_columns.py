"""Whole columns are written as each value alone would be, and refused where one of them is."""

from __future__ import annotations

import datetime as dt
import decimal
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.mysql_literals import literal_encoder
from sinks.mysql_rows import ColumnWriter, rows_text
from sinks.postgresql_arrays import array_encoder, elements_encoder
from sinks.postgresql_binary import copied_column
from sinks.postgresql_texts import array_text, text_encoder
from transforms.tables import Column, ColumnType
from transforms.values import RefusedValueError, Unrepresentable

TEXT = st.text(st.characters() | st.sampled_from("'\"\\\0%,{};`\n ab漢\ud800\ufeff"), max_size=6)
VALUES = {
    "integer": st.integers(-9, 9) | st.booleans(),
    "text": TEXT,
    "decimal": st.decimals(allow_nan=True, places=3) | st.decimals(min_value=-99, max_value=99, places=2)
    | st.sampled_from([decimal.Decimal("1E+3"), decimal.Decimal("007.1"), decimal.Decimal("-0.00")]),
    "float": st.floats() | st.sampled_from([0.1, -0.0]),
    "boolean": st.booleans() | st.integers(0, 1),
    "bytes": st.binary(max_size=6),
    "moment": st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(lambda at: at.replace(microsecond=0)),
    "date": st.dates() | st.datetimes(),
    "label": st.sampled_from(["a", "it's", 'say "x"', "none"]),
    "uuid": st.uuids() | TEXT,
}  # fmt: skip
LABELS = ("a", "it's", 'say "x"')
MYSQL = {
    "integer": [ColumnType("mysql", "int")],
    "text": [ColumnType("mysql", "varchar", length=4), ColumnType("mysql", "char", length=4), ColumnType("mysql", "longtext")],
    "decimal": [ColumnType("mysql", "decimal", precision=5, scale=2), ColumnType("mysql", "decimal", precision=5, scale=0)],
    "float": [ColumnType("mysql", "double"), ColumnType("mariadb", "float")],
    "bytes": [ColumnType("mysql", "varbinary", length=4), ColumnType("mysql", "binary", length=4), ColumnType("mysql", "longblob")],
    "moment": [ColumnType("mysql", "datetime"), ColumnType("mysql", "datetime", scale=6), ColumnType("mysql", "timestamp", scale=3)],
    "date": [ColumnType("mysql", "date")],
    "label": [ColumnType("mysql", "enum", labels=LABELS, kind="enum")],
}  # fmt: skip
POSTGRESQL = {
    "integer": [ColumnType("postgresql", "int4")],
    "text": [ColumnType("postgresql", "varchar", length=4), ColumnType("postgresql", "bpchar", length=4), ColumnType("postgresql", "text"),
             ColumnType("postgresql", "jsonb")],
    "decimal": [ColumnType("postgresql", "numeric", precision=5, scale=2), ColumnType("postgresql", "numeric")],
    "float": [ColumnType("postgresql", "float8"), ColumnType("postgresql", "float4")],
    "boolean": [ColumnType("postgresql", "bool")],
    "bytes": [ColumnType("postgresql", "bytea")],
    "moment": [ColumnType("postgresql", "timestamp"), ColumnType("postgresql", "timestamp", scale=0), ColumnType("postgresql", "timestamptz")],
    "date": [ColumnType("postgresql", "date")],
    "label": [ColumnType("postgresql", "mood", labels=LABELS, kind="enum")],
    "uuid": [ColumnType("postgresql", "uuid")],
}  # fmt: skip


def columns(types):
    return [(Column("c", one), VALUES[kind]) for kind, all_types in types.items() for one in all_types]


def values_of(value, data):
    return data.draw(st.lists(value | st.none() if data.draw(st.booleans()) else value, min_size=1, max_size=6))


@pytest.mark.parametrize(("column", "value"), columns(POSTGRESQL))
@settings(max_examples=60)
@given(st.data())
def test_an_array_holds_each_element_as_it_would_be_alone(column, value, data):
    values = values_of(value, data)
    try:
        expected = array_text(list(map(text_encoder(column), values)))
    except RefusedValueError:
        with pytest.raises(RefusedValueError):
            array_encoder(column)(values)
    else:
        written = array_encoder(column)(values)
        # Several spellings of one value.
        if column.type.name in ("timestamp", "timestamptz", "date", "uuid"):
            written = written.replace('"', "").replace("Z", "+00").replace("+00:00", "+00")
        elif column.type.name != "jsonb":
            written = written.replace("nan", "NaN")
        assert re.sub(r"(?<=[{,])null(?=[,}])", "NULL", written) == expected


@pytest.mark.parametrize(("column", "value"), columns(POSTGRESQL))
@settings(max_examples=60)
@given(st.data())
def test_a_copied_column_refuses_what_an_array_refuses_and_bends_nothing(column, value, data):
    values = values_of(value, data)
    copied = copied_column(column, elements_encoder(column))
    try:
        elements = list(map(text_encoder(column), values))
    except RefusedValueError:
        with pytest.raises(RefusedValueError):
            copied.values(values)
        return
    made = copied.values(values)
    if copied.type != "text" or column.type.name in ("text", "varchar", "bpchar"):
        assert made is values
        return
    for text, element in zip(made, elements, strict=True):
        if text is None or element[0] != '"':
            assert (text or "NULL").replace("nan", "NaN") == element
        else:
            assert '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' == element


@pytest.mark.parametrize(("name", "bits"), [("int2", 16), ("int4", 32), ("int8", 64)])
def test_a_copied_integer_out_of_range_is_refused(name, bits):
    column = Column("c", ColumnType("postgresql", name))
    copied = copied_column(column, elements_encoder(column))
    ends = [-(2 ** (bits - 1)), None, 2 ** (bits - 1) - 1]
    assert copied.values(ends) is ends
    for beyond in (-(2 ** (bits - 1)) - 1, 2 ** (bits - 1)):
        with pytest.raises(RefusedValueError, match="range"):
            copied.values([0, beyond])


@pytest.mark.parametrize(("column", "value"), columns(MYSQL))
@settings(max_examples=60)
@given(st.data())
def test_a_row_holds_each_value_as_it_would_be_alone(column, value, data):
    values = values_of(value, data)
    encode = literal_encoder(column)
    writers = [ColumnWriter(column, encode), ColumnWriter(Column("n", ColumnType("mysql", "int")), str)]
    try:
        expected = [f"({encode(value)},{number})" for number, value in enumerate(values)]
    except RefusedValueError:
        with pytest.raises(RefusedValueError):
            rows_text(writers, [(value, number) for number, value in enumerate(values)])
    else:
        assert rows_text(writers, [(value, number) for number, value in enumerate(values)]) == ",".join(expected)


@pytest.mark.parametrize("engine_columns", [MYSQL, POSTGRESQL], ids=["mysql", "postgresql"])
def test_one_value_without_an_exact_form_refuses_its_column(engine_columns):
    for column, _ in columns(engine_columns):
        several = [None, Unrepresentable("infinity")]
        with pytest.raises(RefusedValueError, match="infinity"):
            if engine_columns is MYSQL:
                rows_text([ColumnWriter(column, literal_encoder(column))], [(one,) for one in several])
            else:
                array_encoder(column)(several)
