"""The built-in transforms: what each reads, what it writes back, what it refuses."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from transforms import (
    Built,
    MappingRefusedError,
    RefusedValueError,
    Transform,
    check_mapping,
    compile_mapping,
    registry,
)
from transforms.families import phones
from transforms.families.phones import to_e164
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Table

D = decimal.Decimal
VARCHAR = ColumnType("mysql", "varchar", length=64)
INT = ColumnType("mysql", "int")
BIGINT = ColumnType("mysql", "bigint")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def mapping(column_type, field, transforms, *, direction="both", zone="UTC"):
    entity = EntitySpec("thing", ("id",), (FieldSpec("id", "integer", required=True), field))
    table = Table("shop", "t", (Column("id", INT), Column("c", column_type)), ("id",))
    steps = tuple(
        TransformSpec(*next(iter(t.items()))) if isinstance(t, dict) else TransformSpec(t) for t in transforms
    )
    columns = (ColumnSpec("id", "id"), ColumnSpec("c", "f", steps))
    return MappingSpec("x.t", "x", "mysql", None, "t", entity, direction, columns, ("id",), zone), table


def codec(column_type, field_type, *transforms, direction="both", zone="UTC", **options):
    spec, table = mapping(
        column_type, FieldSpec("f", field_type, **options), transforms, direction=direction, zone=zone
    )
    assert check_mapping(spec) == []
    return compile_mapping(spec, table, capture=True, apply=spec.applies).columns[1]


def problem(column_type, field_type, *transforms, direction="both", **options):
    """What compiling says."""
    spec, table = mapping(column_type, FieldSpec("f", field_type, **options), transforms, direction=direction)
    with pytest.raises(MappingRefusedError) as refused:
        compile_mapping(spec, table, capture=True, apply=spec.applies)
    return refused.value.problems[0].message


@pytest.mark.parametrize(
    ("column_type", "written", "value"),
    [
        (INT, {0: "basic", 1: "gold"}, 1),
        (VARCHAR, {0: "basic", 1: "gold"}, "1"),
        (INT, {"0": "basic", "1": "gold"}, 1),
        (INT, {False: "basic", True: "gold"}, 1),
        (VARCHAR, {False: "basic", True: "gold"}, "true"),
        (VARCHAR, {"待支付": "basic", "已支付": "gold"}, "已支付"),
    ],
)
def test_enum_keys_are_read_as_the_column_needs_them(column_type, written, value):
    compiled = codec(column_type, "enum", {"enum": written}, values=("basic", "gold"))
    assert compiled.decode(value) == "gold"
    assert compiled.encode("gold") == value
    assert type(compiled.encode("gold")) is type(value)


@given(st.dictionaries(st.integers(-100, 100), st.integers(), min_size=1, max_size=8), st.integers(-120, 120))
def test_every_code_of_an_enum_comes_back_and_no_other_is_read(codes, other):
    words = {code: f"w{number}" for number, code in enumerate(codes)}
    compiled = codec(INT, "enum", {"enum": words}, values=tuple(words.values()))
    for code, word in words.items():
        assert (compiled.decode(code), compiled.encode(word)) == (word, code)
    if other not in words:
        with pytest.raises(RefusedValueError):
            compiled.decode(other)


@given(st.lists(st.text("abcYN01", min_size=1, max_size=4), min_size=2, max_size=6, unique=True), st.integers(1, 5))
def test_every_spelling_of_a_boolean_is_read_and_the_first_comes_back(spellings, cut):
    cut = min(cut, len(spellings) - 1)
    true, false = spellings[:cut], spellings[cut:]
    compiled = codec(VARCHAR, "boolean", {"boolean": {"true": true, "false": false}})
    assert [compiled.decode(spelling) for spelling in spellings] == [True] * len(true) + [False] * len(false)
    for value in (True, False):
        assert compiled.decode(compiled.encode(value)) is value


@given(st.integers(-(2**31), 2**31 - 1), st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)))
def test_a_default_stands_for_null_and_for_nothing_else(default, value):
    compiled = codec(INT, "integer", {"default": default})
    read = compiled.decode(value)
    assert read == (default if value is None else value)
    assert compiled.encode(read) == read


@given(texts)
def test_what_has_no_way_back_changes_a_value_once_and_then_no_more(value):
    for name in ("trim", "upper"):
        once = codec(VARCHAR, "text", name, direction="capture").decode(value)
        assert codec(VARCHAR, "text", name, direction="capture").decode(once) == once
    masked = codec(VARCHAR, "text", "mask", direction="capture").decode(value)
    assert len(masked) == len(value)
    assert masked.count("*") >= max(1, len(value) - 7) or not value


def test_enum_refuses_what_it_does_not_name():
    compiled = codec(INT, "enum", {"enum": {0: "basic", 1: "silver"}}, values=("basic", "silver", "gold"))
    with pytest.raises(RefusedValueError, match="not one of the column values"):
        compiled.decode(2)
    with pytest.raises(RefusedValueError, match="has no column value"):
        compiled.encode("gold")


def test_enum_to_words_that_the_field_does_not_have_is_refused_when_compiled():
    assert "'gld', which is not among" in problem(INT, "enum", {"enum": {0: "gld"}}, values=("gold",))


def test_an_enum_of_two_codes_with_one_meaning_has_no_way_back():
    two = {"enum": {0: "basic", 1: "basic"}}
    assert "no way back" in problem(INT, "enum", two, values=("basic",))
    assert codec(INT, "enum", two, values=("basic",), direction="capture").decode(1) == "basic"


def test_amounts_in_text_with_a_unit():
    compiled = codec(VARCHAR, "decimal", {"suffix": "元"}, "decimal", precision=12, scale=2)
    assert compiled.decode("19.90元") == "19.90"
    assert compiled.decode("19.9元") == "19.90"
    assert compiled.encode("19.90") == "19.90元"
    for wrong in ("19.90", "19,90元", "1e3元", "NaN元", "19.905元", "元", " 1元"):
        with pytest.raises(RefusedValueError):
            compiled.decode(wrong)


@given(st.decimals(-(10**9), 10**9, places=2))
def test_decimal_text_comes_back(value):
    compiled = codec(VARCHAR, "decimal", "decimal", precision=12, scale=2)
    assert compiled.decode(compiled.encode(f"{value.copy_abs():f}")) == f"{value.copy_abs():f}"


@given(st.integers(-(10**15), 10**15))
def test_cents_and_units_are_exact_both_ways(cents):
    compiled = codec(BIGINT, "decimal", {"scale": 2}, precision=20, scale=2)
    assert D(compiled.decode(cents)) * 100 == cents
    assert compiled.encode(compiled.decode(cents)) == cents
    units = codec(ColumnType("mysql", "decimal", precision=20, scale=2), "integer", {"scale": {"digits": -2}})
    assert units.decode(D(cents).scaleb(-2)) == cents
    assert units.encode(cents) == D(cents).scaleb(-2)


def test_a_fraction_of_a_cent_is_refused():
    with pytest.raises(RefusedValueError, match="whole number"):
        codec(BIGINT, "decimal", {"scale": 2}).encode("19.905")


@given(st.integers(-(10**18), 10**18))
def test_integer_text_comes_back(value):
    compiled = codec(VARCHAR, "integer", "integer")
    assert compiled.decode(compiled.encode(value)) == value


@given(texts)
def test_prefix_and_suffix_come_back(value):
    compiled = codec(VARCHAR, "text", {"prefix": "SKU-"}, {"suffix": "/x"})
    assert compiled.encode(value) == f"SKU-{value}/x"
    assert compiled.decode(f"SKU-{value}/x") == value


@given(st.text("ab-/_", max_size=12))
def test_replace_comes_back_or_refuses(value):
    compiled = codec(VARCHAR, "text", {"replace": {"/": "-", "a": "bb"}})
    try:
        read = compiled.decode(value)
    except RefusedValueError:
        return
    assert compiled.encode(read) == value


@pytest.mark.parametrize("one_way", ["trim", "lower", "upper", {"replace": {"-": ""}}])
def test_what_has_no_way_back_is_refused_in_a_mapping_that_applies(one_way):
    assert "has no way back" in problem(VARCHAR, "text", one_way)
    spec, _ = mapping(VARCHAR, FieldSpec("f", "text"), [one_way])
    assert "has no way back" in check_mapping(spec)[0].message
    assert codec(VARCHAR, "text", one_way, direction="capture").decode("-") in ("-", "")


def test_one_way_transforms_do_what_they_say():
    assert codec(VARCHAR, "text", "trim", "lower", direction="capture").decode(" AbC ") == "abc"
    assert codec(VARCHAR, "text", "upper", direction="capture").decode("abc") == "ABC"


@pytest.mark.parametrize(
    "spelling",
    [
        "13800000000",
        "+86 138 0000 0000",
        "86-13800000000",
        "138-0000-0000",
        "+8613800000000",
        "0086 13800000000",
        "8613800000000",
        "(86) 138 0000 0000",
        "138 0000 0000",
    ],
)
def test_every_spelling_of_a_mobile_number_is_one_number(spelling):
    assert to_e164(spelling) == "+8613800000000"


@pytest.mark.parametrize(
    ("spelling", "number"),
    [
        ("010-88888888", "+861088888888"),
        ("(021) 6888 8888", "+862168888888"),
        ("0730-8888888", "+867308888888"),
        ("+86 755 88888888", "+8675588888888"),
        ("+86 010 8888 8888", "+861088888888"),
    ],
)
def test_landlines_are_numbers_too(spelling, number):
    assert to_e164(spelling) == number


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "12800000000",
        "1380000000",
        "138000000000",
        "+1 202 555",
        "14400000000",
        "88888888",
        "138a0000000",
        "1380000000o",
        "1-800-FLOWERS",
        "+85 13800000000",
        "010-08888",
        "+86",
        "13800000000 ext 1",
        "+86+8613800000000",
    ],
)
def test_what_is_no_number_of_the_region_is_refused(wrong):
    assert to_e164(wrong) is None
    with pytest.raises(RefusedValueError, match="region CN"):
        codec(VARCHAR, "text", {"phone": "CN"}).decode(wrong)


@pytest.mark.parametrize(
    ("style", "mobile", "landline"),
    [
        ("national", "13800000000", "01088888888"),
        ("international", "+86 138 0000 0000", "+86 10 88888888"),
        ("e164", "+8613800000000", "+861088888888"),
        ("dashed", "138-0000-0000", "010-88888888"),
    ],
)
def test_a_phone_is_written_in_its_declared_style(style, mobile, landline):
    compiled = codec(VARCHAR, "text", {"phone": {"region": "CN", "style": style}})
    assert compiled.encode("+8613800000000") == mobile
    assert compiled.encode("+861088888888") == landline
    with pytest.raises(RefusedValueError):
        compiled.encode("13800000000")


@given(
    st.from_regex(r"1[3-9][0-9]{9}|(10|2[0-9])[2-9][0-9]{7}|[3-9][0-9]{2}[2-9][0-9]{6,7}|400[0-9]{7}", fullmatch=True)
)
def test_every_number_comes_back_in_every_style(digits):
    assume(to_e164("+86" + digits))
    for style in ("national", "international", "e164", "dashed"):
        compiled = codec(VARCHAR, "text", {"phone": {"region": "CN", "style": style}})
        assert compiled.decode(compiled.encode("+86" + digits)) == "+86" + digits


def test_the_short_way_of_chinese_mobile_numbers_is_the_library_over_its_whole_range():
    """Google's plan decides by the first five digits; behind them every ending is alike."""
    taken = 0
    for head in range(10_000, 20_000):
        digits = f"{head}{head * 7919 % 1_000_000:06d}"
        if phones._CHINESE_MOBILE.fullmatch(digits):
            number = phonenumbers.parse(digits, "CN")
            assert phonenumbers.is_valid_number(number), digits
            assert phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == to_e164(digits)
            spelling = ("+86{}{}{}", "+86 {} {} {}", "{}-{}-{}", "{} {} {}", "+86{}-{}-{}")[head % 5]
            spelled = spelling.format(digits[:3], digits[3:7], digits[7:])
            assert phonenumbers.parse(spelled, "CN") == number
            assert to_e164(spelled) == "+86" + digits
            taken += 1
    assert taken > 4_000


@pytest.mark.parametrize(
    ("region", "style", "spelling", "number", "written"),
    [
        ("CN", "national", "+1 (201) 555-0123", "+12015550123", "+12015550123"),
        (
            "CN",
            "national",
            "\uff11\uff13\uff18\uff10\uff10\uff11\uff13\uff18\uff10\uff10\uff10",
            "+8613800138000",
            "13800138000",
        ),
        ("CN", "dashed", "400 800 1234", "+864008001234", "400-800-1234"),
        ("US", "national", "(201) 555-0123", "+12015550123", "2015550123"),
        ("US", "dashed", "201.555.0123", "+12015550123", "201-555-0123"),
        ("DE", "international", "030 901820", "+4930901820", "+49 30 901820"),
        ("HK", "dashed", "21234567", "+85221234567", "2123-4567"),
        ("IT", "national", "02 1234 5678", "+390212345678", "0212345678"),
    ],
)
def test_every_region_has_its_numbers(region, style, spelling, number, written):
    compiled = codec(VARCHAR, "text", {"phone": {"region": region, "style": style}})
    assert compiled.decode(spelling) == number
    assert compiled.encode(number) == written
    assert compiled.decode(written) == number


def test_a_mobile_number_in_an_integer_column():
    compiled = codec(BIGINT, "text", {"phone": "CN"})
    assert compiled.decode(13800000000) == "+8613800000000"
    assert compiled.encode("+8613800000000") == 13800000000
    with pytest.raises(RefusedValueError, match="as an integer"):
        compiled.encode("+861088888888")


@given(st.datetimes())
def test_datetime_text_comes_back(value):
    compiled = codec(VARCHAR, "datetime", {"datetime": "%Y-%m-%d %H:%M:%S.%f"})
    wire = value.isoformat()
    assert compiled.decode(compiled.encode(wire)) == wire


def test_datetime_text_in_a_zone_is_an_instant():
    compiled = codec(VARCHAR, "instant", {"datetime": {"format": "%Y/%m/%d %H:%M", "zone": "Asia/Shanghai"}})
    assert compiled.decode("2024/01/01 08:00") == "2024-01-01T00:00:00Z"
    assert compiled.encode("2024-01-01T00:00:00Z") == "2024/01/01 08:00"
    with pytest.raises(RefusedValueError, match="does not fit into the format"):
        compiled.encode("2024-01-01T00:00:01Z")
    by_channel = codec(VARCHAR, "instant", {"datetime": "%Y/%m/%d %H:%M"}, zone="Asia/Shanghai")
    assert by_channel.decode("2024/01/01 08:00") == "2024-01-01T00:00:00Z"
    assert codec(VARCHAR, "date", {"datetime": "%d.%m.%Y"}).decode("31.01.2024") == "2024-01-31"
    offset = codec(VARCHAR, "instant", {"datetime": "%Y-%m-%dT%H:%M:%S%z"}, zone="Asia/Shanghai")
    assert offset.decode("2024-01-01T00:00:00-0500") == "2024-01-01T05:00:00Z"
    assert offset.encode("2024-01-01T05:00:00Z") == "2024-01-01T13:00:00+0800"


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_epoch_milliseconds_come_back_and_anything_finer_is_refused(moment):
    compiled = codec(BIGINT, "instant", {"epoch": "ms"})
    wire = moment.replace(tzinfo=None).isoformat() + "Z"
    if moment.microsecond % 1000:
        with pytest.raises(RefusedValueError, match="finer"):
            compiled.encode(wire)
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        wire = moment.replace(tzinfo=None).isoformat() + "Z"
    assert compiled.decode(compiled.encode(wire)) == wire


def test_epoch_seconds_with_a_fraction_are_exact():
    compiled = codec(ColumnType("mysql", "decimal", precision=20, scale=6), "instant", {"epoch": "s"})
    assert compiled.decode(D("1704067200.123456")) == "2024-01-01T00:00:00.123456Z"
    assert compiled.encode("2024-01-01T00:00:00.123456Z") == D("1704067200.123456")


def test_boolean_spellings():
    compiled = codec(VARCHAR, "boolean", {"boolean": {True: ["Y", "y"], False: "N"}})
    assert [compiled.decode(v) for v in ("Y", "y", "N")] == [True, True, False]
    assert [compiled.encode(v) for v in (True, False)] == ["Y", "N"]
    with pytest.raises(RefusedValueError):
        compiled.decode("n")
    assert codec(VARCHAR, "boolean", "boolean").decode("true") is True
    assert codec(INT, "boolean", {"boolean": {"true": 2, "false": 1}}).encode(True) == 2


def test_default_says_what_null_means():
    compiled = codec(INT, "integer", {"default": 7})
    assert compiled.decode(None) == 7
    assert compiled.decode(0) == 0
    assert compiled.encode(7) == 7
    with pytest.raises(RefusedValueError, match="NULL in this column means its default"):
        compiled.encode(None)
    after = codec(INT, "enum", {"default": 1}, {"enum": {0: "basic", 1: "gold"}}, values=("basic", "gold"))
    assert after.decode(None) == "gold"
    last = codec(INT, "enum", {"enum": {0: "basic", 1: "gold"}}, {"default": "basic"}, values=("basic", "gold"))
    assert last.decode(None) == "basic"
    assert "not one of its values" in problem(VARCHAR, "enum", {"default": "x"}, values=("a",))


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ("truncate", "needs a parameter"),
        ({"encrypt": {}}, "keys"),
        ({"hash": {"key": "short"}}, "at least 32"),
        ({"json_path": "a.b"}, "begin with $"),
        ({"json_path": "$.a[b]"}, "character 4"),
        ("sufix", "did you mean 'suffix'?"),
        ({"suffix": ""}, "parameter"),
        ("suffix", "needs a parameter"),
        ({"decimal": 2}, "takes no parameter"),
        ({"enum": {}}, "parameter"),
        ({"phone": "XX"}, "no region 'XX'"),
        ({"phone": {"region": "CN", "stile": "e164"}}, "parameter"),
        ({"datetime": "%d %B"}, "directives"),
        ({"datetime": "%Y-%m-%d %"}, "directives"),
        ({"datetime": {"format": "%Y-%m-%d", "zone": "Mars"}}, "no time zone"),
        ({"epoch": "days"}, "parameter"),
    ],
)
def test_a_wrong_transform_is_one_clear_line(transform, said):
    message = problem(VARCHAR, "text", transform)
    assert said in message
    assert "pydantic" not in message
    assert "\n" not in message


def test_a_transform_on_the_wrong_kind_of_column_is_refused():
    assert problem(INT, "text", {"suffix": "元"}) == "transform suffix takes text, and is given integer"


class _Points:
    """Stands for an installed entry point."""

    def __init__(self, name, loaded):
        self.name = name
        self.value = f"tests:{name}"
        self._loaded = loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def entry_points(monkeypatch):
    def fail(value):
        raise KeyError(value)

    own = Transform("own", "Turns text around.", None, lambda *_: Built("text", lambda v: v[::-1], lambda v: v[::-1]))
    bad = Transform("bad", "Fails.", None, lambda *_: Built("text", fail, fail))
    points = [_Points("own", own), _Points("bad", bad), _Points("broken", ImportError("no module")), _Points("no", 1)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    registry._own_entry_points.cache_clear()
    yield
    registry._own_entry_points.cache_clear()


@pytest.mark.usefixtures("entry_points")
def test_a_users_own_transform_comes_by_entry_point():
    assert codec(VARCHAR, "text", "own").decode("abc") == "cba"
    with pytest.raises(RefusedValueError) as refused:
        codec(VARCHAR, "text", "bad").decode("13800000000")
    assert "failed with KeyError" in str(refused.value)
    assert "13800000000" not in str(refused.value)
    assert "cannot be loaded" in problem(VARCHAR, "text", "broken")
    assert "is not a transforms.Transform" in problem(VARCHAR, "text", "no")


def test_an_installed_package_brings_its_own_transform(tmp_path):
    """A real distribution on the path, found by `datong check` in a process of its own."""
    (tmp_path / "coffee_rules.py").write_text(
        "from transforms import Built, Transform\n"
        "def build(parameter, kind, context):\n"
        "    return Built('text', lambda value: value + parameter, lambda value: value[:-len(parameter)])\n"
        "stars = Transform('stars', 'Adds stars.', str, build)\n"
    )
    information = tmp_path / "coffee_rules-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: coffee-rules\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[datong.transforms]\nstars = coffee_rules:stars\n")
    script = (
        "from tests.unit.test_transforms_families import VARCHAR, codec\n"
        "compiled = codec(VARCHAR, 'text', {'stars': '**'})\n"
        "print(compiled.decode('a'), compiled.encode('a**'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "a** a\n", done.stderr


def test_every_transform_says_what_it_does():
    for transform in registry.builtin().values():
        assert transform.summary.endswith(".")
    assert set(registry.builtin()) == {
        "enum", "decimal", "integer", "scale", "prefix", "suffix", "trim", "lower", "upper", "replace", "phone", "datetime",
        "epoch", "boolean", "default", "json_path", "truncate", "mask", "hash", "encrypt",
    }  # fmt: skip


def test_transforms_that_cannot_lead_to_the_field_are_found_without_a_table():
    spec, _ = mapping(VARCHAR, FieldSpec("f", "integer"), [{"suffix": "x"}])
    assert check_mapping(spec)[0].message == "the transforms end with text, which cannot become field f: integer"
