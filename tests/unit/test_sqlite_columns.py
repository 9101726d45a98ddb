"""What an SQLite column keeps exactly, and what is refused before it."""

import decimal

import pytest

from sinks.generic_values import value_encoder
from transforms.capacity import fits
from transforms.columns import ColumnRefusedError, column_ends
from transforms.specs import FieldSpec
from transforms.tables import Column, ColumnType
from transforms.values import RefusedValueError


def column(name, **more):
    return Column("c", ColumnType("sqlite", name, **more))


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", 2**63), ("real", float("nan")), ("real", -0.0), ("decimal", decimal.Decimal("1234567890.123456")),
     ("decimal", decimal.Decimal("NaN")), ("varchar", "long"), ("integer", "1"), ("blob", "x"), ("text", "\ud800")],
)  # fmt: skip
def test_what_would_become_another_value_is_refused(kind, value):
    with pytest.raises(RefusedValueError):
        value_encoder(column(kind, length=3 if kind == "varchar" else None))(value)


def test_exact_values_pass():
    assert value_encoder(column("smallint"))(-(2**63)) == -(2**63)
    assert (
        value_encoder(column("decimal", precision=20, scale=2))(decimal.Decimal("1234567890123.45"))
        == "1234567890123.45"
    )
    assert value_encoder(column("boolean"))(True) == 1
    assert value_encoder(column("varchar", length=3))("漢字x") == "漢字x"
    assert value_encoder(column("blob"))(None) is None


def test_an_integer_has_64_bits_whatever_it_is_called():
    assert fits(FieldSpec("n", "integer", maximum=decimal.Decimal(2**63 - 1)), column("integer").type) is None
    assert fits(FieldSpec("n", "integer", maximum=decimal.Decimal(2**63)), column("integer").type) is not None


def test_a_type_that_is_not_known_is_refused_by_name():
    with pytest.raises(ColumnRefusedError, match="json"):
        column_ends(column("json"))
