"""Rows that a trigger or a rule of PostgreSQL keeps from the table, by saying nothing: never taken for written (I1)."""

from __future__ import annotations

import pytest

from sinks.contract import Rejected
from tests.sinks.targets import Target, delete, insert, items, rows, update, writer_of_its_own

KEEPS = "CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
UPPER = "CREATE FUNCTION upper_() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$"


@pytest.mark.parametrize(
    ("by", "what"),
    [
        ("trigger", "INSERT"),
        ("trigger", "UPDATE"),
        ("trigger", "DELETE"),
        ("trigger", "UPDATE by an insert"),
        ("rule", "INSERT"),
        ("rule", "DELETE"),  # one for UPDATE makes PostgreSQL refuse ON CONFLICT
    ],
)
def test_what_is_kept_away_is_refused_and_the_rest_is_written(postgresql_target: Target, by: str, what: str) -> None:
    target = postgresql_target
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=n, name="a", quantity=n) for n in range(5)])
    event = what.partition(" ")[0]
    if by == "rule":
        target.execute(
            f"CREATE RULE x AS ON {event} TO items WHERE {'OLD' if event == 'DELETE' else 'NEW'}.id = 12 DO INSTEAD NOTHING"
        )
    else:
        target.execute(KEEPS)
        row = "OLD" if event == "DELETE" else "NEW"
        target.execute(
            f"CREATE TRIGGER x BEFORE {event} ON items FOR EACH ROW WHEN ({row}.id = 12) EXECUTE FUNCTION keeps()"
        )
    if what != "INSERT":
        target.execute("INSERT INTO items SELECT n, 'a', 0 FROM generate_series(10, 14) AS n")
    numbers = range(10, 15)
    if "insert" in what.lower():
        writes = [insert(table, n, id=n, name="new", quantity=n) for n in numbers]
    elif what == "UPDATE":
        writes = [update(table, n, n, name="new") for n in numbers]
    else:
        writes = [delete(table, n, n) for n in numbers]
    lease.begin(len(writes))
    with pytest.raises(Rejected):
        sink.write(writes)
    sink.rollback()
    header, _ = lease.begin(2 * len(writes))
    (refused,) = sink.write_singly(writes)
    lease.commit(header)
    assert (refused.ref, refused.reason) == (12, "rejected")
    assert "a trigger or a rule" in refused.error
    kept = {row[0]: row[1] for row in rows(target) if row[0] >= 10}
    expected = dict.fromkeys(numbers, "new") if what != "DELETE" else {}
    expected.pop(12, None)
    assert kept == expected | ({} if what == "INSERT" else {12: "a"})


def test_what_a_trigger_makes_of_a_value_is_no_refusal_also_where_it_comes_again(postgresql_target: Target) -> None:
    target = postgresql_target
    table = items(target)
    _, lease = target.ready()
    target.execute(UPPER)
    target.execute("CREATE TRIGGER x BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION upper_()")
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    sink = lease.sink
    for again in (insert(table, 1, id=1, name="a", quantity=1), update(table, 1, 1, name="a")):
        header, _ = lease.begin(2)
        assert sink.write_singly([again]) == []
        lease.commit(header)
    assert rows(target) == [(1, "A", 1)]


def test_whoever_may_only_use_the_mapped_columns_can_write_a_row_that_is_there_already(
    postgresql_target: Target,
) -> None:
    """What looks after an insert that changed nothing reads the mapped columns and no other, not a system column either."""
    target = postgresql_target
    target.execute("CREATE TABLE items (id int PRIMARY KEY, name varchar(40), quantity int, secret text)")
    table = target.table("items")
    _, lease = target.ready()
    same = [insert(table, id=n, name="a", quantity=n) for n in (1, 2)]
    lease.apply(same)
    columns = "(id, name, quantity)"
    with writer_of_its_own(
        target, f"SELECT {columns}, INSERT {columns}, UPDATE {columns} ON items", known=lease.known
    ) as poor:
        poor.apply([*same, insert(table, id=3, name="b", quantity=3)])
    assert [row[0] for row in rows(target)] == [1, 2, 3]
