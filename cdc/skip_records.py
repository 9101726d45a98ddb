"""Transactions that an operator leaves out, each at one target: asked for, being passed, done or refused. In the hub store, kept for good.

Guards I1: what is not written is on record - who wanted it, which transaction it was, how many changes of which mappings. No value is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa

from cdc import store_tables as tables
from cdc.hub_database import HubDatabase
from cdc.model import Order

State = Literal["requested", "skipping", "done", "refused"]


class SkipRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`skipping`: its rows are not written any more, whatever happens; `row_end`: up to which of its rows `changes` counts.

    `outcome` says why it was refused.
    """

    target: str
    source: str
    order: Order
    state: State
    who: str
    requested_at: float
    done_at: float = 0.0
    transaction: str = ""
    mappings: tuple[str, ...] = ()
    changes: int = 0
    row_end: int = 0
    outcome: str = ""


class SkipRecords:
    """One deployment's. Every method is one short transaction; raises TransientError."""

    def __init__(self, database: HubDatabase, deployment: str) -> None:
        self._database = database
        self._deployment = deployment

    def request(self, target: str, source: str, order: Order, who: str, transaction: str) -> SkipRecord:
        """Ask for one; answers the record that is there from then on, which may be an earlier one that is under way or done."""
        with self._database.transaction() as connection:
            row = connection.execute(self._select(target, source, order)).first()
            if row is not None and (there := _record(row)).state != "refused":
                return there
            asked = SkipRecord(
                target=target, source=source, order=order, state="requested", who=who, requested_at=time.time(),
                transaction=transaction,
            )  # fmt: skip
            self._save(connection, asked)
            return asked

    def keep(self, records: Sequence[SkipRecord]) -> None:
        with self._database.transaction() as connection:
            for record in records:
                self._save(connection, record)

    def settle(self, record: SkipRecord, *, what: str, after: str) -> None:
        """Keep one that is done or refused and its line of the audit trail: neither is ever there without the other."""
        subject, asked = f"{record.target} {record.source} {record.order}", f"asked for by {record.who}"
        with self._database.transaction() as connection:
            self._save(connection, record)
            connection.execute(
                tables.audit_line(self._deployment, f"apply {record.target}", what, subject, asked, after)
            )

    def all(self) -> list[SkipRecord]:
        """In the order in which they were asked for."""
        with self._database.transaction() as connection:
            query = self._select().order_by(tables.skips.c.requested_at)
            return [_record(row) for row in connection.execute(query)]

    def pending(self, target: str) -> list[SkipRecord]:
        with self._database.transaction() as connection:
            found = [_record(row) for row in connection.execute(self._select(target))]
        return [record for record in found if record.state in ("requested", "skipping")]

    def _select(self, target: str = "", source: str = "", order: Order | None = None) -> sa.Select[tuple[object, ...]]:
        columns = tables.skips.c
        query = sa.select(tables.skips).where(columns.deployment == self._deployment)
        query = query.where(columns.target == target) if target else query
        query = query.where(columns.source == source) if source else query
        return query if order is None else query.where(columns.order == order)

    def _save(self, connection: sa.Connection, record: SkipRecord) -> None:
        values = msgspec.structs.asdict(record) | {"mappings": ",".join(record.mappings)}
        self._database.upsert(connection, tables.skips, {"deployment": self._deployment, **values})


def _record(row: sa.Row[tuple[object, ...]]) -> SkipRecord:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    del values["deployment"]
    values["mappings"] = tuple(filter(None, str(values["mappings"]).split(",")))
    return SkipRecord(**values)
