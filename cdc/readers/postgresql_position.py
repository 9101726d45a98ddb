"""A place in a PostgreSQL log as text: LSN, and which server, timeline and slot it is of. Pure. Guards I7.

The LSN is a transaction's end (or a keep-alive's): the next transaction's commit record starts at or after it, which is
also how START_REPLICATION reads it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

import msgspec

from cdc.model import Position
from cdc.readers.pgoutput import lsn_number

_LONGEST_NAME: Final = 63  # bytes of an identifier, NAMEDATALEN - 1
_DIGEST: Final = 8


class NativePosition(msgspec.Struct, frozen=True):
    """`system`: the cluster's system identifier; `timeline`: the server's when the place was read."""

    lsn: str
    system: str
    timeline: int
    slot: str

    def at(self, lsn: int) -> Position:
        """The position `lsn` of the same server, timeline and slot."""
        return self.places()(lsn)

    def places(self) -> Callable[[int], Position]:
        """The same as a function, for one place after the other."""
        before, after = (
            _ENCODER.encode(NativePosition("@", self.system, self.timeline, self.slot)).decode().split("@", 1)
        )

        def at(lsn: int) -> Position:
            return Position(lsn, f"{before}{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}{after}")

        return at


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(NativePosition)


def read_native(position: Position) -> NativePosition:
    """Read `Position.native` back. Raises ValueError where it is not of this form or does not fit the order."""
    try:
        native = _DECODER.decode(position.native)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a position of a PostgreSQL log: {error}") from None
    if lsn_number(native.lsn) != position.order:
        raise ValueError(f"a position whose LSN {native.lsn} is not its order {position.order}")
    return native


def slot_name(deployment: str, channel: str) -> str:
    """The name of our slot and publication: [a-z0-9_], at most 63 bytes.

    Where the plain name would lose something (other characters, length), a digest keeps two channels apart.
    """
    exact = f"datong_{deployment}_{channel}"
    name = re.sub(r"[^a-z0-9_]", "_", exact.lower())
    if name == exact and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(f"{deployment}\0{channel}".encode()).hexdigest()[:_DIGEST]
    return f"{name[: _LONGEST_NAME - _DIGEST - 1]}_{digest}"
