"""Record what real servers send: `python -m tests.fuzz.record` writes `corpus/*.json`, the inputs that the fuzzers bend.

One file a server: the raw events (frames) of its log as hexadecimal digits, in order, and what a reader asked the server meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cdc.demo.servers import MariaDB, MySQL, PostgreSQL
from cdc.readers import LogBatch, ReaderOptions, Wanted, mysql, postgresql_reader
from cdc.readers.mysql import MySQLReader
from cdc.readers.mysql_small_transactions import SmallTransactions
from cdc.readers.postgresql_reader import PostgreSQLReader
from sinks.bookkeeping import CREATE_MYSQL, CREATE_POSTGRESQL
from sinks.connections import Address
from tests.servers import mysql_database, postgresql_database, server_folder

CORPUS = Path(__file__).parent / "corpus"
DEPLOYMENT, TARGET = "house", "shop"
JSON = '{"a": [1, -1, 70000, 3000000000, 18446744073709551615, 1.5, null, true, "text"], "b": {"c": {"d": []}}}'

MYSQL_COLUMNS = """
  i1 TINYINT, i2 SMALLINT UNSIGNED, i3 MEDIUMINT, i4 INT, i8 BIGINT UNSIGNED, d1 DECIMAL(65,30), d2 DECIMAL(9,2), f FLOAT, g DOUBLE,
  b BIT(12), y YEAR, dt DATE, dm DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(6), c CHAR(10), v VARCHAR(300),
  l VARCHAR(40) CHARACTER SET latin1, u VARCHAR(20) CHARACTER SET utf16, k VARCHAR(20) CHARACTER SET gbk, x TEXT, bi BINARY(5),
  vb VARBINARY(20), bl BLOB, e ENUM('x','y','z'), s SET('a','b','c'), p POINT
"""
MYSQL_VALUES = (
    "-5, 65535, -8388608, 7, 18446744073709551615, 1.5, -19.90, 0.5, 1e308, b'101', 2024, '2024-02-29', '2024-02-29 01:02:03.000004', "
    "'2024-01-01 00:00:00.5', '-01:02:03.25', 'pad', REPEAT('é', 150), 'é', 'ab', '中', 'text', 'bin', 'vb', x'00ff00', 'y', 'a,c', "
    "ST_GeomFromText('POINT(1 2)')"
)
POSTGRESQL_COLUMNS = """
  i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(10,2), r real, d float8, b boolean, dt date, t time, ts timestamp, tz timestamptz,
  x text, v varchar(30), c char(5), y bytea, j json, jb jsonb, u uuid, e mood, toast text
"""
POSTGRESQL_VALUES = (
    "-1, 5, 9000000000, 'NaN', 1.50, 0.1, 1e308, true, '2024-02-29', '01:02:03.5', '2024-01-01', 'infinity', 'é🙂', 'v', 'c', "
    "'\\x00ff', '{\"a\": 1}', '[1e30, null]', '123e4567-e89b-12d3-a456-426614174000', 'glad', repeat(md5(random()::text), 80)"
)
WORK = (
    "INSERT INTO wide (id, {names}) SELECT 1, {values}", "INSERT INTO wide (id) VALUES (2)", "UPDATE wide SET v = 'other' WHERE id = 1",
    "INSERT INTO unmapped VALUES (1, 'x'), (2, 'y')", "UPDATE wide SET id = 5 WHERE id = 2", "DELETE FROM wide WHERE id = 5",
)  # fmt: skip
OURS = (
    "INSERT INTO datong_progress VALUES ('house', 'shop', 'crm', 7, 0, 1, 9, 3, 'token', 2)",
    "UPDATE datong_progress SET position = 8, token = 'other' WHERE source = 'crm'",
    "INSERT INTO datong_parked VALUES ('house', 'shop', 'id', 'crm', 7, 0, 'shop.wide', 'wide', '[1]', 'refused', 'why', 5, '')",
    "DELETE FROM datong_parked",
)  # fmt: skip


def main() -> None:
    with server_folder() as folder:
        for engine, make in (("mariadb", MariaDB), ("mysql", MySQL)):
            options = {"log_bin_compress": "OFF", "log_bin_compress_min_len": "10"} if engine == "mariadb" else {}
            with (
                make(folder / engine, server_id=7, options=options) as server,
                mysql_database(server, "fuzz") as database,
            ):
                _write(engine, _binlog(engine, database))
        options = {"logical_decoding_work_mem": "64kB"}  # so that it streams what is open
        with PostgreSQL(folder / "pg", options=options) as server, postgresql_database(server, "fuzz") as database:
            _write("postgresql", _pgoutput(database))


def _names(columns: str) -> list[str]:
    depth, names, word = 0, [], ""
    for letter in columns + ",":
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            names.append(word.split(maxsplit=1)[0])
            word = ""
        else:
            word += letter
    return names


def _binlog(engine: str, database: Any) -> dict[str, Any]:
    server, mysql_engine = database.server, engine == "mysql"
    columns = MYSQL_COLUMNS + (", j JSON" if mysql_engine else ", j JSON, uu UUID, ip INET6, cc TEXT COMPRESSED")
    values = MYSQL_VALUES + (f", '{JSON}'" if mysql_engine else f", '{JSON}', UUID(), '::1', REPEAT('z', 200)")
    database.execute(f"CREATE TABLE wide (id INT PRIMARY KEY, {columns})")
    database.execute("CREATE TABLE unmapped (id INT, x TEXT)")
    for statement in CREATE_MYSQL:
        database.execute(statement)
    taped: list[bytes] = []

    class Tape(mysql.BinlogStream):
        def events(self) -> Iterator[Any]:
            for event in super().events():
                if event is not None:
                    view, start, end = event
                    taped.append(bytes(view[start:end]))
                yield event

    mapped = frozenset(["id", *_names(columns)])
    wanted = Wanted(DEPLOYMENT, TARGET, {(database.name, "wide"): mapped})
    address = Address(engine, "127.0.0.1", server.port, server.admin_user, database.name, server.password)  # type: ignore[arg-type]
    reader = MySQLReader(address, wanted, ReaderOptions(heartbeat_seconds=1.0, server_id=99))
    plain, mysql.BinlogStream = mysql.BinlogStream, Tape  # type: ignore[misc]
    with ExitStack() as stack:
        stack.callback(setattr, mysql, "BinlogStream", plain)
        stack.callback(setattr, SmallTransactions, "take", SmallTransactions.take)
        SmallTransactions.take = lambda *_: None  # type: ignore[method-assign] # every event goes over the tape
        stack.callback(reader.close)
        reader.open(None)
        end, executed = reader._server.log_end_with_gtids()
        facts = reader._server.facts()
        work = [statement.format(names=", ".join(_names(columns)), values=values) for statement in WORK]
        with database.connect() as connection, connection.cursor() as cursor:
            run = cursor.execute
            for statement in work:
                run(statement)
            for statement in ("BEGIN", *OURS[:2], "UPDATE wide SET i1 = 1", "COMMIT", *OURS[2:]):
                run(statement)
            for statement in (
                "XA START 'a'",
                "UPDATE wide SET i1 = 2",
                "XA END 'a'",
                "XA PREPARE 'a'",
                "XA COMMIT 'a'",
            ):
                run(statement)
            run("CREATE TABLE other (id INT)")
            run("/*datong:0123456789abcdef0123456789abcdef*/ UPDATE wide SET i1 = 3")
            if mysql_engine:
                run("SET SESSION binlog_rows_query_log_events = ON")
                run("UPDATE wide SET i1 = 4")
                run("SET SESSION gtid_next = 'AUTOMATIC:tagged'")
                run("UPDATE wide SET i1 = 5")
                run("SET SESSION gtid_next = 'AUTOMATIC', SESSION binlog_transaction_compression = ON")
                run("UPDATE wide SET i1 = 6, v = REPEAT('w', 250)")
                run("SET SESSION binlog_transaction_compression = OFF")
            else:
                run("SET GLOBAL log_bin_compress = ON")
                run("UPDATE wide SET i1 = 6, v = REPEAT('w', 250)")
                run("DELETE FROM wide")
                run("SET GLOBAL log_bin_compress = OFF")
            run("FLUSH BINARY LOGS")
        assert reader._stream is not None
        reader._stream.deadline = time.monotonic() + 2
        while next(reader._raw) is not None:
            pass
        return {
            "engine": engine, "database": database.name, "columns": sorted(mapped), "log_end": [end.file, end.offset, executed],
            "facts": [facts.identity, facts.version, facts.domain, facts.has_gtids, facts.state, facts.purged],
            "collations": reader._server.collations(), "data_types": reader._server.data_types(database.name, "wide"),
            "events": [event.hex() for event in taped],
        }  # fmt: skip


def _pgoutput(database: Any) -> dict[str, Any]:
    server = database.server
    database.execute("CREATE TYPE mood AS ENUM ('glad', 'sad')")
    database.execute(f"CREATE TABLE wide (id int PRIMARY KEY, {POSTGRESQL_COLUMNS})")
    database.execute("CREATE TABLE unmapped (id int, x text)")
    database.execute("ALTER TABLE wide REPLICA IDENTITY FULL, ALTER toast SET STORAGE EXTERNAL")
    for statement in CREATE_POSTGRESQL:
        database.execute(statement)
    address = Address("postgresql", "127.0.0.1", server.port, server.admin_user, database.name, server.password)
    names = _names(POSTGRESQL_COLUMNS)
    wanted = Wanted(DEPLOYMENT, TARGET, {("public", "wide"): frozenset(["id", *names])})
    reader = PostgreSQLReader(address, wanted, ReaderOptions(heartbeat_seconds=1.0))
    database.execute(
        f"CREATE PUBLICATION {reader.slot} FOR TABLE wide, datong_progress, datong_parked WITH (publish_via_partition_root)"
    )
    taped: list[bytes] = []
    types: dict[int, Any] = {}

    class Tape(postgresql_reader.ReplicationStream):
        def receive(self, max_wait: float) -> list[bytes]:
            frames = super().receive(max_wait)
            taped.extend(frames)
            return frames

    plain, postgresql_reader.ReplicationStream = postgresql_reader.ReplicationStream, Tape  # type: ignore[misc]
    asked = reader._catalog.types

    def remembered(oids: Any) -> Any:
        found = asked(oids)
        types.update({oid: [getattr(fact, name) for name in fact.__slots__] for oid, fact in found.items()})
        return found

    reader._catalog.types = remembered  # type: ignore[method-assign]
    with ExitStack() as stack:
        stack.callback(setattr, postgresql_reader, "ReplicationStream", plain)
        stack.callback(reader.close)
        start = reader.open(None)
        with database.connect() as connection:
            for statement in WORK:
                connection.execute(statement.format(names=", ".join(names), values=POSTGRESQL_VALUES).encode())
            for statement in ("BEGIN", *OURS[:2], "UPDATE wide SET i2 = 1", "COMMIT", *OURS[2:]):
                connection.execute(statement.encode())
            connection.execute("ALTER TABLE wide REPLICA IDENTITY DEFAULT")
            connection.execute("UPDATE wide SET i2 = 3")
            connection.execute("DELETE FROM wide")
            connection.execute("INSERT INTO wide (id, v) SELECT g, 'streamed' FROM generate_series(10, 1200) g")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO wide (id, v) SELECT g, 'rolled back' FROM generate_series(2000, 3200) g")
            connection.execute("ROLLBACK")
            connection.execute('SELECT pg_logical_emit_message(true, \'datong\', \'["house","shop",1,"t",1,[]]\')')
        _read(reader.read)
        kept: list[bytes] = []
        for frame in taped:  # of a thousand rows some are enough
            if frame[25:26] != b"I" or any(before[25:26] != b"I" for before in kept[-6:]):
                kept.append(frame)
        return {
            "engine": "postgresql", "database": database.name, "columns": sorted(["id", *names]), "start": start.order,
            "types": types, "events": [frame.hex() for frame in kept],
        }  # fmt: skip


def _read(read: Callable[[float], LogBatch]) -> None:
    """Read on for a second, whatever halts it: the tape holds what came."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        try:
            read(0.3)
        except Exception as error:  # noqa: BLE001 - an event that cannot be read yet is as good an input
            print("the tape ends with", error)
            return


def _write(name: str, document: dict[str, Any]) -> None:
    path = CORPUS / f"{name}.json"
    path.write_text(json.dumps(document, indent=0) + "\n")
    print(path, len(document["events"]), "events", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
