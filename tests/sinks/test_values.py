"""Values come back exactly or are refused, of every type, hostile ones too."""

# ruff: noqa: DTZ001 - zone-less datetimes are values under test

from __future__ import annotations

import datetime as dt
import decimal
import random
import secrets
import uuid
from typing import Any

from tests.sinks.targets import DEPLOYMENT, Target, delete, insert, parked_row, rows, update
from tests.sinks.unfit import UNFIT_MYSQL, UNFIT_POSTGRESQL

TYPES_MYSQL: list[tuple[str, list[Any]]] = [
    ("tinyint", [-128, 127, 0]),
    ("tinyint(1)", [0, 1, 2, -1]),
    ("int unsigned", [0, 4294967295]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("bigint unsigned", [0, 2**63, 2**64 - 1]),
    ("decimal(65,30)", [decimal.Decimal("9" * 35 + "." + "9" * 30), decimal.Decimal("-0." + "0" * 29 + "1"), decimal.Decimal(0)]),
    ("decimal(12,2)", [decimal.Decimal("19.90"), decimal.Decimal("1E+3"), decimal.Decimal("-0.01")]),
    ("double", [0.1, 1e308, 5e-324, -0.0, 1 / 3, 123456789.0]),
    ("float", [0.1, 1.5, 3.4028235e38, -0.0]),
    ("year", [0, 1901, 2155]),
    ("date", [dt.date(1000, 1, 1), dt.date(9999, 12, 31)]),
    ("datetime(6)", [dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    ("datetime(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 120000)]),
    ("timestamp(6) NULL", [dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), dt.datetime(2038, 1, 19, 3, 14, 7, 999999, dt.UTC)]),
    ("time(6)", [dt.timedelta(hours=838, minutes=59, seconds=59), -dt.timedelta(hours=1, minutes=2, seconds=3.25), dt.timedelta(0)]),
    ("varchar(40)", ["", "a ", "tab\there", "it's", 'say "x"', "back\\slash", "%s %(a)s", "é漢字😀", "\0", "'); DROP TABLE x;--"]),
    ("longtext", ["x" * 100_000, "\x1a\b\n\r", "\ufeff", "\U0010ffff"]),
    ("varbinary(300)", [b"", bytes(range(256)), b"\\x41'"]),
    ("longblob", [b"\0" * 1000, b"\xff\xfe"]),
    ("enum('a','it''s','c,d','漢')", ["a", "it's", "c,d", "漢"]),
    ("set('x','y','z')", [(), ("x",), ("x", "z")]),
    ("json", ['{"a": [1, "é\\\\n\'"]}', "null", '"x"']),
    ("char(5)", ["ab", "漢字"]),
]  # fmt: skip


def test_mysql_values_round_trip_exactly(mysql_target: Target) -> None:
    target = mysql_target
    for number, (kind, all_values) in enumerate(TYPES_MYSQL):
        values = [v for v in all_values if target.engine == "mysql" or str(v) != "-0.0"]  # MariaDB has no negative zero
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind}) CHARSET utf8mb4".replace("%", "%%"))
        table = target.table(f"v{number}")
        sink, lease = target.ready()
        lease.known = sink.progress(DEPLOYMENT).get("website")
        lease.apply([insert(table, id=n, v=value) for n, value in enumerate([*values, None])])
        found = [row[1] for row in rows(target, f"v{number}")]
        assert found[-1] is None
        assert [_as_stored(value, kind) for value in values] == [_as_read(one, kind) for one in found[:-1]], kind
        lease.apply([update(table, n, v=value) for n, value in enumerate([None, *values])])
        found = [row[1] for row in rows(target, f"v{number}")]
        assert [_as_stored(value, kind) for value in values] == [_as_read(one, kind) for one in found[1:]], kind
        sink.close()


def _as_stored(value: Any, kind: str) -> Any:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return set(value)
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None)
    return value


def _as_read(value: Any, kind: str) -> Any:
    if isinstance(value, float):
        return _single(value) if kind == "float" else value.hex()
    if kind.startswith("set"):
        return {part for part in value.split(",") if part}
    return value


def _single(value: float) -> str:
    """FLOAT shows six digits only; the widest of our samples is compared by those."""
    return {3.40282e38: 3.4028235e38}.get(value, value).hex()


TYPES_POSTGRESQL: list[tuple[str, list[Any]]] = [
    ("smallint", [-32768, 32767]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("numeric(65,30)", [decimal.Decimal("9" * 35 + "." + "9" * 30), decimal.Decimal("-0." + "0" * 29 + "1")]),
    ("numeric", [decimal.Decimal("1.50"), decimal.Decimal("1E+40"), decimal.Decimal("1E-40"), decimal.Decimal(0)]),
    ("real", [0.1, 1.5, -0.0]),
    ("double precision", [0.1, 1e308, 5e-324, -0.0, 1 / 3, float("inf"), float("-inf")]),
    ("boolean", [True, False]),
    ("date", [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    ("time(6)", [dt.time(0), dt.time(23, 59, 59, 999999)]),
    ("timestamp", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2024, 3, 31, 2, 30)]),
    ("timestamptz(3)", [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 1, 1, 1, 120000, dt.UTC)]),
    ("varchar(40)", ["", "a ", "it's", 'say "x"', "back\\slash", "%s %(a)s", "é漢字😀", "{a,b}", "NULL", "null", " a", "$1"]),
    ("text", ["x" * 100_000, "\x1a\b\n\r\t", "\ufeff", "\U0010ffff", "\\x41", "\\", '"', "'); DROP TABLE x;--"]),
    ("bytea", [b"", bytes(range(256)), b"\\x41'"]),
    ("jsonb", ['{"a": [1, "é"]}', "null", '"x"']),
    ("json", ['{"a" : [1,2]}', "null"]),
    ("uuid", [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]),
    ("mood", ["a", "it's", "c,d", '"', "漢"]),
    ("money_amount", [decimal.Decimal("1.25")]),
    ("char(5)", ["ab", "漢字"]),
    ("interval", [-dt.timedelta(hours=1, minutes=2, seconds=3.25), dt.timedelta(days=40)]),
]  # fmt: skip


def test_postgresql_values_round_trip_exactly(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TYPE mood AS ENUM ('a', 'it''s', 'c,d', '\"', '漢')")
    target.execute("CREATE DOMAIN money_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(TYPES_POSTGRESQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = target.table(f"v{number}")
        lease.apply([insert(table, id=n, v=value) for n, value in enumerate([*values, None])])
        cast = "::text" if kind in ("json", "jsonb") else ""
        read = f"SELECT v{cast} FROM v{number} ORDER BY id"
        padded = [value.ljust(5) if kind == "char(5)" else _as_stored_pg(value) for value in values]
        assert [_as_stored_pg(one) for (one,) in target.execute(read)] == [*padded, None], kind
        lease.apply([update(table, n, v=value) for n, value in enumerate([None, *values])])
        assert [_as_stored_pg(one) for (one,) in target.execute(read)] == [None, *padded], kind
    sink.close()


def _as_stored_pg(value: Any) -> Any:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return value


def test_mysql_refuses_what_a_column_cannot_hold_exactly(mysql_target: Target) -> None:
    target = mysql_target
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(UNFIT_MYSQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind}) CHARSET utf8mb4")
        table = target.table(f"v{number}")
        header, _ = lease.begin()
        rejections = sink.write_singly([insert(table, n, id=n, v=value) for n, value in enumerate(values)])
        lease.commit(header)
        assert [rejection.ref for rejection in rejections] == list(range(len(values))), (kind, rejections)
        assert rows(target, f"v{number}") == []


def test_postgresql_refuses_what_a_column_cannot_hold_exactly(postgresql_target: Target) -> None:
    target = postgresql_target
    target.execute("CREATE TYPE mood AS ENUM ('a', 'b')")
    target.execute("CREATE DOMAIN small_amount AS numeric(10,2) CHECK (VALUE > 0)")
    sink, lease = target.ready()
    for number, (kind, values) in enumerate(UNFIT_POSTGRESQL):
        target.execute(f"CREATE TABLE v{number} (id int PRIMARY KEY, v {kind})")
        table = target.table(f"v{number}")
        header, _ = lease.begin()
        rejections = sink.write_singly([insert(table, n, id=n, v=value) for n, value in enumerate(values)])
        lease.commit(header)
        assert [rejection.ref for rejection in rejections] == list(range(len(values))), (kind, rejections)
        assert rows(target, f"v{number}") == []


HOSTILE = "'\"\\\0\n\r\t\x1a%_;`$#-/*" + "é漢😀\ufeffaZ 0"


def test_hostile_text_and_bytes_round_trip_byte_for_byte(target: Target) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    alphabet = HOSTILE.replace("\0", "") if target.postgresql else HOSTILE
    target.create(
        "CREATE TABLE hostile (id int PRIMARY KEY, t text, b bytea)",
        "CREATE TABLE hostile (id int PRIMARY KEY, t longtext CHARACTER SET utf8mb4, b longblob)",
    )
    table = target.table("hostile")
    _, lease = target.ready()
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(30))) for _ in range(600)] + ["\\" * 100_000 + "'"]
    data = [chance.randbytes(chance.randrange(60)) for _ in texts]
    lease.apply(
        [insert(table, id=n, t=text, b=bytes_) for n, (text, bytes_) in enumerate(zip(texts, data, strict=True))]
    )
    expected = [(n, text, bytes_) for n, (text, bytes_) in enumerate(zip(texts, data, strict=True))]
    assert [(n, text, bytes(b)) for n, text, b in rows(target, "hostile")] == expected
    lease.apply([update(table, n, t=texts[-1 - n]) for n in range(len(texts))])
    assert [text for _, text, _ in rows(target, "hostile")] == texts[::-1]


def test_hostile_names_are_only_names(target: Target) -> None:
    quote = '"' if target.postgresql else "`"
    table_name, column = f"a {quote}b'%s;--", f"c{quote}%d $1"

    def quoted(name: str) -> str:
        return quote + name.replace(quote, quote * 2) + quote

    target.execute(f"CREATE TABLE {quoted(table_name)} (id int PRIMARY KEY, {quoted(column)} int)")
    table = target.table(table_name)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, **dict[str, Any]({column: 1}))])
    lease.apply([update(table, 1, **{column: 2})])
    assert target.execute(f"SELECT * FROM {quoted(table_name)}") == [(1, 2)]
    lease.apply([delete(table, 1)])


def test_null_is_refused_where_the_server_would_make_a_value_of_it(mysql_target: Target) -> None:
    target = mysql_target
    target.execute(
        "CREATE TABLE made (id int PRIMARY KEY, n int NOT NULL AUTO_INCREMENT UNIQUE, at timestamp NOT NULL DEFAULT '2020-01-01')"
    )
    table = target.table("made")
    sink, lease = target.ready()
    header, _ = lease.begin(4)
    moment = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    rejections = sink.write_singly([
        insert(table, 1, id=1, n=None, at=moment),
        insert(table, 2, id=2, n=2, at=None),
        insert(table, 3, id=3, n=3, at=moment),
    ])  # fmt: skip
    lease.commit(header)
    said = ["must not be NULL", "must not be NULL" if target.engine == "mariadb" else "1048"]  # MySQL itself
    assert [(refused.ref, refused.error) for refused in rejections if said[refused.ref - 1] not in refused.error] == []
    assert [refused.ref for refused in rejections] == [1, 2]
    assert target.execute("SELECT id, n FROM made") == [(3, 3)]


def test_a_row_above_the_packet_limit_is_refused_by_name_and_the_next_one_goes_on(mysql_target: Target) -> None:
    target = mysql_target
    target.execute("CREATE TABLE blobs (id int PRIMARY KEY, b longblob)")
    table = target.table("blobs")
    sink, lease = target.ready()
    (limit,) = target.execute("SELECT @@max_allowed_packet")[0]
    header, _ = lease.begin()
    big = insert(table, 1, id=1, b=b"x" * (limit // 2 + 100))
    rejections = sink.write_singly([big, insert(table, 2, id=2, b=b"ok")])
    waiting = parked_row(1, change=random.Random(1).randbytes(limit + 200))
    sink.park([waiting])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [waiting]
    header, _ = lease.begin()
    sink.unpark([waiting.id])
    sink.park([shorter := parked_row(1, change=b"short")])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [shorter]
    assert [rejection.ref for rejection in rejections] == [1]
    assert "blobs" in rejections[0].error
    assert "id" in rejections[0].error
    assert str(limit) in rejections[0].error
    assert rows(target, "blobs") == [(2, b"ok")]
