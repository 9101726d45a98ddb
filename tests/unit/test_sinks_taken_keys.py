"""What is asked about the unique keys of a refused row, and how it is told."""

from __future__ import annotations

import pytest

from sinks.contract import Rejected, RowWrite
from sinks.taken_keys import Part, Search, UniqueIndex, explained, row_name, searches, told
from transforms.tables import Table

TABLE = Table("s", "t", ())
EMAIL = UniqueIndex("uq_email", ("shop", "email"))
EQUAL_NULLS = UniqueIndex("uq_email", ("shop", "email"), nulls_equal=True)


def write(op: str, **values: object) -> RowWrite:
    return RowWrite(TABLE, op, ("id",), (1,), tuple(values), tuple(values.values()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "index", "parts"),
    [
        (write("insert", id=1, shop=1, email="e"), EMAIL, [Part("shop", "given", 1), Part("email", "given", "e")]),
        (write("update", email="e"), EMAIL, [Part("shop", "standing"), Part("email", "given", "e")]),
        (write("update", email=None), EMAIL, None),
        (write("update", email=None), EQUAL_NULLS, [Part("shop", "standing"), Part("email", "given", None)]),
        (write("update", name="n"), EMAIL, None),
        (write("delete"), EMAIL, None),
    ],
    ids=["an insert", "an update", "NULL", "NULLS NOT DISTINCT", "other columns", "a delete"],
)
def test_only_a_key_that_the_write_may_take_is_looked_for(
    one: RowWrite, index: UniqueIndex, parts: list[Part] | None
) -> None:
    assert searches(one, [index]) == ([] if parts is None else [Search(index, tuple(parts))])


def test_rows_in_the_way_are_masked_whatever_stands_in_them_unless_they_are_to_be_shown() -> None:
    refusal = Rejected("duplicate key (1062)", "1062", ref=3)
    row = row_name(("id", "the\nname"), (17, "a is held by row b"))
    made = explained(refusal, [(EMAIL, row), (UniqueIndex("odd\nname", ("c",)), "id=18")])
    assert (str(made), made.code, made.ref) == ("duplicate key (1062)", "1062", 3)
    assert told(str(made), made.taken) == (
        "duplicate key (1062); unique key uq_email (shop, email) is held by row ***; unique key odd name (c) is held by row ***"
    )
    assert told(str(made), made.taken, reveal=True).endswith(
        'is held by row id=17, the name="a is held by row b"; unique key odd name (c) is held by row id=18'
    )
    assert told("words", ["a line of another version"]) == "words; ***"
