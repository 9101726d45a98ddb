"""Our replication slot: made once, checked at every start, never made again at "now" (TRAPS.md G7). Guards I1, I7, I10."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from cdc.errors import HaltError, TransientError
from cdc.model import Position
from cdc.readers.pgoutput import lsn_number, lsn_text
from cdc.readers.postgresql_catalog import Catalog, SlotFacts
from cdc.readers.postgresql_errors import RESYNC, grant_replication
from sinks.connections import Address

PLUGIN: Final = "pgoutput"
_LOST: Final = "lost"
# Making a slot waits for the transactions that are open: bounded, so that one left open by a user hangs nobody unseen.
_CREATE_SECONDS: Final = 20


def create_slot(catalog: Catalog, address: Address, name: str) -> int:
    """Make the slot and answer its consistent point: every transaction that commits from there on is in the stream."""

    def create(connection: psycopg.Connection[Any]) -> str:
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = '{_CREATE_SECONDS}s'".encode())
            row = connection.execute(
                "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, %s)", (name, PLUGIN)
            ).fetchone()
        assert row is not None
        return str(row[0])

    mend = f"run {grant_replication(address)}"
    return lsn_number(catalog.ask(create, f"creating slot {name}", mend, patience=_CREATE_SECONDS + 10))


def check_slot(slot: SlotFacts | None, name: str, address: Address, position: Position | None) -> None:
    """Raise what keeps us from reading this slot from `position` on (None: from where it stands).

    HaltError SLOT_LOST, SLOT_RECREATED, SLOT_FOREIGN; TransientError where another process reads it.
    """
    if slot is None:
        if position is not None:
            raise HaltError("SLOT_LOST", f"replication slot {name} on {address} does not exist any more", RESYNC)
        return
    if slot.plugin != PLUGIN or slot.database != address.database:
        raise HaltError(
            "SLOT_FOREIGN",
            f"replication slot {name} on {address} is of plugin {slot.plugin} and database {slot.database}",
            f"SELECT pg_drop_replication_slot('{name}'); if it is not in use",
        )
    if slot.status == _LOST or slot.reason or slot.restart_lsn is None or slot.confirmed_lsn is None:
        why = slot.reason or "the server removed what it had kept (max_slot_wal_keep_size)"
        raise HaltError("SLOT_LOST", f"replication slot {name} on {address} was invalidated: {why}", RESYNC)
    if position is not None and max(slot.confirmed_lsn, slot.restart_lsn) > position.order:
        raise HaltError(
            "SLOT_RECREATED",
            f"replication slot {name} on {address} begins at {lsn_text(max(slot.confirmed_lsn, slot.restart_lsn))}, "
            f"beyond our position {lsn_text(position.order)}: it was made again, or moved on by someone",
            RESYNC,
        )
    if slot.active_pid is not None:
        raise TransientError(
            f"replication slot {name} on {address} is in use by the server's process {slot.active_pid}"
        )


def drop_slot(address: Address, name: str) -> bool:
    """Drop the slot; False if there was none. Ends nobody's session: a slot in use is a TransientError."""
    catalog = Catalog(address)
    try:
        slot = catalog.slot(name)
        if slot is None:
            return False
        if slot.active_pid is not None:
            raise TransientError(
                f"replication slot {name} on {address} is in use by the server's process {slot.active_pid}: stop that first"
            )
        catalog.ask(
            lambda connection: connection.execute("SELECT pg_drop_replication_slot(%s)", (name,)),
            f"dropping slot {name}",
            f"run {grant_replication(address)}",
        )
        return True
    finally:
        catalog.close()
