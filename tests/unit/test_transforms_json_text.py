from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import json_text
from transforms.json_text import canonical

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.50", "1.5"),
        ("1.0", "1.0"),
        ("1e2", "100.0"),
        ("1E+2", "100.0"),
        ("-0.0", "0.0"),
        ("-0", "0"),
        ("0.10", "0.1"),
        ("0.0000000001", "1e-10"),
        ("1e-10", "1e-10"),
        ("1.5e300", "1.5e+300"),
        ("100000000000000000000.0", "100000000000000000000.0"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1234567890123456789012345678901234567890", "1234567890123456789012345678901234567890"),
        ("1.2345678901234567890123", "1.2345678901234567890123"),
        (' { "b" : 1 , "a" : [ true , null ] } ', '{"a":[true,null],"b":1}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('"\\u6253\\ud83d\\ude00"', '"打😀"'),
        ('"\\u0000\\n"', '"\\u0000\\n"'),
        (b'"\xe6\x89\x93"', '"打"'),
    ],
)
def test_equal_values_have_one_text(text, expected):
    assert canonical(text) == expected
    assert canonical(expected) == expected
    wrapped = "[" * 200
    assert canonical(wrapped + (text if isinstance(text, str) else text.decode()) + "]" * 200) == (
        wrapped + expected + "]" * 200
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "{",
        "[1,]",
        "{'a':1}",
        "01",
        "1.",
        '"\\ud800"',
        "nul",
        "1 2",
        '{"a" 1}',
        '{"\\udc00":1}',
        b"\xff",
        '"\t"',
        "1e99999999999999999999",
        "[" * 1001 + "]" * 1001,
        "[" * 100000,
        "]",
    ],
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError):
        canonical(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", '"\\ud800"', "[1,]", '{"a" 1}', "01", '{"a":1,}', "{1:2}", ""])
def test_what_is_not_json_is_refused_deep_inside_too(text):
    with pytest.raises(ValueError):
        canonical("[" * 300 + text + "]" * 299 + ("" if text else "1"))


def test_a_thousand_levels_are_read_and_one_more_is_refused():
    assert canonical("[" * 1000 + "]" * 1000) == "[" * 1000 + "]" * 1000
    deep = '{"a":' * 1000 + "1" + "}" * 1000
    assert canonical(deep) == deep
    with pytest.raises(ValueError, match="deeper than 1000"):
        canonical("[" * 1001 + "]" * 1001)


def test_integers_of_any_length_are_exact():
    digits = "7" * 20000
    assert canonical(digits) == digits


@given(documents)
def test_the_text_means_the_same_and_is_stable(document):
    text = canonical(json.dumps(document))
    assert json.loads(text) == document
    assert canonical(text) == text
    assert canonical(json.dumps(document, ensure_ascii=False, indent=2)) == text


@given(documents)
def test_the_deep_parser_agrees_with_the_fast_one(document):
    text = json.dumps(document)
    assert json_text._canonical_deep(text) == canonical(text)
