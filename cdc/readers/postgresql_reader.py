"""The PostgreSQL reader: one logical slot, one publication, committed transactions in the order of their commits.

Guards I1 and I6 (what it does not understand halts the channel by name and place), I7 (the slot moves to what `confirm` was told and
no further), I8 (a transaction comes in parts). It never makes a slot again that had been there (TRAPS.md G7).
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from cdc.errors import HaltError, TransientError
from cdc.model import Position
from cdc.readers import LogBatch, LogHead, Notice, ReaderOptions, Wanted
from cdc.readers.pgoutput import lsn_text
from cdc.readers.postgresql_catalog import Catalog, ServerFacts
from cdc.readers.postgresql_errors import RESYNC, grant_replication, quoted
from cdc.readers.postgresql_position import NativePosition, read_native, slot_name
from cdc.readers.postgresql_publication import existing, publication_statements
from cdc.readers.postgresql_records import TABLES_OF_OURS
from cdc.readers.postgresql_relations import Relations
from cdc.readers.postgresql_slot import check_slot, create_slot
from cdc.readers.postgresql_spool import Spool
from cdc.readers.postgresql_stream import ReplicationStream
from cdc.readers.postgresql_transactions import Transactions
from sinks.connections import Address

_OLDEST = 130000
_LONGEST_PATIENCE = 300.0
_WAL_STATUS = {"reserved": 0.0, "extended": 1.0, "unreserved": 2.0, "lost": 3.0}  # as a gauge; 4: unknown, or no slot


def output_options(version: int, *, streaming: bool) -> dict[str, str]:
    """Pgoutput's options at a server's version (server_version_num): the newest protocol that it speaks.

    Streaming is the default because it is sooner: of a transaction of 1,000,000 rows the last is here 20 % earlier after the commit, rows of a
    long one are here before it, others that commit meanwhile do not wait behind it in the server, and the server's disk is spared.

    Logical messages and blocks of open transactions came with 14 (protocol 2), prepared transactions with 15 (3; not asked for, see
    `postgresql_transactions`), blocks for parallel apply with 16 (4).
    """
    if version < 140000:
        return {"proto_version": "1"}
    protocol = "2" if version < 150000 else "3" if version < 160000 else "4"
    return {"proto_version": protocol, "messages": "true", **({"streaming": "on"} if streaming else {})}


class PostgreSQLReader:
    """See `cdc.readers.Reader`. `slot` is the name of our slot and of our publication."""

    def __init__(self, address: Address, wanted: Wanted, options: ReaderOptions) -> None:
        self.slot = slot_name(wanted.deployment, wanted.target)
        self._address = address
        self._wanted = wanted
        self._options = options
        self._catalog = Catalog(address)
        self._notices: list[Notice] = []
        self._relations = Relations({**wanted.tables, **TABLES_OF_OURS}, self._catalog, self._notices, wanted.keys)
        self._stream: ReplicationStream | None = None
        self._transactions: Transactions | None = None
        self._failure: TransientError | HaltError | None = None
        self._patience = 2 * options.heartbeat_seconds
        self._fell_silent = False
        self._calm_from = 0  # where the usual patience is due again: the log's end after the server had fallen silent

    def open(self, position: Position | None) -> Position:
        """Raises HaltError WAL_LEVEL, SERVER_CHANGED, POSITION_AHEAD, SLOT_LOST, SLOT_RECREATED, PUBLICATION_INCOMPLETE and
        others that name a missing privilege; TransientError where it may heal by itself (a busy slot among them).
        """
        self._end_stream()
        self._failure = None
        self._catalog.forget_types()
        facts = self._catalog.server()
        self._check_server(facts)
        stream = self._connect_stream(facts)
        self._stream = stream
        try:
            native = self._check_place(stream, position)
            self._check_publication()
            start = self._check_slot(position)
            stream.start(start, self.slot, output_options(facts.version, streaming=self._options.streaming))
        except BaseException:
            self._end_stream()
            raise
        spool = Spool(self._relations.wanted, self._options.spill_folder, self._options.spill_after)
        self._transactions = Transactions(
            self._wanted, self._relations, native, start, self._notices, self._options.probe, spool
        )
        return native.at(start)

    def read(self, max_wait: float) -> LogBatch:
        if self._failure is not None:
            raise self._failure
        stream, transactions = self._stream, self._transactions
        if stream is None or transactions is None:
            raise TransientError(f"the reader of {self._address} is not open")
        caught_up = False
        try:
            caught_up = self._fill(stream, transactions, time.monotonic() + max_wait)
        except (TransientError, HaltError) as error:
            self._failure = error
        except ConnectionError as error:  # a fault point's
            self._failure = TransientError(f"the connection to {self._address} was lost: {error}")
        # What was read before a failure is handed out first: else a halt would keep it back for ever.
        if self._failure is not None and not transactions.has_parts:
            self._end_stream()
            raise self._failure
        if transactions.reached >= self._calm_from:
            self._patience = 2 * self._options.heartbeat_seconds
        return transactions.take(caught_up=caught_up)

    def confirm(self, position: Position) -> None:
        if self._stream is not None:
            self._stream.confirm(position.order)

    def head(self) -> LogHead:
        head = self._catalog.head(self.slot)
        retained = 0 if head.restart_lsn is None else head.flush_lsn - head.restart_lsn
        gauges = {"source_slot_active": float(head.active), "source_slot_wal_status": _WAL_STATUS.get(head.status, 4.0)}
        gauges["source_spilled_bytes"] = float(
            self._transactions.spilled_bytes if self._transactions is not None else 0
        )
        return LogHead(head.flush_lsn, retained, f"{head.restart_text} ({head.status})", gauges)

    def close(self) -> None:
        self._end_stream()
        self._catalog.close()

    def _fill(self, stream: ReplicationStream, transactions: Transactions, deadline: float) -> bool:
        """Feed frames until the batch is full, time is up, or nothing more is there (then true)."""
        frames: list[bytes] = []
        while True:
            transactions.feed(frames)
            if transactions.full:
                return False
            if transactions.is_reading_back:
                frames = []
                if time.monotonic() < deadline:
                    continue
                return False
            wait = 0.0 if transactions.has_parts else max(0.0, deadline - time.monotonic())
            frames = stream.receive(min(wait, self._patience))
            if frames:
                if time.monotonic() < deadline or not transactions.has_parts:
                    continue
                transactions.hold(frames)
                return False
            if stream.silent_seconds >= self._patience:
                # Twice as patient until we are past what there is now: a server that passes over a large transaction of
                # other tables is silent too, and starts it again with each connection.
                silent, self._patience = self._patience, min(self._patience * 2, _LONGEST_PATIENCE)
                self._fell_silent = True
                raise TransientError(f"{self._address} has not said anything for {silent:.1f} s")
            if transactions.has_parts or time.monotonic() >= deadline:
                return not transactions.in_transaction

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        transactions, self._transactions = self._transactions, None
        if transactions is not None:
            transactions.close()
        if stream is not None:
            stream.close()

    def _check_server(self, facts: ServerFacts) -> None:
        if facts.version < _OLDEST:
            raise HaltError("SERVER_TOO_OLD", f"{self._address} is older than PostgreSQL 13", "upgrade the server")
        if facts.in_recovery:
            raise TransientError(f"{self._address} is a standby: point the channel's url at the primary, or promote it")
        if facts.wal_level != "logical":
            raise HaltError(
                "WAL_LEVEL", f"{self._address} has wal_level {facts.wal_level}, not logical",
                "run ALTER SYSTEM SET wal_level = 'logical'; and restart the server",
            )  # fmt: skip

    def _connect_stream(self, facts: ServerFacts) -> ReplicationStream:
        interval = self._options.heartbeat_seconds / 2
        if facts.wal_sender_timeout_ms:
            interval = min(interval, facts.wal_sender_timeout_ms / 1000 / 4)
        try:
            return ReplicationStream(self._address, self.slot, interval, self._catalog.gone)
        except TransientError:
            if self._catalog.may_replicate():
                raise
        raise HaltError(
            "PRIVILEGE_MISSING", f"role {self._address.user} may not open a replication connection to {self._address}",
            f"run {grant_replication(self._address)}",
        )  # fmt: skip

    def _check_place(self, stream: ReplicationStream, position: Position | None) -> NativePosition:
        system, timeline, flushed = stream.identify()
        if self._fell_silent:
            self._fell_silent, self._calm_from = False, flushed
        native = NativePosition("0/0", system, timeline, self.slot)
        if position is None:
            return native
        try:
            ours = read_native(position)
        except ValueError as error:
            raise HaltError("POSITION_UNREADABLE", f"{self._address}: {error}", RESYNC) from None
        if ours.system != system:
            raise HaltError(
                "SERVER_CHANGED", f"{self._address} is server {system}, our position is of server {ours.system}",
                f"point the url back at it; or, if it is meant, {RESYNC}",
            )  # fmt: skip
        if ours.timeline != timeline or flushed < position.order:
            raise HaltError(
                "POSITION_AHEAD",
                f"{self._address} is at {lsn_text(flushed)} of timeline {timeline}, our position is {ours.lsn} of timeline "
                f"{ours.timeline}: it was restored, or a standby took over",
                RESYNC,
            )
        return native

    def _check_publication(self) -> None:
        tables = self._wanted.tables

        def question(connection: psycopg.Connection[Any]) -> tuple[list[str], list[str]]:
            there = existing(connection, tables)
            missing = sorted(f"{schema}.{name}" for schema, name in set(tables) - there)
            return missing, publication_statements(connection, self.slot, there)

        missing, statements = self._catalog.ask(question, f"reading publication {self.slot}")
        if missing:
            raise HaltError(
                "TABLE_MISSING", f"{self._address} has no table {', '.join(missing)}",
                "create it, or take it out of the mappings",
            )  # fmt: skip
        if statements:
            raise HaltError(
                "PUBLICATION_INCOMPLETE", f"publication {quoted(self.slot)} on {self._address} does not carry all that is mapped",
                f"run {' '.join(statements)}",
            )  # fmt: skip

    def _check_slot(self, position: Position | None) -> int:
        """Where to start: our position, or the place of the slot, which is made where it never was."""
        slot = self._catalog.slot(self.slot)
        check_slot(slot, self.slot, self._address, position)
        if position is not None:
            return position.order
        if slot is None:
            return create_slot(self._catalog, self._address, self.slot)
        assert slot.confirmed_lsn is not None  # check_slot
        text = f"slot {self.slot} was there already: reading from where it stands, {lsn_text(slot.confirmed_lsn)}"
        self._notices.append(Notice("slot_reused", text, slot.confirmed_lsn))
        return slot.confirmed_lsn
