"""A reader's second, plain connection: what the server says of itself, of our slot, and of types. Guards I7, I10.

It is kept, and reconnects once per question. It must never write. Anything that it raises is one of the engine's errors.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeVar

import psycopg

from cdc.errors import TransientError
from cdc.readers.pgoutput import lsn_number
from cdc.readers.postgresql_errors import connection_refused, translated
from cdc.readers.postgresql_patience import cut_off_after
from sinks.connections import Address, connect_postgresql

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0  # a server that has not answered a question of ours by then is out of reach

_SERVER: Final = """
SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(),
       (SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout')
"""
# The flush position, not the insert position: a walsender sends only what is flushed, and at a page's border the two
# differ by the next page's header, so a reader that has everything would never be seen to have it.
_HEAD: Final = """
SELECT pg_current_wal_flush_lsn()::text, s.restart_lsn::text, s.wal_status, s.active
FROM (SELECT) AS one LEFT JOIN pg_replication_slots s ON s.slot_name = %s
"""
_SLOT: Final = "SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = %s"
_TYPES: Final = """
WITH RECURSIVE chain(asked, oid, typmod, depth) AS (
    SELECT oid, oid, -1, 0 FROM pg_type WHERE oid = ANY(%s::oid[])
    UNION ALL
    SELECT c.asked, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE c.typmod END, depth + 1
    FROM chain c JOIN pg_type t ON t.oid = c.oid WHERE t.typtype = 'd')
SELECT DISTINCT ON (c.asked) c.asked, o.typname, o.typtype, b.typname, b.typtype, c.typmod,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder),
       (SELECT e.oid FROM pg_type e WHERE e.typarray = b.oid)
FROM chain c JOIN pg_type o ON o.oid = c.asked JOIN pg_type b ON b.oid = c.oid ORDER BY c.asked, depth DESC
"""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    version: int
    wal_level: str
    in_recovery: bool
    wal_sender_timeout_ms: int


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """A line of pg_replication_slots; `status` is wal_status, `reason` why it was invalidated, both empty where not known."""

    plugin: str
    database: str
    active_pid: int | None
    restart_lsn: int | None
    confirmed_lsn: int | None
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type; of a domain also the type under it, and the domain's own modifier.

    `kind` and `base_kind` as in pg_type.typtype (b, e, d, c, r, m), with `A` for an array, whose `element` it says.
    """

    name: str
    kind: str
    base_name: str
    base_kind: str
    modifier: int
    labels: tuple[str, ...]
    element: TypeFacts | None = None


@dataclass(frozen=True, slots=True)
class HeadFacts:
    flush_lsn: int
    restart_lsn: int | None
    restart_text: str
    status: str
    active: bool


class Catalog:
    """Not thread-safe but for `gone`, which the keep-alive thread asks."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: psycopg.Connection[Any] | None = None
        self._types: dict[int, TypeFacts] = {}
        self._lock = threading.Lock()

    def server(self) -> ServerFacts:
        row = self._one(_SERVER, (), "reading the server's settings")
        return ServerFacts(*row)

    def head(self, slot: str) -> HeadFacts:
        flush, restart, status, active = self._one(_HEAD, (slot,), "reading the log's end")
        return HeadFacts(
            lsn_number(flush),
            lsn_number(restart) if restart else None,
            restart or "nothing",
            status or "unknown",
            bool(active),
        )

    def slot(self, name: str) -> SlotFacts | None:
        rows = self.ask(lambda c: c.execute(_SLOT, (name,)).fetchall(), "reading the slot's state")
        if not rows:
            return None
        # As JSON, because the columns differ by version: invalidation_reason is of 17.
        line: dict[str, Any] = rows[0][0]
        reason = line.get("invalidation_reason") or ("conflicts with recovery" if line.get("conflicting") else "")
        restart, confirmed = line.get("restart_lsn"), line.get("confirmed_flush_lsn")
        return SlotFacts(
            plugin=line.get("plugin") or "none",
            database=line.get("database") or "none",
            active_pid=line.get("active_pid"),
            restart_lsn=lsn_number(restart) if restart else None,
            confirmed_lsn=lsn_number(confirmed) if confirmed else None,
            status=line.get("wal_status") or "",
            reason=reason,
        )

    def may_replicate(self) -> bool:
        row = self._one(
            "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user", (), "reading the role"
        )
        return bool(row[0])

    def types(self, oids: Collection[int]) -> dict[int, TypeFacts]:
        """What is known of these types; one that no longer exists is not among them, and is asked again next time."""
        missing = [oid for oid in set(oids) if oid not in self._types]
        if missing:
            self._read_types(missing)
        return {oid: self._types[oid] for oid in oids if oid in self._types}

    def forget_types(self) -> None:
        """After a reconnect or a change of a relation: labels of an enum may have come."""
        self._types.clear()

    def _read_types(self, oids: Iterable[int]) -> None:
        rows = self.ask(lambda c: c.execute(_TYPES, (list(oids),)).fetchall(), "reading types")
        # int2vector and oidvector are in the category of arrays and none: no type names them as its array.
        elements = self.types({element for *_, element in rows if element is not None})
        for oid, name, kind, base, base_kind, modifier, labels, element in rows:
            is_array = element is not None
            self._types[oid] = TypeFacts(
                name=name,
                kind="A" if is_array and kind == "b" else kind,
                base_name=base,
                base_kind="A" if is_array else base_kind,
                modifier=modifier,
                labels=tuple(labels),
                element=elements.get(element) if is_array else None,
            )

    def ask(
        self,
        question: Callable[[psycopg.Connection[Any]], T],
        doing: str,
        mend: str = "",
        patience: float = ANSWER_SECONDS,
    ) -> T:
        """Run `question`, at most `patience` seconds; once more on a new connection where the kept one was lost."""
        with self._lock:
            kept = self._connection is not None
            try:
                return self._run(question, doing, mend, patience)
            except TransientError:
                if not kept or self._connection is not None:
                    raise
                return self._run(question, doing, mend, patience)

    def gone(self) -> bool:
        """Whether the server ended this idle connection and takes no other: it is shutting down.

        A walsender outlives a fast shutdown until its consumer has confirmed everything, for ever if need be; so the
        stream has to be given up from here. Asked from the keep-alive thread; never waits for the worker's questions.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._connection is None or not self._ended(self._connection):
                return False
            self._drop()
            try:
                self._connect()
            except psycopg.Error:
                return True
            return False
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _one(self, statement: LiteralString, parameters: tuple[object, ...], doing: str) -> tuple[Any, ...]:
        def question(connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
            row: tuple[Any, ...] | None = connection.execute(statement, parameters).fetchone()
            if row is None:
                raise TransientError(f"{doing} on {self._address}: the server answered nothing")
            return row

        return self.ask(question, doing)

    def _run(self, question: Callable[[psycopg.Connection[Any]], T], doing: str, mend: str, patience: float) -> T:
        try:
            connection = self._connection or self._connect()
        except psycopg.Error as error:
            raise connection_refused(error, self._address) from None
        try:
            with cut_off_after(patience, connection.fileno()):
                return question(connection)
        except psycopg.Error as error:
            if connection.closed or connection.broken:
                self._drop()
            raise translated(error, self._address, doing, mend) from None

    def _connect(self) -> psycopg.Connection[Any]:
        self._connection = connect_postgresql(self._address)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @staticmethod
    def _ended(connection: psycopg.Connection[Any]) -> bool:
        try:
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            if poll.poll(0):
                connection.pgconn.consume_input()
        except psycopg.Error:
            return True
        return connection.pgconn.status != psycopg.pq.ConnStatus.OK
