"""The reader of binary logs on real MariaDB and MySQL servers: values of every type read as SELECT says."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import struct
import uuid

import pytest

from cdc.demo.servers import MariaDB, MySQL
from tests.mysql_logs import read_rows, reader_of
from tests.servers import MySQLDatabase
from transforms.json_text import canonical
from transforms.values import Unrepresentable


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


TYPES = {
    "tinyint": ["-128", "127", "0"], "tinyint unsigned": ["255"], "smallint": ["-32768"], "smallint unsigned": ["65535"],
    "mediumint": ["-8388608", "-1", "8388607"], "mediumint unsigned": ["16777215"], "int": ["-2147483648"],
    "int unsigned": ["4294967295"], "bigint": ["-9223372036854775808"], "bigint unsigned": ["18446744073709551615"],
    "decimal(65,30)": ["-0.000000000000000000000000000001", "99999999999999999999999999999999999.999999999999999999999999999999", "0"],
    "decimal(10,2)": ["19.90", "-99999999.99"], "decimal(9,0)": ["-999999999"], "decimal(18,18)": ["0.000000000000000001"],
    "double": ["0.1", "-1.7976931348623157e308", "5e-324"], "year": ["0", "1901", "2155"],
    "date": ["'1000-01-01'", "'9999-12-31'"], "datetime": ["'2024-02-29 23:59:59'"],
    "datetime(1)": ["'2024-01-01 00:00:00.9'"], "datetime(3)": ["'2024-01-01 00:00:00.987'"],
    "datetime(6)": ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"],
    "timestamp(0) null": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"], "timestamp(6) null": ["'2024-03-31 02:30:00.123456'"],
    "time(6)": ["'838:59:58.999999'", "'-838:59:59'", "'-00:00:00.5'", "'-01:02:03.25'", "'24:00:01'"],
    "time(1)": ["'-00:00:00.1'"], "time(3)": ["'-01:00:00.001'"], "time(4)": ["'-00:00:01.0001'"], "time": ["'-00:00:01'"],
    "char(10)": ["'a  '", "''", "'é😀'"], "char(200)": ["REPEAT('€', 200)"], "varchar(300)": ["'\\0\ufeff😀 '", "''"],
    "tinytext": ["'x'"], "text": ["REPEAT('é', 300)"], "mediumtext": ["'m'"], "longtext": ["REPEAT('x', 70000)"],
    "varchar(20) charset latin1": ["X'80818DFF'"], "varchar(20) charset utf8mb3": ["'é€'"], "varchar(9) charset ascii": ["'abc'"],
    "binary(5)": ["X'6100'", "X''"], "varbinary(300)": ["X'00FF00'", "X''"], "tinyblob": ["X'FF'"], "blob": ["X''"],
    "mediumblob": ["REPEAT(X'00', 66000)"], "longblob": ["X'5C78'"],
    "enum('x','y,z','é''')": ["'x'", "'é'''"],
    **{f"timestamp({n}) null": ["'2024-01-02 03:04:05.987654'"] for n in (1, 2, 4)},
}  # fmt: skip


@pytest.mark.parametrize("form", ["insert", "update", "delete"])
def test_every_type_reads_as_select_says(db: MySQLDatabase, form: str) -> None:
    names = [f"c{i}" for i in range(len(TYPES))]
    db.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, "
        + ", ".join(
            f"{name} {kind}" + ("" if "null" in kind else " NULL") for name, kind in zip(names, TYPES, strict=True)
        )
        + ")"
    )
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
    rounds = max(map(len, TYPES.values()))
    if form != "insert":
        for k in range(rounds):
            cursor.execute(f"INSERT INTO t (id) VALUES ({k})")
    values = [[v[min(k, len(v) - 1)] for v in TYPES.values()] for k in range(rounds)]
    if form == "delete":
        for k in range(rounds):
            cursor.execute(f"REPLACE INTO t VALUES ({k}, {', '.join(values[k])})")
    cursor.execute("SELECT * FROM t ORDER BY id")
    reader = reader_of(db, "t")
    reader.open(None)
    for k in range(rounds):
        if form == "insert":
            cursor.execute(f"INSERT INTO t VALUES ({k}, {', '.join(values[k])})")
        elif form == "update":
            cursor.execute(
                f"UPDATE t SET {', '.join(f'{n} = {v}' for n, v in zip(names, values[k], strict=True))} WHERE id = {k}"
            )
    cursor.execute("SELECT * FROM t ORDER BY id")
    expected = cursor.fetchall()
    if form == "delete":
        cursor.execute("DELETE FROM t")
    rows = read_rows(reader, rounds)
    reader.close()
    connection.close()
    assert [row.op for row in rows] == [form] * rounds
    for row, wanted in zip(rows, expected, strict=True):
        image = row.before if form == "delete" else row.after
        assert image is not None
        for column, got, want in zip(row.table.columns, image, wanted, strict=True):
            if column.type.name == "timestamp" and want is not None:
                want = want.replace(tzinfo=dt.UTC)
            assert (type(got), got) == (type(want), want), column
        if form == "update":
            assert row.before == (row.after[0], *[None] * len(names)) if row.after else False


def test_special_values_keep_their_meaning(db: MySQLDatabase) -> None:
    """FLOAT by its shortest decimal, BIT as a number, SET as labels, index 0 of ENUM, zero dates as what they are."""
    db.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, b1 BIT(1), b64 BIT(64), s SET('a','b','c'), e ENUM('x'), "
        "d DATE, dd DATETIME(2), ts TIMESTAMP NULL, part DATE, n INT)"
    )
    reader = reader_of(db, "t")
    reader.open(None)
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
    cursor.execute(
        "INSERT INTO t VALUES (1, 0.1, b'1', X'8000000000000001', '', 0, '0000-00-00', '2024-02-31 01:02:03.25', 0, "
        "'2024-00-00', NULL), (2, 3.4028235e38, b'0', 0, 'c,a', 'x', '2024-01-01', '2024-01-01 00:00:00', '2024-01-01', NULL, 0)"
    )
    first, second = (row.after for row in read_rows(reader, 2))
    reader.close()
    connection.close()
    assert first is not None
    assert second is not None
    assert first[1:6] == (0.1, 1, 2**63 + 1, (), "")
    assert all(isinstance(value, Unrepresentable) for value in first[6:10])
    assert first[10] is None
    assert second[2:6] == (0, 0, ("a", "c"), "x")
    assert second[1] == 3.4028235e38
    assert second[6] == dt.date(2024, 1, 1)
    assert second[9:] == (None, 0)


def test_json_and_uuid(db: MySQLDatabase) -> None:
    kind = "UUID" if isinstance(db.server, MariaDB) else "VARCHAR(9)"
    db.execute(f"CREATE TABLE t (id INT PRIMARY KEY, j JSON, u {kind}, b BINARY(16))")
    reader = reader_of(db, "t")
    reader.open(None)
    documents = [
        {"b": [1, 2.5, True, None, "é😀\n"], "a": {"deep": [[[]], {}]}, "n": 2**64 - 1, "m": -(2**63)},
        "null", None, [], {str(i): "x" * i for i in range(300)}, ["y" * 70_000], 1.5, -1, 70000, 2**40, {"": ""},
    ]  # fmt: skip
    for i, document in enumerate(documents):
        db.execute("INSERT INTO t (id, j, b) VALUES (%s, %s, %s)", i, json.dumps(document), b"\1\0")
    count = len(documents)
    if isinstance(db.server, MySQL):
        db.execute(
            "INSERT INTO t (id, j) SELECT 100, JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST('-838:59:59' AS TIME), "
            "CAST('2024-01-02' AS DATE), CAST('2024-01-02 03:04:05.6' AS DATETIME(6)), CAST('x' AS BINARY), -0.000001)"
        )
        documents.append(json.loads(str(db.execute("SELECT j FROM t WHERE id = 100")[0][0])))
        count += 1
    else:
        wanted_uuid = uuid.uuid4()
        db.execute("INSERT INTO t (id, u) VALUES (100, %s)", str(wanted_uuid))
        count += 1
    rows = [row.after for row in read_rows(reader, count)]
    reader.close()
    for row, document in zip(rows, documents, strict=False):
        assert row is not None
        assert isinstance(row[1], str)
        assert canonical(row[1]) == canonical(json.dumps(document, ensure_ascii=False))
        if isinstance(db.server, MySQL):
            assert row[1] == canonical(row[1])
    assert rows[0] is not None
    assert rows[0][3] == b"\1" + b"\0" * 15
    if isinstance(db.server, MariaDB):
        assert rows[-1] is not None
        assert rows[-1][2] == wanted_uuid


def test_a_mapped_geometry_is_its_bytes_and_an_unmapped_one_is_absent(db: MySQLDatabase) -> None:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, g GEOMETRY, v DECIMAL(5,2))")
    reader = reader_of(db, "t", columns=frozenset({"id", "v"}))
    position = reader.open(None)
    db.execute("INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 2)'), 1.5)")
    (row,) = read_rows(reader, 1)
    reader.close()
    assert row.after is not None
    assert (row.after[0], repr(row.after[1]), row.after[2]) == (1, "ABSENT", decimal.Decimal("1.50"))
    reader = reader_of(db, "t")
    reader.open(position)
    (row,) = read_rows(reader, 1)
    assert row.after is not None
    assert row.after[1] == struct.pack("<IBIdd", 0, 1, 1, 1, 2)
    reader.close()
