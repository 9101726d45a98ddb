"""Text in every character set of MySQL and MariaDB: what the reader makes of it is what the server's own CONVERT says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from pymysql.cursors import Cursor

from tests.charset_codes import UNICODE_SETS, ask_characters, character_sets, codes_of
from tests.mysql_logs import read_rows, reader_of
from tests.servers import MySQLDatabase
from transforms.columns import column_ends
from transforms.fields import compose
from transforms.mysql_charsets import CHARSETS, decoder, lacks_ascii, longest_character, repertoire
from transforms.tables import Column, ColumnType
from transforms.values import RefusedValueError, Unrepresentable

WIDE = "A~\\é😀\u0301\ud7ff\ue000\ufffd\U0010ffff"


@pytest.fixture(params=["mariadb_db", "mysql_db"])
def db(request: pytest.FixtureRequest) -> MySQLDatabase:
    found: MySQLDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def cursor(db: MySQLDatabase) -> Iterator[Cursor]:
    with db.connect() as connection, connection.cursor() as cursor:
        yield cursor


def decoded(charset: str, code: bytes) -> str | None:
    try:
        return decoder(charset)(code)
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_every_code_of_every_character_set(cursor: Cursor, step: int) -> None:
    """All bytes, all pairs; of triples and of gb18030's four bytes (below the supplementary planes, which are one linear run) every
    fifth, in the long form all.
    """
    sets = character_sets(cursor)
    assert sets.keys() <= CHARSETS
    for charset, longest in sets.items():
        assert longest_character(charset) == longest
        codes = list(codes_of(charset, longest))
        short = [code for code in codes if len(code) < 3]
        codes = short + codes[len(short) :: step]
        if charset in UNICODE_SETS:
            codes = some_of_unicode(charset)
        found = ask_characters(cursor, charset, codes)
        assert len(found) > 120, charset
        for code in codes:
            got = decoded(charset, code)
            if got is None or len(got) == 1:
                assert got == found.get(code), (charset, code.hex())
        held = repertoire(charset)
        assert held is None or held | set(map(chr, range(128))) >= set(found.values()) - {None}, charset


def some_of_unicode(charset: str) -> list[bytes]:
    """Every 7th character of the first plane, the borders, some of the others; and what is no character."""
    numbers = {*range(0, 0x10000, 7), 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x1F600, 0x10FFFF}
    numbers -= {*range(0xD800, 0xE000), 0xFFFE, 0xFFFF}
    encodings = {"ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be"}
    encoding = encodings.get(charset, "utf-8")
    most = 0xFFFF if charset in ("ucs2", "utf8mb3") else 0x10FFFF
    return [chr(number).encode(encoding) for number in sorted(numbers) if number <= most]


@pytest.mark.parametrize(
    ("charset", "code"),
    [
        ("ucs2", "d83d"), ("ucs2", "d83dde00"), ("ucs2", "41"), ("utf16", "d83d"), ("utf16", "de00d83d"), ("utf16le", "3dd8"),
        ("utf32", "00110000"), ("utf32", "0000d800"), ("utf8mb4", "eda080"), ("utf8mb4", "c080"), ("big5", "a2cc"), ("big5", "a2"),
        ("gbk", "80"), ("gbk", "fffe"), ("gb18030", "a0"), ("swe7", "7f"), ("tis620", "ff"), ("ujis", "8fa1"), ("sjis", "fcfc"),
    ],
)  # fmt: skip
def test_what_is_no_character_is_refused(charset: str, code: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        decoder(charset)(bytes.fromhex(code))


def some_text(charset: str, chance: random.Random) -> str:
    held = repertoire(charset)
    if held is None:
        wide = "" if charset in ("ucs2", "utf8mb3") else "😀\U0010ffff"
        return "".join(chr(chance.randrange(0x21, 0xD7FF)) for _ in range(40)) + "\ue000" + wide
    beyond = sorted(character for character in held if not character.isascii())
    return "".join(chance.choices(beyond, k=40)) + "Aa09" if beyond else "plain~\\"


def test_a_table_in_every_character_set(db: MySQLDatabase) -> None:
    """varchar, char, text, enum, set and their labels; written by a session with hostile settings."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    with db.connect() as connection, connection.cursor() as cursor:
        sets = sorted(character_sets(cursor))
        cursor.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH', time_zone = '+05:45'")
        texts = {charset: [some_text(charset, chance) for _ in range(12)] for charset in sets}
        labels = {charset: sorted({text[k % len(text)] for k, text in enumerate(texts[charset])}) for charset in sets}
        columns = []
        for charset in sets:
            told = ", ".join("'{}'".format(label.replace("'", "''")) for label in distinct(labels[charset]))
            columns += [
                f"v_{charset} VARCHAR(60) CHARACTER SET {charset} COLLATE {of_codes(cursor, charset)}",
                f"c_{charset} CHAR(60) CHARACTER SET {charset}", f"t_{charset} TEXT CHARACTER SET {charset}",
                f"e_{charset} ENUM({told}) CHARACTER SET {charset} COLLATE {of_codes(cursor, charset)}",
                f"s_{charset} SET({told}) CHARACTER SET {charset} COLLATE {of_codes(cursor, charset)}",
            ]  # fmt: skip
        cursor.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {', '.join(columns)}) ENGINE=MyISAM")
        reader = reader_of(db, "t")
        reader.open(None)
        for row in range(12):
            values = []
            for charset in sets:
                text = f"_utf8mb4 X'{texts[charset][row].rstrip().encode().hex()}'"
                values += [text, text, text, str(row % len(distinct(labels[charset])) + 1), "3"]
            cursor.execute(f"INSERT INTO t VALUES ({row}, {', '.join(values)})")
        cursor.execute("SET sql_mode = ''")
        names = [definition.split()[0] for definition in columns]
        shown = ", ".join(f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)" for name in names)
        cursor.execute(f"SELECT {shown} FROM t ORDER BY id")
        expected = cursor.fetchall()
    rows = read_rows(reader, 12)
    reader.close()
    for found, wanted in zip(rows, expected, strict=True):
        assert found.after is not None
        for name, got, want in zip(names, found.after[1:], wanted, strict=True):
            text = want.decode()
            if name.startswith("s_"):
                assert isinstance(got, tuple)
                assert ",".join(got) == text, name
            else:
                assert got == text, name
                assert got or name.startswith("e_")
    widths = {c.name: c.type.length for c in rows[0].table.columns}
    assert {widths[f"v_{charset}"] for charset in sets} == {60}


def distinct(labels: list[str]) -> list[str]:
    """Labels that a comma-separated set can hold."""
    return [label for label in labels if label != "," and label.strip()][:5]


def of_codes(cursor: Cursor, charset: str) -> str:
    """The collation that tells all codes apart: two labels must not be equal."""
    cursor.execute(
        "SELECT COLLATION_NAME FROM information_schema.COLLATIONS WHERE CHARACTER_SET_NAME = %s AND COLLATION_NAME LIKE '%%bin'"
        " ORDER BY LENGTH(COLLATION_NAME) LIMIT 1",
        [charset],
    )
    return str(cursor.fetchall()[0][0])


@pytest.mark.parametrize(
    ("charset", "code"),
    [("big5", b"\xa2\xcc"), ("cp1250", b"\x81"), ("geostd8", b"\xff"), ("gbk", b"\xa2\x40"), ("ujis", b"\xa9\xa1")],
)
def test_a_code_that_is_no_character_is_unrepresentable_and_its_neighbours_are_read(
    db: MySQLDatabase, charset: str, code: bytes
) -> None:
    db.execute(f"CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET {charset}, n INT)")
    reader = reader_of(db, "t")
    reader.open(None)
    db.execute(f"INSERT INTO t VALUES (1, _{charset} X'41{code.hex()}', 5), (2, 'ab', 6)")
    first, second = (row.after for row in read_rows(reader, 2))
    reader.close()
    assert first is not None
    assert isinstance(first[1], Unrepresentable)
    assert charset in first[1].reason
    assert (first[0], first[2], second) == (1, 5, (2, "ab", 6))


def test_what_a_character_set_cannot_hold_is_refused_before_the_server_sees_it(
    db: MySQLDatabase, cursor: Cursor
) -> None:
    """And what it holds is taken: every character goes there and back through the server unchanged."""
    for charset in character_sets(cursor):
        encode = compose(
            list(column_ends(Column("c", ColumnType("mysql", "varchar", length=40000, charset=charset))).writing)
        )
        assert encode is not None
        held = repertoire(charset)
        if held is None:
            continue
        with pytest.raises(RefusedValueError):
            encode("\U0001f642")
        if lacks_ascii(charset):
            with pytest.raises(RefusedValueError):
                encode("{")
        text = "".join(sorted(held - {"\0", "?"}))
        assert encode(text) == text
        cursor.execute(f"SELECT CONVERT(CONVERT(_utf8mb4 X'{text.encode().hex()}' USING {charset}) USING utf8mb4)")
        ((back,),) = cursor.fetchall()
        assert back == text, charset
