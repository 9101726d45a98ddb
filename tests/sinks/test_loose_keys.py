"""Keys that differ and that their column holds for equal: never one row over the other, and never in silence (I1, I6)."""

from __future__ import annotations

import pytest

from sinks.contract import Rejected, RowWrite
from tests.sinks.targets import Target

_NO_CASE = "CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


@pytest.mark.parametrize(
    ("before", "key"),
    [
        ("CREATE EXTENSION citext", "citext"),
        ("CREATE EXTENSION citext; CREATE DOMAIN code AS citext CHECK (value <> '')", "code"),
        (_NO_CASE, "text COLLATE no_case"),
    ],
    ids=["citext", "a domain of it", "a collation"],
)
def test_a_row_is_never_written_over_one_whose_key_differs(postgresql_target: Target, before: str, key: str) -> None:
    target = postgresql_target
    for statement in before.split("; "):
        target.execute(statement)
    target.execute(f"CREATE TABLE codes (code {key}, part int, v int, PRIMARY KEY (code, part))")
    table = target.table("codes")
    columns = ("code", "part", "v")

    def insert(code: str, v: int) -> RowWrite:
        return RowWrite(table, "insert", ("code", "part"), (code, 1), columns, (code, 1, v), v)

    sink, lease = target.ready()
    lease.apply([insert("Abc", 0), insert("other", 1)])
    lease.apply([insert("Abc", 0)])  # again, and it finds itself
    for writes in ([insert("abc", 2), insert("new", 3)], [insert("ABC", 4), insert("aBC", 5)]):
        lease.begin()
        with pytest.raises(Rejected):
            sink.write(writes)
        sink.rollback()
        header, _ = lease.begin()
        refused = sink.write_singly(writes)
        lease.commit(header)
        assert [rejection.ref for rejection in refused] == [write.ref for write in writes if write.key[0] != "new"]
        assert all("holds for equal" in rejection.error for rejection in refused)
        assert "abc" not in str(refused).lower()
    assert target.execute("SELECT code::text, v FROM codes ORDER BY v") == [("Abc", 0), ("other", 1), ("new", 3)]
    lease.apply([
        RowWrite(table, "update", ("code", "part"), ("Abc", 1), ("code", "v"), ("ABC", 9)), insert("ABC", 10)
    ])  # fmt: skip
    assert target.execute("SELECT code::text, v FROM codes ORDER BY v DESC")[0] == ("ABC", 10)
