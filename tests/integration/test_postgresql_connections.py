"""Connections of the PostgreSQL reader: silent, lost, slow, encrypted, and servers that go away."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from cdc.demo.servers import PostgreSQL, certificates
from cdc.errors import HaltError, TransientError
from cdc.model import LogPart, Position
from cdc.readers import ReaderOptions
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.connections import Tls, connect_postgresql
from tests.postgresql_logs import Log, Proxies, patient
from tests.servers import PostgreSQLDatabase, server_folder
from tests.waiting import await_that


def _holds(number: int) -> Callable[[list[LogPart]], bool]:
    return lambda parts: any(row.after is not None and row.after[0] == number for part in parts for row in part.rows)


def test_a_frozen_connection_is_noticed_within_two_heartbeats(log: Log, tcp_proxy: Proxies) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    proxy = tcp_proxy("127.0.0.1", log.server.port)
    reader = log.opened({"t": "id"}, address=log.address(port=proxy.port), options=ReaderOptions(heartbeat_seconds=1))
    log.execute("INSERT INTO t VALUES (1)")
    (part,) = log.read_until(reader, bool)
    patient(reader)  # until the freeze: a machine that stalls is not the subject
    silences: list[float] = []

    def answered() -> bool:
        reader.read(0.2)
        assert reader._stream is not None
        silences.append(reader._stream.silent_seconds)
        return sum(later < before for before, later in pairwise(silences)) >= 3

    await_that(answered, message=lambda: f"an idle server to answer our keep-alives; {silences}", interval=0)
    reader._calm_from = 0  # the usual patience is due again
    proxy.freeze()
    frozen = time.monotonic()
    with pytest.raises(TransientError, match="has not said anything"):
        while time.monotonic() < frozen + 20:  # patience is 2 s; the rest is for a loaded machine
            reader.read(0.2)
    proxy.thaw()
    log.execute("INSERT INTO t VALUES (2)")
    await_that(lambda: _opens(reader, part.resume), message="the reader to reconnect")
    assert [row.after for row in log.rows(reader)] == [(2,)]


def _opens(reader: PostgreSQLReader, position: Position) -> bool:
    try:
        reader.open(position)
    except TransientError:
        return False
    return True


def test_a_large_transaction_of_other_tables_is_got_over_although_the_server_is_silent_meanwhile(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    log.execute("CREATE TABLE other (id int)")
    reader = log.reader({"t": "id"}, options=ReaderOptions(heartbeat_seconds=0.01))
    position = reader.open(None)
    log.execute("INSERT INTO other SELECT generate_series(1, 150000)")
    log.execute("INSERT INTO t VALUES (1)")
    silences: list[str] = []

    def step() -> list[LogPart]:
        try:
            return reader.read(0.2).parts
        except TransientError as error:
            silences.append(str(error))
            await_that(lambda: _opens(reader, position), message="the slot to be free")
            return []

    (part,) = await_that(step, message=lambda: f"the row; {silences}", timeout=60, interval=0)
    assert part.rows[0].after == (1,)
    told = [silence.rpartition(" for ")[2] for silence in silences]
    assert told == [f"{0.02 * 2**n:.1f} s" for n in range(len(told))], "twice as patient each time"


def test_a_lost_connection_is_transient_and_reading_goes_on_after_it(log: Log, tcp_proxy: Proxies) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY)")
    proxy = tcp_proxy("127.0.0.1", log.server.port)
    reader = log.reader({"t": "id"}, address=log.address(port=proxy.port))
    position = reader.open(None)
    proxy.reset()
    with pytest.raises(TransientError):
        log.read_until(reader, lambda _parts: False)
    assert reader.head().order > 0  # its own connection, opened again
    log.execute("INSERT INTO t VALUES (1)")
    await_that(lambda: _opens(reader, position), message="the reader to reconnect")
    assert [row.after for row in log.rows(reader)] == [(1,)]
    proxy.reset()
    proxy.refuse()
    with pytest.raises(TransientError, match="cannot connect"):
        reader.head()
    with pytest.raises(TransientError):
        reader.open(position)


def test_a_caller_that_does_not_read_keeps_its_connection(log: Log) -> None:
    log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    log.execute(f"ALTER DATABASE {log.database.name} SET wal_sender_timeout = '2s'")
    try:
        reader = log.opened({"t": "id v"})
        pid = log.slot(reader, "active_pid")
        log.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
        asleep = time.monotonic() + 6  # the length is the point: three times the server's patience
        while time.monotonic() < asleep:
            assert log.slot(reader, "active_pid") == pid
            threading.Event().wait(0.2)
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert sum(len(part.rows) for part in parts) == 20000
        assert log.slot(reader, "active_pid") == pid
    finally:
        log.execute(f"ALTER DATABASE {log.database.name} RESET wal_sender_timeout")


def test_a_verified_tls_connection_reads_a_large_transaction_and_a_wrong_authority_halts() -> None:
    with server_folder() as folder, contextlib.ExitStack() as stack:
        made, others = certificates(folder / "tls"), certificates(folder / "others")
        server = stack.enter_context(PostgreSQL(folder / "pg", tls=made))
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        verified = replace(log.address(), tls=Tls(str(made.ca)))
        reader = log.opened({"t": "id v"}, address=verified)
        log.execute("INSERT INTO t SELECT n, repeat('x', n) FROM generate_series(1, 5000) n")
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert [row.after for part in parts for row in part.rows] == [(n, "x" * n) for n in range(1, 5001)]
        wrong = log.reader({"t": "id"}, address=replace(verified, tls=Tls(str(others.ca))), publish=False)
        with pytest.raises(HaltError, match="TLS_REFUSED"):
            wrong.open(None)


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
def test_a_server_that_shuts_down_is_not_held_up_by_what_is_unconfirmed(reading: bool) -> None:
    with server_folder() as folder, PostgreSQL(folder / "pg") as server, contextlib.ExitStack() as stack:
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        reader = patient(log.opened({"t": "id v"}, options=ReaderOptions(heartbeat_seconds=1)))
        position = reader.read(0).reached
        log.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
        log.session.close()
        stopping = threading.Thread(target=server.stop)
        began = time.monotonic()
        stopping.start()
        if reading:
            with pytest.raises(TransientError):
                while time.monotonic() < began + 30:
                    reader.read(0.2)
        stopping.join(30)
        assert not stopping.is_alive(), "held up: by itself it goes on after wal_sender_timeout, a minute"
        with pytest.raises(TransientError):
            while True:
                reader.read(0.1)
        server.start()
        reader.open(position)
        parts = log.read_until(reader, lambda parts: any(part.last for part in parts))
        assert sum(len(part.rows) for part in parts) == 20000
        reader.close()


def test_a_server_that_is_killed_and_comes_back_is_read_on_without_a_loss() -> None:
    with server_folder() as folder, PostgreSQL(folder / "pg") as server, contextlib.ExitStack() as stack:
        log = Log(PostgreSQLDatabase(server, "postgres"), stack)
        log.deployment = "dep"
        log.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        log.execute("ALTER SYSTEM SET logical_decoding_work_mem = '64kB'")
        log.execute("SELECT pg_reload_conf()")
        reader = log.opened({"t": "id v"})
        log.execute("INSERT INTO t VALUES (0, 'a')")
        (before,) = log.read_until(reader, bool)
        reader.confirm(before.resume)
        log.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 3000) n")
        with contextlib.closing(server.connect()) as lost:
            lost.execute("BEGIN")
            lost.execute("INSERT INTO t SELECT n, repeat('y', 100) FROM generate_series(5000, 8000) n")
            server.kill()
        with pytest.raises(TransientError):
            while True:
                reader.read(0.1)
        with pytest.raises(TransientError, match="cannot connect"):
            reader.open(before.resume)
        server.start()
        await_that(lambda: _opens(reader, before.resume), message="the reader to reconnect")
        log.session.close()
        log.session = stack.enter_context(connect_postgresql(log.address()))
        log.execute("INSERT INTO t VALUES (4000, 'b')")
        rows = [row.after for part in log.read_until(reader, _holds(4000)) for row in part.rows]
        assert [row[0] for row in rows if row is not None] == [*range(1, 3001), 4000]
        reader.close()
