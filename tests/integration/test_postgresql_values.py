"""What the PostgreSQL reader says of values, layouts and before images is what a SELECT says."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from cdc.errors import HaltError
from tests.postgresql_logs import HOSTILE, Log
from transforms.tables import ColumnType
from transforms.values import ABSENT, Unrepresentable

_T = "12:34:56"
CASES: list[tuple[str, list[str]]] = [
    ("smallint", ["-32768", "32767", "0"]),
    ("integer", ["-2147483648", "2147483647"]),
    ("bigint", ["-9223372036854775808", "9223372036854775807"]),
    ("numeric", ["1.50", "-0.000000000000000000001", "1e400", "0", "'NaN'", "'Infinity'", "'-Infinity'"]),
    ("numeric(12,2)", ["1.5", "-9999999999.99"]),
    ("real", ["0.1", "'3.4028235e38'", "1e-45", "'-0'", "'NaN'", "'-Infinity'", "1.0/3"]),
    ("double precision", ["0.1", "1e308", "5e-324", "'-0'", "'NaN'", "'Infinity'", "1.0/3"]),
    ("boolean", ["true", "false"]),
    ("text", ["''", "'O''Reilly \\ \"x\"'", "'😀 表 ́ \t\n'", "repeat('x', 100000)"]),
    ("varchar(10)", ["'a  '", "'表表'"]),
    ("char(10)", ["'a'", "''", "' b '"]),
    ("name", ["'n'"]),
    ('"char"', ["'q'"]),
    ("bytea", ["''", "'\\x00ff5c27'", "'\\\\000'"]),
    ("date", ["'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"]),
    ("timestamp", ["'2024-03-31 02:30:00.5'", "'9999-12-31 23:59:59.999999'", "'infinity'", "'0044-03-15 BC'", "'10000-01-01'"]),
    ("timestamp(0)", ["'2024-03-31 02:30:00.6'"]),
    ("timestamptz", ["'2024-03-31 02:30:00.000001+05:45'", "'0001-01-01 00:00:00+00'", "'-infinity'", "'294276-01-01 00:00+00'", "'4714-11-24 00:00+00 BC'"]),
    ("time", ["'00:00'", "'23:59:59.999999'", "'24:00:00'"]),
    ("json", ["'{\"b\": 1, \"a\" : [1.50, null]}'", "'12345678901234567890'", "'\"\\ud800\"'"]),
    ("jsonb", ["'{\"b\": 1, \"a\" : [1.50, \"表\"]}'", "'null'"]),
    ("uuid", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("oid", ["4294967295"]),
    ("mood", ["'sad'", "'it''s \"金\", ok'"]),
    ("price", ["12.50"]),
]  # fmt: skip

EXPECTED: dict[tuple[str, str], object] = {
    ("numeric", "1.50"): Decimal("1.50"),
    ("numeric(12,2)", "1.5"): Decimal("1.50"),
    ("real", "0.1"): 0.1,
    ("char(10)", "' b '"): " b",
    ("bytea", "'\\x00ff5c27'"): b"\x00\xff\\'",
    ("bytea", "'\\\\000'"): b"\\000",
    ("timestamptz", "'2024-03-31 02:30:00.000001+05:45'"): dt.datetime(2024, 3, 30, 20, 45, 0, 1, dt.UTC),
    ("json", "'{\"b\": 1, \"a\" : [1.50, null]}'"): '{"a":[1.5,null],"b":1}',
    ("json", "'12345678901234567890'"): "12345678901234567890",
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"): uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("mood", "'it''s \"金\", ok'"): 'it\'s "金", ok',
    ("price", "12.50"): Decimal("12.50"),
    ('"char"', "'q'"): "q",
}  # fmt: skip
UNREPRESENTABLE = ("NaN", "Infinity", "infinity", "BC", "5874897", "10000-", "294276", "24:00", "ud800")


def _differs(log: Log, plain: psycopg.Connection[Any], number: int, index: int, written: str, got: object) -> str:
    """How `got` differs from what a plain SELECT says (psycopg's own loaders, or the text); "" if it does not."""
    type_name = CASES[number][0]
    of_a_float = type_name in {"real", "double precision"}
    if not of_a_float and any(word in written for word in UNREPRESENTABLE):
        return "" if isinstance(got, Unrepresentable) else f"{got!r} is no refusal"
    where = f"FROM t{number} WHERE id = {index}"
    row = plain.execute(f"SELECT v, v::text {where}".encode()).fetchone()
    assert row is not None
    selected, text = row
    if selected is not None and of_a_float:
        selected = float(text)
    elif text is not None and type_name in {"json", "jsonb"}:
        if json.loads(str(got)) != json.loads(text):
            return f"{got!r} means something else"
        selected = got
    elif selected is not None and type_name == "char(10)":
        selected = selected.rstrip(" ")
    expected = EXPECTED.get((type_name, written))
    if repr(got) != repr(selected) or (expected is not None and repr(expected) != repr(got)):
        return f"{got!r} is not {selected!r}, {expected!r}"
    return ""


def _make_types(log: Log) -> None:
    log.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s \"金\", ok')")
    log.execute("CREATE DOMAIN plain_price AS numeric(10,2)")
    log.execute("CREATE DOMAIN price AS plain_price CHECK (VALUE >= 0)")


@pytest.mark.parametrize("hostile", [False, True], ids=["plain", "hostile defaults"])
def test_every_type_is_what_a_select_says_whatever_the_servers_defaults(log: Log, hostile: bool) -> None:
    _make_types(log)
    user, password = log.server.admin_user, log.server.password
    if hostile:
        user, password = f"u_{log.database.name}"[:60], "pw"
        log.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'pw'")
        for setting in HOSTILE:
            log.execute(f"ALTER ROLE {user} SET {setting}")
        log.execute(f"ALTER DATABASE {log.database.name} SET DateStyle = 'SQL, MDY'")
    tables = {}
    for number, (type_name, _values) in enumerate(CASES):
        log.execute(f"CREATE TABLE t{number} (id serial PRIMARY KEY, v {type_name})")
        tables[f"t{number}"] = "id v"
    reader = log.opened(tables, address=log.address(user=user, password=password))
    written = [
        (number, index, value)
        for number, (_, values) in enumerate(CASES)
        for index, value in enumerate([*values, "NULL"], 1)
    ]
    for number, _index, value in written:
        log.execute(f"INSERT INTO t{number} (v) VALUES ({value})")
    inserted = log.rows(reader)
    wrong = []
    with log.database.connect() as plain:
        plain.execute("SET TimeZone = 'UTC'")
        plain.execute("SET DateStyle = 'ISO'")
        for (number, index, value), change in zip(written, inserted, strict=True):
            assert change.table.name == f"t{number}"
            assert change.after is not None
            differs = _differs(log, plain, number, index, value, change.after[1])
            if differs:
                wrong.append((CASES[number][0], value, differs))
    assert wrong == []

    for number in range(len(CASES)):
        log.execute(f"ALTER TABLE t{number} REPLICA IDENTITY FULL")
    for number, index, _value in written:
        log.execute(f"UPDATE t{number} SET id = id WHERE id = {index}")
    for number, index, _value in written:
        log.execute(f"DELETE FROM t{number} WHERE id = {index}")
    images = [repr(change.after) for change in inserted]  # as text: NaN is not equal to itself
    later = log.rows(reader)
    updated, deleted = later[: len(written)], later[len(written) :]
    assert [repr(change.before) for change in updated] == images
    assert [repr(change.after) for change in updated] == images
    assert [(change.op, repr(change.before)) for change in deleted] == [("delete", image) for image in images]
    if hostile:
        reader.close()
        log.execute(f"DROP ROLE {user}")


def test_a_tables_layout_says_its_types_with_their_sizes(log: Log) -> None:
    _make_types(log)
    log.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, a numeric(12,2), b varchar(40), c timestamp(3), d mood, e price, f int[],"
        " g numeric, h char(5), i numeric(5,-2))"
    )
    reader = log.opened({"t": "id"})
    log.execute("INSERT INTO t VALUES (1)")
    (row,) = log.rows(reader)
    assert row.after == (1, *[ABSENT] * 9)
    assert row.table.primary_key == ("id",)
    labels = ("sad", 'it\'s "金", ok')
    assert [column.type for column in row.table.columns] == [
        ColumnType("postgresql", "int8"),
        ColumnType("postgresql", "numeric", precision=12, scale=2),
        ColumnType("postgresql", "varchar", length=40),
        ColumnType("postgresql", "timestamp", scale=3),
        ColumnType("postgresql", "mood", labels=labels, kind="enum"),
        ColumnType(
            "postgresql",
            "price",
            precision=10,
            scale=2,
            kind="domain",
            base=ColumnType("postgresql", "numeric", precision=10, scale=2),
        ),
        ColumnType("postgresql", "_int4", kind="array", element=ColumnType("postgresql", "int4")),
        ColumnType("postgresql", "numeric"),
        ColumnType("postgresql", "bpchar", length=5),
        ColumnType("postgresql", "numeric", precision=5, scale=-2),
    ]


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL", "USING INDEX t_code", "NOTHING"])
def test_images_are_what_the_replica_identity_gives(log: Log, identity: str) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v text)")
    log.execute("CREATE UNIQUE INDEX t_code ON t (code)")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id code v"})
    log.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    if identity == "NOTHING":
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            log.execute("UPDATE t SET v = 'x'")
        assert [(row.op, row.before, row.after) for row in log.rows(reader)] == [("insert", None, (1, "a", None))]
        return
    log.execute("UPDATE t SET v = 'x'")
    log.execute("UPDATE t SET id = 2, code = 'b'")
    log.execute("DELETE FROM t")
    images: dict[str, list[tuple[object, ...]]] = {
        "DEFAULT": [
            ("update", None, (1, "a", "x")),
            ("update", (1, ABSENT, ABSENT), (2, "b", "x")),
            ("delete", (2, ABSENT, ABSENT), None),
        ],
        "FULL": [
            ("update", (1, "a", None), (1, "a", "x")),
            ("update", (1, "a", "x"), (2, "b", "x")),
            ("delete", (2, "b", "x"), None),
        ],
        "USING INDEX t_code": [
            ("update", None, (1, "a", "x")),
            ("update", (ABSENT, "a", ABSENT), (2, "b", "x")),
            ("delete", (ABSENT, "b", ABSENT), None),
        ],
    }
    inserted, *others = [(row.op, row.before, row.after) for row in log.rows(reader)]
    assert inserted == ("insert", None, (1, "a", None))
    assert others == images[identity]


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_an_unchanged_toast_value_is_absent_or_filled_never_null(log: Log, identity: str) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, big text, v int)")
    log.execute("ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id big v"})
    log.execute("INSERT INTO t VALUES (1, repeat('表', 350000), 1)")
    log.execute("UPDATE t SET v = 2")
    inserted, updated = log.rows(reader)
    assert inserted.after is not None
    assert updated.after is not None
    assert inserted.after[1] == "表" * 350_000
    assert updated.after[1] is ABSENT if identity == "DEFAULT" else updated.after[1] == "表" * 350_000


@pytest.mark.parametrize("statement", ["UPDATE t SET v = 'x'", "DELETE FROM t"])
@pytest.mark.parametrize(("identity", "key"), [("USING INDEX t_code", "id"), ("DEFAULT", "code")])
def test_a_row_that_changes_and_is_not_named_by_the_mappings_key_halts(
    log: Log, identity: str, key: str, statement: str
) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, v text)")
    log.execute("CREATE UNIQUE INDEX t_code ON t (code)")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id code v"}, key=key)
    log.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    (inserted,) = log.rows(reader)
    assert inserted.after == (1, "a", None)
    log.execute(statement)
    with pytest.raises(
        HaltError, match=rf'REPLICA_IDENTITY: .* leaves out {key} - .*"public"\."t" REPLICA IDENTITY FULL'
    ):
        log.read_until(reader, lambda _parts: False)


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_an_unchanged_toast_value_is_absent_or_filled_when_the_key_changes_or_the_row_comes_again(
    log: Log, identity: str
) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, big text, v int)")
    log.execute("ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    log.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    reader = log.opened({"t": "id big v"}, key="id")
    big = "x" * 100_000
    log.execute(f"INSERT INTO t VALUES (1, '{big}', 1)")
    log.execute("UPDATE t SET id = 2")
    log.execute("UPDATE t SET big = NULL")
    log.transaction("DELETE FROM t", f"INSERT INTO t VALUES (2, '{big}', 3)", "UPDATE t SET v = 4")
    _, moved, emptied, deleted, again, updated = log.rows(reader)
    kept = ABSENT if identity == "DEFAULT" else big
    before = (1, ABSENT, ABSENT) if identity == "DEFAULT" else (1, big, 1)
    assert (moved.before, moved.after) == (before, (2, kept, 1))
    assert emptied.after == (2, None, 1)
    assert deleted.before == ((2, ABSENT, ABSENT) if identity == "DEFAULT" else (2, None, 1))
    assert (again.after, updated.after) == ((2, big, 3), (2, kept, 4))
