"""Types that are PostgreSQL's own: read as their channel values, whatever the server's defaults, and written back exactly."""

from __future__ import annotations

import pytest

from cdc.errors import HaltError
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks import open_sink
from sinks.contract import Progress, ProgressMove, Rejected, RowWrite, SinkOptions, TransactionHeader
from tests.postgresql_logs import HOSTILE, Log
from transforms.columns import ColumnRefusedError, column_ends
from transforms.tables import Table
from transforms.values import Unrepresentable

REFUSED = Unrepresentable("")  # stands for any

# Type, and for each value as SQL what the reader hands on.
CASES: list[tuple[str, dict[str, object]]] = [
    ("int[]", {"'{}'": "[]", "'{1,NULL,-3}'": "[1,null,-3]", "'{{1,2},{3,4}}'": "[[1,2],[3,4]]", "'[0:1]={1,2}'": REFUSED}),
    ("bigint[]", {"'{9223372036854775807}'": "[9223372036854775807]"}),
    ("numeric[]", {"'{1.50,0,-12345678901234567890.5,1e30}'": "[1.5,0,-12345678901234567890.5,1000000000000000000000000000000]",
                   "'{NaN}'": REFUSED, "'{Infinity}'": REFUSED}),
    ("float8[]", {"'{0.1,1e308,5e-324,3}'": "[0.1,1e+308,5e-324,3]", "'{NaN}'": REFUSED, "'{-0}'": REFUSED}),
    ("real[]", {"'{0.1,1.5}'": "[0.1,1.5]"}),
    ("boolean[]", {"'{t,f,NULL}'": "[true,false,null]"}),
    ("text[]", {"ARRAY['', 'NULL', NULL, 'a,b', 'q\"\\{}', ' 表😀']": '["","NULL",null,"a,b","q\\"\\\\{}"," 表😀"]',
                "ARRAY[['a'],['b']]": '[["a"],["b"]]', "'{}'": "[]"}),
    ("varchar(3)[]", {"'{abc}'": '["abc"]'}),
    ("char(3)[]", {"'{a,\" b\"}'": '["a"," b"]'}),
    ("mood[]", {"'{sad,\"so, so\"}'": '["sad","so, so"]'}),
    ("price[]", {"'{12.5}'": "[12.5]"}),
    ("timestamptz[]", {"'{2024-03-31 02:30:00.5+05:45,infinity}'": '["2024-03-30 20:45:00.5+00","infinity"]'}),
    ("uuid[]", {"'{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'": '["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]'}),
    ("jsonb[]", {"ARRAY['{\"a\": [1, \"x\"]}'::jsonb]": '["{\\"a\\": [1, \\"x\\"]}"]'}),
    ("bytea[]", {"ARRAY['\\x00ff'::bytea]": '["\\\\x00ff"]'}),
    ("tags", {"'{a,b}'": '["a","b"]'}),
    ("int4range", {"'[1,10]'": "[1,11)", "'empty'": "empty", "'(,5)'": "(,5)"}),
    ("numrange", {"'(1.50,2]'": "(1.50,2]"}),
    ("tstzrange", {"'[2024-01-01 00:00+05:45,infinity)'": '["2023-12-31 18:15:00+00",infinity)'}),
    ("int4multirange", {"'{[1,3],[7,8]}'": "{[1,4),[7,9)}", "'{}'": "{}"}),
    ("interval", {"'1 mon -1 day'": "P1M-1D", "'25:00'": "PT25H", "'-0.5 s'": "PT-0.5S", "'1 year 2 mons'": "P1Y2M", "'0'": "PT0S",
                  "'-178000000 years'": "P-178000000Y", "'3 days 04:05:06.000007'": "P3DT4H5M6.000007S"}),
    ("bit(10)", {"B'0010000001'": "0010000001"}),
    ("varbit(200)", {"B'00101'": "00101", "B''": ""}),
    ("timetz", {"'12:34:56.5+05:45'": "12:34:56.5+05:45"}),
    ("inet", {"'10.0.0.1/8'": "10.0.0.1/8", "'::1'": "::1"}),
    ("cidr", {"'10.0.0.0/8'": "10.0.0.0/8"}),
    ("macaddr", {"'08-00-2B-01-02-03'": "08:00:2b:01:02:03"}),
    ("macaddr8", {"'08:00:2b:01:02:03:04:05'": "08:00:2b:01:02:03:04:05"}),
    ("xml", {"'<a>b &amp; 表</a>'": "<a>b &amp; 表</a>"}),
    ("citext", {"'Aa'": "Aa"}),
    ("ltree", {"'top.a_1'": "top.a_1"}),
    ("hstore", {"'a=>1, \"b c\"=>NULL'": '"a"=>"1", "b c"=>NULL'}),
    ("tsvector", {"'a:1A b'": "'a':1A 'b'"}),
    ("tsquery", {"'a & !b'": "'a' & !'b'"}),
    ("oid", {"4294967295": 4294967295}),
    ('"char"', {"'q'": "q", "' '": " "}),
    ("name", {"'n'": "n"}),
    ("code", {"'AB'": "AB"}),
    ("feeling", {"'sad'": "sad"}),
    ("numeric", {"'1e100000'": "1" + "0" * 100_000, "'1e-16383'": None}),
]  # fmt: skip
NAMED = ["money", "pair", "point", "pg_lsn", "int2vector", "money[]", "pair[]", "regclass", "xid"]


@pytest.fixture
def log(log: Log) -> Log:
    for statement in (
        "CREATE TYPE mood AS ENUM ('sad', 'so, so')", "CREATE DOMAIN price AS numeric(10,2)", "CREATE DOMAIN tags AS text[]",
        "CREATE DOMAIN code AS varchar(2)", "CREATE DOMAIN feeling AS mood", "CREATE TYPE pair AS (a int, b text)",
        "CREATE EXTENSION citext", "CREATE EXTENSION ltree", "CREATE EXTENSION hstore",
    ):  # fmt: skip
        log.execute(statement)
    return log


def hostile(log: Log) -> str:
    user = f"u_{log.database.name}"[:60]
    log.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'pw'")
    for setting in HOSTILE:
        log.execute(f"ALTER ROLE {user} SET {setting}")
    log.execute(f"ALTER DATABASE {log.database.name} SET IntervalStyle = 'postgres_verbose'")
    return user


def test_every_type_is_read_exactly_and_written_back_the_same(log: Log) -> None:
    user = hostile(log)
    address = log.address(user=user, password="pw")
    numbers = range(len(CASES))
    for number in numbers:
        for side in "ab":
            log.execute(f"CREATE TABLE {side}{number} (id int PRIMARY KEY, v {CASES[number][0]})")
    reader = log.opened({f"a{number}": "id v" for number in numbers}, address=address)
    for number in numbers:
        for index, value in enumerate([*CASES[number][1], "NULL"]):
            log.execute(f"INSERT INTO a{number} VALUES ({index}, {value})")
    rows = {(row.table.name, row.after[0]): row for row in log.rows(reader) if row.after is not None}
    sink = open_sink(address, SinkOptions())
    sink.connect()
    sink.prepare()
    epoch = sink.take_over("d", "c")
    wrong: list[object] = []
    writes: list[RowWrite] = []
    compared: list[tuple[int, int]] = []
    for number in numbers:
        type_name, values = CASES[number]
        table = sink.describe(None, f"b{number}")
        assert table is not None
        for index, expected in enumerate([*values.values(), None]):
            row = rows[f"a{number}", index]
            assert row.after is not None
            got = row.after[1]
            if row.table.columns[1].type != table.columns[1].type:
                wrong.append((type_name, row.table.columns[1].type, table.columns[1].type))
            if expected is REFUSED:
                if not isinstance(got, Unrepresentable):
                    wrong.append((type_name, index, got))
                continue
            shown = format(got, "f") if type_name == "numeric" and got is not None else got
            if (
                index < len(values)
                and expected is not None
                and (shown != expected or type(shown) is not type(expected))
            ):
                wrong.append((type_name, index, got, expected))
            ends = column_ends(table.columns[1])
            if got is not None:
                for step in (ends.own_form, *ends.reading, *ends.writing):
                    got = step(got)
            writes.append(RowWrite(table, "insert", ("id",), (index,), ("id", "v"), (index, None)))
            writes.append(RowWrite(table, "update", ("id",), (index,), ("v",), (got,)))
            writes.append(RowWrite(table, "insert", ("id",), (index + 100,), ("id", "v"), (index + 100, got)))
            compared.append((number, index))
    assert wrong == []
    now = Progress(1, 1, True, 10)
    sink.begin(TransactionHeader("d", "c", epoch, "t", len(writes), (ProgressMove("w", None, now),)))
    sink.write(writes)
    sink.commit()
    for number, index in compared:
        asked = f"SELECT a.v::text, b.v::text FROM a{number} a JOIN b{number} b ON b.id IN (a.id, a.id + 100) WHERE a.id = {index}"
        pairs = log.execute(asked)
        wrong += [(CASES[number][0], a, b) for a, b in pairs if a != b and not _same_number(CASES[number][0], a, b)]
        assert len(pairs) == 2
    assert wrong == []
    sink.close()
    reader.close()
    log.execute(f"DROP OWNED BY {user} CASCADE")
    log.execute(f"DROP ROLE {user}")


def _same_number(type_name: str, one: str, other: str) -> bool:
    """JSON has one spelling for 1.5 and 1.50: within an array the zeros at the end are no part of a number."""
    return type_name in ("numeric[]", "price[]") and [float(n) for n in one[1:-1].split(",")] == [
        float(n) for n in other[1:-1].split(",")
    ]


@pytest.mark.parametrize("type_name", NAMED)
def test_a_type_that_cannot_be_replicated_is_refused_by_name(log: Log, type_name: str) -> None:
    log.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {type_name})")
    sink = open_sink(log.address(), SinkOptions())
    sink.connect()
    table = sink.describe(None, "t")
    sink.close()
    assert isinstance(table, Table)
    shown = f"_{type_name[:-2]}" if type_name.endswith("[]") else type_name
    with pytest.raises(ColumnRefusedError, match=rf"^{shown}( \(.*\))? is not a type that can be mapped"):
        column_ends(table.columns[1])
    reader: PostgreSQLReader = log.opened({"t": "id v"})
    log.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(HaltError, match=rf"UNSUPPORTED_TYPE: column public\.t\.v is of type {shown}, "):
        log.read_until(reader, lambda _parts: False)


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("int[]", '["1"]'), ("int[]", "[1.5]"), ("int[]", '{"a":1}'), ("int[]", "[[1],[2,3]]"), ("int[]", "[[]]"), ("int[]", "[1,[2]]"),
        ("text[]", "[1]"), ("text[]", '["\\u0000"]'), ("varchar(3)[]", '["abcd"]'), ("boolean[]", "[1]"),
        ("float8[]", "[0.12345678901234567890]"), ("numeric(4,2)[]", "[1.234]"), ("mood[]", '["glad"]'),
    ],
)  # fmt: skip
def test_an_array_that_would_be_bent_is_refused(log: Log, type_name: str, value: str) -> None:
    log.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {type_name})")
    sink = open_sink(log.address(), SinkOptions())
    sink.connect()
    sink.prepare()
    table = sink.describe(None, "t")
    assert table is not None
    now = Progress(1, 1, True, 10)
    sink.begin(TransactionHeader("d", "c", sink.take_over("d", "c"), "t", 1, (ProgressMove("w", None, now),)))
    with pytest.raises(Rejected, match=r"public\.t: v: ") as caught:
        sink.write([RowWrite(table, "insert", ("id",), (1,), ("id", "v"), (1, value), 7)])
    assert caught.value.ref == 7
    sink.close()
