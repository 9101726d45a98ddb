"""Reading a log from a backlog: our reader and our whole capture beside python-mysql-replication, pg_recvlogical and Debezium.

For each server and workload: an empty log, every subject takes its place in it, the workload is committed, and then one subject after the
other reads the same log from there, each in a process of its own. Nothing is measured before its first read. `cpu_us_per_row` is the CPU
of that process and its children alone; the servers' (and Redis's) is not in it, though it shares the machine's cores and so is
in `rows_per_second`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench.harness import servers
from bench.harness.report import Options, Report, Result
from bench.harness.servers import DATABASE, ENGINES, Database, Engine
from bench.harness.side_by_side import Subject, measure, prepare
from bench.harness.subject import ROOT, Task
from bench.harness.workload import Workload, create_table, fill_base, load, standard
from cdc.demo.servers import MySQL, PostgreSQL, Redis, ServerFailed, ServerMissing

PEERS: Final = ROOT / "bench" / "peers" / ".venv" / "bin" / "python"
_OURS: Final = (
    Subject("datong-reader", "reader", sys.executable),
    Subject("datong-capture", "capture", sys.executable),
)
_LIBRARY: Final = Subject("python-mysql-replication", "library", sys.executable)
_RECVLOGICAL: Final = Subject("pg_recvlogical", "recvlogical", sys.executable)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help="ins1000, ins10, ins1, upd1000 (all)")
    parser.add_argument("--subjects", nargs="+", metavar="NAME", help="only these")


def run(report: Report, options: Options) -> None:
    redis = Redis(options.folder / "redis")
    with servers.running(redis):
        report.versions["redis server"] = servers.version(redis)
        for engine in options.extra.get("servers", ENGINES):
            _server(report, options, engine, redis)


def _server(report: Report, options: Options, engine: Engine, redis: Redis) -> None:
    subjects = subjects_of(engine, options.extra.get("subjects"))
    chosen = options.extra.get("workloads")
    workloads = [workload for workload in standard(options) if not chosen or workload.name in chosen]
    server = servers.make(engine, options.folder / engine)
    try:
        with servers.running(server):
            report.versions[engine] = servers.version(server)
            for workload in workloads:
                servers.forget(redis)
                folder = options.folder / f"{engine}-{workload.name}"
                folder.mkdir()
                _workload(report, server, workload, subjects, _task(server, workload, redis, folder))
    except ServerMissing as missing:
        for workload in workloads:
            for subject in subjects:
                report.add(Result(engine, workload.name, subject.name, skipped=str(missing)))


def subjects_of(engine: Engine, chosen: list[str] | None = None) -> list[Subject]:
    """Which subjects read this server's log."""
    peer = _RECVLOGICAL if engine == "postgresql" else _LIBRARY
    return [s for s in (peer, *_OURS, debezium()) if not chosen or s.name in chosen]


def debezium() -> Subject:
    why_not = "" if PEERS.exists() else "Debezium is not installed: run `make peers` (it needs a JVM of version 17)"
    return Subject("debezium-json", "debezium", str(PEERS), why_not)


def _task(server: Database, workload: Workload, redis: Redis, folder: Path) -> Task:
    return {
        "folder": str(folder),
        "workload": asdict(workload),
        "address": {
            "engine": servers.engine_of(server), "host": server.host, "port": server.port, "user": server.admin_user,
            "password": server.password, "database": DATABASE,
        },
        "redis": {"host": redis.host, "port": redis.port, "user": redis.admin_user, "password": redis.password},
    }  # fmt: skip


def _workload(report: Report, server: Database, workload: Workload, subjects: list[Subject], task: Task) -> None:
    servers.empty(server)
    create_table(server)
    fill_base(server, workload)
    refused = prepare(subjects, task)
    task["log"] = log_end(server)
    load(server, workload)
    for subject in subjects:
        measure(report, subject, task, refused, (servers.engine_of(server), workload.name))


def log_end(server: Database) -> tuple[str, int, str]:
    """File, offset and (MySQL) GTID set of a binary log's end; nothing of PostgreSQL, where each subject has a slot."""
    if isinstance(server, PostgreSQL):
        return "", 0, ""
    statement = "SHOW BINARY LOG STATUS" if isinstance(server, MySQL) else "SHOW MASTER STATUS"
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    if row is None:
        raise ServerFailed(f"{server} writes no binary log")
    return str(row[0]), int(row[1]), str(row[4]) if isinstance(server, MySQL) else ""
