"""B1: a transaction that is larger than memory should hold, plain and in one compressed event, read in bounded memory (I8)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cdc.readers.mysql_position import read_place
from tests.mysql_logs import reader_of
from tests.servers import MySQLDatabase
from tests.waiting import await_that

KINDS = ["mariadb plain", "mariadb compressed", "mysql plain", "mysql compressed"]


def insert_many(db: MySQLDatabase, rows: int, *, compressed: bool) -> None:
    """One transaction of `rows` rows of about 200 bytes, half of which no compression makes smaller."""
    mariadb = db.server.scheme == "mariadb"
    if mariadb:
        db.execute(f"SET GLOBAL log_bin_compress = {'ON' if compressed else 'OFF'}")
        numbers = f"SELECT seq - 1 AS n FROM seq_1_to_{rows}"
    else:
        db.execute("SET GLOBAL max_allowed_packet = 1073741824")  # a larger payload would be written plain
        numbers = (
            f"WITH RECURSIVE c AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM c WHERE n < {rows - 1}) SELECT n FROM c"
        )
    try:
        with db.connect() as connection, connection.cursor() as cursor:
            if not mariadb:
                cursor.execute("SET SESSION cte_max_recursion_depth = 100000000")
                cursor.execute(f"SET SESSION binlog_transaction_compression = {'ON' if compressed else 'OFF'}")
            cursor.execute(
                f"INSERT INTO t SELECT n, CONCAT(SHA2(n, 256), SHA2(n + 1000000, 256), REPEAT('x', 64)) FROM ({numbers}) AS made"
            )
    finally:
        if mariadb:
            db.execute("SET GLOBAL log_bin_compress = OFF")


def read_apart(db: MySQLDatabase, rows: int, *, compressed: bool) -> dict[str, float]:
    db.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(300))")
    reader = reader_of(db, "t")
    start = reader.open(None)
    reader.close()
    insert_many(db, rows, compressed=compressed)
    if compressed and db.server.scheme == "mysql":
        place = read_place(start)
        events = db.execute(f"SHOW BINLOG EVENTS IN '{place.file}' FROM {place.offset} LIMIT 100")
        sizes = [int(str(row[4])) - int(str(row[1])) for row in events if row[2] == "Transaction_payload"]
        print("payload", sizes)
        assert sizes, "the server did not compress it"
    command = [sys.executable, "-m", "tests.reading_memory", db.url(), "t", str(start.order), start.native]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, float] = json.loads(answer.stdout)
    print(db.server.scheme, "compressed" if compressed else "plain", found)
    return found


@pytest.mark.parametrize("kind", ["mariadb plain", "mysql compressed"])
def test_a_large_transaction_is_read_in_bounded_memory(kind: str, request: pytest.FixtureRequest) -> None:
    """All of it would be 130 MiB; a batch is about 15."""
    engine, form = kind.split()
    found = read_apart(request.getfixturevalue(f"{engine}_db"), 100_000, compressed=form == "compressed")
    assert found["rows"] == 100_000
    assert found["grown_mib"] < 40


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_rows_in_one_transaction_stay_within_300_mib(kind: str, request: pytest.FixtureRequest) -> None:
    engine, form = kind.split()
    found = read_apart(request.getfixturevalue(f"{engine}_db"), 1_000_000, compressed=form == "compressed")
    assert found["rows"] == 1_000_000
    assert found["peak_mib"] < 300


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_capture_of_a_million_rows_stays_within_300_mib(make_world, kind):  # type: ignore[no-untyped-def]
    engine, form = kind.split()
    world = make_world(f"{engine}_db", "postgresql_db", table=False)
    world["a"].execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(300)) DEFAULT CHARSET=utf8mb4")
    world["b"].execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(300))")
    world.mappings = {name: {"columns": {"id": "id", "v": "note"}} for name in ("a.t", "b.t")}
    world.start()
    process = world.role_pid("capture", "a")
    insert_many(world["a"].database, 1_000_000, compressed=form == "compressed")
    await_that(
        lambda: world.role("a", "capture")["rows"] == 1_000_000,
        timeout=900,
        message=lambda: str(world.role("a", "capture")),
    )
    assert world.role_pid("capture", "a") == process
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    (peak,) = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")]
    print(kind, f"capture's peak {peak:.0f} MiB")
    assert peak < 300
