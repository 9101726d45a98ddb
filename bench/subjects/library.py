"""Subject python-mysql-replication: the library as it is, with its own decoding, reading rows from a backlog."""

from __future__ import annotations

from typing import Any

import pymysql
from pymysqlreplication.binlogstream import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from bench.harness.meter import Meter
from bench.harness.subject import Outcome, Task, serve
from bench.subjects.checking import check, workload_of


def prepare(_task: Task) -> None:
    """It reads from the place that the task names."""


def run(task: Task) -> Outcome:
    address, workload = task["address"], workload_of(task)
    settings = {name: address[name] for name in ("host", "port", "user", "password")}
    stream = BinLogStreamReader(  # type: ignore[no-untyped-call]
        connection_settings={**settings, "charset": "utf8mb4"},
        server_id=4_000_001,
        resume_stream=True,
        log_file=task["log"][0],
        log_pos=task["log"][1],
        only_events=[WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent],
        only_tables=["orders"],
        enable_logging=False,
        pymysql_wrapper=_connect,
    )
    rows = ids = 0
    key = "values" if workload.op == "insert" else "after_values"
    sampled: list[tuple[int, dict[str, Any]]] = []
    meter = Meter()
    meter.start()
    for event in stream:
        found = event.rows
        if rows % 1000 < len(found):
            sampled.append((rows, found[0][key]))
        for row in found:
            ids += row[key]["id"]
        rows += len(found)
        meter.sample()
        if rows >= workload.rows:
            break
    outcome = meter.stop(rows)
    check(task, rows, ids, ((index, tuple(values.values())) for index, values in sampled))
    return outcome


def _connect(**settings: Any) -> pymysql.Connection[Any]:
    """The library names a database by PyMySQL's old word `db`, which PyMySQL warns of."""
    if "db" in settings:
        settings["database"] = settings.pop("db")
    return pymysql.connect(**settings)


if __name__ == "__main__":
    serve(prepare, run)
