"""Our tables in a PostgreSQL target: the lease, progress by compare-and-set, parked changes. Guards I1 and I2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sinks.bookkeeping import (
    CREATE_POSTGRESQL,
    LEASE_SOURCE,
    LEASE_TOKEN,
    MESSAGE_PREFIX,
    PARKED_COLUMNS,
    PARKED_TABLE,
    PROGRESS_COLUMNS,
    PROGRESS_TABLE,
    error_text,
    fenced,
    in_lock_order,
    record_text,
    with_error_text,
)
from sinks.contract import Halt, ParkedRow, Progress, ProgressMove, SinkError, TransactionHeader
from sinks.openings import Opening
from sinks.postgresql_session import Answer, PostgreSQLSession, Query

_PROGRESS: Final = f"public.{PROGRESS_TABLE}"
_PARKED: Final = f"public.{PARKED_TABLE}"
_XID: Final = "pg_current_xact_id()::text::int8"

_TAKE_LEASE: Final = f"""INSERT INTO {_PROGRESS} AS t ({", ".join(PROGRESS_COLUMNS)})
VALUES ($1, $2, '{LEASE_SOURCE}', 0, 0, 1, 0, 1, '{LEASE_TOKEN}', 0)
ON CONFLICT (deployment, target, source) DO UPDATE SET epoch = t.epoch + 1, token = '{LEASE_TOKEN}', row_count = 0 RETURNING t.epoch"""
_RAISE_EPOCH: Final = f"""UPDATE {_PROGRESS} SET epoch = $3::int8, token = '{LEASE_TOKEN}', row_count = 0
WHERE deployment = $1 AND target = $2 AND source <> '{LEASE_SOURCE}'"""
_LOCK_LINES: Final = f"""SELECT 1 FROM {_PROGRESS} WHERE deployment = $1 AND ($2::text IS NULL OR target = $2::text)
ORDER BY source FOR UPDATE"""
_READ_LINES: Final = f"""SELECT source, position, row_end, complete, hlc FROM {_PROGRESS}
WHERE deployment = $1 AND ($2::text IS NULL OR target = $2::text) AND source <> '{LEASE_SOURCE}'"""
_FIRST: Final = f"""INSERT INTO {_PROGRESS} ({", ".join(PROGRESS_COLUMNS)})
SELECT $1::text, $2::text, $3::text, $4::int8, $5::int8, $6::int2, $7::int8, $8::int8, $9::text, $10::int8 FROM {_PROGRESS}
WHERE deployment = $1::text AND target = $2::text AND source = '{LEASE_SOURCE}' AND epoch = $8::int8 FOR SHARE
ON CONFLICT DO NOTHING RETURNING {_XID}"""
_MOVE: Final = f"""UPDATE {_PROGRESS} SET position = $4::int8, row_end = $5::int8, complete = $6::int2, hlc = $7::int8,
  token = $9, row_count = $10::int8
WHERE deployment = $1 AND target = $2 AND source = $3 AND epoch = $8::int8
  AND position = $11::int8 AND row_end = $12::int8 AND complete = $13::int2 RETURNING {_XID}"""
_TOUCH_LEASE: Final = f"""UPDATE {_PROGRESS} SET token = $4, row_count = $5::int8
WHERE deployment = $1 AND target = $2 AND source = '{LEASE_SOURCE}' AND epoch = $3::int8 RETURNING {_XID}"""
_PARK: Final = f"""INSERT INTO {_PARKED} ({", ".join(PARKED_COLUMNS)})
VALUES ($1, $2, $3, $4, $5::int8, $6::int8, $7, $8, $9, $10, $11, $12::int8, $13)
ON CONFLICT (deployment, target, id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in PARKED_COLUMNS[3:])}"""
_UNPARK: Final = f"DELETE FROM {_PARKED} WHERE deployment = $1 AND target = $2 AND id = ANY($3::text[])"
_PARKED_ROWS: Final = f"""SELECT {", ".join(PARKED_COLUMNS[2:])} FROM {_PARKED}
WHERE deployment = $1 AND ($2::text IS NULL OR target = $2::text) ORDER BY source COLLATE "C", position, row_index, id COLLATE "C\""""
_ONE_AT_A_TIME: Final = f"SELECT pg_advisory_xact_lock(hashtextextended('{PROGRESS_TABLE}', 0))"
_STATE: Final = """SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL,
  coalesce((SELECT relreplident::text = 'f' FROM pg_class WHERE oid = to_regclass($2)), false)"""


def prepare(session: PostgreSQLSession) -> list[str]:
    """Create what is missing; answer the statements that were run. Raises Halt with all that are needed."""
    missing = _missing(session)
    if not missing:
        return []
    where = "creating our tables"
    try:
        # Capture and apply start in the same moment, and IF NOT EXISTS does not wait for another session's CREATE.
        session.run([Query("BEGIN", where), Query(_ONE_AT_A_TIME, where)])
        missing = _missing(session)
        session.run([*(Query(sql, where) for sql in missing), Query("COMMIT", where)])
    except Halt as error:
        rollback(session)
        raise Halt(str(error), error.code, mend="; ".join(missing)) from None
    except SinkError:
        rollback(session)
        raise
    return missing


def _missing(session: PostgreSQLSession) -> list[str]:
    there = session.ask(_STATE, _PROGRESS, _PARKED)[0]
    return [sql for sql, present in zip(CREATE_POSTGRESQL, there, strict=True) if not present]


def take_over(session: PostgreSQLSession, deployment: str, target: str) -> int:
    """Raise the epoch of the lease line and of all lines, in one transaction that waits for any writer's."""
    where = "taking over the lease"
    try:
        _, taken = session.run([Query("BEGIN", where), Query(_TAKE_LEASE, where, (deployment, target))])
        epoch = int(taken.rows[0][0])
        session.run([Query(_RAISE_EPOCH, where, (deployment, target, str(epoch))), Query("COMMIT", where)])
    except SinkError:
        rollback(session)
        raise
    return epoch


def progress(session: PostgreSQLSession, deployment: str, target: str | None) -> dict[str, Progress]:
    """All lines. They are locked first, so another session's open transaction is waited for (TRAPS.md W6), then read anew: a
    first line that it inserted is not among those that could be locked, but it held the lease line.
    """
    where = "reading progress"
    mine = (deployment, target)
    try:
        answers = session.run([
            Query("BEGIN", where), Query(_LOCK_LINES, where, mine), Query(_READ_LINES, where, mine), Query("COMMIT", where),
        ])  # fmt: skip
    except SinkError:
        rollback(session)
        raise
    return {source: Progress(order, end, bool(complete), hlc) for source, order, end, complete, hlc in answers[2].rows}


def begin(
    session: PostgreSQLSession, header: TransactionHeader, opened: Callable[[int], None], *, tables: bool
) -> None:
    """BEGIN and the compare-and-set of every line, in front of what the session sends next.

    That then raises Fenced where a line does not match, and what came after is rolled back with it; else `opened` gets the
    transaction's whole id. Without tables a logical message carries the record.
    """
    if not tables:
        where = "opening a transaction"
        message = f"SELECT {_XID}, pg_logical_emit_message(true, '{MESSAGE_PREFIX}', $1)"
        queries = [Query(message, where, (record_text(header),))]
    else:
        where = "moving progress"
        queries = [_move(header, move) for move in in_lock_order(header.moves)] or [_touch_lease(header)]

    def check(answers: Sequence[Answer], error: SinkError | None) -> None:
        if error is not None:
            raise error
        if not all(answer.affected for answer in answers[1:]):
            raise fenced(header.target)
        opened(answers[1].number)

    session.open_with(Opening((Query("BEGIN", where), *queries), check))


def park(session: PostgreSQLSession, header: TransactionHeader, rows: Sequence[ParkedRow]) -> None:
    """Insert parked rows, or replace them by the same id."""
    for start in range(0, len(rows), 100):
        session.run([Query(_PARK, "parking", _parked(header.target, row)) for row in rows[start : start + 100]])


def unpark(session: PostgreSQLSession, header: TransactionHeader, ids: Sequence[str]) -> None:
    session.run_one(Query(_UNPARK, "releasing parked changes", (header.deployment, header.target, list(ids))))


def parked(session: PostgreSQLSession, deployment: str, target: str | None) -> list[ParkedRow]:
    """All parked rows in order."""
    rows = session.run_one(Query(_PARKED_ROWS, "reading parked changes", (deployment, target))).rows
    return [with_error_text(ParkedRow(row[0], deployment, *row[1:])) for row in rows]


def rollback(session: PostgreSQLSession) -> None:
    """Roll back whole; a session that cannot say that it did is closed, which rolls back as well."""
    session.roll_back()


def _move(header: TransactionHeader, move: ProgressMove) -> Query:
    now = move.now
    parameters: tuple[str, ...] = (
        header.deployment, header.target, move.source, str(now.order), str(now.end), str(int(now.complete)), str(now.hlc),
        str(header.epoch), header.token, str(header.rows),
    )  # fmt: skip
    if move.known is None:
        return Query(_FIRST, "opening a progress line", parameters)
    known = move.known
    parameters += (str(known.order), str(known.end), str(int(known.complete)))
    return Query(_MOVE, "moving progress", parameters, prepared=True)


def _touch_lease(header: TransactionHeader) -> Query:
    parameters = (header.deployment, header.target, str(header.epoch), header.token, str(header.rows))
    return Query(_TOUCH_LEASE, "touching the lease line", parameters)


def _parked(target: str, row: ParkedRow) -> tuple[object, ...]:
    return (
        row.deployment, target, row.id, row.source, str(row.order), str(row.index), row.mapping, row.entity, row.key_text,
        row.reason, error_text(row), str(row.since), row.change,
    )  # fmt: skip
