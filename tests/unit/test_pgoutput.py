"""pgoutput's messages: parsed exactly, and nothing but our own error for what is not one."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

import pytest

from cdc.readers import pgoutput as pg
from cdc.readers.pgoutput import ProtocolError, lsn_number, lsn_text
from cdc.readers.pgoutput_rows import INLINE, Decode, RowDecoder
from cdc.readers.postgresql_values import DECODERS, decode_text
from tests.unit import pgoutput_frames as frames
from transforms.values import ABSENT

COLUMNS = [("id", 23), ("name", 25), ("note", 25)]


def decoder(*, identity: str = "d", mapped: tuple[str, ...] = ("id", "name", "note")) -> RowDecoder:
    relation = pg.read_relation(frames.relation(9, "public", "t", COLUMNS, keys=["id"], identity=identity))
    known: dict[str, Decode] = {"id": int, "name": decode_text, "note": decode_text}
    return RowDecoder(relation, [known[name] if name in mapped else None for name, _ in COLUMNS])


def test_an_lsn_is_written_as_postgresql_does_and_read_back() -> None:
    assert lsn_text(0x16_B374D848) == "16/B374D848"
    assert lsn_number("16/B374D848") == 0x16_B374D848
    with pytest.raises(ValueError):
        lsn_number("16")


def test_begin_and_commit_carry_lsns_and_microseconds_since_1970() -> None:
    assert pg.read_begin(frames.begin(100, xid=4_000_000_000, at=5)) == pg.Begin(
        100, 946_684_800_000_005, 4_000_000_000
    )
    assert pg.read_commit(frames.commit(100, 150, at=-1)) == pg.Commit(100, 150, 946_684_799_999_999)


def test_a_relation_names_its_columns_and_which_of_them_are_the_identity() -> None:
    relation = pg.read_relation(frames.relation(9, "", "表", COLUMNS, keys=["id"], identity="i"))
    assert (relation.oid, relation.schema, relation.name, relation.replica_identity) == (9, "pg_catalog", "表", "i")
    assert [(c.name, c.type_oid, c.type_modifier, c.is_key) for c in relation.columns] == [
        ("id", 23, -1, True), ("name", 25, -1, False), ("note", 25, -1, False),
    ]  # fmt: skip


def test_a_status_update_says_flushed_and_applied_are_one() -> None:
    message = pg.status_update(written=3, flushed=2, now=pg.EPOCH_2000 + 9, reply=True)
    assert message == b"r" + b"".join(n.to_bytes(8, "big") for n in (3, 2, 2, 9)) + b"\1"


def test_absent_null_and_empty_are_three_things() -> None:
    assert decoder().insert(frames.insert(9, [b"1", None, b""])) == (1, None, "")
    assert decoder(mapped=("id",)).insert(frames.insert(9, [b"1", None, b"x"])) == (1, ABSENT, ABSENT)
    before, after = decoder().update(frames.update(9, [b"1", frames.UNCHANGED, None]))
    assert (before, after) == (None, (1, ABSENT, None))


def test_an_unchanged_toast_value_is_filled_from_a_whole_old_tuple_only() -> None:
    whole = frames.update(9, [b"1", frames.UNCHANGED, b"b"], old=[b"1", b"long", b"a"])
    assert decoder(identity="f").update(whole) == ((1, "long", "a"), (1, "long", "b"))
    key = frames.update(9, [b"2", frames.UNCHANGED, b"b"], old=[b"1", None, None], kind="K")
    assert decoder().update(key) == ((1, ABSENT, ABSENT), (2, ABSENT, "b"))


def test_a_key_tuple_of_a_delete_has_only_its_key() -> None:
    assert decoder().delete(frames.delete(9, [b"1", None, None], kind="K")) == (1, ABSENT, ABSENT)
    assert decoder().delete(frames.delete(9, [b"1", None, b"n"])) == (1, None, "n")


def test_an_error_names_the_column_and_never_the_value() -> None:
    with pytest.raises(ProtocolError, match=r"public\.t\.id: the value's text is malformed") as caught:
        decoder().insert(frames.insert(9, [b"hunter2", b"x", b"y"]))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (frames.insert(9, [b"1", b"x"]), "has 2 columns, not 3"),
        (frames.insert(9, [b"1", b"x", b"y"])[:-1], "cut short"),
        (frames.insert(9, [b"1", b"x", b"y"]) + b"z", "goes on after"),
        (frames.delete(9, [b"1", b"x", b"y"]), "lacks its N tuple"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(frame: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        decoder().insert(frame)


def test_a_length_beyond_the_message_allocates_nothing() -> None:
    huge = frames.data_frame(b"I\0\0\0\x09N\0\x03t\xff\xff\xff\xff1")
    with pytest.raises(ProtocolError, match="cut short"):
        decoder().insert(huge)
    with pytest.raises(ProtocolError):
        pg.read_truncate(frames.data_frame(b"T\xff\xff\xff\xff\0"))
    with pytest.raises(ProtocolError):
        pg.read_message(frames.data_frame(b"M\1" + bytes(8) + b"p\0\xff\xff\xff\xff"))


def test_a_logical_message_and_a_truncate_are_read() -> None:
    assert pg.read_message(frames.logical_message("datong", b"[1]")) == pg.LogicalMessage(True, 5, "datong", b"[1]")
    assert pg.read_truncate(frames.truncate(4, 5)) == (4, 5)
    assert pg.read_keepalive(frames.keepalive(77, reply=True)) == pg.Keepalive(77, True)


def test_random_and_damaged_messages_raise_only_our_own_error() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    names = sorted(DECODERS)
    columns = [(f"c{i}", 25) for i in range(len(names))]
    relation_frame = frames.relation(9, "public", "t", columns, keys=["c0"])
    rows = RowDecoder(
        pg.read_relation(relation_frame), [DECODERS[name] for name in names], [INLINE.get(name) for name in names]
    )
    whole = [b"1"] * len(names)
    seeds = [
        relation_frame,
        frames.begin(1), frames.commit(1, 2), frames.keepalive(3), frames.truncate(1, 2, 3),
        frames.logical_message("datong", b"[]"), frames.data_frame(b"Y\0\0\0\1public\0mood\0"),
        frames.insert(9, whole), frames.update(9, whole, old=whole), frames.delete(9, whole, kind="K"),
    ]  # fmt: skip
    readers: list[Callable[[bytes], object]] = [
        pg.read_relation, pg.read_begin, pg.read_commit, pg.read_keepalive, pg.read_truncate, pg.read_message, pg.read_type,
        pg.relation_oid, pg.message_kind, pg.read_stream_start, pg.read_stream_commit, pg.read_stream_abort, rows.insert, rows.update, rows.delete,
    ]  # fmt: skip
    deadline = time.monotonic() + 2
    refused = accepted = 0
    while time.monotonic() < deadline or refused <= 1000 or accepted <= 1000:
        frame = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        damaged = bytes(frame[: rng.randrange(len(frame) + 1)]) if rng.random() < 0.5 else bytes(frame)
        for read in readers:
            try:
                read(damaged)
                accepted += 1
            except ProtocolError:
                refused += 1
    assert refused > 1000
    assert accepted > 1000


VALUES: dict[str, list[bytes]] = {
    "int8": [b"0", b"-9223372036854775808", b"x"],
    "text": [b"", "表😀".encode(), b"a" * 300, b"\xff"],
    "bpchar": [b"a  ", b"  "],
    "numeric": [b"1.50", b"-0.000", b"NaN", b"Infinity", b"1" * 40, b"?"],
    "float8": [b"0.1", b"NaN", b"-Infinity", b"-0", b""],
    "bool": [b"t", b"f", b"true"],
    "date": [b"2024-02-29", b"2024-02-30", b"infinity", b"0044-03-15 BC", b"10000-01-01", b"20240229"],
    "timestamp": [b"2024-02-29 01:02:03.5", b"-infinity", b"0044-03-15 00:00:00 BC", b"10000-01-01 00:00:00", b"2024-01-01 00:00:00+00"],
    "timestamptz": [b"2024-02-29 01:02:03.5+00", b"infinity", b"0044-03-15 00:00:00+00 BC", b"2024-01-01 00:00:00", b"2024-01-01 00:00:00+05:45"],
    "uuid": [b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", b"no"],
}  # fmt: skip


def test_generated_decoders_say_what_the_careful_ones_say() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    usual = refused = 0
    for _ in range(300):
        names = [rng.choice(sorted(VALUES)) for _ in range(rng.randrange(1, 9))]
        columns = [(f"c{i}", 25) for i in range(len(names))]
        relation = pg.read_relation(frames.relation(9, "public", "t", columns, keys=["c0"], identity="f"))
        decoders = [DECODERS[name] if rng.random() < 0.8 else None for name in names]
        fast = RowDecoder(relation, decoders, [INLINE.get(name) for name in names])

        def cell(name: str, usual: float) -> frames.Cell:
            kind = rng.random()
            return (
                None
                if kind < 0.1
                else frames.UNCHANGED
                if kind < 0.15
                else rng.choice(VALUES[name][: 1 if rng.random() < usual else 99])
            )

        for _ in range(10):
            new, old = ([cell(name, 0.9) for name in names] for _ in range(2))
            old = [rng.choice((a, b)) for a, b in zip(new, old, strict=True)]
            frame = rng.choice([
                frames.insert(9, new), frames.update(9, new), frames.update(9, new, old=old), frames.delete(9, old),
                frames.update(9, new, old=old, kind="K"), frames.delete(9, old, kind="K"),
            ])  # fmt: skip
            op = chr(frame[pg.MESSAGE_AT])
            one = {"I": fast.insert, "U": fast.update, "D": fast.delete}[op]
            other = {"I": fast._careful_insert, "U": fast._careful_update, "D": fast._careful_delete}[op]
            try:
                expected = repr(other(frame, pg.MESSAGE_AT))
            except ProtocolError as error:
                with pytest.raises(ProtocolError) as caught:
                    one(frame)
                assert str(caught.value) == str(error)
                refused += 1
            else:
                assert repr(one(frame)) == expected
                usual += 1
    assert usual > 500
    assert refused > 20
