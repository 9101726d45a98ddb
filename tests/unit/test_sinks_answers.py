"""MySQL's plain answers, read without the driver, say what the driver would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pymysql.protocol import MysqlPacket, OKPacketWrapper

from sinks.mysql_session import _length_encoded


def written(number: int) -> bytes:
    if number < 251:
        return bytes([number])
    marker, size = next((m, s) for m, s in ((252, 2), (253, 3), (254, 8)) if number < 1 << (8 * s))
    return bytes([marker]) + number.to_bytes(size, "little")


NUMBERS = st.integers(0, 300) | st.integers(0, 1 << 17) | st.integers(0, (1 << 64) - 1)


@given(NUMBERS, NUMBERS)
def test_lengths_are_read_as_the_driver_reads_them(affected: int, generated: int) -> None:
    packet = b"\0" + written(affected) + written(generated) + b"\x02\0\0\0"
    one, place = _length_encoded(packet, 1)
    other, end = _length_encoded(packet, place)
    ok = OKPacketWrapper(MysqlPacket(packet, "utf8"))
    assert (one, other) == (ok.affected_rows, ok.insert_id) == (affected, generated)
    assert packet[end:] == b"\x02\0\0\0"
