"""What somebody meets who writes a dictionary by the documents alone: short forms, wrong parameters, usual pairs of channels."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cdc.doctor.round_trips import check_round_trips
from cdc.explaining import explain
from config.load import ConfigurationRefused, parse
from tests.unit.doctor_facts import wish
from transforms import RefusedValueError, compile_mapping, registry
from transforms.narrowing import narrower
from transforms.registry import TransformRefusedError
from transforms.specs import FieldSpec
from transforms.tables import Column, ColumnType, Table

CONFIGURATION = """
version: 1
deployment: t
channels:
  a: {url: "mariadb://u:p@h1/x", time_zone: Asia/Shanghai}
  b: {url: "postgresql://u:p@h2/x"}
entities: {e: {key: [id], fields: {id: {type: integer}, f: %s}}}
mappings:
  a.t: {channel: a, table: t, entity: e, direction: %s, columns: {id: id, c: {field: f, transforms: %s}}}
  b.t: {channel: b, table: t, entity: e, columns: {id: id, c: {field: f, transforms: %s}}}
"""
INT, VARCHAR = ColumnType("mysql", "int"), ColumnType("mysql", "varchar", length=64)


def specs(field, here, there="[]", direction="both"):
    return parse(CONFIGURATION % (field, direction, here, there), {"KEY": "k" * 40}).specs


def refused(field, here, there="[]", direction="both"):
    with pytest.raises(ConfigurationRefused) as found:
        specs(field, here, there, direction)
    return [str(problem) for problem in found.value.problems]


def codec(field, here, column_type=VARCHAR, *, nullable=True, direction="both"):
    spec = specs(field, here, direction=direction)[0]
    table = Table("x", "t", (Column("id", INT), Column("c", column_type, nullable=nullable)), ("id",))
    return compile_mapping(spec, table, capture=True, apply=spec.applies).columns[1]


USUAL = [
    ("{type: text, max_length: 20}", "[{phone: CN}]", "[{phone: {region: CN, style: e164}}]"),
    ("{type: text}", "[{phone: {region: CN, style: dashed}}]", "[{phone: {region: CN, style: international}}]"),
    ('{type: text, pattern: "[+][1-9][0-9]{6,14}"}', "[{phone: CN}]", "[{phone: US}]"),
    ("{type: decimal, precision: 12, scale: 2}", "[{scale: 2}]", "[{suffix: 元}, decimal]"),
    ("{type: decimal, precision: 12, scale: 2}", "[{prefix: ¥}, decimal]", '[{prefix: "RMB "}, decimal]'),
    ("{type: decimal, precision: 12, scale: 2, minimum: 0}", "[integer, {scale: 2}]", "[decimal]"),
    ("{type: decimal, scale: 2}", '[{replace: {",": "."}}, decimal]', "[]"),
    ("{type: decimal}", "[{scale: 2}]", "[{scale: 3}]"),
    ("{type: integer}", "[{scale: -2}]", '[{prefix: "#"}, integer]'),
    ("{type: instant}", "[{epoch: ms}]", "[]"),
    ("{type: instant}", "[{epoch: s}]", '[{datetime: "%Y-%m-%d %H:%M:%S"}]'),
    ("{type: instant}", '[{datetime: {format: "%Y/%m/%d %H:%M", zone: America/New_York}}]', "[{epoch: ms}]"),
    ("{type: instant}", '[{datetime: "%Y-%m-%dT%H:%M:%S%z"}]', "[]"),
    ("{type: datetime}", '[{datetime: "%Y%m%d%H%M%S"}]', "[]"),
    ("{type: date}", '[{datetime: "%Y年%m月%d日"}]', '[{datetime: "%d.%m.%Y"}]'),
    ("{type: time}", '[{datetime: "%H:%M"}]', "[]"),
    ("{type: duration}", '[{datetime: "%H:%M:%S"}]', "[]"),
    ("{type: enum, values: [pending, paid]}", "[{enum: {待支付: pending, 已支付: paid}}]", "[{enum: {0: pending, 1: paid}}]"),
    ("{type: enum, values: [pending, paid]}", "[{enum: {待支付: pending}}]", "[]"),
    ("{type: enum, values: [m, f, u]}", "[{default: 0}, {enum: {0: u, 1: m, 2: f}}]", "[{enum: {男: m, 女: f, 未知: u}}]"),
    ("{type: boolean}", "[{boolean: {true: Y, false: N}}]", "[boolean]"),
    ("{type: boolean}", '[{boolean: {true: [Y, y, "1"], false: [N, n, "0"]}}]', "[{enum: {deleted: true, active: false}}]"),
    ("{type: integer}", "[{default: 0}]", "[]"),
    ("{type: text}", '[{default: ""}]', "[]"),
    ("{type: text}", "[{prefix: SKU-}]", '[{suffix: "@x"}]'),
    ("{type: text}", "[{replace: {/: -}}]", "[]"),
    ("{type: text}", "[{trim: both}, {lower: both}]", "[]"),
    ("{type: text}", "[{upper: both}]", "[{lower: both}]"),
    ("{type: text}", '[{encrypt: {keys: {k: "${KEY}"}, deterministic: true}}]', "[]"),
    ("{type: text}", '[{encrypt: {keys: {k: "${KEY}"}, at: column}}]', "[]"),
    ("{type: text}", '[{encrypt: {keys: {k: "${KEY}"}, at: column}}]', '[{encrypt: {keys: {k: "${KEY}"}, at: column}}]'),
    ("{type: json}", "[]", "[]"),
    ("{type: set, values: [a, b]}", "[]", "[]"),
    ("{type: uuid}", "[]", "[]"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "here", "there"), USUAL)
def test_what_a_coffee_chain_writes_comes_to_rest(field, here, there):
    assert len(specs(field, here, there)) == 2
    assert len(specs(field, there, here)) == 2


@pytest.mark.parametrize(
    "transform", [t for t in registry.builtin().values() if t.parameter is not None], ids=lambda t: t.name
)
def test_a_wrong_parameter_is_answered_with_a_good_one(transform):
    if transform.example != "both":  # of trim, lower and upper none is needed
        with pytest.raises(TransformRefusedError, match="- for example"):
            registry.checked_parameter(transform, object())
    good = YAML(typ="safe").load(f"{{{transform.name}: {transform.example}}}")[transform.name]
    filled = {"key": "k" * 40} if transform.name == "hash" else {"keys": {"k": "k" * 40}}
    registry.checked_parameter(transform, filled if "$" in transform.example and "KEY" in transform.example else good)


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ("decimal", "columns.c.transforms: must be a list: put its steps in [ ], such as [{suffix: 元}, decimal]"),
        ("[{prefix: 86}]", "transform prefix parameter: must be a text: put it in quotes - for example {prefix: SKU-}"),
        ("[{replace: {1: 2}}]", "transform replace parameter: must be a text: put it in quotes - for example {replace: {/: -}}"),
        ("[phone]", "transform phone needs a parameter - for example {phone: CN}"),
        ("[lower]", "use direction capture, or {lower: both} to write that form here too"),
        ('[{datetime: "%H:%M"}]', "transform datetime: %H:%M is a time of day without a day or a zone"),
        ("[{default: abcdef}]", "transform default: a***(6) is longer than max_length 5 (6 characters)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_is_allowed(here, said):
    (problem,) = refused("{type: text, max_length: 5}", here)
    assert problem.startswith("mappings.a.t.columns.c")
    assert said in problem


@pytest.mark.parametrize("direction", ["both", "capture"])
def test_what_only_the_field_can_say_is_said_before_a_table_is_seen(direction):
    assert (
        "is not one of its values" in refused("{type: enum, values: [a, b]}", "[{default: c}]", direction=direction)[0]
    )
    assert "does not keep sums" in refused("{type: integer, merge: sum}", "[{enum: {0: 1}}]", direction=direction)[0]
    assert "nothing would be allowed" in refused("{type: text, values: []}", "[]", direction=direction)[0]


@pytest.mark.parametrize(
    ("field", "inside", "outside", "said"),
    [
        ("{type: date, minimum: 1900-01-01}", ["1900-01-01"], ["1899-12-31"], "less than the minimum 1900-01-01"),
        ('{type: time, minimum: "08:00", maximum: "22:00"}', ["08:00:00", "22:00:00"], ["22:00:01"], "more than the maximum 22:00:00"),
        ("{type: datetime, maximum: 2024-01-01 00:00:00}", ["2024-01-01T00:00:00"], ["2024-01-01T00:00:00.000001"], "maximum"),
        ("{type: instant, maximum: 2024-01-01T08:00:00+08:00}", ["2024-01-01T00:00:00Z"], ["2024-01-01T00:00:01Z"], "maximum"),
        ('{type: duration, minimum: "00:00:00"}', ["PT0H0M0S"], ["-PT0H0M1S"], "minimum 0:00:00"),
    ],
)  # fmt: skip
def test_dates_and_times_have_bounds_too(field, inside, outside, said):
    made = codec(field, "[]")
    for value in inside:
        assert made.decode(made.encode(value)) == value
    for value in outside:
        with pytest.raises(RefusedValueError, match=said):
            made.encode(value)
    assert specs(field, "[]") != []


def test_a_bound_of_another_kind_is_one_line_without_the_value():
    assert refused('{type: date, minimum: "${KEY}"}', "[]") == [
        "entities.e.fields.f.minimum: must be a date, such as 2024-02-29"
    ]
    assert refused("{type: integer, minimum: true}", "[]") == ["entities.e.fields.f.minimum: must be a number"]
    assert refused("{type: date, minimum: 2024-02-01, maximum: 2024-01-01}", "[]") == [
        "entities.e.fields.f: minimum is greater than maximum"
    ]


@given(st.text(max_size=12))
def test_one_form_is_written_and_stays(value):
    made = codec("{type: text}", "[{trim: both}, {lower: both}]")
    read = made.decode(value)
    assert read == value.strip().lower()
    try:
        written = made.encode(value)
    except RefusedValueError:
        return  # too long for the column
    assert written == value.strip().lower() or written == value.lower().strip()
    assert made.decode(written) == written == made.encode(made.decode(written))


def test_two_keys_are_never_made_one():
    text = CONFIGURATION % ("{type: text}", "both", "[{lower: both}]", "[]")
    with pytest.raises(ConfigurationRefused, match="two rows here would be one there"):
        parse(text.replace("key: [id]", "key: [id, f]"), {})


def test_the_doctor_takes_one_form_for_what_was_asked():
    spec = specs("{type: text}", "[{upper: both}]")[0]
    table = Table("x", "t", (Column("id", INT), Column("c", VARCHAR)), ("id",))
    assert list(check_round_trips(wish(), compile_mapping(spec, table, capture=True, apply=True))) == []


@given(st.times())
def test_times_of_day_in_text_come_back_or_are_refused(value):
    made = codec("{type: time}", '[{datetime: "%H:%M:%S"}]')
    if value.microsecond:
        with pytest.raises(RefusedValueError, match="does not fit"):
            made.encode(value.isoformat())
    else:
        written = made.encode(value.isoformat())
        assert written == value.strftime("%H:%M:%S")
        assert dt.time.fromisoformat(made.decode(written)) == value


def test_a_uuid_without_dashes_fits_32_characters_and_no_fewer():
    bare = "123e4567e89b12d3a456426614174000"
    made = codec("{type: uuid}", "[]", ColumnType("mysql", "char", length=32))
    assert made.decode(bare.upper()) == "123e4567-e89b-12d3-a456-426614174000"
    assert made.encode("123e4567-e89b-12d3-a456-426614174000") == bare
    with pytest.raises(RefusedValueError):
        made.decode("123e4567-e89b-12d3-a456-42661417")
    for narrow in (ColumnType("mysql", "varchar", length=35), ColumnType("mysql", "binary", length=10)):
        with pytest.raises(ValueError, match="cannot hold field f: uuid - take char"):
            codec("{type: uuid}", "[]", narrow)


def test_a_set_in_a_text_keeps_its_order_or_is_refused():
    made = codec("{type: text}", "[]", ColumnType("mysql", "set", labels=("a", "b", "c")))
    assert made.encode("a,c") == ("a", "c")
    assert made.decode(("a", "c")) == "a,c"
    assert made.encode("") == ()
    for other in ("c,a", "a,a", "a,", "a,d"):
        with pytest.raises(RefusedValueError):
            made.encode(other)


@pytest.mark.parametrize(
    ("field", "column_type", "hint"),
    [
        ("{type: integer}", VARCHAR, "add the transform integer"),
        ("{type: decimal}", VARCHAR, "add the transform decimal"),
        ("{type: boolean}", VARCHAR, "{boolean: {true: Y, false: N}}"),
        ("{type: instant}", ColumnType("mysql", "bigint"), "{epoch: ms}"),
    ],
)
def test_a_column_of_another_kind_is_refused_with_the_transform_that_is_missing(field, column_type, hint):
    with pytest.raises(ValueError, match="cannot hold field f") as found:
        codec(field, "[]", column_type)
    assert hint in str(found.value)


def test_a_field_whose_words_are_known_is_not_called_too_long():
    wide, narrow = ColumnType("postgresql", "text"), ColumnType("mysql", "varchar", length=10)
    assert narrower(FieldSpec("f", "text"), wide, narrow) is not None
    assert narrower(FieldSpec("f", "text", values=("short", "words")), wide, narrow) is None
    doubles = ColumnType("postgresql", "float8"), ColumnType("mysql", "double")
    assert narrower(FieldSpec("f", "float"), *doubles) is not None
    bounded = parse(CONFIGURATION % ("{type: float, minimum: 0, maximum: 1}", "both", "[]", "[]"), {}).specs[0].entity
    assert narrower(bounded.fields[1], *doubles) is None


def shown(field, here, there="[]", *, nullable=True):
    """The line of `check --explain` for the column, by heads."""
    ours, theirs = specs(field, here, there)
    table = Table("x", "t", (Column("id", INT), Column("c", VARCHAR, nullable=nullable)), ("id",))
    other = Table("public", "t", (Column("id", ColumnType("postgresql", "int4")), Column("c", ColumnType("postgresql", "text"))), ("id",))  # fmt: skip
    made = explain(ours, table, [(theirs, other)])
    return dict(
        zip(
            ("column", "there", "transforms", "field", "type", "captured", "applied", "lossy"),
            made.rows[1],
            strict=True,
        )
    )


def test_explain_shows_all_that_a_field_allows_and_steps_as_they_are_written():
    line = shown("{type: decimal, precision: 9, scale: 2, minimum: 0}", '[{suffix: "元"}, decimal]')
    assert line["type"] == "decimal minimum 0, precision 9, scale 2"
    line = shown("{type: date, minimum: 1900-01-01}", '[{datetime: "%Y%m%d"}]')
    assert (line["type"], line["transforms"]) == ("date minimum 1900-01-01", 'datetime: "%Y%m%d"')
    line = shown("{type: enum, values: [paid, sent]}", "[{enum: {1: paid, '#2': sent}}]")
    assert line["transforms"] == 'enum: {1: paid, "#2": sent}'
    assert line["type"] == "enum one of paid, sent"
    line = shown("{type: boolean}", "[{boolean: {true: [Y, y], false: N}}]", "[{boolean: {true: Y, false: N}}]")
    assert line["transforms"] == "boolean: {true: [Y, y], false: N}"


def test_explain_shows_null_that_a_transformed_column_cannot_hold():
    field, here, there = "{type: boolean}", "[{boolean: {true: Y, false: N}}]", "[{boolean: {true: y, false: n}}]"
    assert "NULL from b.t: is parked" in shown(field, here, there, nullable=False)["lossy"]
    assert shown(field, here, there)["lossy"] == "-"
    assert shown(field, here, "[{default: n}, {boolean: {true: y, false: n}}]", nullable=False)["lossy"] == "-"
