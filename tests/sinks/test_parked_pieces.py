"""A parked change larger than a packet of MySQL and MariaDB goes in several rows, is read as one, and goes as one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from sinks.contract import ParkedRow
from tests.sinks.targets import Target, parked_row

MIB = 1 << 20
PACKET = MIB


@pytest.fixture
def small_packets(mysql_target: Target) -> Iterator[Target]:
    ((usual,),) = mysql_target.execute("SELECT @@GLOBAL.max_allowed_packet")
    mysql_target.execute(f"SET GLOBAL max_allowed_packet = {PACKET}")
    yield mysql_target
    mysql_target.execute(f"SET GLOBAL max_allowed_packet = {usual}")


def large(number: int, pieces: float) -> ParkedRow:
    return parked_row(number, change=secrets.token_bytes(int(pieces * PACKET / 4)))


def test_a_large_change_comes_back_whole_and_others_stay_as_they_are(small_packets: Target) -> None:
    sink, lease = small_packets.ready()
    header, _ = lease.begin(0)
    rows = [large(1, 5.5), large(10, 2.5), parked_row(11), large(2, 1)]
    sink.park(rows)
    lease.commit(header)
    assert sorted(sink.parked("coffee"), key=lambda row: row.id) == sorted(rows, key=lambda row: row.id)

    header, _ = lease.begin(0)
    rows[0] = large(1, 1.5)  # parked again, and shorter
    sink.park(rows[:1])
    sink.unpark([rows[1].id, rows[3].id])
    lease.commit(header)
    assert sorted(sink.parked("coffee"), key=lambda row: row.id) == [rows[0], rows[2]]
    assert small_packets.execute("SELECT count(*) FROM datong_parked") == [(3,)]

    header, _ = lease.begin(0)
    sink.unpark([rows[0].id, rows[2].id])
    lease.commit(header)
    assert small_packets.execute("SELECT count(*) FROM datong_parked") == [(0,)]


def test_a_piece_stays_small_however_large_packets_may_be(mysql_target: Target) -> None:
    ((usual,),) = mysql_target.execute("SELECT @@GLOBAL.max_allowed_packet")
    mysql_target.execute(f"SET GLOBAL max_allowed_packet = {128 * MIB}")
    try:
        sink, lease = mysql_target.ready()
        header, _ = lease.begin(0)
        row = parked_row(1, change=secrets.token_bytes(MIB) * 20)
        sink.park([row])
        lease.commit(header)
        assert mysql_target.execute("SELECT MAX(LENGTH(change_data)), COUNT(*) FROM datong_parked") == [(16 * MIB, 2)]
        assert sink.parked("coffee") == [row]
    finally:
        mysql_target.execute(f"SET GLOBAL max_allowed_packet = {usual}")
