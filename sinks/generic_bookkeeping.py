"""Our tables in a database that SQLAlchemy Core writes: the lease, progress by compare-and-set, parked changes. Guards I1 and I2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from sinks.bookkeeping import (
    LEASE_SOURCE,
    LEASE_TOKEN,
    PARKED_COLUMNS,
    PARKED_TABLE,
    PROGRESS_COLUMNS,
    PROGRESS_TABLE,
    error_text,
    fenced,
    with_error_text,
)
from sinks.connections import Address
from sinks.contract import ParkedRow, Progress, ProgressMove, SinkError, SinkOptions, TransactionHeader
from sinks.generic_session import GenericSession

_METADATA: Final = sa.MetaData()
_NUMBERS: Final = frozenset({"position", "row_end", "complete", "hlc", "epoch", "row_count", "row_index", "since"})
_LONG: Final = frozenset({"key_text", "error"})


def _type(name: str) -> sa.types.TypeEngine[Any]:
    if name in _NUMBERS:
        return sa.BigInteger()
    return sa.LargeBinary() if name == "change_data" else sa.Text() if name in _LONG else sa.String(255)


def _table(name: str, columns: Sequence[str], key: int) -> sa.Table:
    return sa.Table(
        name, _METADATA,
        *(sa.Column(column, _type(column), primary_key=number < key, nullable=False, autoincrement=False)
          for number, column in enumerate(columns)),
    )  # fmt: skip


_PROGRESS: Final = _table(PROGRESS_TABLE, PROGRESS_COLUMNS, 3)
_PARKED: Final = _table(PARKED_TABLE, PARKED_COLUMNS, 3)
_P: Final = _PROGRESS.c
_K: Final = _PARKED.c
_PARKED_READ: Final = PARKED_COLUMNS[2:]


def prepare(session: GenericSession) -> list[str]:
    """Create what is missing; answer the statements that were run."""
    with session.sorted("creating our tables"):
        there = set(sa.inspect(session.connection).get_table_names())
    made = []
    for table in (_PROGRESS, _PARKED):
        if table.name not in there:
            session.run(sa.schema.CreateTable(table, if_not_exists=True), "creating our tables")
            made.append(f"CREATE TABLE {table.name}")
    return made


def take_over(session: GenericSession, deployment: str, target: str) -> int:
    """Raise the epoch of all lines in one transaction; the lease line is made if it is not there."""
    where = "taking the lease"
    session.plain("BEGIN IMMEDIATE", where)
    try:
        mine = sa.and_(_P.deployment == deployment, _P.target == target)
        lease = sa.select(_P.epoch).where(mine, _P.source == LEASE_SOURCE)
        row = session.run(lease, where).first()
        epoch = 1 if row is None else int(row[0]) + 1
        if row is None:
            line = dict.fromkeys(PROGRESS_COLUMNS, 0) | {
                "deployment": deployment, "target": target, "source": LEASE_SOURCE, "complete": 1, "epoch": 1, "token": LEASE_TOKEN,
            }  # fmt: skip
            session.run(_PROGRESS.insert(), where, [line])
        session.run(_PROGRESS.update().where(mine).values(epoch=epoch, token=LEASE_TOKEN, row_count=0), where)
        session.plain("COMMIT", where)
    except SinkError:
        rollback(session)
        raise
    return epoch


def progress(session: GenericSession, deployment: str, target: str | None) -> dict[str, Progress]:
    """All lines of this deployment, waiting for a transaction of another session that writes."""
    where = "reading progress"
    session.plain("BEGIN IMMEDIATE", where)
    try:
        query = sa.select(_P.source, _P.position, _P.row_end, _P.complete, _P.hlc).where(
            _P.deployment == deployment, _P.source != LEASE_SOURCE, _P.target == target if target else sa.true()
        )
        rows: Sequence[Any] = session.run(query, where).all()
    finally:
        rollback(session)
    return {source: Progress(order, end, bool(complete), hlc) for source, order, end, complete, hlc in rows}


def begin(session: GenericSession, header: TransactionHeader) -> None:
    """BEGIN and the compare-and-set of every line. Raises Fenced where one is not as it was known."""
    where = "moving progress"
    session.plain("BEGIN IMMEDIATE", where)
    try:
        moved = [_move(session, header, move) for move in header.moves] or [_touch_lease(session, header)]
        if not all(moved):
            raise fenced(header.target)
    except SinkError:
        rollback(session)
        raise


def _mine(header: TransactionHeader, source: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        _P.deployment == header.deployment, _P.target == header.target, _P.source == source, _P.epoch == header.epoch
    )


def _move(session: GenericSession, header: TransactionHeader, move: ProgressMove) -> bool:
    where, now, known = "moving progress", move.now, move.known
    values = {
        "position": now.order, "row_end": now.end, "complete": int(now.complete), "hlc": now.hlc, "token": header.token,
        "row_count": header.rows,
    }  # fmt: skip
    if known is not None:
        last = sa.and_(_P.position == known.order, _P.row_end == known.end, _P.complete == int(known.complete))
        return (
            session.run(_PROGRESS.update().where(_mine(header, move.source), last).values(**values), where).rowcount
            == 1
        )
    lease = session.run(sa.select(_P.epoch).where(_mine(header, LEASE_SOURCE)), where).first()
    there = sa.select(_P.epoch).where(
        _P.deployment == header.deployment, _P.target == header.target, _P.source == move.source
    )
    if lease is None or session.run(there, where).first() is not None:
        return False
    line = {"deployment": header.deployment, "target": header.target, "source": move.source, "epoch": header.epoch}
    session.run(_PROGRESS.insert(), where, [line | values])
    return True


def _touch_lease(session: GenericSession, header: TransactionHeader) -> bool:
    update = _PROGRESS.update().where(_mine(header, LEASE_SOURCE)).values(token=header.token, row_count=header.rows)
    return session.run(update, "marking the lease").rowcount == 1


def park(session: GenericSession, header: TransactionHeader, rows: Sequence[ParkedRow]) -> None:
    """Insert parked rows, or replace them by the same id."""
    unpark(session, header, [row.id for row in rows])
    values = [
        dict(zip(PARKED_COLUMNS, (
            row.deployment, header.target, row.id, row.source, row.order, row.index, row.mapping, row.entity, row.key_text,
            row.reason, error_text(row), row.since, row.change,
        ), strict=True))
        for row in rows
    ]  # fmt: skip
    session.run(_PARKED.insert(), "parking changes", values)


def unpark(session: GenericSession, header: TransactionHeader, ids: Sequence[str]) -> None:
    mine = sa.and_(_K.deployment == header.deployment, _K.target == header.target, _K.id == sa.bindparam("one"))
    session.run(_PARKED.delete().where(mine), "releasing parked changes", [{"one": one} for one in ids])


def parked(session: GenericSession, deployment: str, target: str | None) -> list[ParkedRow]:
    """All parked rows, in the order (source, order, index)."""
    query = (
        sa.select(*(_K[name] for name in _PARKED_READ))
        .where(_K.deployment == deployment, _K.target == target if target else sa.true())
        .order_by(_K.source, _K.position, _K.row_index)
    )
    found = session.run(query, "reading parked changes").all()
    return [with_error_text(ParkedRow(row[0], deployment, *tuple(row)[1:])) for row in found]


def remove(address: Address, deployment: str) -> Iterator[str]:
    """Take this deployment's lines out, and tables that are empty then; say what was removed. Raises SinkError."""
    session = GenericSession(address, SinkOptions())
    try:
        with session.sorted("looking for our tables"):
            there = set(sa.inspect(session.connection).get_table_names())
        for table in (_PROGRESS, _PARKED):
            if table.name not in there:
                continue
            session.run(table.delete().where(table.c.deployment == deployment), "removing our lines")
            if session.run(sa.select(table.c.deployment).limit(1), "removing our lines").first() is not None:
                yield f"lines of {deployment} removed from {table.name}, which another deployment uses"
                continue
            session.run(sa.schema.DropTable(table), "removing our tables")
            yield f"table {table.name} dropped"
    finally:
        session.close()


def forget_source(address: Address, deployment: str, target: str, source: str) -> None:
    """Take a removed channel's line out of this target's progress. Raises SinkError."""
    session = GenericSession(address, SinkOptions())
    try:
        with session.sorted("looking for our tables"):
            there = sa.inspect(session.connection).has_table(PROGRESS_TABLE)
        if there:
            line = sa.and_(_P.deployment == deployment, _P.target == target, _P.source == source)
            session.run(_PROGRESS.delete().where(line), "forgetting a source")
    finally:
        session.close()


def rollback(session: GenericSession) -> None:
    """End the transaction if one is open; a session that cannot is closed."""
    driver: Any = session.connection.connection.driver_connection if not session.closed else None
    if driver is None or not driver.in_transaction:
        return
    try:
        session.plain("ROLLBACK", "rolling back")
    except SinkError:
        session.close()
