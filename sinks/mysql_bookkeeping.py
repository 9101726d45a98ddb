"""Our tables in a MySQL or MariaDB target: the lease, progress by compare-and-set, parked changes. Guards I1 and I2."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Final

from sinks.bookkeeping import (
    CREATE_MYSQL,
    LEASE_SOURCE,
    LEASE_TOKEN,
    PARKED_COLUMNS,
    PARKED_TABLE,
    PROGRESS_COLUMNS,
    PROGRESS_TABLE,
    error_text,
    fenced,
    in_lock_order,
    with_error_text,
)
from sinks.contract import Fenced, Halt, ParkedRow, Progress, ProgressMove, Rejected, SinkError, TransactionHeader
from sinks.mysql_literals import quote_name, text_literal
from sinks.mysql_session import Answer, MySQLSession, Statement
from sinks.openings import Opening

_PROGRESS: Final = quote_name(PROGRESS_TABLE)
_PARKED: Final = quote_name(PARKED_TABLE)
_MOST_CHARACTERS: Final = 1 << 20
_PIECES_OF_A_PACKET: Final = 4  # in hexadecimal digits a change is twice as long
# Bytes, however large packets may be: we and the server hold several copies of a statement (I8).
_LARGEST_PIECE: Final = 16 << 20
_PIECE: Final = "~"  # in no id of a parked change; sorts after all that is


def prepare(session: MySQLSession) -> list[str]:
    """Create what is missing; answer the statements that were run. Raises Halt with all that are needed."""
    present = {str(name).lower() for (name,) in session.ask(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        f" AND TABLE_NAME IN ({text_literal(PROGRESS_TABLE)}, {text_literal(PARKED_TABLE)})"
    )}  # fmt: skip
    names = (PROGRESS_TABLE, PARKED_TABLE)
    missing = [sql for name, sql in zip(names, CREATE_MYSQL, strict=True) if name not in present]
    for sql in missing:
        try:
            session.run_one(Statement(sql, "creating our tables"))
        except Halt as error:
            raise Halt(str(error), error.code, mend="; ".join(missing)) from None
    return missing


def take_over(session: MySQLSession, deployment: str, target: str) -> int:
    """Raise the epoch of the lease line and of all lines, in one transaction that waits for any writer's."""
    mine = _mine(deployment, target)
    lease = f"({text_literal(deployment)}, {text_literal(target)}, {text_literal(LEASE_SOURCE)}, 0, 0, 1, 0, 1, '{LEASE_TOKEN}', 0)"
    where = "taking over the lease"
    with rolled_back_on_error(session):
        *_, answer = session.run([
            Statement("START TRANSACTION", where),
            Statement(
                f"INSERT INTO {_PROGRESS} ({_names(PROGRESS_COLUMNS)}) VALUES {lease}"
                f" ON DUPLICATE KEY UPDATE `epoch` = `epoch` + 1, `token` = '{LEASE_TOKEN}', `row_count` = 0",
                where,
            ),
            Statement(f"SELECT `epoch` FROM {_PROGRESS} WHERE {mine} AND `source` = {text_literal(LEASE_SOURCE)}", where),
        ])  # fmt: skip
        epoch = int(answer.rows[0][0])
        list(session.run([
            Statement(f"UPDATE {_PROGRESS} SET `epoch` = {epoch}, `token` = '{LEASE_TOKEN}', `row_count` = 0 WHERE {mine}", where),
            Statement("COMMIT", where),
        ]))  # fmt: skip
    return epoch


def progress(session: MySQLSession, deployment: str, target: str | None) -> dict[str, Progress]:
    """All lines, by a locking read: another session's open transaction is waited for (TRAPS.md W6)."""
    where = "reading progress"
    with rolled_back_on_error(session):
        _, answer, _ = session.run([
            Statement("START TRANSACTION", where),
            Statement(
                f"SELECT `source`, `position`, `row_end`, `complete`, `hlc` FROM {_PROGRESS}"
                f" WHERE {_mine(deployment, target)} FOR UPDATE",
                where,
            ),
            Statement("COMMIT", where),
        ])  # fmt: skip
    return {
        str(source): Progress(int(order), int(end), bool(complete), int(hlc))
        for source, order, end, complete, hlc in answer.rows
        if source != LEASE_SOURCE
    }


def begin(session: MySQLSession, header: TransactionHeader, comment: str) -> None:
    """The beginning of a transaction and the compare-and-set of every line, in front of what the session sends next.

    That then raises Fenced where a line does not match; what came after it in the packet is rolled back with it.
    """
    sqls = [_move(header, move) for move in in_lock_order(header.moves)] or [_touch_lease(header)]
    verb, rest = sqls[0].split(" ", 1)
    sqls[0] = f"{verb} {comment}{rest}"

    def check(answers: Sequence[Answer], error: SinkError | None) -> None:
        if error is not None:
            if isinstance(error, Rejected) and error.code == "1062":
                raise Fenced(f"progress in {header.target}: a line is there that was not known") from None
            raise error
        if any(answer.affected != 1 for answer in answers[-len(sqls) :]):
            raise fenced(header.target)

    session.open_with(Opening(tuple([Statement(sql, "moving progress") for sql in sqls]), check))


def park(session: MySQLSession, header: TransactionHeader, rows: Sequence[ParkedRow]) -> None:
    """Insert parked rows, or replace them by the same id.

    A change may be parked for its size: what one packet cannot take goes in several rows, whose ids are the row's own with the piece's number.
    """
    size = min(session.max_packet // _PIECES_OF_A_PACKET, _LARGEST_PIECE)
    _remove_pieces(session, header, [row.id for row in rows])
    literals = [
        _parked(header.target, row, ident, piece) for row in rows for ident, piece in _in_pieces(row, max(1, size))
    ]
    update = ", ".join(f"{quote_name(name)} = VALUES({quote_name(name)})" for name in PARKED_COLUMNS[3:])
    start = 0
    while start < len(literals):
        end, total = start, 0
        while end < len(literals) and (end == start or total + len(literals[end]) < _MOST_CHARACTERS):
            total += len(literals[end])
            end += 1
        session.run_one(
            Statement(
                f"INSERT INTO {_PARKED} ({_names(PARKED_COLUMNS)}) VALUES {','.join(literals[start:end])}"
                f" ON DUPLICATE KEY UPDATE {update}",
                "parking",
            )
        )
        start = end


def _in_pieces(row: ParkedRow, size: int) -> Iterator[tuple[str, bytes]]:
    yield row.id, row.change[:size]
    for number, place in enumerate(range(size, len(row.change), size), 1):
        yield f"{row.id}{_PIECE}{number:06d}", row.change[place : place + size]


def _remove_pieces(session: MySQLSession, header: TransactionHeader, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), 500):
        pieces = " OR ".join(
            f"`id` BETWEEN {text_literal(id_ + _PIECE)} AND {text_literal(id_ + 2 * _PIECE)}"
            for id_ in ids[start : start + 500]
        )
        mine = _mine(header.deployment, header.target)
        session.run_one(Statement(f"DELETE FROM {_PARKED} WHERE {mine} AND ({pieces})", "releasing parked changes"))


def unpark(session: MySQLSession, header: TransactionHeader, ids: Sequence[str]) -> None:
    _remove_pieces(session, header, ids)
    for start in range(0, len(ids), 500):
        some = ", ".join(text_literal(id_) for id_ in ids[start : start + 500])
        mine = _mine(header.deployment, header.target)
        session.run_one(
            Statement(f"DELETE FROM {_PARKED} WHERE {mine} AND `id` IN ({some})", "releasing parked changes")
        )


def parked(session: MySQLSession, deployment: str, target: str | None) -> list[ParkedRow]:
    """All parked rows in order."""
    names = [name for name in PARKED_COLUMNS if name != "deployment"]
    answer = session.run_one(
        Statement(
            f"SELECT {_names(names)} FROM {_PARKED} WHERE {_mine(deployment, target)}"
            " ORDER BY `source`, `position`, `row_index`, `id`",
            "reading parked changes",
        )
    )
    pieces: dict[tuple[str, str], list[bytes]] = {}
    for row in answer.rows:
        pieces.setdefault((str(row[0]), str(row[1]).partition(_PIECE)[0]), []).append(bytes(row[11]))
    return [
        with_error_text(ParkedRow(
            id=str(row[1]), deployment=deployment, source=row[2], order=row[3], index=row[4], mapping=row[5], entity=row[6],
            key_text=row[7], reason=row[8], error=row[9], since=row[10], change=b"".join(pieces[str(row[0]), str(row[1])]),
        ))
        for row in answer.rows
        if _PIECE not in str(row[1])
    ]  # fmt: skip


@contextlib.contextmanager
def rolled_back_on_error(session: MySQLSession) -> Iterator[None]:
    try:
        yield
    except SinkError:
        rollback(session)
        raise


def rollback(session: MySQLSession) -> None:
    """Roll back whole; a session that cannot say that it did is closed, which rolls back as well."""
    session.roll_back()


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(quote_name, columns))


@functools.lru_cache(64)
def _mine(deployment: str, target: str | None) -> str:
    condition = f"`deployment` = {text_literal(deployment)}"
    return condition if target is None else f"{condition} AND `target` = {text_literal(target)}"


def _move(header: TransactionHeader, move: ProgressMove) -> str:
    now, mine = move.now, _mine(header.deployment, header.target)
    token = text_literal(header.token)
    if move.known is None:
        line = (
            f"{text_literal(header.deployment)}, {text_literal(header.target)}, {text_literal(move.source)}, {now.order},"
            f" {now.end}, {int(now.complete)}, {now.hlc}, {header.epoch}, {token}, {header.rows}"
        )
        return (
            f"INSERT INTO {_PROGRESS} ({_names(PROGRESS_COLUMNS)}) SELECT {line} FROM {_PROGRESS} WHERE {mine}"
            f" AND `source` = {text_literal(LEASE_SOURCE)} AND `epoch` = {header.epoch} LOCK IN SHARE MODE"
        )
    known = move.known
    return (
        f"UPDATE {_PROGRESS} SET `position` = {now.order}, `row_end` = {now.end}, `complete` = {int(now.complete)},"
        f" `hlc` = {now.hlc}, `token` = {token}, `row_count` = {header.rows} WHERE {mine}"
        f" AND `source` = {text_literal(move.source)} AND `position` = {known.order} AND `row_end` = {known.end}"
        f" AND `complete` = {int(known.complete)} AND `epoch` = {header.epoch}"
    )


def _touch_lease(header: TransactionHeader) -> str:
    return (
        f"UPDATE {_PROGRESS} SET `token` = {text_literal(header.token)}, `row_count` = {header.rows}"
        f" WHERE {_mine(header.deployment, header.target)} AND `source` = {text_literal(LEASE_SOURCE)}"
        f" AND `epoch` = {header.epoch}"
    )


def _parked(target: str, row: ParkedRow, ident: str, change: bytes) -> str:
    texts = [text_literal(text) for text in (row.deployment, target, ident, row.source)]
    more = [text_literal(text) for text in (row.mapping, row.entity, row.key_text, row.reason, error_text(row))]
    return f"({', '.join(texts)}, {row.order}, {row.index}, {', '.join(more)}, {row.since}, X'{change.hex()}')"
