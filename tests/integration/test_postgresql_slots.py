"""Where the PostgreSQL reader stands: its slot, publication and privileges, and the server it belongs to."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from cdc.demo.servers import PostgreSQL
from cdc.errors import HaltError, TransientError
from cdc.health import SLOT_UNRESERVED
from cdc.model import Position
from cdc.readers import ReaderOptions
from cdc.readers.postgresql_reader import PostgreSQLReader
from cdc.readers.postgresql_slot import drop_slot
from sinks.bookkeeping import CREATE_POSTGRESQL
from tests.postgresql_logs import Log, patient
from tests.servers import PostgreSQLDatabase, server_folder
from tests.waiting import await_that


def test_confirm_moves_the_slot_exactly_there_and_nothing_else_does(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = patient(log.reader({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.2)))
    start = reader.open(None)
    for number in range(3):
        log.execute(f"INSERT INTO t VALUES ({number})")
    parts = log.read_to_end(reader)
    deadline = time.monotonic() + 1.5  # several keep-alives of both sides
    while time.monotonic() < deadline:
        assert log.confirmed(reader) == start.order
        reader.read(0.1)
    reader.confirm(parts[1].resume)
    await_that(lambda: log.confirmed(reader) == parts[1].resume.order, message="the slot to move")
    reader.confirm(parts[0].resume)  # never back
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert log.confirmed(reader) == parts[1].resume.order
        reader.read(0.1)


def test_a_slot_that_was_there_already_is_read_from_where_it_stands(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.reader({"t": "id"})
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", reader.slot)
    log.execute("INSERT INTO t VALUES (1)")
    assert reader.open(None).order == log.confirmed(reader)
    assert [row.after for row in log.rows(reader)] == [(1,)]
    assert [notice.event for notice in log.notices] == ["slot_reused"]


def _position(log: Log) -> tuple[PostgreSQLReader, Position]:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = log.reader({"t": "id"})
    position = reader.open(None)
    reader._end_stream()
    log.free(reader)
    return reader, position


def _moved(position: Position, order: int | None = None, **change: Any) -> Position:
    native = json.loads(position.native) | change
    return Position(position.order if order is None else order, json.dumps(native))


def test_a_slot_that_was_dropped_halts_and_is_not_made_again(log: Log) -> None:
    reader, position = _position(log)
    assert drop_slot(log.address(), reader.slot)
    assert not drop_slot(log.address(), reader.slot)
    with pytest.raises(HaltError, match=r"SLOT_LOST: .* does not exist any more .*datong resync"):
        reader.open(position)
    assert log.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", reader.slot) == 0


def test_a_slot_that_a_person_made_again_halts(log: Log) -> None:
    reader, position = _position(log)
    drop_slot(log.address(), reader.slot)
    log.execute("INSERT INTO t VALUES (1)")
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", reader.slot)
    with pytest.raises(HaltError, match="SLOT_RECREATED"):
        reader.open(position)


def test_a_slot_of_another_plugin_halts(log: Log) -> None:
    reader, _ = _position(log)
    drop_slot(log.address(), reader.slot)
    log.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", reader.slot)
    with pytest.raises(HaltError, match="SLOT_FOREIGN"):
        reader.open(None)


def test_a_slot_in_use_is_transient_and_names_the_process(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    first = log.reader({"t": "id"})
    position = first.open(None)
    second = log.reader({"t": "id"})
    pid = log.slot(first, "active_pid")
    with pytest.raises(TransientError, match=f"in use by the server's process {pid}"):
        second.open(position)
    with pytest.raises(TransientError, match=f"process {pid}"):
        drop_slot(log.address(), first.slot)
    first.close()
    log.free(second)
    second.open(position)


def test_another_server_another_timeline_and_a_place_ahead_halt(log: Log) -> None:
    reader, position = _position(log)
    with pytest.raises(HaltError, match="SERVER_CHANGED"):
        reader.open(_moved(position, system="1"))
    with pytest.raises(HaltError, match="POSITION_AHEAD"):
        reader.open(_moved(position, timeline=9))
    with pytest.raises(HaltError, match="POSITION_AHEAD"):
        reader.open(_moved(position, order=0xFF << 32, lsn="FF/0"))
    with pytest.raises(HaltError, match="POSITION_UNREADABLE"):
        reader.open(Position(5, "{}"))
    reader.open(position)


def test_an_invalidated_slot_and_other_settings_of_a_server_halt_by_name() -> None:
    with server_folder() as folder:
        options = {"max_slot_wal_keep_size": "1MB"}
        with PostgreSQL(folder / "pg", options=options) as server, contextlib.ExitStack() as stack:
            log = Log(PostgreSQLDatabase(server, "postgres"), stack)
            log.deployment = "dep"
            reader, position = _position(log)
            for _ in range(4):
                log.execute("SELECT pg_switch_wal()")
                log.execute("INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
            await_that(lambda: log.slot(reader, "wal_status") == "unreserved", message="the slot to be unreserved")
            assert reader.head().gauges["source_slot_wal_status"] == SLOT_UNRESERVED
            log.execute("CHECKPOINT")
            await_that(lambda: log.slot(reader, "wal_status") == "lost", message="the slot to be lost")
            with pytest.raises(HaltError, match=r"SLOT_LOST: .* was invalidated"):
                reader.open(position)
            with pytest.raises(HaltError, match=r"SLOT_LOST: .* was invalidated"):
                reader.open(None)
            drop_slot(log.address(), reader.slot)
            log.session.close()
            reader.close()
            server.options["wal_level"] = "replica"
            server.restart()
            with pytest.raises(HaltError, match=r"WAL_LEVEL: .* wal_level replica.*ALTER SYSTEM"):
                reader.open(None)


def test_an_incomplete_publication_halts_with_the_statements_that_mend_it(log: Log) -> None:
    log.execute('CREATE TABLE "T" (id int PRIMARY KEY, v int)')
    log.execute("CREATE TABLE u (id int PRIMARY KEY)")
    reader = log.reader({"T": "id", "u": "id"}, publish=False)
    name = reader.slot
    with pytest.raises(HaltError, match="PUBLICATION_INCOMPLETE") as caught:
        reader.open(None)
    assert f'CREATE PUBLICATION "{name}" FOR TABLE "public"."T", "public"."u"' in caught.value.mend
    log.execute(f"CREATE PUBLICATION {name} FOR TABLE u, \"T\" (id) WHERE (id > 5) WITH (publish = 'insert')")
    for statement in CREATE_POSTGRESQL:
        log.execute(statement)
    log.publish(reader)
    reader.open(None)
    log.execute('INSERT INTO "T" VALUES (1)')
    log.execute('UPDATE "T" SET v = 2')
    assert len(log.rows(reader)) == 2
    reader._end_stream()
    log.execute(f'ALTER PUBLICATION {name} DROP TABLE u, "T"')
    with pytest.raises(HaltError, match=f'ALTER PUBLICATION "{name}" ADD TABLE "public"."T", "public"."u";'):
        reader.open(None)


def test_a_missing_table_halts_with_its_name(log: Log) -> None:
    with pytest.raises(HaltError, match=r"TABLE_MISSING: .* has no table public\.nowhere"):
        log.reader({"nowhere": "id"}, publish=False).open(None)


def test_refused_logins_and_missing_privileges_halt_with_the_statement(log: Log) -> None:
    role = f"r_{log.database.name}"[:60]
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'canary-pw'")
    log.reader({"t": "id"})  # makes the publication
    try:
        wrong = log.address(user=role, password="wrong-canary")
        with pytest.raises(HaltError, match="ACCESS_DENIED") as caught:
            log.reader({"t": "id"}, address=wrong, publish=False).open(None)
        assert "canary" not in str(caught.value)
        ours = log.address(user=role, password="canary-pw")
        reader = log.reader({"t": "id"}, address=ours, publish=False)
        with pytest.raises(HaltError, match=f'PRIVILEGE_MISSING: .*ALTER ROLE "{role}" REPLICATION;') as caught:
            reader.open(None)
        assert "canary" not in str(caught.value)
        log.execute(f"ALTER ROLE {role} REPLICATION")
        reader.open(None)
        log.execute("INSERT INTO t VALUES (1)")
        assert len(log.rows(reader)) == 1
        assert reader.head().order > 0
        reader.close()
    finally:
        log.execute(f"DROP ROLE {role}")
