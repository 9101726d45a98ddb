"""Column types of the binary log, pure: every type from random bytes, compressed values, addresses, floats, unknown types."""

from __future__ import annotations

import random
import struct
import time
import zlib
from ipaddress import ip_address

import pytest

from cdc.errors import HaltError
from cdc.readers import Wanted, binlog_types, binlog_values
from cdc.readers.binlog_events import MALFORMED, RowsHeader
from cdc.readers.binlog_rows import row_counter, row_decoder, update_decoder
from cdc.readers.binlog_table_map import table_map
from cdc.readers.binlog_types import Form, LogColumn
from cdc.readers.mysql_layouts import Layouts
from cdc.readers.mysql_proven_layout import NotProvenError
from transforms.inet import inet6_text, is_canonical
from transforms.mysql_charsets import CHARSETS, decoder, exact_codec

FUZZ_SECONDS = 3.0
CODES = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 140, 141, 242, 245, 246, 252, 254, 255]


def any_form(chance: random.Random) -> Form:
    while True:
        code = chance.choice(CODES)
        meta = bytes(chance.randrange(256) for _ in range(binlog_types.metadata_size(code)))
        if code in (140, 242, 245, 252, 255):
            meta = bytes([chance.randrange(1, 5)])
        elif code in (17, 18, 19):
            meta = bytes([chance.randrange(7)])
        elif code == 246:
            precision = chance.randrange(1, 66)
            meta = bytes([precision, chance.randrange(min(precision, 30) + 1)])
        elif code == 254:
            meta = bytes([chance.choice([247, 248, 254]), chance.randrange(1, 9)])
        try:
            made = binlog_types.form(code, meta)
        except ValueError:
            continue
        return binlog_types.with_fraction(made, chance.randrange(7)) if code in binlog_types.OLD_TIMES else made


def any_column(chance: random.Random, number: int) -> LogColumn:
    made = any_form(chance)
    labels = ("a", "b", "c") if made.code in (binlog_types.ENUM, binlog_types.SET) else None
    has_charset = made.code in binlog_types.CHARACTER or labels
    return LogColumn(
        f"c{number}", made.code, made.length, made.precision, made.scale, unsigned=chance.random() < 0.5,
        charset=chance.choice(sorted(CHARSETS)) if has_charset else None, labels=labels, size=made.size, prefix=made.prefix,
        catalog_name=chance.choice([None, "uuid", "inet4", "inet6"]) if made.code == binlog_types.STRING else None,
    )  # fmt: skip


def test_random_bytes_of_random_types_are_refused_or_decoded_in_bounds() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    until, outcomes = time.monotonic() + FUZZ_SECONDS, {"decoded": 0, "refused": 0}
    while time.monotonic() < until or min(outcomes.values()) <= 50:
        count = chance.randrange(1, 12)
        columns = [any_column(chance, k) for k in range(count)]
        present, wanted = chance.randrange(1, 1 << count), frozenset(chance.sample(range(count), count // 2 + 1))
        every = (1 << count) - 1
        readers = [
            row_decoder(columns, present, wanted), row_decoder(columns, present, wanted, careful=True),
            update_decoder(columns, present, every, wanted, careful=True), row_counter(columns, (present, every)),
        ]  # fmt: skip
        for _ in range(12):
            body = bytes(chance.choice([0, 0, 1, 2, 255, chance.randrange(256)]) for _ in range(chance.randrange(250)))
            for read in readers:
                started = time.process_time()
                try:
                    read(body, 0)
                    outcomes["decoded"] += 1
                except MALFORMED:
                    outcomes["refused"] += 1
                assert time.process_time() - started < 5, "a hang"
    assert min(outcomes.values()) > 50, outcomes


def test_a_type_that_no_server_has_is_refused_by_name_when_wanted_and_passed_over_else() -> None:
    body = (7).to_bytes(6, "little") + b"\1\0\1s\0\1t\0\2\x03\x14\x00\x03"
    for wanted, halts in ((Wanted("d", "t", {("s", "t"): frozenset("a")}), True), (Wanted("d", "t", {}), False)):
        layouts = Layouts("mysql", "s", wanted, {}, lambda _schema, _table: {}, never)
        _, layout = layouts.layout(body, ("log.1", 4))
        header = RowsHeader(7, 2, 3, 3, 0)
        assert layout.count(30, header, b"anything") == 1
        if halts:
            with pytest.raises(HaltError, match="type 20") as caught:
                layout.rows(30, header, b"anything")
            assert caught.value.code == "UNSUPPORTED_TYPE"


def never(*_: object) -> object:
    raise NotProvenError("nobody asks")


@pytest.mark.parametrize("wrap", [True, False])
def test_compressed_values(wrap: bool) -> None:
    plain = b"abc" * 1000
    maker = zlib.compressobj(wbits=zlib.MAX_WBITS if wrap else -zlib.MAX_WBITS)
    packed = maker.compress(plain) + maker.flush()
    head = bytes([0x82 | (0 if wrap else 8)]) + len(plain).to_bytes(2, "big")
    assert binlog_values.decompressed(head + packed) == plain
    assert binlog_values.decompressed(b"") == b""
    assert binlog_values.decompressed(b"\0xy") == b"xy"
    for bad in (
        head + packed[:-9],
        head[:1] + b"\0\5" + packed,
        b"\x90" + packed,
        b"\x85\xff\xff\xff\xff\xff",
        b"\x84\xff\xff\xff\xff",
    ):
        with pytest.raises(MALFORMED):
            binlog_values.decompressed(bad)


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (bytes(16), "::"), (bytes(15) + b"\1", "::1"), (b"\0\1" + bytes(14), "1::"), (bytes(10) + b"\xff\xff\1\2\3\0", "::ffff:1.2.3.0"),
        (bytes(12) + b"\1\2\3\4", "::1.2.3.4"), (struct.pack(">8H", 1, 0, 2, 3, 4, 5, 6, 7), "1::2:3:4:5:6:7"),
        (struct.pack(">8H", 1, 0, 0, 2, 0, 0, 0, 3), "1:0:0:2::3"), (struct.pack(">8H", 1, 0, 0, 2, 3, 0, 0, 4), "1::2:3:0:0:4"),
    ],
)  # fmt: skip
def test_an_address_has_one_text(packed: bytes, text: str) -> None:
    assert inet6_text(packed) == text
    assert is_canonical(text, 6)
    assert not is_canonical(str(ip_address(text).exploded), 6)
    assert not is_canonical(text, 4)


@pytest.mark.parametrize("text", ["1.2.3", "01.2.3.4", "fe80::1%eth0", "::FFFF:1.2.3.4", "", "1.2.3.4 "])
def test_another_spelling_is_no_address_of_the_servers(text: str) -> None:
    assert not is_canonical(text, 4)
    assert not is_canonical(text, 6)


def test_the_shortest_decimal_of_a_subnormal_float() -> None:
    smallest = struct.unpack("<f", b"\1\0\0\0")[0]
    assert repr(binlog_values.float_value(smallest)) == "1e-45"
    assert repr(binlog_values.float_value(-0.0)) == "-0.0"


@pytest.mark.parametrize("charset", ["big5", "sjis", "ujis", "eucjpms", "gb18030", "cp932"])
def test_a_large_text_with_a_doubtful_character_takes_no_time(charset: str) -> None:
    """The fast way is Python's codec; one character that differs from the server's must not make 4 MB a matter of minutes."""
    code = {"big5": "a451", "sjis": "815f", "ujis": "a1c0", "eucjpms": "a1c1", "gb18030": "a8bc", "cp932": "8140"}[
        charset
    ]
    data = bytes.fromhex(code) + b"plain" * 400_000 + bytes.fromhex(code) * 1_000_000
    started = time.process_time()
    text = decoder(charset)(data)
    assert len(text) == 1 + 2_000_000 + 1_000_000
    assert time.process_time() - started < 5
    assert exact_codec(charset) is None


def test_a_table_map_of_random_bytes_is_refused_or_read() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    head = (7).to_bytes(6, "little") + b"\1\0\1s\0\1t\0"
    refused = 0
    for _ in range(4000):
        body = head + bytes(
            chance.choice([0, 1, 2, 3, 4, 252, 254, chance.randrange(256)]) for _ in range(chance.randrange(60))
        )
        try:
            table_map(body, {}, chance.choice(["mysql", "mariadb"]))
        except MALFORMED:
            refused += 1
    assert refused > 100
