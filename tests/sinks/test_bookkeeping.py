"""What a transaction says of itself: progress, lease, token, parked rows; with our tables and without them."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from sinks.contract import (
    Fenced,
    Progress,
    ProgressMove,
    Sink,
)
from tests.servers import MySQLDatabase
from tests.sinks.targets import DEPLOYMENT, TARGET, Lease, Target, insert, items, parked_row, rows, update
from tests.waiting import await_that


def test_progress_is_what_the_last_committed_transaction_made_it(target: Target) -> None:
    table = items(target)
    sink, lease = target.ready()
    assert sink.progress(DEPLOYMENT) == {}
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    lease.apply([update(table, 1, quantity=2)])
    assert sink.progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}
    lease.begin()
    sink.rollback()
    sink.rollback()
    assert sink.progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}
    assert target.sink().progress(DEPLOYMENT) == {"website": Progress(2, 1, True, 20)}


def test_the_record_of_a_transaction_carries_its_token_and_row_count(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    header, _ = lease.begin(7)
    lease.sink.write([insert(table, id=1, name="a", quantity=1)])
    lease.commit(header)
    found = target.execute("SELECT token, row_count, epoch FROM datong_progress WHERE source = 'website'")
    assert found == [(header.token, 7, lease.epoch)]


def test_a_transaction_without_moves_marks_the_lease_line(target: Target) -> None:
    sink, lease = target.ready()
    header = dataclasses.replace(lease.header(3), moves=())
    sink.begin(header)
    sink.commit()
    assert target.execute("SELECT token, row_count FROM datong_progress WHERE source = ''") == [(header.token, 3)]
    sink.rollback()
    with pytest.raises(Fenced):
        sink.begin(dataclasses.replace(header, epoch=lease.epoch - 1, rows=0))


def test_a_writer_is_fenced_once_another_has_taken_over(target: Target) -> None:
    table = items(target)
    first, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    second, newer = target.ready()
    assert newer.epoch == lease.epoch + 1
    with pytest.raises(Fenced):
        lease.begin(0)
    with pytest.raises(Fenced):  # a first line checks the lease too
        move = ProgressMove("miniapp", None, Progress(1, 1, True, 1))
        first.begin(dataclasses.replace(lease.header(0), moves=(move,)))
    newer.known = second.progress(DEPLOYMENT)["website"]
    newer.apply([update(table, 1, name="b")])
    assert rows(target) == [(1, "b", 1)]


def test_a_line_that_moved_meanwhile_or_exists_already_fences(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    with pytest.raises(Fenced):
        stale.begin(0)
    with pytest.raises(Fenced):
        dataclasses.replace(lease, known=None).begin(0)
    lease.apply([update(table, 1, quantity=2)])


def test_what_a_fenced_writer_sent_along_is_never_written(target: Target) -> None:
    """The compare-and-set may go in one packet with the first rows: they are gone with it, and nothing can be written after them."""
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    for known in (Progress(0, 1, True, 0), None):
        stale = dataclasses.replace(lease, known=known)
        with pytest.raises(Fenced):
            stale.apply([insert(table, id=2, name="b", quantity=2), update(table, 1, name="b")])
        with pytest.raises((RuntimeError, Fenced)):
            sink.write([insert(table, id=3, name="c", quantity=3)])
        with pytest.raises((RuntimeError, Fenced)):
            sink.commit()
        sink.rollback()
        assert rows(target) == [(1, "a", 1)]
    lease.apply([update(table, 1, quantity=2)])
    assert rows(target) == [(1, "a", 2)]


def test_a_transaction_to_which_nothing_was_written_still_moves_progress(target: Target) -> None:
    sink, lease = target.ready()
    for wanted in (0, 5):
        header, _ = lease.begin(wanted)
        lease.commit(header)
        assert sink.progress(DEPLOYMENT) == {"website": lease.known}
    stale = dataclasses.replace(lease, known=Progress(0, 1, True, 0))
    with pytest.raises(Fenced):
        header, _ = stale.begin(5)
        sink.commit()
    sink.rollback()
    assert sink.progress(DEPLOYMENT) == {"website": lease.known}


def test_concurrent_first_takeovers_get_different_epochs(server_target: Target) -> None:
    target = server_target
    target.sink().prepare()
    contenders = [target.sink(lock_timeout_seconds=20.0) for _ in range(6)]
    epochs: list[int] = []
    threads = [
        threading.Thread(target=lambda sink=sink: epochs.append(sink.take_over(DEPLOYMENT, TARGET)))
        for sink in contenders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == [1, 2, 3, 4, 5, 6]


def test_reading_progress_waits_for_a_transaction_that_is_still_open(server_target: Target) -> None:
    target = server_target
    items(target)
    sink, lease = target.ready()
    header, _ = lease.begin(0)
    other = target.sink(lock_timeout_seconds=20.0)
    answers: list[dict[str, Progress]] = []
    reader = threading.Thread(target=lambda: answers.append(other.progress(DEPLOYMENT)))
    reader.start()
    target.await_a_lock_wait()
    lease.commit(header)
    reader.join(60)
    assert answers == [{"website": Progress(1, 1, True, 10)}]
    assert sink.progress(DEPLOYMENT) == answers[0]


def test_the_identity_of_a_transaction_is_what_its_engine_says(target: Target) -> None:
    items(target)
    sink, lease = target.ready()
    identities = []
    for number in range(3):
        header, identity = lease.begin()
        if number == 1:
            sink.rollback()
            header, identity = lease.begin()
        identities.append((header, identity()))
        lease.commit(header)
    if target.engine in ("mariadb", "sqlite"):
        assert all(identity == header.token for header, identity in identities)
    elif target.engine == "mysql":
        threads, ordinals = zip(*(identity.split("/") for _, identity in identities), strict=True)
        assert (len(set(threads)), ordinals) == (1, ("1", "2", "3"))
    else:
        assert all(sink.committed(identity) for _, identity in identities)
        assert len({identity for _, identity in identities}) == 3


def test_mariadb_shows_the_token_in_the_annotation_of_the_first_statement(mariadb_db: MySQLDatabase) -> None:
    target = Target("mariadb", mariadb_db)
    table = items(target)
    _, lease = target.ready()
    since = log_end(mariadb_db)
    header, _ = lease.begin()
    lease.sink.write([insert(table, id=1, name="a", quantity=1)])
    lease.commit(header)
    assert f"/*datong:{header.token}*/" in annotated(mariadb_db, since)
    target.opened[0].close()


def log_end(database: MySQLDatabase) -> tuple[str, int]:
    """The binlog's file and the offset of its end. What lies before is other tests', of which an event may be too large to be shown."""
    ((file, offset, *_), *_) = database.execute("SHOW MASTER STATUS")
    return str(file), int(str(offset))


def annotated(database: MySQLDatabase, since: tuple[str, int]) -> str:
    """The text of all annotate events from there on."""
    file, offset = since
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW BINLOG EVENTS IN '{file}' FROM {offset}")
        return "\n".join(str(row[5]) for row in cursor.fetchall() if row[2] == "Annotate_rows")


def test_parked_rows_come_and_go_with_their_transaction(target: Target) -> None:
    sink, lease = target.ready()
    header, _ = lease.begin()
    sink.park([parked_row(2), parked_row(1)])
    sink.rollback()
    assert sink.parked(DEPLOYMENT) == []
    header, _ = lease.begin()
    sink.park([parked_row(10), parked_row(2), parked_row(1)])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [parked_row(1), parked_row(2), parked_row(10)]
    header, _ = lease.begin()
    sink.park([parked_row(1, reason="waiting")])
    sink.unpark([parked_row(2).id, "nobody"])
    lease.commit(header)
    assert sink.parked(DEPLOYMENT) == [parked_row(1, reason="waiting"), parked_row(10)]
    assert sink.parked("another") == []


def test_prepare_creates_what_is_missing_once(target: Target) -> None:
    sink = target.sink()
    statements = sink.prepare()
    assert len([one for one in statements if one.startswith("CREATE TABLE")]) == 2
    assert sink.prepare() == []
    if target.postgresql:
        assert target.execute("SELECT relreplident::text FROM pg_class WHERE relname = 'datong_parked'") == [("f",)]


def test_capture_and_apply_that_prepare_in_the_same_moment_both_find_the_tables(server_target: Target) -> None:
    target = server_target
    together = 4
    for _ in range(5):
        target.execute("DROP TABLE IF EXISTS datong_progress, datong_parked")
        sinks = [target.sink(lock_timeout_seconds=20.0) for _ in range(together)]
        start = threading.Barrier(together)

        def prepare(sink: Sink, start: threading.Barrier = start) -> list[str]:
            start.wait()
            return sink.prepare()

        with ThreadPoolExecutor(together) as pool:
            answers = list(pool.map(prepare, sinks))
        assert any(answers)
        for sink in sinks:
            assert sink.prepare() == []
            sink.close()


def test_without_bookkeeping_nothing_is_created(target: Target) -> None:
    table = items(target)
    sink = target.sink(bookkeeping="none")
    assert sink.prepare() == []
    assert sink.progress(DEPLOYMENT) == {}
    assert sink.parked(DEPLOYMENT) == []
    with pytest.raises(ValueError, match="hub store"):
        sink.take_over(DEPLOYMENT, TARGET)
    lease = Lease(sink, 0)
    identities = []
    for number in (1, 2, 2, 3):
        header, identity = lease.begin()
        with pytest.raises(ValueError, match="hub store"):
            sink.park([parked_row(1)])
        sink.write([insert(table, id=number, name="a", quantity=1)])
        identities.append(identity())
        lease.commit(header)
    assert len(rows(target)) == 3
    assert len(set(identities)) == 4
    if target.engine == "mysql":  # the third changed nothing, which no log shows: the count starts anew
        assert [identity.split("/")[1] for identity in identities] == ["1", "2", "3", "1"]
    if target.engine == "sqlite":
        assert target.execute("SELECT name FROM sqlite_master WHERE type = 'table'") == [("items",)]
        return
    listed = "SELECT count(*) FROM information_schema.tables WHERE table_name LIKE 'datong%%' AND table_schema ="
    assert target.execute(
        f"{listed} {'current_schema()' if target.postgresql else 'DATABASE()'}".replace("%%", "%")
    ) == [(0,)]


def test_without_bookkeeping_mariadb_carries_the_record_in_a_comment(mariadb_db: MySQLDatabase) -> None:
    target = Target("mariadb", mariadb_db)
    table = items(target)
    sink = target.sink(bookkeeping="none")
    lease = Lease(sink, 4)
    since = log_end(mariadb_db)
    header, _ = lease.begin()
    sink.write([insert(table, id=1, name="a", quantity=1)])
    sink.write([update(table, 1, name="b")])
    lease.commit(header)
    sink.close()
    assert annotated(mariadb_db, since).count(header.token) == 2


def test_the_servers_identity_is_stable_and_its_restart_shows(server_target: Target) -> None:
    target = server_target
    first = target.sink().connect()
    assert all(target.sink().connect() == first for _ in range(3))
    if not target.postgresql:  # its incarnation is the second in which it started
        await_that(lambda: int(target.execute("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1]) >= 2, message="another second")
    target.server.restart()
    again = target.sink().connect()
    assert (again.server, again.version) == (first.server, first.version)
    assert again.incarnation != first.incarnation
