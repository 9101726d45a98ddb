"""What tests of the binary log's reader share: a reader of one test's tables, and reading until enough has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc.demo.servers import MariaDB, MySQL
from cdc.errors import HaltError
from cdc.model import LogPart, RowChange
from cdc.readers import ReaderOptions, Wanted
from cdc.readers.mysql import MySQLReader
from sinks.connections import Address
from tests.servers import MySQLDatabase, mysql_database, server_folder

DEADLINE = 20.0
_server_ids = iter(range(90_000, 99_000))


def address_of(db: MySQLDatabase, **changes: Any) -> Address:
    server = db.server
    known: dict[str, Any] = {
        "engine": server.scheme, "host": "127.0.0.1", "port": server.port, "user": server.admin_user,
        "database": db.name, "password": server.password,
    }  # fmt: skip
    return Address(**{**known, **changes})


def columns_of(db: MySQLDatabase, table: str) -> frozenset[str]:
    rows = db.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s", db.name, table
    )
    return frozenset(str(row[0]) for row in rows)


def reader_of(db: MySQLDatabase, *tables: str, heartbeat: float = 5.0, **wanted: Any) -> MySQLReader:
    address = address_of(db, **wanted.pop("address", {}))
    probe = wanted.pop("probe", lambda _point: None)
    columns = wanted.pop("columns", None)
    mapped = {(db.name, t): columns if columns is not None else columns_of(db, t) for t in tables}
    options = ReaderOptions(heartbeat_seconds=heartbeat, server_id=next(_server_ids), probe=probe)
    return MySQLReader(address, Wanted("house", "shop", mapped, **wanted), options)


def read_parts(reader: MySQLReader, enough: Callable[[list[LogPart]], bool]) -> list[LogPart]:
    parts: list[LogPart] = []
    until = time.monotonic() + DEADLINE
    while not enough(parts):
        assert time.monotonic() < until, f"only {len(parts)} parts came"
        parts += reader.read(0.2).parts
    return parts


def rows_of(parts: list[LogPart]) -> list[RowChange]:
    return [row for part in parts for row in part.rows]


def read_rows(reader: MySQLReader, count: int) -> list[RowChange]:
    return rows_of(read_parts(reader, lambda parts: len(rows_of(parts)) >= count))


def halted(reader: MySQLReader) -> HaltError:
    until = time.monotonic() + DEADLINE
    with pytest.raises(HaltError) as caught:
        while time.monotonic() < until:
            reader.read(0.2)
    return caught.value


@pytest.fixture(params=[MariaDB, MySQL])
def own_server(request: pytest.FixtureRequest) -> Iterator[MySQLDatabase]:
    """A server that a test may reset."""
    with server_folder() as folder:
        server = request.param(Path(folder) / "own", server_id=777).start()
        try:
            with mysql_database(server, "own") as database:
                yield database
        finally:
            server.discard()
