"""What psycopg raises -> the engine's kinds of failure, for reading (ARCHITECTURE.md section 9). Guards I9, I10.

By SQLSTATE; a refused connection has none, there the server's English words are looked at, and what is not known is
transient: it is tried again, with its text where an operator sees it. No message holds a password or a value.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import psycopg
from psycopg import sql

from cdc.errors import DatongError, HaltError, TransientError
from sinks.connections import Address
from transforms.tables import Table

RESYNC: Final = "what was written meanwhile cannot be read any more: run `datong resync` for this channel's mappings"

_TRANSIENT_CLASSES: Final = ("08", "53", "57", "58", "40")
_LOGIN_REFUSED: Final = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
)
_TLS_REFUSED: Final = ("certificate", "does not match host name", "server does not support SSL")
_REPLICATION_REFUSED: Final = ("replication role to start walsender", "permission denied to start WAL sender")


def quoted(*names: str) -> str:
    """An identifier, quoted, with its schema where given."""
    return sql.Identifier(*names).as_string(None)


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def grant_replication(address: Address) -> str:
    return f"ALTER ROLE {quoted(address.user)} REPLICATION;"


def connection_refused(error: psycopg.Error, address: Address) -> DatongError:
    """Of a connection that could not be opened."""
    said = one_line(error)
    if any(words in said for words in _REPLICATION_REFUSED):
        return HaltError(
            "PRIVILEGE_MISSING", f"role {address.user} may not open a replication connection to {address}",
            f"run {grant_replication(address)}",
        )  # fmt: skip
    if any(words in said for words in _LOGIN_REFUSED) or ("role" in said and "does not exist" in said):
        return HaltError(
            "ACCESS_DENIED", f"{address} refused role {address.user}: {said}",
            "correct the user and password in the channel's url, or pg_hba.conf",
        )  # fmt: skip
    if any(words in said for words in _TLS_REFUSED):
        return HaltError("TLS_REFUSED", f"{address}: {said}", "correct the channel's tls, or the server's certificate")
    if "database" in said and "does not exist" in said:
        return HaltError("DATABASE_MISSING", f"{address}: {said}", "correct the database in the channel's url")
    return TransientError(f"cannot connect to {address}: {said}")


def translated(error: psycopg.Error, address: Address, doing: str, mend: str = "") -> DatongError:
    """Of a statement; `mend` is what to do where a privilege is missing."""
    state = error.sqlstate or ""
    where = f"{doing} on {address}: {_said(error)}"
    if state == "42501":  # insufficient_privilege
        return HaltError("PRIVILEGE_MISSING", where, mend or f"grant it to role {quoted(address.user)}")
    if state == "53400":  # configuration_limit_exceeded
        return HaltError(
            "SLOTS_EXHAUSTED", where, "raise max_replication_slots and max_wal_senders, restart the server"
        )
    if state.startswith("28"):
        return HaltError("ACCESS_DENIED", where, "correct the user and password in the channel's url")
    # 55006 object_in_use, 55P03 lock_not_available
    if not state or state[:2] in _TRANSIENT_CLASSES or state in {"55006", "55P03"}:
        return TransientError(where)
    return HaltError("SERVER_REFUSED", f"{where} ({state})", "see the server's log")


def stream_refused(error: psycopg.Error, address: Address, slot: str) -> DatongError:
    """Of START_REPLICATION and of the stream itself."""
    # 42704 undefined_object: the slot, or a publication as of that place in the log; 55000: an invalidated slot;
    # 58P01: a WAL file that is gone.
    where = f"slot {slot} on {address}: {_said(error)}"
    if error.sqlstate == "42704" and "publication" in _said(error):
        return HaltError("PUBLICATION_LOST", where, RESYNC)
    if error.sqlstate in {"42704", "55000", "58P01"}:
        return HaltError("SLOT_LOST", where, RESYNC)
    return translated(error, address, f"reading slot {slot}")


def _said(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())


def without_key(table: Table, missing: Collection[str], place: str) -> HaltError:
    """A row was changed of which the log does not say which it is."""
    return HaltError(
        "REPLICA_IDENTITY",
        f"a row of {table} was changed or deleted at {place}, and the log does not say which: its replica identity leaves"
        f" out {', '.join(sorted(missing))}",
        f"run ALTER TABLE {quoted(table.schema, table.name)} REPLICA IDENTITY FULL; it holds for what is written from then on."
        f" For what was written before, {RESYNC}",
    )


def truncated(table: Table, place: str) -> HaltError:
    return HaltError(
        "TRUNCATED",
        f"table {table} was truncated at {place}, which is not replicated",
        "say on_truncate: ignore in its mapping to go on from there, and empty or resync the other channels' tables",
    )


def unknown_message(kind: int, place: str) -> HaltError:
    return HaltError(
        "UNSUPPORTED_EVENT",
        f"the stream holds a message of kind {chr(kind)!r} at {place}",
        "this version of Datong does not know it: see the documentation of PostgreSQL versions",
    )


def unreadable(what: object, place: str) -> HaltError:
    return HaltError(
        "LOG_UNREADABLE",
        f"{what} (at {place})",
        "look whether something between us and the server changes the stream; report it if not",
    )
