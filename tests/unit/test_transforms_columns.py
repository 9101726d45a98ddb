"""Every column type against the dictionary types that it can hold: exact both ways, or refused by name."""

# ruff: noqa: DTZ001 - wall clock times without a zone are part of the subject

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from transforms import MappingRefusedError, RefusedValueError, Unrepresentable, compile_mapping
from transforms.column_limits import shortest_of_four_bytes
from transforms.fields import duration_text
from transforms.moments import instant_text
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Table

D = decimal.Decimal
UTC = dt.UTC


def codec(engine, type_name, field_type, *, zone="UTC", nullable=True, transforms=(), field=None, **type_options):
    """Compile one column against one field."""
    field_options = {"values": ("basic", "silver", "gold")} if field_type in ("enum", "set") else {}
    spec = FieldSpec("f", field_type, **(field_options | (field or {})))
    entity = EntitySpec("thing", ("id",), (FieldSpec("id", "integer", required=True), spec))
    key_type = ColumnType(engine, "int8" if engine == "postgresql" else "bigint")
    table = Table(
        "shop",
        "things",
        (Column("id", key_type), Column("c", ColumnType(engine, type_name, **type_options), nullable=nullable)),
        ("id",),
    )
    mapping = MappingSpec(
        "x.things",
        "x",
        engine,
        None,
        "things",
        entity,
        "both",
        (ColumnSpec("id", "id"), ColumnSpec("c", "f", tuple(transforms))),
        ("id",),
        zone,
    )
    return compile_mapping(mapping, table, capture=True, apply=True).columns[1]


texts = st.text(st.characters(exclude_categories=["Cs"]))
naive = st.datetimes()
instants = st.datetimes(timezones=st.just(UTC))
within_timestamp = st.datetimes(dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(2038, 1, 19, 3, 14, 7)).map(
    lambda v: v.replace(tzinfo=UTC)
)
PAIRS = [
    ("mariadb", "tinyint", "integer", st.integers(-128, 127), {}),
    ("mysql", "tinyint", "integer", st.integers(0, 255), {"unsigned": True}),
    ("mysql", "smallint", "integer", st.integers(-(2**15), 2**15 - 1), {}),
    ("mysql", "mediumint", "integer", st.integers(0, 2**24 - 1), {"unsigned": True}),
    ("mysql", "int", "integer", st.integers(-(2**31), 2**31 - 1), {}),
    ("mysql", "bigint", "integer", st.integers(0, 2**64 - 1), {"unsigned": True}),
    ("postgresql", "int2", "integer", st.integers(-(2**15), 2**15 - 1), {}),
    ("postgresql", "int4", "integer", st.integers(-(2**31), 2**31 - 1), {}),
    ("postgresql", "int8", "integer", st.integers(-(2**63), 2**63 - 1), {}),
    ("mysql", "year", "integer", st.integers(1901, 2155) | st.just(0), {}),
    ("mysql", "bit", "integer", st.integers(0, 2**10 - 1), {"length": 10}),
    ("mysql", "tinyint", "boolean", st.sampled_from([0, 1]), {}),
    ("mysql", "bit", "boolean", st.sampled_from([0, 1]), {"length": 1}),
    ("postgresql", "bool", "boolean", st.booleans(), {}),
    ("postgresql", "bool", "integer", st.booleans(), {}),
    ("mysql", "bigint", "decimal", st.integers(-(2**63), 2**63 - 1), {}),
    ("mysql", "int", "text", st.integers(-(2**31), 2**31 - 1), {}),
    ("mariadb", "decimal", "decimal", st.decimals(-(10**10) + 1, 10**10 - 1, places=2), {"precision": 12, "scale": 2}),
    ("postgresql", "numeric", "integer", st.integers(-(10**30), 10**30).map(D), {"precision": 38, "scale": 0}),
    ("mysql", "double", "float", st.floats(allow_nan=False, allow_infinity=False), {}),
    ("postgresql", "float8", "float", st.floats(allow_nan=False), {}),
    ("postgresql", "float4", "float", st.floats(width=32, allow_nan=False).map(shortest_of_four_bytes), {}),
    ("mysql", "double", "decimal", st.floats(allow_nan=False, allow_infinity=False).filter(bool), {}),
    ("mariadb", "varchar", "text", texts, {"charset": "utf8mb4"}),
    ("mariadb", "char", "text", texts.map(lambda v: v.rstrip(" ")), {}),
    ("postgresql", "text", "text", texts.filter(lambda v: "\0" not in v), {}),
    ("mysql", "enum", "enum", st.sampled_from(["basic", "gold"]), {"labels": ("gold", "basic", "silver")}),
    ("postgresql", "levels", "enum", st.sampled_from(["basic", "gold"]), {"kind": "enum"}),
    ("mysql", "varchar", "enum", st.sampled_from(["basic", "gold"]), {}),
    (
        "mysql",
        "set",
        "set",
        st.sampled_from([(), ("gold",), ("basic", "gold")]),
        {"labels": ("basic", "gold", "silver")},
    ),
    ("mysql", "varbinary", "bytes", st.binary(max_size=20), {"length": 20}),
    ("mysql", "binary", "bytes", st.binary(min_size=4, max_size=4), {"length": 4}),
    ("postgresql", "bytea", "bytes", st.binary(), {}),
    ("mysql", "date", "date", st.dates(), {}),
    ("postgresql", "date", "date", st.dates(), {}),
    ("postgresql", "time", "time", st.times(), {}),
    ("postgresql", "time", "duration", st.times(), {}),
    ("mysql", "time", "duration", st.timedeltas(-dt.timedelta(hours=838), dt.timedelta(hours=838)), {"scale": 6}),
    ("mysql", "time", "time", st.timedeltas(dt.timedelta(0), dt.timedelta(hours=23)), {"scale": 6}),
    ("mysql", "datetime", "datetime", naive, {"scale": 6}),
    ("postgresql", "timestamp", "datetime", naive, {}),
    ("postgresql", "timestamptz", "instant", instants, {}),
    ("mysql", "timestamp", "instant", within_timestamp, {"scale": 6}),
    ("mysql", "datetime", "instant", naive, {"scale": 6}),
    ("mysql", "datetime", "date", st.dates().map(lambda v: dt.datetime.combine(v, dt.time())), {}),
    ("postgresql", "jsonb", "json", st.sampled_from(['{"a":1.5}', "null", '"打"']), {}),
    ("mariadb", "longtext", "json", st.sampled_from(['{"a":1.5}', "null", '"打"']), {}),
    ("mysql", "json", "json", st.sampled_from(['{"a":1.5}', "18446744073709551615"]), {}),
    ("postgresql", "uuid", "uuid", st.uuids(), {}),
    ("mysql", "time", "text", st.timedeltas(-dt.timedelta(hours=838), dt.timedelta(hours=838)), {"scale": 6}),
    ("postgresql", "numeric", "text", st.decimals(allow_nan=False, allow_infinity=False, places=4), {}),
    ("postgresql", "date", "text", st.dates(), {}),
    ("postgresql", "time", "text", st.times(), {}),
    ("postgresql", "timestamp", "text", naive, {}),
    ("postgresql", "timestamptz", "text", st.datetimes(timezones=st.just(dt.UTC)), {}),
    ("postgresql", "text", "instant", st.datetimes(timezones=st.just(dt.UTC)).map(instant_text), {}),
    ("postgresql", "text", "duration", st.timedeltas().map(duration_text), {}),
    ("postgresql", "bool", "json", st.booleans(), {}),
    ("mysql", "bit", "boolean", st.sampled_from([0, 1]), {"length": 1}),
    ("mysql", "set", "text", st.sets(st.sampled_from("abc")).map(lambda v: tuple(sorted(v))), {"labels": tuple("abc")}),
    ("mysql", "set", "json", st.sets(st.sampled_from("abc")).map(lambda v: tuple(sorted(v))), {"labels": tuple("abc")}),
    ("postgresql", "jsonb", "set", st.sampled_from(["[]", '["basic"]', '["basic","gold"]']), {}),
    ("postgresql", "text", "set", st.sampled_from(["", "basic", "basic,gold"]), {}),
    ("mysql", "char", "uuid", st.uuids().map(str), {"length": 36}),
    ("mysql", "binary", "uuid", st.uuids().map(lambda v: v.bytes), {"length": 16}),
]


@pytest.mark.parametrize(
    ("engine", "type_name", "field_type", "values", "options"), PAIRS, ids=[f"{p[0]}-{p[1]}-{p[2]}" for p in PAIRS]
)
def test_every_value_of_a_column_comes_back_as_it_was(engine, type_name, field_type, values, options):
    compiled = codec(engine, type_name, field_type, **options)

    @given(values)
    def there_and_back(value):
        wire = compiled.decode(value)
        assert isinstance(wire, None | bool | int | float | str | bytes | list)
        again = compiled.encode(wire)
        assert again == value
        assert type(again) is type(value)
        assert compiled.decode_many([value, None, value]) == [wire, None, wire]
        assert compiled.decode_many([value, value]) == [wire, wire]
        many = compiled.encode_many([wire, None, wire])
        assert many == [again, None, again]
        assert [type(one) for one in many[::2]] == [type(again)] * 2

    there_and_back()
    assert compiled.decode(None) is None
    assert compiled.encode(None) is None


@pytest.mark.parametrize(
    ("engine", "type_name", "field_type", "wire", "options"),
    [
        ("mysql", "bigint", "integer", 2**63, {}),
        ("mysql", "bigint", "integer", -1, {"unsigned": True}),
        ("postgresql", "int2", "integer", 32768, {}),
        ("mysql", "year", "integer", 1900, {}),
        ("mysql", "bit", "integer", 4, {"length": 2}),
        ("mysql", "decimal", "decimal", "1.234", {"precision": 12, "scale": 2}),
        ("mysql", "decimal", "decimal", "10000000000.00", {"precision": 12, "scale": 2}),
        ("mysql", "decimal", "decimal", "-1", {"precision": 12, "scale": 2, "unsigned": True}),
        ("mysql", "double", "float", math.nan, {}),
        ("mysql", "double", "float", math.inf, {}),
        ("postgresql", "float4", "float", 0.1234567891, {}),
        ("mysql", "float", "float", 1e300, {}),
        ("mysql", "double", "float", 1.234, {"precision": 10, "scale": 2}),
        ("mysql", "double", "float", 1e8, {"precision": 10, "scale": 2}),
        ("mysql", "varchar", "text", "abcdef", {"length": 5}),
        ("mysql", "char", "text", "abc ", {"length": 5}),
        ("mysql", "tinytext", "text", "打" * 86, {}),
        ("mysql", "varchar", "text", "😀", {"charset": "utf8mb3"}),
        ("mysql", "varchar", "text", "打", {"charset": "latin1"}),
        ("postgresql", "text", "text", "a\0b", {}),
        ("mysql", "enum", "text", "gold", {"labels": ("basic",)}),
        ("mysql", "set", "text", "gold", {"labels": ("basic",)}),
        ("mysql", "binary", "bytes", b"abc", {"length": 4}),
        ("mysql", "blob", "bytes", b"a" * 65536, {}),
        ("mysql", "datetime", "datetime", "2024-01-01T00:00:00.5", {"scale": 0}),
        ("mysql", "datetime", "datetime", "2024-01-01T00:00:00.000001", {"scale": 3}),
        ("mysql", "timestamp", "instant", "1970-01-01T00:00:00Z", {}),
        ("mysql", "timestamp", "instant", "2038-01-19T03:14:08Z", {}),
        ("mysql", "time", "duration", "PT839H0M0S", {}),
        ("postgresql", "time", "duration", "-PT1H0M0S", {}),
        ("postgresql", "jsonb", "json", '"\\u0000"', {}),
        ("mysql", "json", "json", "[1234567890123456789012345678901234567890]", {}),
        ("mysql", "json", "json", "[1e+400]", {}),
        ("mysql", "json", "json", "18446744073709551616", {}),
        ("postgresql", "date", "datetime", "2024-01-01T00:00:01", {}),
        ("mysql", "int", "decimal", "1.5", {}),
        ("mysql", "int", "text", "007", {}),
        ("mysql", "int", "integer", "not a number", {}),
        ("mysql", "datetime", "instant", "2024-01-01 no", {}),
    ],
)
def test_what_a_column_cannot_hold_is_refused_with_its_name_and_type(engine, type_name, field_type, wire, options):
    with pytest.raises(RefusedValueError) as refused:
        codec(engine, type_name, field_type, **options).encode(wire)
    with pytest.raises(RefusedValueError):
        codec(engine, type_name, field_type, **options).encode_many([wire])
    assert refused.value.where.startswith(("column c ", "field f"))


@pytest.mark.parametrize(
    ("engine", "type_name", "field_type", "value", "options"),
    [
        ("mysql", "tinyint", "boolean", 2, {}),
        ("mysql", "tinyint", "boolean", -1, {}),
        ("mysql", "date", "date", Unrepresentable("0000-00-00 is no date"), {}),
        ("mysql", "int", "integer", "1", {}),
        ("mysql", "int", "integer", True, {}),
        ("mysql", "enum", "text", "", {"labels": ("basic",)}),
        ("mysql", "enum", "enum", "unknown", {}),
        ("postgresql", "numeric", "decimal", D("NaN"), {}),
        ("mariadb", "longtext", "json", "{", {}),
        ("mysql", "char", "uuid", "x", {}),
        ("mysql", "binary", "uuid", b"x", {}),
    ],
)
def test_what_a_field_cannot_hold_is_refused(engine, type_name, field_type, value, options):
    with pytest.raises(RefusedValueError):
        codec(engine, type_name, field_type, **options).decode(value)
    with pytest.raises(RefusedValueError):
        codec(engine, type_name, field_type, **options).decode_many([value])


@pytest.mark.parametrize(
    ("engine", "type_name", "options"),
    [
        ("mysql", "frobnitz", {}),
        ("mysql", "inet6", {}),
        ("postgresql", "money", {}),
        ("postgresql", "_text", {"kind": "array"}),
        ("postgresql", "email", {"kind": "domain"}),
        ("postgresql", "point", {}),
        ("mariadb", "vector", {}),
    ],
)
def test_an_unknown_type_is_refused_by_name_when_compiled(engine, type_name, options):
    with pytest.raises(MappingRefusedError, match=type_name) as refused:
        codec(engine, type_name, "text", **options)
    assert refused.value.problems[0].path == "mappings.x.things.columns.c"


@pytest.mark.parametrize(
    ("engine", "type_name", "field_type"),
    [
        ("mysql", "blob", "text"),
        ("mysql", "varchar", "integer"),
        ("mysql", "decimal", "instant"),
        ("mysql", "int", "date"),
    ],
)
def test_types_that_do_not_fit_are_refused_when_compiled(engine, type_name, field_type):
    with pytest.raises(MappingRefusedError, match=f"cannot hold field f: {field_type}"):
        codec(engine, type_name, field_type)


def test_trailing_spaces_of_a_char_are_not_part_of_the_value():
    assert codec("postgresql", "bpchar", "text", length=5).decode("ab   ") == "ab"
    assert codec("mysql", "char", "text", length=5).decode("ab") == "ab"
    assert codec("mysql", "varchar", "text", length=5).decode("ab  ") == "ab  "


def test_a_label_that_came_after_the_column_was_described_is_no_mistake():
    compiled = codec("postgresql", "levels", "enum", kind="enum", labels=("basic",))
    assert compiled.decode("gold") == "gold"
    assert compiled.encode("gold") == "gold"
    assert codec("postgresql", "char", "text", kind="enum").decode("padded ") == "padded "


def test_a_binary_column_gets_its_zero_bytes_back():
    assert codec("mysql", "binary", "bytes", length=4).decode(b"a") == b"a\0\0\0"


def test_a_float_becomes_the_shortest_decimal_that_means_it():
    compiled = codec("postgresql", "float8", "decimal")
    assert compiled.decode(0.1) == "0.1"
    assert compiled.decode(1e22) == "10000000000000000000000"
    assert compiled.encode("0.1") == 0.1
    with pytest.raises(RefusedValueError):
        compiled.encode("0.1000000000000000055511151231257827")


def test_integers_beyond_64_bits_travel_as_digits():
    compiled = codec("postgresql", "numeric", "integer")
    assert compiled.decode(D(2**64)) == "18446744073709551616"
    assert compiled.encode("18446744073709551616") == D(2**64)


def test_a_wall_clock_time_means_its_zone():
    compiled = codec("mysql", "datetime", "instant", zone="Asia/Shanghai", scale=6)
    assert compiled.decode(dt.datetime(2024, 1, 1, 8)) == "2024-01-01T00:00:00Z"
    assert compiled.encode("2024-01-01T00:00:00.5Z") == dt.datetime(2024, 1, 1, 8, 0, 0, 500000)


def test_the_skipped_hour_is_refused_and_the_repeated_one_is_the_first():
    compiled = codec("postgresql", "timestamp", "instant", zone="Europe/Berlin")
    with pytest.raises(RefusedValueError, match="does not exist in Europe/Berlin"):
        compiled.decode(dt.datetime(2024, 3, 31, 2, 30))
    assert compiled.decode(dt.datetime(2024, 10, 27, 2, 30)) == "2024-10-27T00:30:00Z"
    assert compiled.encode("2024-10-27T00:30:00Z") == dt.datetime(2024, 10, 27, 2, 30)
    with pytest.raises(RefusedValueError, match="repeated hour"):
        compiled.encode("2024-10-27T01:30:00Z")


@given(instants)
def test_an_instant_in_a_zone_with_summer_time_comes_back_or_is_refused(moment):
    compiled = codec("mysql", "datetime", "instant", zone="America/New_York", scale=6)
    assume(moment.year not in (1, 9999))
    wire = moment.replace(tzinfo=None).isoformat() + "Z"
    try:
        written = compiled.encode(wire)
    except RefusedValueError as refused:
        assert "repeated hour" in refused.reason
        return
    assert compiled.decode(written) == wire


@given(
    st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2100, 1, 1)),
    st.datetimes(dt.datetime(2023, 3, 1), dt.datetime(2024, 12, 1)),
)
def test_a_remembered_hour_means_the_same_as_a_new_one(some, recent):
    for zone in ("Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe"):
        used = codec("mysql", "datetime", "instant", zone=zone, scale=6)
        for value in (some, recent):
            for minute in (0, 29, 30, 59):
                asked = value.replace(minute=minute)
                answers = []
                for compiled in (used, codec("mysql", "datetime", "instant", zone=zone, scale=6)):
                    try:
                        answers.append(compiled.decode(asked))
                    except RefusedValueError as refused:
                        answers.append(refused.reason)
                assert answers[0] == answers[1]


def test_a_log_that_knows_part_of_the_keys_does_not_refuse_a_mapping_that_captures():
    entity = EntitySpec("thing", ("f",), (FieldSpec("f", "text", required=True),))
    table = Table(
        "s", "t", (Column("id", ColumnType("mysql", "int")), Column("c", ColumnType("mysql", "varchar"))), ("id",)
    )
    mapping = MappingSpec("x.t", "x", "mysql", None, "t", entity, "both", (ColumnSpec("c", "f"),), ("c",))
    assert compile_mapping(mapping, table, capture=True, apply=False).key[0].column == "c"
    with pytest.raises(MappingRefusedError, match="do not identify a row"):
        compile_mapping(mapping, table, capture=True, apply=True)


def test_not_null_and_required_are_told_apart_from_null():
    with pytest.raises(RefusedValueError, match="NOT NULL"):
        codec("mysql", "int", "integer", nullable=False).encode(None)
    required = codec("mysql", "int", "integer", field={"required": True})
    with pytest.raises(RefusedValueError, match="required"):
        required.decode(None)
    with pytest.raises(RefusedValueError, match="required"):
        required.encode(None)


def test_a_refusal_never_shows_the_value():
    with pytest.raises(RefusedValueError) as refused:
        codec("mysql", "varchar", "text", length=3).encode("13800000000")
    assert "13800000000" not in str(refused.value)


def test_all_problems_of_a_mapping_come_at_once_with_their_paths():
    entity = EntitySpec(
        "order", ("no",), (FieldSpec("no", "text"), FieldSpec("paid", "boolean"), FieldSpec("n", "text"))
    )
    text = ColumnType("mysql", "varchar", length=20)
    table = Table(
        "shop",
        "orders",
        (Column("number", text), Column("paid", text), Column("total", text, generated=True)),
        ("id",),
    )
    mapping = MappingSpec(
        "web.orders",
        "web",
        "mysql",
        None,
        "orders",
        entity,
        "both",
        (
            ColumnSpec("numbr", "no"),
            ColumnSpec("paid", "paid"),
            ColumnSpec("total", "n"),
            ColumnSpec("number", "m", (TransformSpec("lower"),)),
        ),
        ("numbr",),
    )
    with pytest.raises(MappingRefusedError) as refused:
        compile_mapping(mapping, table, capture=True, apply=True)
    assert [str(problem) for problem in refused.value.problems] == [
        "mappings.web.orders.columns.numbr: no column 'numbr' in table shop.orders - did you mean 'number'?",
        (
            "mappings.web.orders.columns.paid: column paid varchar(20) cannot hold field paid: boolean"
            " - add the transform boolean, such as {boolean: {true: Y, false: N}}"
        ),
        "mappings.web.orders.columns.total: column total is computed by the server and cannot be written",
        "mappings.web.orders.columns.number: no field 'm' in entity 'order'",
        "mappings.web.orders.key: columns numbr do not identify a row of shop.orders: make them its primary key or a unique key",
    ]


def test_uuids_are_written_in_lower_case():
    value = uuid.uuid4()
    compiled = codec("mysql", "varchar", "uuid", length=36)
    assert compiled.encode(compiled.decode(str(value).upper())) == str(value)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("PT25H", "PT25H0M0S"),
        ("PT-1H-30M", "-PT1H30M0S"),
        ("-PT90M", "-PT1H30M0S"),
        ("PT-0.5S", "-PT0H0M0.500000S"),
        ("PT0S", "PT0H0M0S"),
    ],
)
def test_a_length_of_time_is_read_in_every_iso_spelling(text, wire):
    assert codec("postgresql", "text", "duration").decode(text) == wire


@pytest.mark.parametrize("text", ["P1M", "P1DT2H", "P1Y2M", "1:30", "PT", "P", "", "PT1.1234567S"])
def test_what_is_not_always_equally_long_is_no_duration(text):
    with pytest.raises(RefusedValueError):
        codec("postgresql", "text", "duration").decode(text)


@pytest.mark.parametrize(
    ("hours", "seconds", "written"),
    [(0, 0.0, "PT0H0M0S"), (72, 5.000007, "PT72H0M5.000007S"), (-1, -120.5, "PT-1H-2M-0.500000S"), (0, -0.000001, "PT-0H-0M-0.000001S")],
)  # fmt: skip
def test_a_length_of_time_is_an_interval_and_comes_back(hours: int, seconds: float, written: str) -> None:
    value = dt.timedelta(hours=hours, seconds=seconds)
    of = codec("postgresql", "interval", "duration")
    wire = codec("mariadb", "time", "duration", scale=6).decode(value)
    assert of.encode(wire) == written
    assert of.decode(written) == wire


@pytest.mark.parametrize("text", ["1 day", "P", "PT", "-P1D", "P1W", "infinity", "P1.5D"])
def test_an_interval_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(RefusedValueError, match="is not an interval in ISO 8601"):
        codec("postgresql", "interval", "text").encode(text)


@pytest.mark.parametrize(
    ("type_name", "options", "text", "said"),
    [
        ("bit", {"length": 3}, "10", "has 2 bits, not 3"),
        ("varbit", {"length": 3}, "1010", "has 4 bits, more than 3"),
        ("bit", {"length": 1}, "2", "not made of 0 and 1"),
        ("char", {}, "ab", "longer than 1 bytes"),
        ("name", {}, "表" * 22, "longer than 63 bytes"),
        ("int4range", {"kind": "range"}, "a\0", "NUL"),
    ],
)
def test_what_postgresql_would_cut_without_a_word_is_refused(type_name, options, text, said) -> None:
    with pytest.raises(RefusedValueError, match=said):
        codec("postgresql", type_name, "text", **options).encode(text)


@pytest.mark.parametrize(
    ("engine", "type_name", "options", "field_type", "there", "wire"),
    [
        ("postgresql", "bit", {"length": 10}, "integer", "0000000101", 5),
        ("postgresql", "bit", {"length": 64}, "integer", "1" * 64, 2**64 - 1),
        ("postgresql", "bit", {"length": 1}, "boolean", "1", True),
        ("postgresql", "bit", {"length": 10}, "text", "0000000101", "0000000101"),
        ("mysql", "bit", {"length": 10}, "integer", 5, 5),
        ("mysql", "bit", {"length": 10}, "text", 5, "0000000101"),
        ("mysql", "bit", {"length": 1}, "boolean", 0, False),
    ],
)
def test_bits_of_a_fixed_width_are_one_value_in_every_engine(engine, type_name, options, field_type, there, wire):
    compiled = codec(engine, type_name, field_type, **options)
    assert compiled.decode(there) == wire
    assert compiled.encode(wire) == there
    assert compiled.encode_many([wire, None]) == [there, None]


@pytest.mark.parametrize(
    ("engine", "type_name", "length", "field_type", "wire", "said"),
    [
        ("postgresql", "bit", 4, "integer", 16, "is outside 0 to 15"),
        ("postgresql", "bit", 4, "integer", -1, "is outside 0 to 15"),
        ("mysql", "bit", 4, "text", "101", "is not made of 4 digits"),
        ("mysql", "bit", 4, "text", "0102", "is not made of 4 digits"),
    ],
)
def test_bits_that_another_width_would_bend_are_refused(engine, type_name, length, field_type, wire, said):
    with pytest.raises(RefusedValueError, match=said):
        codec(engine, type_name, field_type, length=length).encode(wire)


def test_bits_of_no_fixed_width_are_no_number():
    with pytest.raises(MappingRefusedError, match="cannot hold field f: integer"):
        codec("postgresql", "varbit", "integer", length=10)
