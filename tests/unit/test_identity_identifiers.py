"""Two spellings of one identifier are one; what identifies nobody is left out; nothing at rest can be read without the key."""

import pytest

from cdc.errors import HaltError
from cdc.identity.identifiers import Identifier, Normaliser
from cdc.identity.sealing import Seal
from transforms.specs import IdentitySpec


def identifiers(*values, **rule):
    rule = IdentitySpec(**({"by": ("phone", "email", "openid")} | rule))
    return [tuple(i[:3]) for i in Normaliser(rule).identifiers(values)]


@pytest.mark.parametrize(
    "spelling", ["13812345678", "+86 138 1234 5678", "0086-138-1234-5678", "+8613812345678", "138-1234-5678"]
)
def test_every_spelling_of_a_number_is_one_identifier(spelling):
    assert identifiers(spelling, None, None) == [("phone", "", "+8613812345678")]


def test_numbers_of_other_countries_are_told_apart():
    assert identifiers("+1 415 555 2671", None, None) == [("phone", "", "+14155552671")]
    assert identifiers("415 555 2671", None, None, region="US") == [("phone", "", "+14155552671")]


def test_email_is_folded_and_openid_is_verbatim():
    assert identifiers(None, " Wang@Example.COM ", "oAbC-_x") == [
        ("email", "", "wang@example.com"),
        ("openid", "", "oAbC-_x"),
    ]


@pytest.mark.parametrize("phone", ["", "110a", "12", "not a phone", None, "13812345678 ext. 5"])
def test_a_phone_that_is_none_identifies_nobody(phone):
    assert identifiers(phone, None, None) == []


def test_blocked_values_identify_nobody_in_any_spelling():
    assert identifiers("+86 138 0000 0000", None, None, block=frozenset({"13800000000"})) == []


def test_an_openid_is_unique_within_its_app():
    rule = {"by": ("phone", "openid"), "scope": {"openid": "app_id"}}
    assert identifiers(None, "o1", "wx1", **rule) == [("openid", "wx1", "o1")]
    assert identifiers(None, "o1", None, **rule) == [], "without its scope it may be anybody's"


def test_a_field_of_another_name_is_declared():
    assert identifiers("138 1234 5678", by=("contact",), kinds={"contact": "phone"}) == [
        ("contact", "", "+8613812345678")
    ]


def test_values_at_rest_cannot_be_read_without_the_key():
    phone = Identifier("phone", "", "+8613812345678", 0)
    seal = Seal("coffee", "k" * 32)
    digest = seal.identifier("member", phone)
    sealed = seal.close(digest, b"+8613812345678")
    assert b"138" not in sealed
    assert seal.open(digest, sealed) == b"+8613812345678"
    other = Seal("coffee", "x" * 32)
    assert other.identifier("member", phone) != digest
    with pytest.raises(HaltError, match="STORE_KEY_WRONG"):
        other.open(digest, sealed)


def test_deployments_fields_and_channels_never_share_a_digest():
    seal, phone = Seal("coffee", None), Identifier("phone", "", "1", 0)
    digests = {
        seal.identifier("member", phone),
        seal.identifier("partner", phone),
        seal.identifier("member", phone._replace(field="openid")),
        seal.identifier("member", phone._replace(scope="wx1")),
        Seal("tea", None).identifier("member", phone),
        seal.row("member", "website", ("1",)),
        seal.row("member", "website", (1,)),
        seal.row("member", "crm", ("1",)),
    }
    assert len(digests) == 8
