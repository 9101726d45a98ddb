"""The text of every type -> its one exact Python form, or a named refusal."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

from cdc.model import Position
from cdc.readers.postgresql_position import NativePosition, read_native, slot_name
from cdc.readers.postgresql_values import DECODERS, NewLabelError, enum_decoder
from transforms.values import ChannelValue, Unrepresentable


@pytest.mark.parametrize(
    ("type_name", "text", "value"),
    [
        ("int8", "-9223372036854775808", -(2**63)),
        ("oid", "4294967295", 2**32 - 1),
        ("numeric", "1.50", Decimal("1.50")),
        ("numeric", "-0.00000000000000000000000000000000000001", Decimal("-1E-38")),
        ("numeric", "9" * 400, Decimal("9" * 400)),
        ("float4", "0.1", 0.1),
        ("float8", "5e-324", 5e-324),
        ("float8", "-Infinity", float("-inf")),
        ("bool", "t", True),
        ("bool", "f", False),
        ("text", " 表\n", " 表\n"),
        ("bpchar", "a    ", "a"),
        ("varchar", "a ", "a "),
        ("char", "x", "x"),
        ("bytea", "\\x00ff", b"\x00\xff"),
        ("bytea", "\\x", b""),
        ("date", "0001-01-01", dt.date(1, 1, 1)),
        ("date", "9999-12-31", dt.date(9999, 12, 31)),
        ("timestamp", "2024-03-31 02:30:00", dt.datetime(2024, 3, 31, 2, 30)),  # noqa: DTZ001 - a wall clock
        ("timestamp", "2024-01-01 00:00:00.5", dt.datetime(2024, 1, 1, 0, 0, 0, 500_000)),  # noqa: DTZ001 - a wall clock
        ("timestamp", "9999-12-31 23:59:59.999999", dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)),  # noqa: DTZ001 - a wall clock
        ("timestamptz", "2024-01-01 00:00:00.123+00", dt.datetime(2024, 1, 1, 0, 0, 0, 123_000, dt.UTC)),
        ("timestamptz", "2024-01-01 05:45:00+05:45", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        ("time", "23:59:59.000001", dt.time(23, 59, 59, 1)),
        ("json", '{"b": 1.50, "a": [1, 2]}', '{"a":[1,2],"b":1.5}'),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ],
)  # fmt: skip
def test_a_text_has_one_exact_form(type_name: str, text: str, value: ChannelValue) -> None:
    decoded = DECODERS[type_name](text.encode())
    assert decoded == value
    assert type(decoded) is type(value)
    assert str(decoded) == str(value)


@pytest.mark.parametrize(
    ("type_name", "text", "reason"),
    [
        ("numeric", "NaN", "NaN in a numeric"),
        ("numeric", "Infinity", "infinity in a numeric"),
        ("numeric", "-Infinity", "infinity in a numeric"),
        ("date", "infinity", "infinity in a date"),
        ("date", "4713-01-01 BC", "a year before Christ in a date"),
        ("date", "5874897-12-31", "a year beyond 9999 in a date"),
        ("date", "10000-01-01", "a year beyond 9999 in a date"),
        ("timestamp", "-infinity", "infinity in a timestamp"),
        ("timestamp", "0044-03-15 00:00:00 BC", "a year before Christ in a timestamp"),
        ("timestamp", "294276-12-31 23:59:59.999999", "a year beyond 9999 in a timestamp"),
        ("timestamptz", "infinity", "infinity in a timestamptz"),
        ("timestamptz", "10000-01-01 00:00:00+00", "a year beyond 9999 in a timestamptz"),
        ("timestamptz", "4714-11-24 00:00:00+00 BC", "a year before Christ in a timestamptz"),
        ("time", "24:00:00", "24:00:00, the end of a day, in a time"),
    ],
)
def test_what_has_no_exact_form_is_named(type_name: str, text: str, reason: str) -> None:
    assert DECODERS[type_name](text.encode()) == Unrepresentable(reason)


def test_text_that_is_not_utf8_and_json_without_exact_form_are_unrepresentable() -> None:
    assert isinstance(DECODERS["text"](b"\xff"), Unrepresentable)
    assert isinstance(DECODERS["json"](b'"\\ud800"'), Unrepresentable)


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("bool", "true"),
        ("numeric", "abc"),
        ("bytea", "\\000"),
        ("date", "01.02.2024"),
        ("timestamp", "Mon Jan 01 2024"),
        ("timestamp", "2024-01-01 00:00:00+00"),
        ("timestamptz", "2024-01-01 00:00:00"),
        ("time", "10:00:00+00"),
    ],
)
def test_a_text_that_only_another_session_setting_prints_is_refused(type_name: str, text: str) -> None:
    with pytest.raises(ValueError):
        DECODERS[type_name](text.encode())


def test_a_label_that_the_catalog_did_not_know_asks_until_it_is_remembered() -> None:
    seen: set[bytes] = set()
    decode = enum_decoder(("silver", "金"), seen)
    assert decode("金".encode()) == "金"
    for _ in range(2):
        with pytest.raises(NewLabelError) as caught:
            decode(b"platinum")
    caught.value.remember()
    assert decode(b"platinum") == "platinum"


@pytest.mark.parametrize(
    ("deployment", "channel", "name"),
    [("coffee", "website", "datong_coffee_website"), ("a", "b_c", "datong_a_b_c")],
)
def test_a_plain_name_is_kept(deployment: str, channel: str, name: str) -> None:
    assert slot_name(deployment, channel) == name


def test_names_that_are_changed_or_cut_stay_apart() -> None:
    names = {
        slot_name(*pair) for pair in [("Coffee", "x"), ("coffee", "x"), ("coffee", "X"), ("咖啡", "x"), ("茶", "x")]
    }
    assert len(names) == 5
    long = {slot_name("d" * 60, "a" * 60), slot_name("d" * 60, "b" * 60)}
    assert len(long) == 2
    assert all(len(name) == 63 and name.isascii() for name in long)


def test_a_position_is_read_back_and_one_that_is_not_whole_is_refused() -> None:
    native = NativePosition("0/0", "7710741506521810684", 3, "datong_a_b")
    position = native.at(0x16_B374D848)
    assert position.order == 0x16_B374D848
    assert read_native(position) == NativePosition("16/B374D848", "7710741506521810684", 3, "datong_a_b")
    for broken in (Position(5, position.native), Position(5, "{}"), Position(5, "not json")):
        with pytest.raises(ValueError):
            read_native(broken)
