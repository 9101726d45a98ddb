"""Decisions that are taken once and hold for good, in the hub store: an era of a MySQL log, where the streams ended when a target joined.

Guards I1: a decision taken again after a restart could differ, and rows between the two would be read twice, or never.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from cdc import store_tables as tables
from cdc.hub_database import HubDatabase
from cdc.model import Order

Ends = dict[str, tuple[Order, int]]

_JOINED: Final = "joined"
_unpack_ends = msgspec.json.Decoder(Ends).decode
_COLUMNS: Final = tables.decisions.c


class Decisions:
    """One deployment's. Every method is one short transaction; raises TransientError."""

    def __init__(self, database: HubDatabase, deployment: str) -> None:
        self._database = database
        self._deployment = deployment

    def remember(self, channel: str, name: str, proposal: str) -> str:
        """Keep a decision once and for all; answer what was decided first."""
        values = {"deployment": self._deployment, "channel": channel, "name": name, "value": proposal}
        mine = (_COLUMNS.deployment == self._deployment) & (_COLUMNS.channel == channel) & (_COLUMNS.name == name)
        with self._database.transaction() as connection:
            self._database.upsert(
                connection, tables.decisions, values, where=lambda _new: sa.false()
            )  # the first one stays
            return str(connection.execute(sa.select(_COLUMNS.value).where(mine)).scalar_one())

    def joined(self, target: str, ends: Mapping[str, tuple[Order, int]]) -> Ends:
        """Keep where the streams ended when a target joined them, by source; answer what was kept first."""
        return _unpack_ends(self.remember(target, _JOINED, _pack_ends(ends)))

    def forget_channel(self, connection: sa.Connection, channel: str) -> None:
        """Within the caller's transaction. A stream that is made anew may begin at lower places than where the old one ended."""
        mine = _COLUMNS.deployment == self._deployment
        connection.execute(sa.delete(tables.decisions).where(mine & (_COLUMNS.channel == channel)))
        query = sa.select(_COLUMNS.channel, _COLUMNS.value).where(mine & (_COLUMNS.name == _JOINED))
        for row in connection.execute(query).all():
            ends = _unpack_ends(row.value)
            if ends.pop(channel, None) is not None:
                values = {"deployment": self._deployment, "channel": row.channel, "name": _JOINED}
                self._database.upsert(connection, tables.decisions, values | {"value": _pack_ends(ends)})


def _pack_ends(ends: Mapping[str, tuple[Order, int]]) -> str:
    return msgspec.json.encode(ends).decode()
