"""Every column type of MySQL 9 and MariaDB 10.11 through the binary log: what the reader hands on is what a plain SELECT says, whatever
the writing session's settings, and written back by our literals it is the same in the server, byte for byte.

A case is a line of `CASES`: the column's definition, the engines that have it, and SQL expressions for its values.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pymysql.cursors import Cursor

from cdc.model import RowChange
from sinks.mysql_catalog import read_mysql_table
from sinks.mysql_literals import literal_encoder
from tests.mysql_logs import read_rows, reader_of
from tests.servers import MySQLDatabase
from transforms.columns import column_ends
from transforms.fields import compose
from transforms.json_text import canonical
from transforms.tables import Column
from transforms.text_limits import as_catalogs_show
from transforms.values import ABSENT, Unrepresentable


@dataclass(frozen=True)
class Case:
    kind: str
    values: tuple[str, ...]
    engine: str = ""  # both
    back: bool = True  # can be written as it was

    @property
    def base(self) -> str:
        return re.split(r"[ (]", self.kind)[0]


def case(kind: str, *values: str, engine: str = "", back: bool = True) -> Case:
    return Case(kind, values, engine, back)


_WKT = (
    "'POINT(1 2)', 4326", "'POINT(-0.5 1e300)'", "'LINESTRING(0 0, 1 1, 2 3)', 4326", "'POLYGON((0 0, 0 9, 9 9, 0 0), (1 2, 1 3, 2 3, 1 2))'",
    "'MULTIPOINT(0 0, 1 1)'", "'MULTILINESTRING((0 0, 1 1), (2 2, 3 3))'", "'MULTIPOLYGON(((0 0, 0 1, 1 1, 0 0)))'",
    "'GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))'", "'GEOMETRYCOLLECTION EMPTY'",
)  # fmt: skip
_64 = ",".join(f"'l{k}'" for k in range(64))
_JSON = (
    "'null'", "NULL", "'[]'", "'{}'", "'{\"b\": 1, \"a\": {\"c\": [true, false, null]}}'", "'{\"a\": 1, \"a\": 2}'", "'18446744073709551615'",
    "'-9223372036854775808'", "'[1, 1.0, -0.0, 1e-7, 123456789012345680000, 65535, 65536, -32769, 4294967296]'", "'\"\"'",
    "'\"\\\\u0000 \\\\\\\\ \\\\\" 😀\"'", f"'{'[' * 31}{']' * 31}'", "CONCAT('[\"', REPEAT('y', 70000), '\"]')", "'true'", "'1.5'",
)  # fmt: skip
CASES = (
    *(
        case(f"{name}{sign}", str(least), str(most), "0", "1")
        for name, bits in (("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64))
        for sign, least, most in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), (" unsigned", 0, 2**bits - 1))
    ),
    case("tinyint(1)", "0", "1", "2", "-1"), case("int(5) unsigned zerofill", "7"), case("mediumint zerofill", "16777215"),
    *(case(f"bit({n})", "0", "1", str(2**n - 1), str(2 ** (n - 1))) for n in (1, 7, 8, 9, 16, 17, 31, 33, 63, 64)),
    case("decimal(65,30)", f"{'9' * 35}.{'9' * 30}", f"-{'9' * 35}.{'9' * 30}", f"-0.{'0' * 29}1", "0"),
    case("decimal(65,0)", "9" * 65, "-1"), case("decimal(30,30)", f"0.{'9' * 30}"), case("decimal(10,2) unsigned", "19.90"),
    *(case(f"decimal({n},{n // 2})", f"-{10 ** (n - n // 2) - 1}.{'12' * 9:.{n // 2}}" if n > 1 else "-9", "0") for n in range(1, 20)),
    case("float", "0.1", "-3.4028235e38", "1e-45", "16777216", "1e0/3", "0"), case("float unsigned", "0.5"), case("float(7,3)", "1234.567"),
    case("double", "0.1", "-1.7976931348623157e308", "5e-324", "2.2250738585072014e-308", "1e0/3", "9007199254740993"),
    case("double", "-0e0", engine="mysql"), case("float", "-0e0", engine="mysql"), case("double(20,5)", "-123456.78901"), case("year", "0", "1901", "2155", "2024"),
    case("date", "'1000-01-01'", "'9999-12-31'", "'0001-01-01'", "'2024-02-29'", "'0000-00-00'", "'2024-00-10'", "'2024-02-31'"),
    *(
        case(f"datetime({n})", "'1000-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'2024-02-29 12:34:56.123456'", "'0000-00-00'", "'2024-02-31 01:02:03'")
        for n in range(7)
    ),
    *(
        case(f"timestamp({n}) NULL", "FROM_UNIXTIME(1)", "FROM_UNIXTIME(2147483647.999999)", "'2024-03-31 02:30:00.987654'", "0", "NULL")
        for n in range(7)
    ),
    *(
        case(f"time({n})", "'838:59:59'", "'-838:59:59'", "'-00:00:00.5'", "'-01:02:03.25'", "'24:00:01.000001'", "'0'", "'-00:00:00.000001'", "'-00:59:59.999999'")
        for n in range(7)
    ),
    case("char(10)", "'a  '", "''", "'  é😀'", "'\\\\'", "X'00'"), case("char(255)", "REPEAT('😀', 255)", "''", "REPEAT('x', 255)"),
    case("char(63)", "REPEAT('😀', 63)"), case("char(64)", "REPEAT('😀', 64)"), case("char(0)", "''", "NULL"),
    case("varchar(10)", "' a '", "''", "CONCAT('\ufeff', CHAR(0), '\U0010ffff')"), case("varchar(63)", "REPEAT('é', 63)"),
    case("varchar(64)", "REPEAT('😀', 64)"), case("varchar(700)", "REPEAT('x', 700)", "'it''s %s \"q\"'"),
    case("binary(1)", "X'00'", "X'20'"), case("binary(5)", "X'6100'", "X''", "X'0000000000'", "X'2020202020'"), case("binary(255)", "REPEAT(X'FF', 255)"),
    case("varbinary(5)", "X'6100'", "X''", "X'20'"), case("varbinary(400)", "REPEAT(X'00', 400)"),
    case("tinytext", "'x'", "''"), case("text", "REPEAT('é', 300)"), case("mediumtext", "REPEAT('m', 70000)"), case("longtext", "'l '"),
    case("tinyblob", "X'FF'", "X''"), case("blob", "REPEAT(X'0A', 400)"), case("mediumblob", "X'00'"), case("longblob", "X'5C78'"),
    case("enum('x','y,z','é''','😀')", "'x'", "'é'''", "4", "0", "NULL"), case("enum('','a')", "''", "'a'"),
    case(f"enum({','.join(repr(f'e{k}') for k in range(300))})", "'e0'", "'e299'", "256"),
    case("set('a','b','c')", "''", "NULL", "'c,a'", "7"), case(f"set({_64})", "18446744073709551615", "'l0,l63'", "''", "NULL"),
    *(case(f"set({','.join(repr(f'l{k}') for k in range(n))})", str(2**n - 1), str(2 ** (n - 1))) for n in (8, 9, 17, 25, 33)),
    case("json", *_JSON), case("json", "NULL", *_JSON[:3]), case("json", f"'{'[' * 100}{']' * 100}'", engine="mysql"),
    case(
        "json", "JSON_OBJECT('d', CAST(1.50 AS DECIMAL(10,2)), 'b', CAST(-99999999999999999999.000000001 AS DECIMAL(65,9)), 'z', CAST(0 AS DECIMAL(3,2)))",
        "JSON_ARRAY(CAST('-838:59:59' AS TIME), CAST('-00:00:00.5' AS TIME(6)), CAST('2024-01-02' AS DATE), CAST('9999-12-31 23:59:59.999999' AS DATETIME(6)))",
        "JSON_ARRAY(CAST(X'00FF' AS BINARY), ST_GeomFromText('POINT(1 2)'), 1e300, -1)", "JSON_ARRAY(b'1', CAST(2024 AS YEAR))",
        engine="mysql", back=False,  # decimals, dates and bytes inside a document come as plain numbers and texts
    ),
    case("geometry", *(f"ST_GeomFromText({wkt})" for wkt in _WKT), "NULL"), case("point", "Point(1, 2)"),
    case("linestring", "ST_GeomFromText('LINESTRING(0 0, 1 1)')"), case("polygon", "ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))', 0)"),
    case("multipoint", "ST_GeomFromText('MULTIPOINT(0 0)')"), case("geometrycollection", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"),
    case("point SRID 4326", "ST_GeomFromText('POINT(40 -70)', 4326)", engine="mysql"), case("geomcollection", "NULL", engine="mysql"),
    case("vector(3)", "STRING_TO_VECTOR('[1, -0.5, 1e-30]')", "STRING_TO_VECTOR('[0]')", "NULL", engine="mysql"),
    case("vector(2048)", "STRING_TO_VECTOR(CONCAT('[1', REPEAT(',2.5', 2047), ']'))", engine="mysql"),
    case("inet4", "'1.2.3.4'", "'0.0.0.0'", "'255.0.0.0'", engine="mariadb"),
    case("inet6", "'::'", "'::1'", "'1::'", "'::ffff:1.2.3.0'", "'::1.2.0.0'", "'1:0:2:3:4:5:6:7'", "'fe80::1:0:0:0'", engine="mariadb"),
    case(
        "uuid", *(f"'01020304-0506-{version}708-8910-111213141516'" for version in range(1, 9)), "'00000000-0000-0000-0000-000000000000'",
        "'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFF00'", engine="mariadb",
    ),
    *(
        case(f"{kind} COMPRESSED", *values, engine="mariadb")
        for kind, values in (
            ("varchar(63)", ("'é'", "''", "REPEAT('x', 63)")), ("varchar(700)", ("REPEAT('é', 700)", "'x'")), ("varchar(1) CHARACTER SET latin1", ("'é'",)),
            ("varbinary(400)", ("REPEAT(X'00', 400)", "X'00'", "X''")), ("tinytext", ("REPEAT('t', 255)", "''")), ("text", ("REPEAT('é', 30000)", "''")),
            ("mediumtext CHARACTER SET gbk", ("REPEAT('打通', 300)", "'a'")), ("longblob", ("REPEAT(X'00FF', 40000)", "X'00'", "NULL")),
        )
    ),
)  # fmt: skip
STORAGE = {"mysql": "InnoDB", "mariadb": "MyISAM"}  # MyISAM holds more columns, and no spatial reference systems
HOSTILE = (
    "SET sql_mode = 'ALLOW_INVALID_DATES'",
    "SET sql_mode = 'ALLOW_INVALID_DATES,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT,REAL_AS_FLOAT', time_zone = '+05:45'",
)


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


def cases_of(db: MySQLDatabase) -> list[Case]:
    return [each for each in CASES if each.engine in ("", db.server.scheme)]


@contextmanager
def session(db: MySQLDatabase, *settings: str) -> Iterator[Cursor]:
    with db.connect() as connection, connection.cursor() as cursor:
        for setting in settings:
            cursor.execute(setting)
        yield cursor


def shown(name: str, each: Case) -> str:
    """The expression by which the server itself tells a value exactly."""
    if each.base in ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"):
        return f"CONVERT({name} USING utf8mb4)"
    if each.base in ("decimal", "date", "datetime", "timestamp", "time", "json", "inet4", "inet6", "uuid"):
        return f"CAST({name} AS CHAR)"
    if each.base in ("bit", "year"):
        return f"{name} + 0"
    if each.base in ("float", "double"):
        return f"CAST({name} AS DOUBLE)"
    if each.base.endswith(("int", "binary", "blob")):
        return name
    return f"CAST({name} AS BINARY)"


def _date(text: str) -> object:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return Unrepresentable


def _datetime(text: str) -> object:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return Unrepresentable


def _instant(text: str) -> object:
    made = _datetime(text)
    return made.replace(tzinfo=dt.UTC) if isinstance(made, dt.datetime) else made


def _time(text: str) -> object:
    hours, minutes, seconds = text.lstrip("-").split(":")
    size = dt.timedelta(hours=int(hours), minutes=int(minutes)) + dt.timedelta(
        microseconds=int(decimal.Decimal(seconds) * 1_000_000)
    )
    return -size if text.startswith("-") else size


CHANNEL_FORM: dict[str, Callable[[Any], object]] = {
    "decimal": decimal.Decimal, "date": _date, "datetime": _datetime, "timestamp": _instant, "time": _time, "json": canonical,
    "uuid": uuid.UUID, "set": lambda text: tuple(text.split(",")) if text else (), "bit": int, "year": int,
}  # fmt: skip


def assert_same(engine: str, name: str, each: Case, got: object, told: object) -> None:
    where = (name, each.kind)
    if told is None:
        assert got is None, where
        return
    is_alias = each.base == "json" and engine == "mariadb"  # of longtext: the text is as it was written
    want = told if is_alias else CHANNEL_FORM.get(each.base, lambda value: value)(told)
    if want is Unrepresentable:
        assert isinstance(got, Unrepresentable), where
    elif each.base == "float":
        assert isinstance(got, float), where
        assert struct.pack("<f", got) == struct.pack("<f", want), where
        assert len(repr(got)) <= 14, where
    else:
        assert (type(got), str(got)) == (type(want), str(want)), where
        assert got == want, where


def test_every_type_is_read_as_select_says_and_written_back_as_it_was(db: MySQLDatabase) -> None:
    cases = cases_of(db)
    names = [f"c{k}" for k in range(len(cases))]
    columns = ", ".join(f"{name} {each.kind}" for name, each in zip(names, cases, strict=True))
    with session(db) as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute(
            f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) ENGINE={STORAGE[db.server.scheme]} DEFAULT CHARSET utf8mb4"
        )
        cursor.execute("CREATE TABLE back LIKE t")
    rounds = max(len(each.values) for each in cases)
    reader = reader_of(db, "t")
    reader.open(None)
    for k in range(rounds):
        values = [each.values[min(k, len(each.values) - 1)] for each in cases]
        with session(db, HOSTILE[k % 2]) as cursor:
            cursor.execute(f"INSERT INTO t VALUES ({k}, {', '.join(values)})")
    rows = [row.after for row in read_rows(reader, rounds)]
    reader.close()
    told = ", ".join(shown(name, each) for name, each in zip(names, cases, strict=True))
    with session(db, "SET sql_mode = '', time_zone = '+00:00'") as cursor:
        cursor.execute(f"SELECT {told} FROM t ORDER BY id")
        for row, expected in zip(rows, cursor.fetchall(), strict=True):
            assert row is not None
            for name, each, got, want in zip(names, cases, row[1:], expected, strict=True):
                assert_same(db.server.scheme, name, each, got, want)
    write_back(db, rows, names, cases)


def write_back(db: MySQLDatabase, rows: list[Any], names: list[str], cases: list[Case]) -> None:
    """What has an exact form, through the column's own checks and our literals, in a strict session; then as the server tells both."""
    with session(db, "SET sql_mode = 'TRADITIONAL,ALLOW_INVALID_DATES', time_zone = '+00:00'") as cursor:
        found = read_mysql_table(
            lambda text: (cursor.execute(text), cursor.fetchall())[1], db.server.scheme, db.name, "t"
        )  # type: ignore[arg-type]
        assert found is not None
        writers = [writer(column) for column in found.table.columns]
        for row in rows:
            able = [True, *(each.back for each in cases)]
            literals = [write(value) if ok else "NULL" for write, ok, value in zip(writers, able, row, strict=True)]
            cursor.execute(f"INSERT INTO back VALUES ({', '.join(literals)})")
        for name, each, column in zip(names, cases, range(1, len(names) + 1), strict=True):
            kept = [row[0] for row in rows if writable(each, row[column])]
            if not each.back:
                continue
            plain = each.base in ("float", "double", "json")
            told = f"SELECT {shown(name, each) if plain else f'HEX({shown(name, each)})'} FROM"
            where = f"WHERE id IN ({','.join(map(str, kept))}) ORDER BY id"
            answers = []
            for table in ("t", "back"):
                cursor.execute(f"{told} {table} {where}")
                there = [row[0] for row in cursor.fetchall()]
                if each.base == "json":  # 1.0 and 1 are one number to the dictionary
                    there = [text if text is None else canonical(text) for text in there]
                answers.append(repr(there))  # which tells -0.0 from 0.0
            assert answers[0] == answers[1], each.kind
            assert kept, each.kind


def writable(each: Case, value: object) -> bool:
    return not isinstance(value, Unrepresentable) and not (each.base == "enum" and value == "")


def writer(column: Column) -> Callable[[Any], str]:
    encode = literal_encoder(column)
    check = compose(list(column_ends(column).writing)) or (lambda value: value)

    def write(value: Any) -> str:
        if value is None or isinstance(value, Unrepresentable) or (column.type.name == "enum" and value == ""):
            return "NULL"
        return encode(check(value))

    return write


def test_the_names_of_types_are_the_catalogs(db: MySQLDatabase) -> None:
    """What the log says of a column is what the catalog says, but for a few that look alike in the log."""
    cases = cases_of(db)
    columns = ", ".join(f"c{k} {each.kind}" for k, each in enumerate(cases))
    with session(db, "SET sql_mode = ''") as cursor:
        cursor.execute(
            f"CREATE TABLE t (id INT PRIMARY KEY, {columns}) ENGINE={STORAGE[db.server.scheme]} DEFAULT CHARSET utf8mb4"
        )
        catalog = read_mysql_table(
            lambda text: (cursor.execute(text), cursor.fetchall())[1], db.server.scheme, db.name, "t"
        )  # type: ignore[arg-type]
    assert catalog is not None
    reader = reader_of(db, "t")
    reader.open(None)
    with session(db, "SET sql_mode = ''") as cursor:
        cursor.execute("INSERT INTO t (id) VALUES (1)")
    (row,) = read_rows(reader, 1)
    reader.close()
    for told, known in zip(row.table.columns, catalog.table.columns, strict=True):
        spatial = told.type.name == "geometry"
        json = known.type.name == "json" and told.type.name == "longtext"  # MariaDB
        assert told.type.name == known.type.name or spatial or json, known
        assert told.type.unsigned == known.type.unsigned, known
        assert tuple(map(as_catalogs_show, told.type.labels or ())) == (known.type.labels or ()), known
        assert told.type.scale == known.type.scale or known.type.name in ("float", "double"), known
        if told.type.name in ("char", "varchar", "binary", "varbinary"):
            assert told.type.length == known.type.length, known
            assert (told.type.charset or "binary") == (known.type.charset or "binary"), known


def test_a_table_of_a_thousand_columns(db: MySQLDatabase) -> None:
    """NULL in every other one, row images of 125 bytes of bits, and a mapping of a few of the columns."""
    columns = ", ".join(f"c{k} {'INT' if k % 3 else 'VARCHAR(3)'} NULL" for k in range(1, 1000))
    db.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {columns})")
    reader = reader_of(db, "t")
    few = reader_of(db, "t", columns=frozenset({"id", "c998", "c999", "c1"}))
    reader.open(None)
    few.open(None)
    values = ", ".join(str(k % 100) if k % 2 else "NULL" for k in range(1, 1000))
    db.execute(f"INSERT INTO t VALUES (1, {values}), (2, {', '.join('7' for _ in range(999))})")
    db.execute("UPDATE t SET c999 = 'x', c1 = NULL WHERE id = 1")
    first, second, third = read_rows(reader, 3)
    expected = tuple((k % 100 if k % 3 else str(k % 100)) if k % 2 else None for k in range(1, 1000))
    assert first.after == (1, *expected)
    assert second.after == (2, *(7 if k % 3 else "7" for k in range(1, 1000)))
    assert third.before == first.after
    assert third.after == (1, None, *expected[1:-1], "x")
    one = read_rows(few, 3)[0]
    assert one.after == (1, 1, *[ABSENT] * 996, None, "99")
    reader.close()
    few.close()


@pytest.mark.parametrize("image", ["NOBLOB", "MINIMAL"])
def test_columns_that_a_row_image_lacks_are_absent(db: MySQLDatabase, image: str) -> None:
    """Of a session's own setting; never NULL (CASES.md 43)."""
    db.execute("CREATE TABLE t (a INT, id INT PRIMARY KEY, b TEXT, c VARCHAR(5), d BLOB, e INT)")
    db.execute("INSERT INTO t VALUES (1, 2, 'bb', NULL, X'00', 5)")
    reader = reader_of(db, "t")
    reader.open(None)
    with session(db, f"SET binlog_row_image = '{image}'") as cursor:
        cursor.execute("UPDATE t SET c = 'cc' WHERE id = 2")
        cursor.execute("UPDATE t SET b = NULL, d = X'' WHERE id = 2")
        cursor.execute("INSERT INTO t (id, e) VALUES (3, NULL)")
        cursor.execute("DELETE FROM t WHERE id = 2")
    text, blobs, insert, delete = read_rows(reader, 4)
    reader.close()
    if image == "NOBLOB":
        assert text.before == (1, 2, ABSENT, None, ABSENT, 5)
        assert text.after == (1, 2, ABSENT, "cc", ABSENT, 5)
        assert blobs.after == (1, 2, None, "cc", b"", 5)
        assert delete.before == (1, 2, ABSENT, "cc", ABSENT, 5)
    else:
        assert text.before == delete.before == (ABSENT, 2, ABSENT, ABSENT, ABSENT, ABSENT)
        assert text.after == (ABSENT, ABSENT, ABSENT, "cc", ABSENT, ABSENT)
        assert blobs.after == (ABSENT, ABSENT, None, ABSENT, b"", ABSENT)
        assert insert.after is not None
        assert insert.after[1] == 3


def test_invisible_generated_and_default_columns_and_no_primary_key(db: MySQLDatabase) -> None:
    db.execute(
        "CREATE TABLE t (a INT, hidden INT DEFAULT 7 INVISIBLE, b BIT(3) DEFAULT b'101', kept INT AS (a * 2) STORED, "
        "computed VARCHAR(9) AS (CONCAT('x', a)) VIRTUAL, made TIMESTAMP DEFAULT '2024-01-01 00:00:00')"
    )
    reader = reader_of(db, "t")
    reader.open(None)
    with session(db, "SET time_zone = '+00:00'") as cursor:
        cursor.execute("INSERT INTO t (a) VALUES (1), (1)")
        cursor.execute("DELETE FROM t LIMIT 1")
    rows = read_rows(reader, 3)
    reader.close()
    names = [column.name for column in rows[0].table.columns]
    made = dict(zip(names, image_of(rows[0]), strict=True))
    assert rows[0].table.primary_key == ()
    assert (made["a"], made["hidden"], made["b"], made["kept"]) == (1, 7, 5, 2)
    assert made["made"] == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert made.get("computed", "x1") in ("x1", None, ABSENT)
    assert image_of(rows[1]) == image_of(rows[0]) == image_of(rows[2])


def image_of(row: RowChange) -> tuple[Any, ...]:
    image = row.after or row.before
    assert image is not None
    return image


def test_sixteen_megabytes_in_one_value(db: MySQLDatabase) -> None:
    size = (16 << 20) - 1
    db.execute("SET GLOBAL max_allowed_packet = 67108864")
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, m MEDIUMBLOB, l LONGTEXT CHARACTER SET gbk)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute(f"INSERT INTO t VALUES (1, REPEAT(X'00', {size}), REPEAT('打通', {size // 4}))")
    (row,) = read_rows(reader, 1)
    reader.close()
    assert image_of(row) == (1, bytes(size), "打通" * (size // 4))


def test_a_geometry_beside_text_does_not_shift_its_character_set(db: MySQLDatabase) -> None:
    """MariaDB counts geometry among the columns that have a character set, MySQL does not (seen: text came as bytes)."""
    db.execute(
        "CREATE TABLE t (g GEOMETRY, id INT PRIMARY KEY, a VARCHAR(5) CHARACTER SET latin1, p POINT, b BLOB, j JSON, "
        "c VARCHAR(5) CHARACTER SET utf16, e ENUM('é') CHARACTER SET cp1250)"
    )
    reader = reader_of(db, "t", columns=frozenset({"id", "a", "b", "c", "e"}))
    reader.open(None)
    db.execute("INSERT INTO t VALUES (Point(1, 2), 1, 'é', NULL, 'é', '1', 'é', 'é')")
    (row,) = read_rows(reader, 1)
    reader.close()
    assert image_of(row) == (ABSENT, 1, "é", ABSENT, "é".encode(), ABSENT, "é", "é")
