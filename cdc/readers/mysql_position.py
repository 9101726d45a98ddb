"""Positions in the binary logs of MySQL and MariaDB, and the one number that orders them. Pure. Guards I4 and I7.

`order = base + ((file number - first file number of the era) << 36) + offset`. An era is one server's numbering of its files; after a
fail-over another server counts from its own numbers, so a new era begins, whose base lies above every earlier order. An order
fits 63 bits; a file beyond 64 GiB or an era beyond that is refused by name, never wrapped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cdc.errors import HaltError
from cdc.model import Order, Position

OFFSET_BITS: Final = 36
_LARGEST_ORDER: Final = (1 << 63) - 1


class Era(msgspec.Struct, frozen=True):
    """From where on one server's files are counted."""

    base: Order = 0
    first_file: int = 1

    def order(self, file: str, offset: int) -> Order:
        """Raises HaltError OFFSET_TOO_LARGE, ORDER_EXHAUSTED or POSITION_AHEAD (the file lies before the era)."""
        if offset >> OFFSET_BITS:
            raise HaltError(
                "OFFSET_TOO_LARGE",
                f"binary log {file} is longer than {1 << (OFFSET_BITS - 30)} GiB",
                "lower max_binlog_size, split the transaction that is so large, then run `datong resync`",
            )
        files = file_number(file) - self.first_file
        if files < 0:
            raise HaltError(
                "POSITION_AHEAD",
                f"the server's binary log {file} is older than number {self.first_file}, from which we have counted",
                "the server's logs were reset (RESET MASTER) or restored: run `datong resync`",
            )
        order = self.base + (files << OFFSET_BITS) + offset
        if order > _LARGEST_ORDER:
            raise HaltError("ORDER_EXHAUSTED", f"no order is left for {file}:{offset}", "run `datong resync`")
        return order

    @classmethod
    def after(cls, order: Order, file: str) -> Era:
        """A new era that starts with `file` and lies above `order`."""
        return cls(((order >> OFFSET_BITS) + 1) << OFFSET_BITS, file_number(file))

    def remembered(self, name: str, remember: Callable[[str, str], str]) -> Era:
        """This era, or the one that was decided on when the fail-over of that name was seen first."""
        return msgspec.json.decode(remember(name, msgspec.json.encode(self).decode()), type=Era)


class Prepared(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A prepared XA transaction: its name, and where it is.

    `file` is empty where another server's log has it under another name: then its `gtid` finds it. `before`: MariaDB's GTID position
    before it. `idle`: it holds no rows of tables that were wanted when it was read.
    """

    xid: str
    file: str = ""
    start: int = 0
    gtid: str = ""
    before: str = ""
    idle: bool = False

    def read_by_others(self, *, elsewhere: bool) -> Prepared:
        """As a reader that opens a position takes it: other tables may be wanted by now, and `elsewhere` is another server."""
        return Prepared(
            self.xid, "" if elsewhere else self.file, 0 if elsewhere else self.start, self.gtid, self.before
        )


class LogPlace(msgspec.Struct, frozen=True):
    """A position's `native` text, as data. `server`: MySQL's server_uuid, MariaDB's server_id; `gtids`: executed up to there."""

    server: str
    file: str
    offset: int
    gtids: str
    base: Order
    first_file: int
    domain: int | None = None  # MariaDB's gtid_domain_id, for an operator's eyes
    prepared: tuple[Prepared, ...] = ()  # XA transactions that are not decided yet

    @property
    def era(self) -> Era:
        return Era(self.base, self.first_file)

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


_DECODER: Final = msgspec.json.Decoder(LogPlace)


def read_place(position: Position) -> LogPlace:
    """Raises HaltError POSITION_UNREADABLE: this is not a position of a MySQL or MariaDB reader."""
    try:
        place = _DECODER.decode(position.native)
        consistent = place.offset >= 0 and place.era.order(place.file, place.offset) == position.order
    except (msgspec.DecodeError, ValueError, RecursionError):
        consistent = False
    if not consistent:
        raise HaltError(
            "POSITION_UNREADABLE",
            f"the stored position {position.order} is not one of a binary log",
            "run `datong resync` for this channel",
        )
    return place


def file_number(file: str) -> int:
    """`binlog.000012` -> 12. Raises ValueError."""
    number = file.rpartition(".")[2]
    if not (number.isascii() and number.isdecimal()):
        raise ValueError(f"not the name of a binary log: {file[:80]!r}")
    return int(number)


class PositionWriter:
    """Makes positions of one server and era; only file, offset and GTIDs vary, so the rest of the text is made once."""

    def __init__(self, server: str, domain: int | None, era: Era, prepared: str = "") -> None:
        self._era = era
        self._constant = f'","base":{era.base},"first_file":{era.first_file}'
        self._constant += "" if domain is None else f',"domain":{domain}'
        self.set_prepared(prepared)
        self._server = msgspec.json.encode(server).decode()
        self._file = ""
        self._start: Order = 0
        self._head = ""

    def set_prepared(self, prepared: str) -> None:
        """From now on positions carry these prepared transactions: a JSON array, or nothing."""
        self._tail = self._constant + (f',"prepared":{prepared}}}' if prepared else "}")

    def position(self, file: str, offset: int, gtids: str) -> Position:
        return Position(self.order(file, offset), f'{self._head}{offset},"gtids":"{gtids}{self._tail}')

    def order(self, file: str, offset: int) -> Order:
        if file != self._file:
            self._start = self._era.order(file, 0)
            self._head = f'{{"server":{self._server},"file":{msgspec.json.encode(file).decode()},"offset":'
            self._file = file
        if offset >> OFFSET_BITS:
            self._era.order(file, offset)  # raises OFFSET_TOO_LARGE
        return self._start + offset
