"""Subject datong-reader: our reader alone, from the log to exact Python values of every column of every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.harness.meter import Meter
from bench.harness.subject import Outcome, Task, serve
from bench.subjects.checking import check, workload_of
from bench.subjects.ours import address_of, wanted_of
from cdc.child import collect_seldom
from cdc.model import Position
from cdc.preparing import prepare as prepare_channel
from cdc.readers import Reader, ReaderOptions
from cdc.sessions import open_reader


def prepare(task: Task) -> None:
    wanted, address = wanted_of(task, "reader"), address_of(task)
    prepare_channel(address, "bench", "reader", set(wanted.tables), bookkeeping="table")
    reader = _reader(task)
    _place(task).write_bytes(msgspec.json.encode(reader.open(None)))
    reader.close()


def run(task: Task) -> Outcome:
    workload = workload_of(task)
    reader = _reader(task)
    reader.open(msgspec.json.decode(_place(task).read_bytes(), type=Position))
    rows = ids = 0
    sampled: list[tuple[int, tuple[Any, ...] | None]] = []
    meter = Meter()
    collect_seldom()
    meter.start()
    while rows < workload.rows:
        for part in reader.read(0.2).parts:
            found = part.rows
            if rows % 1000 < len(found):
                sampled.append((rows, found[0].after))
            ids += sum([row.after[0] for row in found])  # type: ignore[index,misc] # inserts and updates of integer ids
            rows += len(found)
        meter.sample()
    outcome = meter.stop(rows)
    reader.close()
    check(task, rows, ids, ((index, values or ()) for index, values in sampled))
    return outcome


def _reader(task: Task) -> Reader:
    return open_reader(address_of(task), wanted_of(task, "reader"), ReaderOptions(server_id=4_000_002))


def _place(task: Task) -> Path:
    return Path(task["folder"]) / "reader-position.json"


if __name__ == "__main__":
    serve(prepare, run)
