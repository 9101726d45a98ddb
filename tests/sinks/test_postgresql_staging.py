"""Large groups of rows into PostgreSQL: COPY into a temporary table, and what to do where there can be none."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from sinks import postgresql_staging
from sinks.contract import (
    Rejected,
    Transient,
)
from tests.sinks.targets import Target, delete, insert, items, rows, update, writer_of_its_own
from tests.sinks.unfit import UNFIT_POSTGRESQL


def temporary_tables(target: Target) -> list[tuple[Any, ...]]:
    return target.execute("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")


def test_a_large_group_goes_by_a_temporary_table_which_is_made_once(staged: Target) -> None:
    table = items(staged)
    sink, lease = staged.ready()
    lease.apply([insert(table, id=n, name="a", quantity=n) for n in (1, 2)])
    assert temporary_tables(staged) == []
    header, _ = lease.begin()
    sink.write([insert(table, id=n, name="b", quantity=n) for n in range(5)])
    sink.rollback()
    assert temporary_tables(staged) == []
    for name in "cde":
        header, _ = lease.begin()
        assert sink.write([insert(table, id=n, name=name, quantity=n) for n in range(5)]) == 5
        assert (
            sink.write([insert(table, id=n, name=name, quantity=n) for n in range(4, 9)]) == 4
        )  # the table holds rows
        assert sink.write([update(table, n, quantity=-1) for n in range(3)]) == 3
        lease.commit(header)
        assert [row[1] for row in rows(staged)] == [name] * 9
        assert len(temporary_tables(staged)) == 1
    assert lease.apply([delete(table, n) for n in range(20)]) == 9
    assert len(temporary_tables(staged)) == 1  # only inserts need one


def test_a_session_makes_only_so_many_temporary_tables(staged: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_staging, "MOST_TABLES", 1)
    table = items(staged)
    _, lease = staged.ready()
    lease.apply([insert(table, id=n, name="a", quantity=n) for n in range(5)])
    lease.apply([insert(table, id=n, quantity=7) for n in range(5)])
    assert {row[2] for row in rows(staged)} == {7}
    assert len(temporary_tables(staged)) == 1


def test_an_account_that_may_not_create_temporary_tables_writes_all_the_same(staged: Target) -> None:
    table = items(staged)
    staged.ready()
    staged.execute(f"REVOKE TEMPORARY ON DATABASE {staged.database.name} FROM PUBLIC")
    with writer_of_its_own(staged, "SELECT, INSERT, UPDATE, DELETE ON items") as lease:
        assert lease.apply([insert(table, id=n, name="a", quantity=n) for n in range(5)]) == 5
        assert temporary_tables(staged) == []


def test_a_database_that_refuses_to_create_a_temporary_table_is_written_without(staged: Target) -> None:
    table = items(staged)
    sink, lease = staged.ready()
    staged.execute(
        "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no DDL here'; END $$"
    )
    staged.execute("CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()")
    writes = [insert(table, id=n, name="a", quantity=n) for n in range(5)]
    lease.begin()
    with pytest.raises(Transient, match="without temporary tables"):
        sink.write(writes)
    sink.rollback()
    assert lease.apply(writes) == 5
    staged.execute("DROP EVENT TRIGGER no_ddl")


def test_no_log_shows_a_temporary_table(staged: Target) -> None:
    table = items(staged)
    _, lease = staged.ready()
    slot = "datong_test_" + secrets.token_hex(4)
    staged.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    staged.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    try:
        for name in "ab":
            lease.apply([insert(table, id=n, name=name, quantity=n) for n in range(5)])
        assert len(temporary_tables(staged)) == 1
        changes = staged.execute(
            f"SELECT data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything')"
        )
    finally:
        staged.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    seen = [bytes(data) for (data,) in changes]
    assert [one[:1] for one in seen if one[:1] != b"R"] == [
        b"B",
        b"I",
        *[b"I"] * 5,
        b"C",
        b"B",
        b"U",
        *[b"U"] * 5,
        b"C",
    ]
    described = {one[5:].split(b"\0")[1] for one in seen if one[:1] == b"R"}
    assert described == {b"items", b"datong_progress"}


def test_rows_of_large_values_are_not_staged(staged: Target) -> None:
    staged.execute("CREATE TABLE pages (id int PRIMARY KEY, body text)")
    table = staged.table("pages")
    _, lease = staged.ready()
    lease.apply([insert(table, id=n, body="x" * 10_000) for n in range(5)])
    assert temporary_tables(staged) == []
    lease.apply([insert(table, id=n, body="y" * 100) for n in range(5)])
    assert len(temporary_tables(staged)) == 1


def test_what_a_staged_column_cannot_hold_is_refused_with_its_ref(staged: Target) -> None:
    staged.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    staged.execute("CREATE DOMAIN small_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = staged.ready()
    for number, (kind, values) in enumerate(UNFIT_POSTGRESQL):
        staged.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = staged.table(f"v{number}")
        for value in values:
            lease.begin()
            with pytest.raises(Rejected) as refused:
                sink.write([insert(table, n, id=n, v=None if n < 4 else value) for n in range(5)])
            by_server = refused.value.code != ""  # which names no row
            assert refused.value.ref == (None if by_server else 4), (kind, refused.value)
            assert by_server or kind not in ("json", "jsonb", "small_amount")
            sink.rollback()
        assert rows(staged, f"v{number}") == []


def test_the_owner_of_a_type_may_drop_it_while_we_have_staged_its_values(staged: Target) -> None:
    staged.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    staged.execute("CREATE TABLE moods (id int PRIMARY KEY, m mood, ms mood[], ns int[], r int4range, b bit(3))")
    _, lease = staged.ready()
    table = staged.table("moods")
    lease.apply([insert(table, id=n, m="b", ms='["a",null]', ns="[[1,2],[3,4]]", r="[1,5)", b="101") for n in range(5)])
    lease.apply([insert(table, id=n, m="a", ms=None, ns="[[1,2],[3,4]]", r="[1,5)", b="111") for n in range(4)])
    assert len(temporary_tables(staged)) == 1
    seen = staged.execute("SELECT DISTINCT m::text, ms::text, ns::text, r::text, b::text FROM moods ORDER BY 1")
    assert seen == [("a", None, "{{1,2},{3,4}}", "[1,5)", "111"), ("b", "{a,NULL}", "{{1,2},{3,4}}", "[1,5)", "101")]
    staged.execute("DROP TABLE moods")
    staged.execute("DROP TYPE mood")
