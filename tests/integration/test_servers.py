"""The harness itself: private servers, their end, the proxy's moods, and the counter of row events."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL, Redis, Server, ServerFailed, ServerMissing, certificates
from cdc.demo.servers.process import descendants, exists
from cdc.demo.write_counter import RowEvents, UncountedEvents, row_event_counter
from tests.servers import MySQLDatabase, PostgreSQLDatabase, RedisDatabase, server_folder
from tests.tcp_proxy import TcpProxy
from tests.waiting import await_that

MAKERS: dict[str, Callable[[Path], Server]] = {
    "mariadb": lambda folder: MariaDB(folder, server_id=1),
    "mysql": lambda folder: MySQL(folder, server_id=2),
    "postgresql": PostgreSQL,
    "redis": Redis,
}
own_programs = pytest.mark.skipif(
    os.environ.get("DATONG_TEST_SERVERS") == "containers", reason="about processes of this machine"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as path:
        yield path


def family_of(server: Server) -> list[int]:
    return [server.pid, *descendants(server.pid)]


def none_left(pids: list[int]) -> bool:
    return not any(exists(pid) for pid in pids)


@own_programs
@pytest.mark.parametrize("kind", MAKERS)
def test_a_server_restarts_with_its_data_and_leaves_no_process(kind: str, folder: Path) -> None:
    with MAKERS[kind](folder / "server") as server:
        password = server.password
        first = family_of(server)
        server.restart()
        second = family_of(server)
        assert none_left(first)
        assert server.password == password
        server.kill()
        assert none_left(second)
        assert not server.running
        with pytest.raises(ServerFailed, match="not running"):
            _ = server.pid
        server.start()
        third = family_of(server)
    assert none_left(third)


@own_programs
@pytest.mark.parametrize("kind", MAKERS)
def test_a_server_dies_with_a_starter_that_is_killed(kind: str, folder: Path) -> None:
    program = (
        "import sys, pathlib, threading\n"
        "from tests.integration.test_servers import MAKERS, family_of\n"
        "server = MAKERS[sys.argv[1]](pathlib.Path(sys.argv[2]))\n"
        "thread = threading.Thread(target=server.start); thread.start(); thread.join()\n"  # that thread's end is no end
        "print(*family_of(server), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, kind, str(folder / "server")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert exists(pids[0])  # the others may be a backend that has just ended
        starter.send_signal(signal.SIGKILL)
    await_that(lambda: none_left(pids), message=f"the end of {pids}")


@own_programs
def test_a_committed_row_survives_a_kill(folder: Path) -> None:
    with PostgreSQL(folder / "postgresql") as postgresql, MariaDB(folder / "mariadb", server_id=1) as mariadb:
        with postgresql.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS id")
        with mariadb.connect() as mariadb_connection, mariadb_connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE d")
            cursor.execute("CREATE TABLE d.t AS SELECT 1 AS id")
        for server in (postgresql, mariadb):
            server.kill()
            server.start()
        with postgresql.connect() as connection:
            assert connection.execute("SELECT id FROM t").fetchall() == [(1,)]
        with mariadb.connect() as mariadb_connection, mariadb_connection.cursor() as cursor:
            cursor.execute("SELECT id FROM d.t")
            assert cursor.fetchall() == ((1,),)


@own_programs
def test_a_discarded_postgresql_leaves_no_shared_memory_in_the_system(folder: Path) -> None:
    def segments_of(pid: int) -> int:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return sum(line.split()[4] == str(pid) for line in lines)  # the process that made it

    server = PostgreSQL(folder / "postgresql").start()
    pid = server.pid
    assert segments_of(pid) == 1
    with server.connect():  # a session that is still there
        server.discard()
    assert segments_of(pid) == 0
    assert not server.running
    server.discard()


@own_programs
def test_servers_are_set_up_for_replication(mariadb: MariaDB, mysql: MySQL, postgresql: PostgreSQL) -> None:
    wanted = ("ROW", "FULL", "FULL", 1)
    for server in (mariadb, mysql):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@log_bin")
            assert cursor.fetchone() == wanted
    with mysql.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@gtid_mode")
        assert cursor.fetchone() == ("ON",)
    with postgresql.connect() as pg_connection:
        assert pg_connection.execute("SHOW wal_level").fetchone() == ("logical",)


@own_programs
def test_two_servers_made_from_one_template_are_two_servers(mysql: MySQL, folder: Path) -> None:
    with MySQL(folder / "second", server_id=9) as second:
        identities = []
        for server in (mysql, second):
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT @@server_uuid")
                identities.append(cursor.fetchone())
    assert identities[0] != identities[1]


def test_nobody_enters_without_a_password(
    mariadb: MariaDB, mysql: MySQL, postgresql: PostgreSQL, redis_server: Redis
) -> None:
    for server in (mariadb, mysql):
        for user in ("root", server.admin_user, "nobody"):
            with pytest.raises(pymysql.err.OperationalError):
                pymysql.connect(host=server.host, port=server.port, user=user, password="")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgresql.url(user="datong_admin", password="wrong"))
    nobody = redis.Redis(host=redis_server.host, port=redis_server.port, retry=Retry(NoBackoff(), 0))
    with nobody, pytest.raises(redis.AuthenticationError):
        nobody.ping()


def test_urls_are_in_datongs_form(postgresql_db: PostgreSQLDatabase, mariadb_db: MySQLDatabase) -> None:
    server = mariadb_db.server
    assert mariadb_db.url("da:tong", "p@/ss%") == (
        f"mariadb://da%3Atong:p%40%2Fss%25@127.0.0.1:{server.port}/{mariadb_db.name}"
    )
    with psycopg.connect(postgresql_db.url()) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (postgresql_db.name,)


def test_a_missing_server_names_package_and_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    with pytest.raises(ServerMissing, match=r"make mysql9.*mysql-server-core"):
        MySQL(folder / "mysql", server_id=1).start()


@own_programs
def test_a_server_that_does_not_start_shows_its_log(folder: Path) -> None:
    with pytest.raises(ServerFailed, match="no_such_setting"):
        PostgreSQL(folder / "server", options={"no_such_setting": "1"}).start()


@own_programs
@pytest.mark.parametrize("kind", MAKERS)
def test_tls_is_verified_against_the_authority_and_the_host(kind: str, folder: Path) -> None:
    good = certificates(folder / "tls")
    foreign = certificates(folder / "elsewhere", hosts=["elsewhere.example"])
    expired = certificates(folder / "expired", expired=True)
    refusals = (pymysql.err.OperationalError, psycopg.OperationalError, redis.ConnectionError)
    server = MAKERS[kind](folder / "server")
    server.tls = good
    with server:
        _connect_verified(server, good.ca)
        with pytest.raises(refusals):
            _connect_verified(server, foreign.ca)
        for bad in (foreign, expired):
            server.kill()
            server.tls = bad
            server.start()
            with pytest.raises(refusals):
                _connect_verified(server, bad.ca)


def _connect_verified(server: Server, ca: Path) -> None:
    if isinstance(server, PostgreSQL):
        psycopg.connect(f"{server.url()}?sslmode=verify-full&sslrootcert={ca}").close()
    elif isinstance(server, Redis):
        with redis.Redis.from_url(server.url(), ssl_ca_certs=str(ca)) as client:
            client.ping()
    else:
        context = ssl.create_default_context(cafile=ca)
        pymysql.connect(
            host=server.host, port=server.port, user=server.admin_user, password=server.password, ssl=context
        ).close()


def test_each_test_has_a_database_of_its_own_and_a_clean_redis(
    mysql_db: MySQLDatabase, mariadb_db: MySQLDatabase, redis_db: RedisDatabase
) -> None:
    for database in (mysql_db, mariadb_db):
        assert database.execute("SELECT DATABASE()") == ((database.name,),)
    with redis_db.connect() as client:
        assert client.dbsize() == 0
        client.set("a", "b")


# --- the proxy: an echo server behind it ---


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets."""
    program = (
        "import socketserver\n"
        "class Echo(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        while data := self.request.recv(65536):\n"
        "            self.request.sendall(data)\n"
        "with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Echo) as server:\n"
        "    server.daemon_threads = True\n"
        "    print(server.server_address[1], flush=True)\n"
        "    server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        yield int(server.stdout.readline())
        server.kill()


def _receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = client.recv(size - len(received))
        if not part:
            break
        received += part
    return received


ProxyMaker = Callable[[str, int], TcpProxy]


def test_the_proxy_forwards_much_and_ends_both_sides(tcp_proxy: ProxyMaker, echo_port: int) -> None:
    proxy = tcp_proxy("127.0.0.1", echo_port)
    sent = os.urandom(1 << 20)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        for start in range(0, len(sent), 1 << 16):
            client.sendall(sent[start : start + (1 << 16)])
            assert _receive(client, 1 << 16) == sent[start : start + (1 << 16)]
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    await_that(lambda: proxy.connections == 0, message="the pair to be closed")


def test_a_frozen_proxy_is_silent_and_loses_nothing(tcp_proxy: ProxyMaker, echo_port: int) -> None:
    proxy = tcp_proxy("127.0.0.1", echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        client.sendall(b"one")
        assert _receive(client, 3) == b"one"
        proxy.freeze()
        client.sendall(b"two")
        with socket.create_connection((proxy.host, proxy.port), timeout=10) as newcomer:
            newcomer.sendall(b"new")
            for held in (client, newcomer):
                held.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    held.recv(1)
            proxy.thaw()
            for held, expected in ((client, b"two"), (newcomer, b"new")):
                held.settimeout(10)
                assert _receive(held, 3) == expected


def test_a_reset_is_a_reset(tcp_proxy: ProxyMaker, echo_port: int) -> None:
    proxy = tcp_proxy("127.0.0.1", echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        client.sendall(b"one")
        assert _receive(client, 3) == b"one"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        client.sendall(b"two")
        assert _receive(client, 3) == b"two"


def test_a_refusing_proxy_lets_old_connections_go_on(tcp_proxy: ProxyMaker, echo_port: int) -> None:
    proxy = tcp_proxy("127.0.0.1", echo_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        client.sendall(b"one")
        assert _receive(client, 3) == b"one"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port), timeout=10)
        client.sendall(b"two")
        assert _receive(client, 3) == b"two"
    proxy.accept()
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as client:
        client.sendall(b"new")
        assert _receive(client, 3) == b"new"


def test_a_slow_line_keeps_its_rate(tcp_proxy: ProxyMaker, echo_port: int) -> None:
    proxy = tcp_proxy("127.0.0.1", echo_port)
    proxy.slow(40_000)
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        started = time.monotonic()
        client.sendall(bytes(20_000))
        assert len(_receive(client, 20_000)) == 20_000
        assert time.monotonic() - started > 0.8  # 40,000 bytes in all, there and back
        proxy.slow(None)
        client.sendall(bytes(200_000))
        assert len(_receive(client, 200_000)) == 200_000


def test_a_proxy_in_front_of_nothing_resets(tcp_proxy: ProxyMaker) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = tcp_proxy("127.0.0.1", nobody.getsockname()[1])
        address = (proxy.host, proxy.port)
        # The reset may come so early that connecting fails already.
        with pytest.raises(ConnectionResetError), socket.create_connection(address, timeout=10) as client:
            client.recv(1)


# --- the counter of row events ---


@pytest.mark.parametrize("fixture", ["mariadb_db", "mysql_db", "postgresql_db"])
def test_row_events_are_counted_by_table_and_kind(fixture: str, request: pytest.FixtureRequest) -> None:
    database: MySQLDatabase | PostgreSQLDatabase = request.getfixturevalue(fixture)
    schema = "public" if fixture == "postgresql_db" else database.name
    odd = '"a.b: INSERT"' if fixture == "postgresql_db" else "`a.b: INSERT`"
    for table in ("t", "u", odd, "datong_progress"):
        database.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v varchar(50))")
    database.execute("INSERT INTO t VALUES (0, 'before')")
    if fixture == "mysql_db":  # the next file's first events then name a tagged GTID
        with database.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION gtid_next = 'AUTOMATIC:tagged'")
            cursor.execute("INSERT INTO t VALUES (50, 'tagged')")
    with row_event_counter(database.server, database.name) as counter:
        assert counter.take() == {}
        database.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'table public.u: DELETE:')")
        database.execute("UPDATE t SET v = 'c' WHERE id <= 2")
        database.execute("UPDATE t SET v = 'no row' WHERE id = 99")
        database.execute("DELETE FROM t WHERE id = 1")
        database.execute(f"INSERT INTO {odd} VALUES (1, 'x')")
        database.execute("INSERT INTO datong_progress VALUES (1, 'x')")
        assert counter.take() == {
            (schema, "t"): RowEvents(inserts=3, updates=3, deletes=1),
            (schema, "a.b: INSERT"): RowEvents(inserts=1),
        }
        assert counter.take() == {}
        database.execute("INSERT INTO u VALUES (1, 'x')")
        if fixture != "postgresql_db":
            database.execute("FLUSH BINARY LOGS")
        database.execute("INSERT INTO u VALUES (2, 'x')")
        assert counter.take() == {(schema, "u"): RowEvents(inserts=2)}


def test_a_compressed_transaction_is_never_counted_as_nothing(mysql_db: MySQLDatabase) -> None:
    mysql_db.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(2000))")
    with row_event_counter(mysql_db.server, mysql_db.name) as counter:
        with mysql_db.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION binlog_transaction_compression = ON")
            cursor.execute("INSERT INTO t VALUES (1, REPEAT('x', 2000))")
        with pytest.raises(UncountedEvents, match="compressed"):
            counter.take()


def test_the_counters_slot_goes_with_it(postgresql_db: PostgreSQLDatabase) -> None:
    slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
    with row_event_counter(postgresql_db.server, postgresql_db.name):
        assert postgresql_db.execute(slots) == ((1,),)
    await_that(lambda: postgresql_db.execute(slots) == ((0,),), message="the slot to be gone")
