"""Positions, eras and GTID sets of binary logs."""

from __future__ import annotations

import random

import pytest

from cdc.errors import HaltError
from cdc.model import Position
from cdc.readers.mysql_gtid import MariaDBGtids, MySQLGtids
from cdc.readers.mysql_position import OFFSET_BITS, Era, PositionWriter, file_number, read_place

A, B = "aaaaaaaa-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002"


def test_orders_grow_across_rotation_and_across_eras() -> None:
    era = Era(0, 5)
    orders = [era.order("binlog.000005", 4), era.order("binlog.000005", 2**33), era.order("binlog.000006", 4)]
    orders.append(era.order("binlog.1000000", 4))
    later = Era.after(orders[-1], "mysql-bin.000002")
    orders += [later.order("mysql-bin.000002", 4), later.order("mysql-bin.000003", 4)]
    assert orders == sorted(set(orders))
    assert max(orders) < 2**63


@pytest.mark.parametrize(
    ("file", "offset", "code"),
    [
        ("b.000005", 1 << OFFSET_BITS, "OFFSET_TOO_LARGE"),
        ("b.000004", 4, "POSITION_AHEAD"),
        ("b.999999999", 4, "ORDER_EXHAUSTED"),
    ],
)
def test_what_has_no_order_is_refused_by_name(file: str, offset: int, code: str) -> None:
    with pytest.raises(HaltError) as caught:
        Era(0, 5).order(file, offset)
    assert caught.value.code == code


def test_a_position_reads_back_as_written() -> None:
    writer = PositionWriter(A, None, Era(7 << OFFSET_BITS, 3))
    position = writer.position("bin'\"log.000004", 5000, f"{A}:1-7")
    place = read_place(position)
    assert (place.server, place.file, place.offset, place.gtids) == (A, "bin'\"log.000004", 5000, f"{A}:1-7")
    assert place.era.order(place.file, place.offset) == position.order


@pytest.mark.parametrize(
    "native", ["", "{}", "0/16B3748", '{"server":"x","file":"b","offset":4,"gtids":"","base":0,"first_file":1}']
)
def test_a_foreign_position_is_refused(native: str) -> None:
    with pytest.raises(HaltError, match="POSITION_UNREADABLE"):
        read_place(Position(4, native))


def test_file_numbers() -> None:
    assert file_number("a.b.000012") == 12
    with pytest.raises(ValueError, match="binary log"):
        file_number("binlog.index")


def test_a_gtid_set_equals_the_set_of_what_was_added() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(50):
        gtids, model = MySQLGtids(), set()
        for _ in range(60):
            gtid = (chance.choice([A, B, f"{A}:blue"]), chance.randrange(1, 40))
            gtids.add(*gtid)
            model.add(gtid)
        again = MySQLGtids(str(gtids))
        for origin in (A, B, f"{A}:blue"):
            for number in range(45):
                assert gtids.has(origin, number) == again.has(origin, number) == ((origin, number) in model)


def test_a_gtid_set_reads_servers_forms() -> None:
    gtids = MySQLGtids(f"{A.upper()}:1-5:7,\n{B}:3:blue:1-2")
    gtids.add(A, 6)
    assert str(gtids) in (f"{B}:3,{B}:blue:1-2,{A}:1-7", f"{A}:1-7,{B}:3,{B}:blue:1-2")
    for wrong in ("x:1", f"{A}", f"{A}:5-1", f"{A}:1-x"):
        with pytest.raises(ValueError, match="GTID"):
            MySQLGtids(wrong)


def test_the_encoded_set_has_the_documented_length() -> None:
    assert len(MySQLGtids(f"{A}:1-5:7").encode()) == 8 + 16 + 8 + 2 * 16
    assert len(MySQLGtids(f"{A}:1,{A}:blue:2").encode()) == 8 + (16 + 1 + 8 + 16) + (16 + 1 + 4 + 8 + 16)


def test_what_a_mariadb_server_lacks_is_named() -> None:
    gtids = MariaDBGtids("0-1-100,5-2-7")
    assert gtids.missing_from("0-1-100,0-3-150,5-2-9") == ""
    assert gtids.missing_from("0-3-150,5-2-6") == "0-1-100,5-2-7"
    gtids.add(0, 3, 101)
    assert str(gtids) == "0-3-101,5-2-7"
