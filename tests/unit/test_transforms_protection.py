"""What is masked, hashed or encrypted, and what is taken out of a document."""

from __future__ import annotations

import base64
import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import ConfigurationRefused, parse
from tests.unit.test_transforms_families import BIGINT, VARCHAR, codec, mapping, problem, texts
from transforms import MappingRefusedError, RefusedValueError, check_mapping, compile_mapping
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, ColumnType, Table

JSON = ColumnType("mysql", "json")
TEXT = ColumnType("mysql", "text", charset="utf8mb4")
BLOB = ColumnType("mysql", "blob")
OLD, NEW = "old-" * 10, "new-" * 10


def encrypt(**more):
    return {"encrypt": {"keys": {"k2": NEW, "k1": OLD}, **more}}


@pytest.mark.parametrize(
    ("parameter", "value", "masked"),
    [
        (None, "13812345678", "138****5678"),
        (None, "+8613812345678", "+86*******5678"),
        (None, "1234567", "*******"),
        (None, "", ""),
        ({"first": 1, "last": 0}, "张小明", "张**"),
        ({"first": 0, "last": 2}, "abc@x", "***@x"),
    ],
)
def test_a_mask_keeps_the_ends(parameter, value, masked):
    compiled = codec(VARCHAR, "text", {"mask": parameter} if parameter else "mask", direction="capture")
    assert compiled.decode(value) == masked
    assert len(masked) == len(value)


def test_a_number_is_masked_as_it_is_written():
    assert codec(BIGINT, "text", "mask", direction="capture").decode(13812345678) == "138****5678"


@given(texts, texts)
def test_a_hash_is_keyed_and_equal_for_equal_values(one, other):
    hashed = codec(VARCHAR, "text", {"hash": {"key": NEW}}, direction="capture")
    assert (hashed.decode(one) == hashed.decode(other)) == (one == other)
    assert len(hashed.decode(one)) == 64
    assert codec(VARCHAR, "text", {"hash": {"key": OLD}}, direction="capture").decode(one) != hashed.decode(one)
    short = codec(VARCHAR, "text", {"hash": {"key": NEW, "digits": 16}}, direction="capture").decode(one)
    assert hashed.decode(one).startswith(short)


@given(texts, st.booleans())
def test_what_is_encrypted_is_read_again(text, deterministic):
    compiled = codec(TEXT, "text", encrypt(deterministic=deterministic))
    sealed = compiled.decode(text)
    assert compiled.encode(sealed) == text
    assert (compiled.decode(text) == sealed) == deterministic
    if len(text) > 3:
        assert text not in sealed
    turned = codec(TEXT, "text", encrypt(deterministic=deterministic, at="column"))
    assert turned.decode(turned.encode(text)) == text
    assert turned.decode(sealed) == text


@given(st.binary(max_size=50))
def test_bytes_are_encrypted_too(value):
    compiled = codec(BLOB, "text", encrypt())
    assert compiled.encode(compiled.decode(value)) == value


def test_an_old_key_still_reads_and_no_longer_writes():
    before = codec(TEXT, "text", {"encrypt": {"keys": {"k1": OLD}}}).decode("打通")
    rotated = codec(TEXT, "text", encrypt())
    assert rotated.encode(before) == "打通"
    assert before.split(".")[1] == "k1"
    assert rotated.decode("打通").split(".")[1] == "k2"
    with pytest.raises(RefusedValueError, match="key 'k2', which is not among"):
        codec(TEXT, "text", {"encrypt": {"keys": {"k1": OLD}}}).encode(rotated.decode("打通"))


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_was_changed_or_moved_to_another_field_is_refused(deterministic):
    compiled = codec(TEXT, "text", encrypt(deterministic=deterministic))
    mode, name, sealed = compiled.decode("secret value").split(".")
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    raw[3] ^= 1
    changed = ".".join((mode, name, base64.urlsafe_b64encode(raw).decode().rstrip("=")))
    for wrong in (changed, f"{mode}.k1.{sealed}", "plain", f"{mode}.{name}.!", f"{mode}.{name}.AAAA"):
        with pytest.raises(RefusedValueError) as refused:
            compiled.encode(wrong)
        assert "secret value" not in str(refused.value)
    spec = MappingSpec(
        "x.t", "x", "mysql", None, "t", EntitySpec("thing", ("id",), (FieldSpec("id", "integer"), FieldSpec("g", "text"))),
        "both", (ColumnSpec("id", "id"), ColumnSpec("c", "g", (TransformSpec("encrypt", encrypt()["encrypt"]),))), ("id",),
    )  # fmt: skip
    table = Table("shop", "t", (Column("id", BIGINT), Column("c", TEXT)), ("id",))
    other = compile_mapping(spec, table, capture=True, apply=True).columns[1]
    with pytest.raises(RefusedValueError, match="cannot be decrypted"):
        other.encode(compiled.decode("secret value"))


def test_a_key_field_is_encrypted_deterministically_or_not_at_all():
    entity = EntitySpec("thing", ("f",), (FieldSpec("f", "text", required=True),))
    table = Table("shop", "t", (Column("c", VARCHAR, nullable=False),), ("c",))
    for deterministic in (False, True):
        step = TransformSpec("encrypt", encrypt(deterministic=deterministic)["encrypt"])
        spec = MappingSpec("x.t", "x", "mysql", None, "t", entity, "both", (ColumnSpec("c", "f", (step,)),), ("c",))
        assert bool(check_mapping(spec)) != deterministic
        if deterministic:
            compile_mapping(spec, table, capture=True, apply=True)
        else:
            with pytest.raises(MappingRefusedError, match="deterministic: true"):
                compile_mapping(spec, table, capture=True, apply=True)


@pytest.mark.parametrize(
    ("at", "column", "match", "refused"),
    [
        ("field", "phone", "", "field phone identifies people"),
        ("field", "app", "", "field app identifies people"),
        ("column", "phone", "", None),  # the log's ciphertexts differ, what they say does not
        ("column", "phone", "match: [phone]", "the column is in `match`"),
        ("field", "note", "", None),
    ],
)
def test_what_identifies_a_person_is_encrypted_deterministically_or_not_at_all(at, column, match, refused):
    """One phone that becomes another text each time is another person each time."""
    for steady in (False, True):
        step = f"transforms: [{{encrypt: {{keys: {{k1: {OLD}}}, at: {at}, deterministic: {str(steady).lower()}}}}}]"
        columns = "".join(
            f"      {name}: {{field: {name}{', ' + step if name == column else ''}}}\n"
            for name in ("phone", "app", "note")
        )
        text = f"""
version: 1
deployment: coffee
channels:
  a: {{url: "mysql://u:p@h1/shop"}}
entities:
  member:
    identity: {{by: [phone], scope: {{phone: app}}}}
    fields: {{phone: {{type: text}}, app: {{type: text}}, note: {{type: text}}}}
mappings:
  a.members:
    channel: a
    table: members
    entity: member
    key: [id]
    {match}
    columns:
{columns}"""
        if refused is None or steady:
            parse(text, {})
            continue
        with pytest.raises(ConfigurationRefused) as error:
            parse(text, {})
        assert f"mappings.a.members.columns.{column}: transform encrypt: {refused}" in str(error.value)
        assert "say `deterministic: true`" in str(error.value)


def test_no_key_shows_anywhere():
    spec, _ = mapping(TEXT, FieldSpec("f", "text"), [encrypt(), {"hash": {"key": NEW}}])
    assert NEW not in repr(spec)
    for wrong in (
        {"encrypt": {"keys": {"k": "canary-short"}}},
        {"hash": {"key": "canary-short"}},
        {"encrypt": {"keys": "canary-short"}},
    ):
        assert "canary" not in problem(VARCHAR, "text", wrong)


DOCUMENT = '{"profile":{"nick":"阿明","full name":"x","age":41,"ok":true,"rate":1.10,"big":18446744073709551616,"none":null},"tags":["a","b"]}'


@pytest.mark.parametrize(
    ("path", "field_type", "value"),
    [
        ("$.profile.nick", "text", "阿明"),
        ('$.profile["full name"]', "text", "x"),
        ("$['profile'].age", "integer", 41),
        ("$.profile.ok", "boolean", True),
        ("$.profile.rate", "decimal", "1.1"),
        ("$.profile.rate", "float", 1.1),
        ("$.profile.age", "decimal", "41"),
        ("$.profile.big", "integer", "18446744073709551616"),
        ("$.tags[1]", "text", "b"),
        ("$.tags", "json", '["a","b"]'),
        ("$.profile.big", "json", "18446744073709551616"),
        ("$.profile.none", "text", None),
        ("$.profile.nobody.there", "text", None),
        ("$.tags[7]", "text", None),
    ],
)
@pytest.mark.parametrize("column", [JSON, TEXT])
def test_a_path_finds_one_value(path, field_type, value, column):
    compiled = codec(column, field_type, {"json_path": path}, direction="capture")
    assert compiled.decode(DOCUMENT) == value
    assert compiled.decode_many([DOCUMENT, None, DOCUMENT]) == [value, None, value]


def test_a_path_to_another_type_of_value_is_refused_and_a_required_one_must_be_there():
    with pytest.raises(RefusedValueError, match=r"holds a str at \$\.profile\.nick, not a integer"):
        codec(JSON, "integer", {"json_path": "$.profile.nick"}, direction="capture").decode(DOCUMENT)
    with pytest.raises(RefusedValueError, match="give no value"):
        codec(JSON, "text", {"json_path": "$.nothing"}, direction="capture", required=True).decode(DOCUMENT)
    with pytest.raises(RefusedValueError, match="not valid JSON"):
        codec(TEXT, "text", {"json_path": "$.a"}, direction="capture").decode("{")


def test_what_a_path_finds_goes_on_through_transforms():
    step = {"json_path": {"path": "$.price", "form": "text"}}
    compiled = codec(JSON, "decimal", step, {"suffix": "元"}, "decimal", direction="capture", scale=2)
    assert compiled.decode('{"price":"19.90元"}') == "19.90"
    assert compiled.decode('{"other":1}') is None
    assert decimal.Decimal(compiled.decode('{"price":"5元"}')) == 5


@given(texts)
def test_truncate_keeps_the_beginning(text):
    compiled = codec(TEXT, "text", {"truncate": 3}, direction="capture", max_length=3)
    assert compiled.decode(text) == text[:3]


def test_the_keys_of_transforms_are_among_what_is_never_shown():
    text = f"""
version: 1
deployment: coffee
channels:
  a: {{url: "mysql://u:p@h1/shop"}}
entities:
  member: {{key: [id], fields: {{id: {{type: integer}}, phone: {{type: text}}, mail: {{type: text}}}}}}
mappings:
  a.members:
    channel: a
    table: members
    entity: member
    direction: capture
    columns:
      id: id
      phone: {{field: phone, transforms: [{{encrypt: {{keys: {{k2: "${{NEW}}", k1: {OLD}}}}}}}]}}
      mail: {{field: mail, transforms: [lower, {{hash: {{key: "{"h" * 32}"}}}}]}}
"""
    configuration = parse(text, {"NEW": NEW})
    assert {NEW, OLD, "h" * 32} <= configuration.secrets
    assert not any(key in repr(configuration) + str(configuration.mappings) for key in (NEW, OLD, "h" * 32))
