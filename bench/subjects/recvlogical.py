"""Subject pg_recvlogical: PostgreSQL's own client writing the pgoutput stream to /dev/null: about the server's own limit.

It shows no rows, so it is not told how many it read but up to which place: it ends, with success, only when that place has come.
"""

from __future__ import annotations

import os
import subprocess

import psycopg

from bench.harness.meter import Meter
from bench.harness.subject import Outcome, Task, serve
from bench.subjects.checking import workload_of
from cdc.demo.servers.postgresql import postgresql_programs

_SLOT = "bench_recvlogical"
_PUBLICATION = "bench_recvlogical"


def prepare(task: Task) -> None:
    with connect(task) as connection:
        connection.execute(f"CREATE PUBLICATION {_PUBLICATION} FOR TABLE orders")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [_SLOT])


def run(task: Task) -> Outcome:
    address = task["address"]
    with connect(task) as connection:
        row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    end = str(row[0]) if row else ""
    command = [
        str(postgresql_programs() / "pg_recvlogical"), "--start", f"--slot={_SLOT}", f"--endpos={end}", "--file=/dev/null",
        "--fsync-interval=0", "--no-loop", "--option=proto_version=1", f"--option=publication_names={_PUBLICATION}",
        f"--host={address['host']}", f"--port={address['port']}", f"--username={address['user']}", "--no-password",
        f"--dbname={address['database']}",
    ]  # fmt: skip
    meter = Meter()
    meter.start()
    subprocess.run(command, env={**os.environ, "PGPASSWORD": address["password"]}, check=True)
    outcome = meter.stop(workload_of(task).rows)
    return {name: outcome[name] for name in ("rows", "seconds", "cpu_seconds")}


def connect(task: Task) -> psycopg.Connection[tuple[object, ...]]:
    address = task["address"]
    return psycopg.connect(
        host=address["host"], port=address["port"], user=address["user"], password=address["password"],
        dbname=address["database"], autocommit=True,
    )  # fmt: skip


if __name__ == "__main__":
    serve(prepare, run)
