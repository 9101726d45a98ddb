"""Pure decoding: table maps, rows, JSON, statements, comments; and bytes that are not what they should be."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable

import pytest

from cdc.model import ApplyRecord, ProgressRow
from cdc.readers import Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_events import MALFORMED
from cdc.readers.binlog_jsonb import json_text
from cdc.readers.binlog_rows import row_counter, row_decoder, update_decoder
from cdc.readers.binlog_statements import Statement, classify, may_touch, named_tables
from cdc.readers.binlog_table_map import table_map
from cdc.readers.binlog_text import decode_latin1
from cdc.readers.binlog_types import LogColumn
from cdc.readers.mysql_record import comment_record, comment_token
from sinks.bookkeeping import record_text
from sinks.contract import Progress, ProgressMove, TransactionHeader
from transforms.values import ABSENT, Unrepresentable

COLLATIONS = {45: "utf8mb4", 63: "binary", 8: "latin1"}
FUZZ_SECONDS = 2.0


def _map_body() -> bytes:
    """shop.t (id INT UNSIGNED, name VARCHAR(50), amount DECIMAL(10,2), day DATE, made DATETIME(6), e ENUM('a','b'), j JSON)."""
    codes = bytes([3, 15, 246, 10, 18, 254, 245])
    meta = struct.pack("<H", 200) + bytes([10, 2]) + bytes([6]) + bytes([247, 1]) + bytes([4])
    optional = bytes([1, 1, 0x80, 2, 1, 45, 10, 1, 45])
    names = b"".join(bytes([len(n)]) + n for n in (b"id", b"name", b"amount", b"day", b"made", b"e", b"j"))
    optional += bytes([4, len(names)]) + names + bytes([6, 5, 2, 1]) + b"a" + bytes([1]) + b"b"
    head = (7).to_bytes(6, "little") + b"\1\0" + b"\4shop\0" + b"\1t\0"
    return head + bytes([7]) + codes + bytes([len(meta)]) + meta + b"\x7f" + optional


JSON = bytes([0, 1, 0, 12, 0, 11, 0, 1, 0, 5, 7, 0]) + b"k"
ROW = (
    b"\0" + struct.pack("<I", 4_000_000_000) + b"\3abc" + bytes([0x80, 0, 0, 19, 90])
    + (2024 << 9 | 2 << 5 | 29).to_bytes(3, "little")
    + ((2024 * 13 + 2) << 22 | 29 << 17 | 23 << 12 | 59 << 6 | 58 | 1 << 39).to_bytes(5, "big") + (123456).to_bytes(3, "big")
    + b"\2" + struct.pack("<I", len(JSON)) + JSON
)  # fmt: skip
ALL = frozenset(range(7))


def test_a_table_map_and_its_rows() -> None:
    made = table_map(_map_body(), COLLATIONS)
    assert [c.name for c in made.columns] == ["id", "name", "amount", "day", "made", "e", "j"]
    assert [str(c.column("mysql").type) for c in made.columns[:3]] == ["int unsigned", "varchar(50)", "decimal(10,2)"]
    (row,) = row_decoder(made.columns, 127, ALL)(ROW, 0)
    assert [str(v) for v in row] == [
        "4000000000", "abc", "19.90", "2024-02-29", "2024-02-29 23:59:58.123456", "b", '{"k":7}',
    ]  # fmt: skip
    assert row_counter(made.columns, (127,))(ROW * 3, 0) == 3
    ((before, after),) = update_decoder(made.columns, 127, 3, frozenset({1}))(ROW + ROW[:9], 0)
    assert before == (ABSENT, "abc", *[ABSENT] * 5)
    assert after == before


def test_absent_and_null_are_kept_apart() -> None:
    columns = table_map(_map_body(), COLLATIONS).columns
    (row,) = row_decoder(columns, 0b11, ALL)(b"\2" + struct.pack("<I", 1), 0)
    assert row == (1, None, *[ABSENT] * 5)


def test_values_without_an_exact_form_are_unrepresentable_not_bent() -> None:
    columns = table_map(_map_body(), COLLATIONS).columns
    bad_text = ROW.replace(b"abc", b"\xff\xfe\xfd")
    with pytest.raises(UnicodeDecodeError):
        row_decoder(columns, 127, ALL)(bad_text, 0)
    (row,) = row_decoder(columns, 127, ALL, careful=True)(bad_text, 0)
    assert isinstance(row[1], Unrepresentable)
    assert row[0] == 4_000_000_000


def test_corrupt_bytes_are_refused_never_a_hang_or_another_error() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    columns = table_map(_map_body(), COLLATIONS).columns
    readers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (_map_body(), lambda body: table_map(body, COLLATIONS)),
        (ROW * 3, lambda body: row_decoder(columns, 127, ALL)(body, 0)),
        (ROW * 3, lambda body: row_decoder(columns, 127, ALL, careful=True)(body, 0)),
        (ROW * 4, lambda body: update_decoder(columns, 127, 127, ALL)(body, 0)),
        (ROW * 3, lambda body: row_counter(columns, (127,))(body, 0)),
        (JSON, json_text),
        (bytes(range(80)), events.gtid),
        (bytes(range(80)), events.tagged_gtid),
        (bytes(13) + b"\0BEGIN", events.query),
        (bytes(100), events.format_description),
        (bytes(20), lambda body: events.rows_header(body, 31)),
        (b"\x81\5" + bytes(10), events.inflate),
    ]
    until, refused = time.monotonic() + FUZZ_SECONDS, 0
    while time.monotonic() < until or refused <= 100:
        good, read = chance.choice(readers)
        body = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        try:
            read(bytes(body[: chance.randrange(len(body) + 1)]))
        except MALFORMED:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("cut", range(1, len(ROW)))
def test_every_truncation_of_a_row_is_refused(cut: int) -> None:
    columns = table_map(_map_body(), COLLATIONS).columns
    for careful in (False, True):
        with pytest.raises(MALFORMED):
            row_decoder(columns, 127, ALL, careful=careful)(ROW[:cut], 0)


def test_rows_without_columns_end() -> None:
    with pytest.raises(ValueError, match="without columns"):
        row_decoder((LogColumn("a", 3, size=4),), 0, frozenset())(b"xyz", 0)


def test_json_that_multiplies_itself_is_refused() -> None:
    """An array whose entries all lead back to it."""
    document = bytes([2, 50, 0, 154, 0]) + bytes([2, 0, 0]) * 50
    with pytest.raises(ValueError, match="refers to itself"):
        json_text(document)


def test_latin1_has_every_byte() -> None:
    text = decode_latin1(bytes(range(256)))
    assert (text[0x80], text[0x81], text[0x8D], text[0xFF], len(set(text))) == ("€", "\x81", "\x8d", "ÿ", 256)


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("BEGIN", Statement.BEGIN), ("/* hi */ insert into t values (1)", Statement.DATA), ("XA START X'61',X'',1", Statement.XA_START),
        ("XA COMMIT X'61',X'',1", Statement.XA_DECISION), ("ROLLBACK TO `a`", Statement.ROLLBACK_TO_SAVEPOINT),
        ("CREATE TABLE a AS SELECT 1", Statement.DATA), ("create table a (x int)", Statement.DDL),
        ("TRUNCATE t", Statement.TRUNCATE), ("(((WITH x", Statement.DATA), ("CALL p()", Statement.DATA), ("GRANT ALL", Statement.HARMLESS),
        ("/*!40000 ALTER TABLE t DISABLE KEYS */", Statement.DDL), ("-- x\nDROP TABLE t", Statement.DDL),
    ],
)  # fmt: skip
def test_statements_are_told_apart(text: str, statement: Statement) -> None:
    assert classify(text) is statement


def test_which_tables_a_statement_names() -> None:
    tables = [("shop", "orders"), ("shop", "order")]
    assert named_tables("ALTER TABLE `orders` ADD x INT", "shop", tables) == [("shop", "orders")]
    assert named_tables("ALTER TABLE orders ADD x INT", "else", tables) == []
    assert named_tables("DROP DATABASE shop", "", tables) == tables
    assert may_touch("CALL p()", "shop", tables)
    assert not may_touch("INSERT INTO log VALUES (1)", "else", tables)


def test_a_users_text_is_never_taken_for_our_comment() -> None:
    token = "0123456789abcdef" * 2
    assert comment_token(f"UPDATE /*datong:{token}*/ t SET x = 1".encode()) == token
    assert comment_token(f"/*datong:{token}*/ DELETE FROM t".encode()) == token
    assert comment_token(f"INSERT INTO t VALUES ('/*datong:{token}*/')".encode()) == ""


def test_a_record_in_a_comment_is_read_as_the_sink_writes_it() -> None:
    """MariaDB without tables: the comment carries the whole record, under any name that the target may have."""
    lines = (ProgressMove("b", None, Progress(5, 1, complete=True, hlc=7)),)
    header = TransactionHeader("coffee", "a/*]*/", 0, "5" * 32, 3, lines)
    wanted = Wanted("coffee", "a/*]*/", {})
    for head in ("INSERT", "UPDATE", "DELETE"):
        statement = f"{head} /*datong:{record_text(header)}*/ t SET x = 1".encode()
        assert comment_token(statement) == header.token
        expected = ApplyRecord("coffee", "a/*]*/", 0, header.token, 3, (ProgressRow("b", 5, 1, complete=True, hlc=7),))
        assert comment_record(wanted, statement) == expected
    assert comment_record(Wanted("tea", "a", {}), statement) is None
