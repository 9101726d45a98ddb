"""What is tried again, what never blindly, and what needs a person: locks, lost connections, passwords, privileges."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from sinks import open_sink
from sinks.contract import (
    Halt,
    Rejected,
    RowWrite,
    SinkOptions,
    Transient,
)
from tests.sinks.targets import DEPLOYMENT, TARGET, Lease, Target, delete, insert, items, rows, update
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that


def test_waiting_for_a_lock_is_transient_and_bounded(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    with closing(target.database.connect()) as blocker, closing(blocker.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE items SET quantity = 2 WHERE id = 1")
        lease.begin()
        started = time.monotonic()
        with pytest.raises(Transient) as caught:
            sink.write([update(table, 1, quantity=3)])
        assert time.monotonic() - started < 25  # the servers' own patience is 50 s, and for ever
        assert caught.value.code == ("55P03" if target.postgresql else "1205")
        sink.rollback()
        blocker.rollback()
    lease.apply([update(table, 1, quantity=4)])
    assert rows(target) == [(1, "a", 4)]


def test_a_row_deleted_and_made_again_while_we_wait_is_never_taken_for_missing(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready(lock_timeout_seconds=20.0)
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    outcomes: list[str] = []

    def write(change: RowWrite) -> None:
        try:
            sink.write([change])
            outcomes.append("written")
        except Transient:
            outcomes.append("again")

    for change, left in ((update(table, 1, name="ours"), [(1, "ours", 3)]), (delete(table, 1), [])):
        with closing(target.database.connect()) as blocker, closing(blocker.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM items WHERE id = 1")
            cursor.execute("INSERT INTO items VALUES (1, 'theirs', 3)")
            header, _ = lease.begin()
            writer = threading.Thread(target=write, args=(change,))
            writer.start()
            target.await_a_lock_wait()
            cursor.execute("COMMIT")
            writer.join(60)
        if outcomes[-1] == "again":
            sink.rollback()
            lease.apply([change])
        else:
            lease.commit(header)
        assert rows(target) == left
    if target.postgresql:
        assert outcomes == ["written", "written"]


def test_a_deadlock_is_transient(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready(lock_timeout_seconds=8.0)
    lease.apply([insert(table, id=1, name="a", quantity=1), insert(table, id=2, name="b", quantity=1)])
    outcomes: list[str] = []
    with closing(target.database.connect()) as other, closing(other.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("UPDATE items SET quantity = 20 WHERE id = 2")
        cursor.execute("UPDATE items SET name = 'z' WHERE id = 2")
        header, _ = lease.begin()
        sink.write([update(table, 1, quantity=10)])

        def cross() -> None:
            try:
                cursor.execute("UPDATE items SET quantity = 20 WHERE id = 1")
                outcomes.append("other")
            except Exception as error:  # noqa: BLE001 - either side may be the victim
                outcomes.append(type(error).__name__)

        crossing = threading.Thread(target=cross)
        crossing.start()
        try:
            sink.write([update(table, 2, quantity=10)])
            lease.commit(header)
        except Transient as error:
            assert error.code in ("40P01", "1213")
            sink.rollback()
        crossing.join(20)
        other.rollback()
    assert len(outcomes) == 1
    lease.apply([update(table, 1, quantity=99)])


TRANSIENT: dict[str, str] = {
    "postgresql": "40001 40P01 55P03 57014 53100 53200 53300 57P01 57P02 57P03 08006",
    "mysql": "1205 1213 1040 1053 1129 1153 1290 2006 2013 3024",
}


PERMANENT: dict[str, str] = {
    "postgresql": "23505 23503 23502 23514 22001 22003 22P02 42P01 42703 42501 28P01 08P01 40002",
    "mysql": "1062 1048 1054 1146 1142 1264 1292 1366 1406 1452 3819 1045",
}


def test_each_error_ends_the_batch_or_is_never_tried_again_blindly(server_target: Target) -> None:
    """CASES.md N2: a gate row and a trigger that raises what it says."""
    target = server_target
    table = items(target)
    target.execute("CREATE TABLE gate (code varchar(9))")
    target.execute("INSERT INTO gate VALUES ('')")
    if target.postgresql:
        target.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE found text; BEGIN"
            " SELECT code INTO found FROM gate; IF found <> '' THEN"
            " RAISE EXCEPTION 'gate SECRET %', NEW.name USING ERRCODE = found; END IF; RETURN NEW; END $$"
        )
        target.execute("CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION gate()")
    else:
        target.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON items FOR EACH ROW BEGIN DECLARE found int DEFAULT 0;"
            " SELECT code + 0 INTO found FROM gate WHERE code <> ''; IF found > 0 THEN"
            " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = found, MESSAGE_TEXT = 'gate'; END IF; END"
        )
    family = "postgresql" if target.postgresql else "mysql"
    sink, lease = target.ready(lock_timeout_seconds=20.0)  # a session that was given up may still hold its locks
    row = [insert(table, id=1, name="a", quantity=1)]
    for code in TRANSIENT[family].split():
        target.execute(f"UPDATE gate SET code = '{code}'")
        for write in (sink.write, sink.write_singly):
            lease.begin()
            with pytest.raises(Transient) as caught:
                write(row)
            assert caught.value.code == code
            assert "SECRET" not in str(caught.value)
            sink.rollback()
            sink.connect()  # of some, the session is given up
    for code in PERMANENT[family].split():
        target.execute(f"UPDATE gate SET code = '{code}'")
        lease.begin()
        with pytest.raises((Rejected, Halt)) as refused:
            sink.write(row)
        assert (refused.value.code, "SECRET" in str(refused.value)) == (code, False)
        sink.rollback()
    target.execute("UPDATE gate SET code = ''")
    lease.apply(row)
    assert rows(target) == [(1, "a", 1)]


@pytest.mark.parametrize("reaches", [True, False])
def test_after_an_unknown_commit_the_database_tells_how_it_ended(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy], reaches: bool
) -> None:
    target = server_target
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    armed = False

    def probe(point: str) -> None:
        if point == "sink.commit_sent" and armed:
            if reaches:
                await_that(lambda: rows(target), timeout=10)
                raise ConnectionResetError("the answer never came")
            proxy.reset()

    sink, lease = target.ready(proxy.port, probe=probe, lock_timeout_seconds=20.0)
    header, identity = lease.begin()
    sink.write([insert(table, id=1, name="a", quantity=1)])
    named = identity()
    if not reaches:
        proxy.freeze()
    armed = True
    with pytest.raises(Transient) as caught:
        sink.commit()
    assert caught.value.unknown_commit
    sink.rollback()
    proxy.thaw()
    with pytest.raises(Transient):
        lease.begin()
    sink.connect()
    known = sink.progress(DEPLOYMENT)
    assert known == ({"website": header.moves[0].now} if reaches else {})
    assert sink.committed(named) is (reaches if target.postgresql else None)
    assert len(rows(target)) == (1 if reaches else 0)


def test_a_connection_lost_in_the_middle_is_transient_and_can_be_opened_again(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    target = server_target
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    sink, lease = target.ready(proxy.port)
    lease.begin()
    proxy.reset()
    with pytest.raises(Transient) as caught:
        sink.write([insert(table, id=1, name="a", quantity=1)])
    assert not caught.value.unknown_commit
    sink.rollback()
    sink.connect()
    lease.apply([insert(table, id=1, name="a", quantity=1)])


def test_a_connection_that_never_answers_becomes_transient(
    server_target: Target, tcp_proxy: Callable[[str, int], TcpProxy]
) -> None:
    target = server_target
    table = items(target)
    proxy = tcp_proxy("127.0.0.1", target.server.port)
    sink, lease = target.ready(proxy.port)
    lease.begin()
    session = sink._open()._connection  # type: ignore[attr-defined]
    if target.postgresql:
        session.read_timeout = 1.0
    else:
        session._read_timeout = 1.0
        session._sock.settimeout(1.0)
    proxy.freeze()
    started = time.monotonic()
    with pytest.raises(Transient):
        sink.write([insert(table, id=1, name="a", quantity=1)])
    assert time.monotonic() - started < 25  # without the patience of a second it is a minute
    sink.rollback()


def test_a_killed_session_is_transient(server_target: Target) -> None:
    target = server_target
    table = items(target)
    sink, lease = target.ready()
    header, identity = lease.begin()
    named = identity()  # has the server open the transaction
    if target.postgresql:
        target.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'datong' AND state = 'idle in transaction'"
        )
    else:
        (thread,) = target.execute(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            " ORDER BY id DESC LIMIT 1"
        )
        target.execute(f"KILL {thread[0]}")
    with pytest.raises(Transient):
        sink.write([insert(table, id=1, name="a", quantity=1)])
    sink.rollback()
    assert header.rows == 1
    assert named


def test_probes_are_hit_in_order(target: Target) -> None:
    table = items(target)
    points: list[str] = []
    _, lease = target.ready(probe=points.append)
    lease.apply([insert(table, id=1, name="a", quantity=1), update(table, 1, quantity=2), delete(table, 1)])
    assert points == ["sink.before_first_stmt", "sink.mid_tx", "sink.commit_sent"]


def test_a_wrong_password_halts_with_a_mend(server_target: Target) -> None:
    target = server_target
    sink = open_sink(target.address(password="not-this-CANARY"), SinkOptions())
    with pytest.raises(Halt) as caught:
        sink.connect()
    assert caught.value.mend
    assert "CANARY" not in str(caught.value) + caught.value.mend


def test_no_server_at_that_port_is_transient(server_target: Target) -> None:
    target = server_target
    sink = open_sink(target.address(port=1), SinkOptions())
    with pytest.raises(Transient):
        sink.connect()


def test_a_missing_table_or_column_halts_with_a_mend(target: Target) -> None:
    table = items(target)
    _, lease = target.ready()
    lease.apply([insert(table, id=1, name="a", quantity=1)])
    target.execute("ALTER TABLE items DROP COLUMN quantity")
    lease.begin()
    with pytest.raises(Halt, match="quantity") as caught:
        lease.sink.write([insert(table, id=2, name="a", quantity=1)])
    assert caught.value.mend
    lease.sink.rollback()
    target.execute("DROP TABLE items")
    for sink in (lease.sink, target.sink()):
        lease.sink = sink
        lease.begin()
        with pytest.raises(Halt, match="items") as caught:
            sink.write([insert(table, id=2, name="a")])
        assert caught.value.mend
        sink.rollback()


def test_a_missing_privilege_halts_and_names_the_statement(server_target: Target) -> None:
    target = server_target
    table = items(target)
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    name = target.database.name
    if target.postgresql:
        target.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
    else:
        target.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
        target.execute(f"GRANT SELECT ON `{name}`.* TO '{user}'@'%'")
    try:
        sink = open_sink(target.address(user=user, password=password), SinkOptions())
        target.opened.append(sink)
        sink.connect()
        with pytest.raises(Halt) as caught:
            sink.prepare()
        assert "CREATE TABLE" in caught.value.mend
        target.sink().prepare()
        if target.postgresql:
            target.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON datong_progress, datong_parked TO {user}")
        else:
            target.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.`datong_progress` TO '{user}'@'%'")
        lease = Lease(sink, sink.take_over(DEPLOYMENT, TARGET))
        lease.begin()
        with pytest.raises(Halt, match="items") as caught:
            sink.write([insert(table, id=1, name="a", quantity=1)])
        assert "grant" in caught.value.mend.lower()
        sink.rollback()
    finally:
        for sink in target.opened:
            sink.close()
        if target.postgresql:
            target.execute(f"DROP OWNED BY {user}")
            target.execute(f"DROP ROLE {user}")
        else:
            target.execute(f"DROP USER '{user}'@'%'")
