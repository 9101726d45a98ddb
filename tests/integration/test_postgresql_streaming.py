"""Transactions that PostgreSQL streams while they are open, and prepared ones, against a real server."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cdc.model import LogPart, Position
from cdc.readers import ReaderOptions
from cdc.readers.postgresql_reader import PostgreSQLReader
from tests.postgresql_logs import Log
from tests.waiting import await_that

SPILLING = ReaderOptions(spill_after=50_000)


@pytest.fixture
def log(log: Log) -> Log:
    """A database whose walsenders stream what is larger than 64 kB."""
    log.execute(f"ALTER DATABASE {log.database.name} SET logical_decoding_work_mem = '64kB'")
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v text, w int)")
    log.execute("CREATE TABLE other (id int)")
    return log


def spilled(reader: PostgreSQLReader) -> int:
    assert reader._transactions is not None
    return reader._transactions.spilled_bytes


def shown(parts: list[LogPart]) -> list[object]:
    return [
        (part.order, part.first, part.end, part.last, part.committed_at, part.identity, part.transaction,
         part.resume.order if part.last else None, [(row.op, row.index, row.before, row.after) for row in part.rows])
        for part in parts
    ]  # fmt: skip


def fill(start: int, count: int) -> str:
    return f"INSERT INTO t SELECT n, repeat('x', 100), 0 FROM generate_series({start}, {start + count - 1}) n"


def a_large_transaction(session: psycopg.Connection[object]) -> None:
    """Of two tables, with rolled back, nested and kept savepoints, and an ALTER in one that is rolled back."""
    statements = [
        fill(1, 1500), "SAVEPOINT a", fill(5000, 1200), "INSERT INTO other SELECT generate_series(1, 700)", "ROLLBACK TO a",
        "INSERT INTO other SELECT generate_series(1, 300)",
        "SAVEPOINT b", fill(2000, 1000), "SAVEPOINT c", fill(6000, 1100), "ROLLBACK TO c", "RELEASE b",
        "SAVEPOINT d", "ALTER TABLE t DROP COLUMN w", "INSERT INTO t SELECT n, repeat('y', 100) FROM generate_series(9000, 9900) n",
        "ROLLBACK TO d", "UPDATE t SET w = id WHERE id < 1000", fill(3000, 5), "DELETE FROM t WHERE id < 500",
    ]  # fmt: skip
    for statement in statements:
        session.execute(statement.encode())


def read_again(log: Log, position: Position, *, streaming: bool) -> list[LogPart]:
    reader = log.reader({"t": "id v w"}, part_rows=700, options=ReaderOptions(streaming=streaming, spill_after=50_000))
    reader.open(position)
    parts = log.read_to_end(reader)
    reader.close()
    log.free(reader)
    return parts


def test_a_transaction_streamed_while_open_has_the_parts_and_row_numbers_of_one_that_was_not(log: Log) -> None:
    reader = log.reader({"t": "id v w"}, part_rows=700, options=SPILLING)
    log.execute(f"ALTER PUBLICATION {reader.slot} ADD TABLE other")  # its rows count, though nobody wants them
    start = reader.open(None)
    with log.database.connect() as other:
        other.execute("BEGIN")
        a_large_transaction(other)
        log.execute("INSERT INTO t VALUES (-1, 'meanwhile', 0)")
        between = log.read_until(reader, lambda parts: bool(parts) and spilled(reader) > 0)
        assert [row.after for part in between for row in part.rows] == [(-1, "meanwhile", 0)]
        other.execute("COMMIT")
    streamed = [*between, *log.read_to_end(reader)]
    assert spilled(reader) == 0
    reader.close()
    log.free(reader)
    plain = read_again(log, start, streaming=False)
    assert shown(streamed) == shown(plain)
    log.execute(f"ALTER DATABASE {log.database.name} SET logical_decoding_work_mem = '64MB'")
    assert shown(read_again(log, start, streaming=True)) == shown(plain)
    rows = [row for part in plain if part.order == plain[-1].order for row in part.rows]
    assert [len([row for row in rows if row.op == op]) for op in ("insert", "update", "delete")] == [2505, 999, 499]
    assert plain[-1].end == 2505 + 999 + 499 + 300


def test_a_streamed_transaction_that_is_rolled_back_leaves_nothing(log: Log) -> None:
    reader = log.opened({"t": "id v w"}, options=SPILLING)
    with log.database.connect() as other:
        other.execute("BEGIN")
        a_large_transaction(other)
        log.execute("INSERT INTO t VALUES (-1, 'x', 0)")
        log.read_until(reader, lambda parts: bool(parts) and spilled(reader) > 0)
        other.execute("ROLLBACK")
    assert [part for part in log.read_to_end(reader) if part.rows] == []
    await_that(lambda: reader.read(0.1) and not spilled(reader), message="the file to be given up")


def test_a_reader_killed_within_a_streamed_transaction_reads_it_again_from_its_beginning(log: Log) -> None:
    reader = log.opened({"t": "id v w"}, options=SPILLING)
    with log.database.connect() as other:
        other.execute("BEGIN")
        other.execute(fill(1, 3000).encode())
        log.execute("INSERT INTO t VALUES (-1, 'x', 0)")
        first = log.read_until(reader, lambda parts: bool(parts) and spilled(reader) > 0)
        resume = first[-1].resume
        reader.confirm(resume)  # the server may forget what lies before, yet not the open transaction
        await_that(lambda: log.confirmed(reader) == resume.order, message="the slot to move")
        reader._end_stream()
        log.free(reader)
        reader.open(resume)
        other.execute(fill(5000, 1000).encode())
        other.execute("COMMIT")
    parts = log.read_to_end(reader)
    assert [row.index for part in parts for row in part.rows] == list(range(4000))


@pytest.mark.parametrize("rows", [3, 3000], ids=["small", "streamed"])
def test_a_prepared_transaction_comes_once_at_its_commit_whatever_restarts_in_between(log: Log, rows: int) -> None:
    reader = log.opened({"t": "id v w"}, options=SPILLING)
    name = log.database.name
    log.transaction(fill(1, rows), f"PREPARE TRANSACTION '{name}'")
    log.transaction(fill(10_000, rows), f"PREPARE TRANSACTION '{name}-dropped'")
    log.execute("INSERT INTO t VALUES (-1, 'x', 0)")
    (meanwhile,) = log.read_to_end(reader)
    assert [row.after for row in meanwhile.rows] == [(-1, "x", 0)]
    reader.confirm(meanwhile.resume)
    await_that(lambda: log.confirmed(reader) == meanwhile.resume.order, message="the slot to move")
    reader._end_stream()
    log.free(reader)
    reader.open(meanwhile.resume)
    log.execute(f"COMMIT PREPARED '{name}'")
    log.execute(f"ROLLBACK PREPARED '{name}-dropped'")
    log.execute("INSERT INTO t VALUES (-2, 'x', 0)")
    *prepared, after = log.read_to_end(reader)
    assert [row.index for part in prepared for row in part.rows] == list(range(rows))
    assert len({part.order for part in prepared}) == 1
    assert meanwhile.order < prepared[0].order < after.order
    assert [row.after for row in after.rows] == [(-2, "x", 0)]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "after its commit"])
def test_a_transaction_of_a_million_rows_is_read_within_300_mb(log: Log, streaming: bool) -> None:
    log.execute(f"ALTER DATABASE {log.database.name} SET logical_decoding_work_mem = '64MB'")
    log.execute(f"ALTER DATABASE {log.database.name} SET wal_sender_timeout = '5s'")
    reader = log.opened({"t": "id v w"}, options=ReaderOptions(streaming=streaming))
    log.execute("INSERT INTO t SELECT n, repeat('x', 170), n FROM generate_series(1, 1000000) n")
    rows = peak = 0
    while rows < 1_000_000:
        parts = reader.read(0.2).parts
        rows += sum(len(part.rows) for part in parts)
        assert not parts or parts[-1].rows[-1].index == rows - 1
        peak = max(peak, int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    assert peak < 300 << 20
    log.execute(f"ALTER DATABASE {log.database.name} RESET wal_sender_timeout")
