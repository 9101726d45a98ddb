"""The dictionary's constraints: what they refuse is refused, never bent."""

from __future__ import annotations

import datetime as dt
import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import RefusedValueError
from transforms.fields import duration_text, field_codec, field_problems
from transforms.specs import FieldSpec
from transforms.values import masked

D = decimal.Decimal


def check(field_type, value, **constraints):
    codec = field_codec(FieldSpec("f", field_type, **constraints))
    for step in codec.checks:
        value = step(value)
    return value


@pytest.mark.parametrize(
    ("field_type", "value", "constraints"),
    [
        ("text", "abcd", {"max_length": 3}),
        ("text", "abc1", {"pattern": "[a-z]+", "max_length": 20}),
        ("text", "a" * 1001, {"pattern": "a+"}),
        ("text", "a", {"values": ("b",)}),
        ("bytes", b"abcd", {"max_length": 3}),
        ("integer", -1, {"minimum": D(0)}),
        ("integer", 11, {"maximum": D(10)}),
        ("float", float("nan"), {"minimum": D(0)}),
        ("decimal", D("1.005"), {"precision": 12, "scale": 2}),
        ("decimal", D("1000"), {"precision": 5, "scale": 2}),
        ("decimal", D("0.5"), {"precision": 5}),
        ("decimal", D("NaN"), {}),
        ("enum", "x", {"values": ("a", "b")}),
        ("set", ("a", "x"), {"values": ("a", "b")}),
    ],
)
def test_a_value_outside_its_constraint_is_refused_and_masked(field_type, value, constraints):
    with pytest.raises(RefusedValueError, match="field f: "):
        check(field_type, value, **constraints)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "an empty value"), ("abc", "***"), ("abcd", "a***(4)"), ("13800138000", "13***(11)"), (b"\x12\x34\x56\x78", "12***(8)"),
        (decimal.Decimal("1.005"), "1***(5)"), (dt.timedelta(hours=25), "1 ***(14)"), (dt.date(2024, 2, 29), "20***(10)"),
    ],
)  # fmt: skip
def test_a_mask_shows_a_quarter_at_most(value, shown):
    assert masked(value) == shown


def test_decimals_have_one_form():
    assert str(check("decimal", D("19.9"), precision=12, scale=2)) == "19.90"
    assert str(check("decimal", D("19.900"), precision=12, scale=2)) == "19.90"
    assert str(check("decimal", D("1.500"))) == "1.5"
    assert str(check("decimal", D("1E+3"))) == "1000"
    assert str(check("decimal", D("-0.00"), scale=2)) == "0.00"


def test_a_length_counts_characters():
    assert check("text", "打" * 3, max_length=3) == "打" * 3


def test_a_pattern_is_tried_on_as_much_as_max_length_allows():
    assert check("text", "a" * 5000, pattern="a+", max_length=5000) == "a" * 5000
    with pytest.raises(RefusedValueError, match="does not match its pattern"):
        check("text", "a" * 4999 + "b", pattern="a+", max_length=5000)


def test_labels_are_ordered_as_declared():
    assert check("set", ("c", "a"), values=("a", "b", "c")) == ("a", "c")


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ({"type": "enum"}, "needs values"),
        ({"type": "integer", "max_length": 3}, "max_length has no meaning"),
        ({"type": "integer", "minimum": D(2), "maximum": D(1)}, "minimum is greater"),
        ({"type": "decimal", "precision": 2, "scale": 3}, "scale is greater"),
        ({"type": "text", "pattern": "("}, "not a valid regular expression"),
        ({"type": "text", "pattern": r"(a)\1"}, "linear time"),
        ({"type": "enum", "values": ("a", "a")}, "twice"),
    ],
)
def test_a_constraint_without_sense_is_a_problem(constraints, said):
    assert any(said in problem for problem in field_problems(FieldSpec("f", **constraints)))


@given(st.timedeltas())
def test_durations_come_back_exactly(duration):
    codec = field_codec(FieldSpec("f", "duration"))
    assert codec.from_wire(duration_text(duration)) == duration


@given(st.integers())
def test_integers_of_any_size_come_back_exactly(value):
    codec = field_codec(FieldSpec("f", "integer"))
    assert codec.from_wire(codec.to_wire(value)) == value


@pytest.mark.parametrize(
    ("field_type", "wire"),
    [
        ("integer", True),
        ("integer", 1.0),
        ("boolean", 1),
        ("text", 1),
        ("decimal", "NaN"),
        ("instant", "2024-01-01T00:00:00"),
        ("datetime", "2024-01-01T00:00:00Z"),
        ("date", "x"),
        ("duration", "P1Y"),
        ("uuid", "x"),
        ("float", 1),
    ],
)
def test_a_foreign_wire_form_is_refused(field_type, wire):
    codec = field_codec(FieldSpec("f", field_type))
    with pytest.raises(RefusedValueError):
        codec.from_wire(wire)
