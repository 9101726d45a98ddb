"""No value becomes SQL: what the literal encoder and the array encoder write, read back by independent readers."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.mysql_literals import literal_encoder, quote_name, text_literal
from sinks.postgresql_texts import array_text, text_encoder
from transforms.tables import Column, ColumnType
from transforms.values import ABSENT, ChannelValue, RefusedValueError, Unrepresentable


def mysql_column(name: str, **more: object) -> Column:
    return Column("c", ColumnType("mysql", name, **more))  # type: ignore[arg-type]


def postgresql_column(name: str, **more: object) -> Column:
    return Column("c", ColumnType("postgresql", name, **more))  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\\0%;`\n\x1a")))
def test_a_text_literal_means_the_same_whatever_the_sql_mode(text: str) -> None:
    literal = text_literal(text)
    if literal.startswith("_utf8mb4 X'"):
        assert bytes.fromhex(literal[11:-1]).decode() == text
    else:
        assert literal == f"'{text}'"
        assert not set("'\\\0\n\x1a") & set(text)


@given(st.binary())
def test_bytes_are_hexadecimal_digits(value: bytes) -> None:
    literal = literal_encoder(mysql_column("longblob"))(value)
    assert re.fullmatch(r"X'[0-9a-f]*'", literal)
    assert bytes.fromhex(literal[2:-1]) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=10))
def test_decimals_keep_all_digits_and_no_exponent(value: decimal.Decimal) -> None:
    literal = literal_encoder(mysql_column("decimal", precision=65, scale=30))(value)
    assert "e" not in literal.lower()
    assert decimal.Decimal(literal) == value


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(1, 20), st.integers(0, 10))
def test_a_decimal_is_refused_exactly_when_the_column_would_bend_it(
    value: decimal.Decimal, whole: int, scale: int
) -> None:
    encode = literal_encoder(mysql_column("decimal", precision=whole + scale, scale=scale))
    with decimal.localcontext(prec=2000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN):
        small = abs(value.adjusted()) < 500
        fits = value == 0 or (small and value == round(value, scale) and abs(value) < decimal.Decimal(10) ** whole)
    if fits:
        assert decimal.Decimal(encode(value)) == value
    else:
        with pytest.raises(RefusedValueError):
            encode(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_with_the_same_bits(value: float) -> None:
    literal = literal_encoder(mysql_column("double"))(value)
    assert "e" in literal
    assert float(literal).hex() == value.hex()


@given(st.timedeltas(min_value=-dt.timedelta(hours=838), max_value=dt.timedelta(hours=838)))
def test_a_time_reads_back(value: dt.timedelta) -> None:
    literal = literal_encoder(mysql_column("time", scale=6))(value)
    sign, hours, minutes, seconds, micro = re.fullmatch(r"'(-?)(\d+):(\d\d):(\d\d)\.(\d{6})'", literal).groups()  # type: ignore[union-attr]
    read = dt.timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds), microseconds=int(micro))
    assert (-read if sign else read) == value


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.none()))
def test_an_array_literal_reads_back(values: list[str | None]) -> None:
    encode = text_encoder(postgresql_column("text"))
    assert _read_array(array_text(map(encode, values))) == values


def _read_array(text: str) -> list[str | None]:
    """PostgreSQL's manual, section 8.15.6, for one dimension."""
    assert text[0] == "{"
    assert text[-1] == "}"
    elements: list[str | None] = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|([^",{}]+)', text[1:-1], re.DOTALL):
        elements.append(None if plain == "NULL" else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
    return elements


@pytest.mark.parametrize(
    "name", ["int", "decimal", "double", "varchar", "blob", "date", "datetime", "time", "json", "year"]
)
def test_null_is_null_and_absent_and_unrepresentable_never_pass(name: str) -> None:
    encode = literal_encoder(mysql_column(name))
    assert encode(None) == "NULL"
    _never_pass(encode)


@pytest.mark.parametrize("name", ["int4", "numeric", "float8", "bool", "text", "bytea", "date", "timestamptz", "time", "jsonb", "uuid"])  # fmt: skip
def test_postgresql_null_is_null_and_absent_and_unrepresentable_never_pass(name: str) -> None:
    encode = text_encoder(postgresql_column(name))
    assert encode(None) == "NULL"
    _never_pass(encode)


def _never_pass(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(TypeError, match="ABSENT"):
        encode(ABSENT)
    with pytest.raises(RefusedValueError, match="zero date"):
        encode(Unrepresentable("zero date"))


@pytest.mark.parametrize(("column", "value"), [
    (mysql_column("decimal", precision=5, scale=2), decimal.Decimal("1.234")),
    (mysql_column("varchar", length=3), "SECRET"),
    (mysql_column("double"), float("nan")),
    (mysql_column("timestamp"), dt.datetime(2024, 1, 1)),  # noqa: DTZ001
    (mysql_column("int"), "SECRET"),
    (postgresql_column("text"), "SECRET\0"),
    (postgresql_column("varchar", length=3), "SECRET"),
    (postgresql_column("timestamp", scale=0), dt.datetime(2024, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
])  # fmt: skip
def test_a_refusal_names_the_column_and_its_type_and_no_value(column: Column, value: ChannelValue) -> None:
    encode = text_encoder(column) if column.type.engine == "postgresql" else literal_encoder(column)
    with pytest.raises(RefusedValueError) as caught:
        encode(value)
    assert caught.value.where == "c"
    assert str(column.type) in caught.value.reason
    assert "SECRET" not in str(caught.value)


def test_a_type_that_no_encoder_knows_is_named() -> None:
    with pytest.raises(LookupError, match="frobnitz"):
        literal_encoder(mysql_column("frobnitz"))
    with pytest.raises(LookupError, match="array"):
        text_encoder(postgresql_column("_text", kind="array"))


def test_names_are_quoted() -> None:
    assert quote_name("a`b") == "`a``b`"


def test_a_label_beyond_the_catalogs_character_set_is_known_by_what_they_show() -> None:
    """information_schema is in utf8mb3: the label '🙂' is shown as '?' there (found by the type matrix)."""
    encode = literal_encoder(mysql_column("enum", labels=("a", "?"), kind="enum"))
    assert encode("🙂") == "'🙂'"
    assert literal_encoder(mysql_column("set", labels=("a", "?b")))(("a", "🙂b")) == "'a,🙂b'"
    for unknown in ("b", "é", "1"):
        with pytest.raises(RefusedValueError, match="no such label"):
            encode(unknown)


@pytest.mark.parametrize(
    ("text", "fits"), [("12000", True), ("-99999000", True), ("0", True), ("12001", False), ("100000000", False)]
)
def test_a_numeric_with_a_negative_scale_takes_what_it_keeps(text: str, fits: bool) -> None:
    encode = text_encoder(postgresql_column("numeric", precision=5, scale=-3))
    if fits:
        assert decimal.Decimal(str(encode(decimal.Decimal(text)))) == decimal.Decimal(text)
    else:
        with pytest.raises(RefusedValueError):
            encode(decimal.Decimal(text))


@pytest.mark.parametrize("value", [1e-45, 1.1754944e-38, 3.4028235e38, 0.1, -0.0])
def test_a_float_of_four_bytes_is_written_as_those_bytes(value: float) -> None:
    written = float(str(text_encoder(postgresql_column("float4"))(value)))
    assert struct.pack("<f", written) == struct.pack("<f", value)
