"""Transactions as the PostgreSQL reader gives them: whole, in commit order, and those of ours recognised."""

from __future__ import annotations

import time

import pytest

from cdc.faults import InjectedFaultError
from cdc.model import ParkedKey, ProgressRow
from cdc.readers import LogBatch, ReaderOptions
from sinks.bookkeeping import CREATE_POSTGRESQL, record_text
from sinks.contract import Progress, ProgressMove, TransactionHeader
from tests.postgresql_logs import Log, patient
from tests.waiting import await_that


def test_a_rolled_back_transaction_never_shows_and_others_come_in_commit_order(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    with log.database.connect() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (1)")
        log.transaction("INSERT INTO t VALUES (2)", "SAVEPOINT s", "INSERT INTO t VALUES (9)", "ROLLBACK TO s")
        other.execute("COMMIT")
        other.execute("BEGIN")
        other.execute("INSERT INTO t VALUES (3)")
        other.execute("ROLLBACK")
    parts = log.read_to_end(reader)
    assert [[row.after for row in part.rows] for part in parts] == [[(2,)], [(1,)]]
    assert parts[0].order < parts[0].resume.order <= parts[1].order


def test_identity_order_and_commit_time_are_those_of_the_database(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    with log.session.transaction():
        xid = log.one("SELECT pg_current_xact_id()::text::bigint %% 4294967296 WHERE %s", True)
        log.execute("INSERT INTO t VALUES (1)")
        before = time.time_ns() // 1000
    after = time.time_ns() // 1000
    (part,) = log.read_to_end(reader)
    assert part.identity == str(xid)
    assert before <= part.committed_at <= after
    assert part.transaction.startswith(f"{xid}/0/")


def test_a_big_transaction_comes_in_parts_and_again_from_its_beginning_after_a_kill(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    reader = log.opened({"t": "id v"}, part_rows=1000)
    log.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 10500) n")
    seen = log.read_until(reader, lambda parts: len(parts) >= 3)
    assert [(part.first, part.end, part.last) for part in seen[:2]] == [(0, 1000, False), (1000, 2000, False)]
    resume = seen[-1].resume
    reader._end_stream()  # as a kill does: nothing was confirmed, nothing is remembered
    log.free(reader)

    again = log.reader({"t": "id v"}, part_rows=3000)
    again.open(resume)
    parts = log.read_until(again, lambda parts: any(part.last for part in parts))
    assert [(part.first, part.end, part.last) for part in parts] == [
        (0, 3000, False), (3000, 6000, False), (6000, 9000, False), (9000, 10500, True),
    ]  # fmt: skip
    assert {part.order for part in parts} == {seen[0].order}
    assert [row.after for part in parts for row in part.rows] == [(n, "x") for n in range(1, 10501)]
    assert parts[-1].resume.order > parts[0].resume.order == resume.order


def test_a_reopened_reader_goes_on_after_the_last_transaction(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    for number in range(5):
        log.execute(f"INSERT INTO t VALUES ({number})")
    parts = log.read_to_end(reader)
    resume = parts[2].resume
    reader._end_stream()
    log.free(reader)
    assert reader.open(resume) == resume
    assert [row.after for row in log.rows(reader)] == [(3,), (4,)]


def test_other_tables_move_what_is_reached_and_an_idle_reader_is_caught_up(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int)")
    reader = patient(log.opened({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.4)))
    log.execute("INSERT INTO other SELECT generate_series(1, 1000)")
    head = reader.head()
    assert head.retained_bytes > 0
    assert head.oldest_kept.endswith("(reserved)")
    batches: list[LogBatch] = []
    await_that(lambda: batches.append(reader.read(0.2)) or batches[-1].reached.order >= head.order)  # type: ignore[func-returns-value]
    assert batches[-1].caught_up
    assert not any(batch.parts for batch in batches)


def test_fault_points_are_hit_inside_and_at_the_end_of_a_transaction(log: Log) -> None:
    hit: list[str] = []

    def probe(point: str) -> None:
        hit.append(point)
        if hit.count("reader.mid_tx") == 2:
            raise InjectedFaultError(point)

    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"}, options=ReaderOptions(probe=probe))
    log.transaction("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
    log.execute("INSERT INTO t VALUES (3)")
    with pytest.raises(InjectedFaultError):
        log.read_to_end(reader)
    assert hit == ["reader.mid_tx", "reader.after_event", "reader.mid_tx"]


def _progress_row(log: Log, source: str, token: str = "tok") -> str:
    return (
        f"INSERT INTO datong_progress VALUES ('{log.deployment}', 'c', '{source}', 50, 3, 1, 99, 7, '{token}', 2)"
        " ON CONFLICT (deployment, target, source) DO UPDATE SET token = excluded.token"
    )


def test_apply_transactions_of_ours_are_recognised_with_parked_keys(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    for statement in CREATE_POSTGRESQL:
        log.execute(statement)
    reader = log.opened({"t": "id"})
    parked = "INSERT INTO datong_parked VALUES ('{}', 'c', '{}', 's', 1, 0, 'm', 'order', 'order/[\"1\"]', 'r', 'e', 0, '\\x00')"
    log.transaction(
        _progress_row(log, ""), _progress_row(log, "web", "t1"), "INSERT INTO t VALUES (1), (2)",
        parked.format(log.deployment, "k1"), parked.format("other", "k2"),
    )  # fmt: skip
    log.transaction(_progress_row(log, "web", "t2"), "DELETE FROM datong_parked")
    log.execute("INSERT INTO t VALUES (3)")
    first, second, users = log.read_to_end(reader)
    assert first.record is not None
    assert second.record is not None
    assert (first.record.token, first.record.rows, first.record.epoch) == ("t1", 2, 7)
    assert first.record.progress == (ProgressRow("web", 50, 3, True, 99),)
    assert (first.rows, first.echo_rows) == ([], 2)
    assert first.parked == (ParkedKey("k1", "order", 'order/["1"]', True),)
    assert second.record.token == "t2"
    assert second.parked == (ParkedKey("k1", "order", 'order/["1"]', False),)
    assert (users.record, [row.after for row in users.rows]) == (None, [(3,)])


def test_a_logical_message_of_ours_marks_its_transaction(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.opened({"t": "id"})
    move = ProgressMove("web", None, Progress(50, 3, True, 99))
    text = record_text(TransactionHeader(log.deployment, "c", 7, "tok", 1, (move,)))
    with log.session.transaction():
        log.execute("SELECT pg_logical_emit_message(true, 'datong', %s)", text)
        log.execute("INSERT INTO t VALUES (1)")
    (part,) = log.read_to_end(reader)
    assert part.record is not None
    assert (part.record.token, part.echo_rows, part.rows) == ("tok", 1, [])
