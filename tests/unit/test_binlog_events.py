"""Events as they come in a dump: places beyond 4 GiB, compressed transactions, and what no one knows."""

from __future__ import annotations

import random
import struct
import uuid
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from cdc.errors import HaltError
from cdc.readers import Wanted
from cdc.readers import binlog_events as events
from cdc.readers.binlog_events import MALFORMED
from cdc.readers.binlog_large_events import LargeEvent
from cdc.readers.binlog_payload import inner_events
from cdc.readers.mysql_gtid import MySQLGtids
from cdc.readers.mysql_layouts import Layouts
from cdc.readers.mysql_log_events import EventPlace, LogEvents
from cdc.readers.mysql_position import Era, PositionWriter, Prepared, read_place
from cdc.readers.mysql_transactions import Transactions
from cdc.readers.mysql_xa import PreparedTransactions, xid_of

SERVER = "aaaaaaaa-0000-0000-0000-000000000001"


def event(kind: int, body: bytes, end: int = 0, *, flags: int = 0, checksum: bool = True) -> bytes:
    size = 19 + len(body) + 4 * checksum
    plain = struct.pack("<IBIIIH", 7, kind, 1, size, end & 0xFFFFFFFF, flags) + body
    return plain + struct.pack("<I", zlib.crc32(plain)) if checksum else plain


def description(*, checksum: bool = True) -> bytes:
    body = struct.pack("<H50sIB", 4, b"9.7.0", 0, 19) + bytes(40) + bytes([int(checksum)])
    return (
        event(events.FORMAT_DESCRIPTION, body, 130)
        if checksum
        else event(events.FORMAT_DESCRIPTION, body + bytes(4), 130, checksum=False)
    )


def placed(raw: list[bytes], offset: int = 4) -> list[tuple[bytes, EventPlace]]:
    source: Iterator[tuple[memoryview, int, int] | None] = iter([(memoryview(r), 0, len(r)) for r in raw])
    return [found for found in LogEvents(source, "binlog.000001", offset) if found is not None]


def gtid(number: int) -> bytes:
    return struct.pack("<B16sq", 0, uuid.UUID(SERVER).bytes, number) + bytes(17)


def query(text: bytes) -> bytes:
    return struct.pack("<IIBHH", 5, 0, 4, 0, 0) + b"shop\0" + text


def transactions(known: str = "") -> Transactions:
    wanted = Wanted("house", "shop", {("shop", "t"): frozenset({"id"})})
    layouts = Layouts("mysql", "shop", wanted, {}, lambda _schema, _table: {}, lambda made, _place: made)
    return Transactions(
        wanted, layouts, PositionWriter(SERVER, None, Era()), MySQLGtids(known), file="binlog.000001", offset=4, held=None,
        probe=lambda _point: None, read_again=lambda *_arguments: None,
        look_back=lambda _before, _xid: None,
    )  # fmt: skip


def feed(it: Transactions, *raw: bytes, offset: int = 4) -> None:
    for body, place in placed([description(), *raw], offset):
        it.event(body, place)


# Places


def test_places_beyond_4_gib_are_counted_on_from_where_the_reader_is() -> None:
    begin = (1 << 32) - 50
    raw = [
        event(events.XID, bytes(8), begin + 31),
        event(events.XID, bytes(8), begin + 62),
        event(events.XID, bytes(8), begin + 93),
    ]
    found = placed([description(), *raw], begin)
    assert [(place.start, place.end) for _, place in found[1:]] == [
        (begin, begin + 31), (begin + 31, begin + 62), (begin + 62, begin + 93),
    ]  # fmt: skip
    far = 3 * (1 << 32) + 1000
    assert placed([description(), event(events.XID, bytes(8), far + 31)], far)[-1][1].end == far + 31


def test_a_wrong_checksum_or_size_is_refused() -> None:
    good = event(events.XID, bytes(8), 161)
    for bad in (good[:-1] + bytes([good[-1] ^ 1]), good + b"x", good[:10]):
        with pytest.raises(MALFORMED):
            placed([description(), bad])


# Compressed transactions


def payload(inner: bytes, *, algorithm: int = 0, plain_size: int | None = None, frames: int = 1) -> bytes:
    def field(number: int, value: int) -> bytes:
        return bytes([number, 9, 254]) + struct.pack("<Q", value)

    cut = len(inner) // frames
    pieces = [inner[i * cut : (i + 1) * cut if i + 1 < frames else None] for i in range(frames)]
    packed = b"".join(map(zstandard.compress, pieces)) if algorithm == 0 else inner
    size = len(inner) if plain_size is None else plain_size
    kind = bytes([2, 3, 252, algorithm, 0]) if algorithm > 250 else bytes([2, 1, algorithm])
    return kind + field(3, size) + field(1, len(packed)) + b"\0" + packed


INNER = [event(events.QUERY, query(b"BEGIN"), checksum=False), event(events.ROWS_QUERY, b"\5" + b"x" * 200_000, checksum=False),
         event(events.XID, bytes(8), checksum=False)]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "frames"), [(0, 1), (0, 3), (255, 1)])
def test_a_payload_is_opened_whatever_it_is_packed_with(algorithm: int, frames: int) -> None:
    found = list(inner_events(payload(b"".join(INNER), algorithm=algorithm, frames=frames)))
    assert [e.kind for e in found] == [events.QUERY, events.ROWS_QUERY, events.XID]
    assert [e.body for e in found] == [raw[19:] for raw in INNER]


def test_a_payload_that_lies_is_refused_without_being_unpacked() -> None:
    whole = b"".join(INNER)
    bomb = zstandard.compress(bytes(200 << 20))
    head = bytes([2, 1, 0, 3, 9, 254]) + struct.pack("<Q", 1 << 40) + b"\0"
    huge = struct.pack("<IBIIIH", 0, 29, 1, (1 << 31) + 5, 0, 0)
    for bad in (
        payload(whole, plain_size=len(whole) - 1), payload(whole, plain_size=len(whole) + 1), payload(whole, algorithm=7),
        payload(whole + b"x"), payload(whole)[:-3], payload(whole) + b"x", head + bomb, payload(huge, plain_size=1 << 40),
        payload(event(3, b"")[:18] + b"\0"), b"", b"\2", bytes([2, 1, 0]),
    ):  # fmt: skip
        with pytest.raises(MALFORMED):
            list(inner_events(bad))


def test_a_damaged_payload_is_refused_with_our_own_error() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    good = payload(b"".join([*INNER[:1], *INNER[2:]] * 5))
    for _ in range(2000):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            list(inner_events(bytes(bad[: chance.randrange(len(bad) + 1)])))
        except MALFORMED:
            continue


@pytest.mark.parametrize("kind", [events.GTID, events.ROTATE, events.FORMAT_DESCRIPTION, events.TRANSACTION_PAYLOAD])
def test_what_cannot_lie_within_a_transaction_is_refused_there(kind: int) -> None:
    with pytest.raises(ValueError, match="within a compressed transaction"):
        placed([description(), event(events.TRANSACTION_PAYLOAD, payload(event(kind, bytes(30), checksum=False)), 500)])


def test_a_large_payload_is_kept_in_a_file_and_anything_else_in_memory() -> None:
    for kind, in_memory in ((events.TRANSACTION_PAYLOAD, False), (30, True)):
        large = LargeEvent()
        whole = b"\0" + event(kind, bytes(range(256)) * 5000)
        for at in range(0, len(whole), 70_000):
            large.add(memoryview(whole)[at : at + 70_000])
        view = large.view()
        assert bytes(view) == whole
        assert isinstance(view.obj, bytearray) is in_memory


# What is not understood


@pytest.mark.parametrize(
    ("kind", "flags", "name"),
    [(events.INCIDENT, 0, "INCIDENT"), (20, 0, "PRE_GA_WRITE_ROWS"), (77, 0, "type 77"), (77, 0x80, "type 77"), (200, 0x80, "type 200")],
)  # fmt: skip
def test_an_unknown_event_halts_by_name_and_place_whatever_its_flags_say(kind: int, flags: int, name: str) -> None:
    it = transactions()
    with pytest.raises(HaltError) as caught:
        feed(
            it,
            event(events.GTID, gtid(1), 300),
            event(events.QUERY, query(b"BEGIN"), 400),
            event(kind, b"", 450, flags=flags),
        )
    assert caught.value.code == "UNSUPPORTED_EVENT"
    assert name in caught.value.what
    assert "binlog.000001:427" in caught.value.what
    assert it.boundary.order == 130, "not moved past the transaction"


def test_a_gtid_that_was_read_before_is_another_history() -> None:
    with pytest.raises(HaltError) as caught:
        feed(transactions(f"{SERVER}:1-7"), event(events.GTID, gtid(6), 300))
    assert caught.value.code == "POSITION_AHEAD"
    feed(transactions(f"{SERVER}:1-7"), event(events.GTID, gtid(8), 300))


# XA


def test_positions_carry_what_is_prepared() -> None:
    held = PreparedTransactions([])
    held.hold(Prepared("X'61',X'',1", "binlog.000002", 77, f"{SERVER}:5"), None, "")
    held.hold(Prepared("X'62',X'63',7", "binlog.000002", 99, f"{SERVER}:6", idle=True), None, "")
    writer = PositionWriter(SERVER, None, Era(), held.text)
    place = read_place(writer.position("binlog.000003", 4, f"{SERVER}:1-9"))
    assert [p.xid for p in place.prepared] == ["X'61',X'',1", "X'62',X'63',7"]
    assert [p.idle for p in place.prepared] == [False, True]
    moved = [p.read_by_others(elsewhere=True) for p in place.prepared]
    assert [(p.idle, p.file, p.start, p.gtid) for p in moved] == [
        (False, "", 0, f"{SERVER}:5"), (False, "", 0, f"{SERVER}:6"),
    ]  # fmt: skip
    again = PreparedTransactions(place.prepared)
    assert again.text == held.text
    again.forget("X'61',X'',1")
    again.forget("X'62',X'63',7")
    assert again.text == ""
    with pytest.raises(HaltError, match="XA_UNKNOWN"):
        again.find("X'61',X'',1", "binlog.000003:4", lambda _xid: None)


def test_too_many_prepared_transactions_halt() -> None:
    held = PreparedTransactions([])
    with pytest.raises(HaltError, match="XA_TOO_MANY"):
        for i in range(2000):
            held.hold(Prepared(f"X'{i:x}',X'',1"), None, "here")


def test_names_of_xa_transactions() -> None:
    assert xid_of("XA COMMIT X'6A',X'',1") == "X'6a',X'',1"
    body = struct.pack("<BIII", 1, 7, 2, 1) + b"jkl"
    assert events.xa_prepare(body) == (True, "X'6a6b',X'6c',7")
    for broken in (body[:-1], body[:5]):
        with pytest.raises(MALFORMED):
            events.xa_prepare(broken)


def test_a_gtid_set_without_one() -> None:
    gtids = MySQLGtids(f"{SERVER}:1-5:9,{SERVER}:blue:3")
    for number in (1, 3, 9):
        gtids.remove(SERVER, number)
    gtids.remove(f"{SERVER}:blue", 3)
    assert str(gtids) == f"{SERVER}:2:4-5"
