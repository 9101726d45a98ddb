"""Writing batches into a database: our sink beside what one would do without it, new and existing rows, updates, deletes.

For each server, batch size and way to write: a small table; more rows are inserted, inserted again with other values, updated in three
columns and deleted, in transactions of one batch. What a running service does once is done before the clock runs: connecting, reading
catalogs, preparing statements, and making the rows. What was written is compared afterwards.
The ways take turns in rounds, each round in another order, so that what else the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.harness import servers
from bench.harness.meter import Meter
from bench.harness.report import Options, Report, Result
from bench.harness.servers import DATABASE, ENGINES, Database, Engine
from bench.harness.workload import COLUMNS, TABLE, create_table, fill_below, row
from bench.writers import on_mysql, on_postgresql
from bench.writers.contract import CHANGED, Make, Op, Writer, batch_of
from bench.writers.ours import Ours
from cdc.demo.servers import MySQL, PostgreSQL, ServerMissing
from sinks.connections import Address

SIZES: Final = (100, 1000, 5000)
ROUNDS: Final = 3
BASE_ROWS: Final = 2000  # that are in the table before
# Before the clock runs, so many small batches of each step: servers and drivers prepare what comes often.
WARM_ROWS: Final = 20
WARM_BATCHES: Final = 12
# Tens of times slower than the others: a tenth of the rows, in one round.
SLOW: Final = frozenset({"pymysql-executemany", "sqlalchemy-core"})
STEPS: Final[tuple[tuple[str, Op, int], ...]] = (
    ("new", "insert", 0), ("existing", "insert", 1), ("update", "update", 2), ("delete", "delete", 0),
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="rows in a transaction")
    parser.add_argument("--subjects", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="the median of so many counts")
    parser.add_argument(
        "--progress", action="store_true", help="the others move a line of progress in every transaction too"
    )


def run(report: Report, options: Options) -> None:
    for engine in options.extra.get("servers", ENGINES):
        server = servers.make(engine, options.folder / engine)
        try:
            with servers.running(server):
                report.versions[engine] = servers.version(server)
                if isinstance(server, MySQL):
                    _allow_local_files(server)
                for size in options.extra.get("sizes", SIZES):
                    _size(report, options, server, size)
        except ServerMissing as missing:
            report.add(Result(engine, "", "datong", skipped=str(missing)))


def ways(engine: Engine, chosen: Sequence[str] | None) -> dict[str, Make]:
    """The subjects by name."""
    others = on_postgresql.WRITERS if engine == "postgresql" else on_mysql.WRITERS
    return {name: make for name, make in {"datong": Ours, **others}.items() if not chosen or name in chosen}


def _size(report: Report, options: Options, server: Database, size: int) -> None:
    engine = servers.engine_of(server)
    total = options.size(40_000, 10_000, size)
    progress = bool(options.extra.get("progress"))
    address = Address(engine, server.host, server.port, server.admin_user, DATABASE, server.password)
    subjects = ways(engine, options.extra.get("subjects"))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    turns = int(options.extra.get("rounds", ROUNDS))
    for number in range(turns):
        for name in _turns(list(subjects), number, turns):
            make = subjects[name]
            slow = name in SLOW
            if name in failed or (slow and number):
                continue
            try:
                batches = Batches(size, max(size, total // 10 // size * size) if slow else total)
                for step, numbers in _round(
                    server, partial(make, address, progress=progress), batches, warm_large=not slow
                ):
                    found.setdefault((step, name), []).append(numbers)
            except Exception as error:  # noqa: BLE001 - told in the report, which then says that it failed
                failed[name] = f"{type(error).__name__}: {error}"
    for (step, name), rounds in sorted(found.items(), key=lambda item: list(subjects).index(item[0][1])):
        if name not in failed:
            report.add(Result(engine, f"{step}{size}", name, _numbers(rounds)))
    for name, why in failed.items():
        report.add(Result(engine, f"all{size}", name, failed=why))


def _turns(names: list[str], number: int, rounds: int) -> list[str]:
    """Another order in every round: each way has its turn early and late, and after others."""
    place = number * len(names) // rounds
    return [*names[place:], *names[:place]]


@dataclass(frozen=True, slots=True)
class Batches:
    """`total` rows in batches of `size`, from id 1 on."""

    size: int
    total: int

    def of(self, op: Op, revision: int) -> list[list[Any]]:
        return [batch_of(op, first, self.size, revision) for first in range(1, self.total + 1, self.size)]


def _round(
    server: Database, opened: Callable[[], Writer], batches: Batches, *, warm_large: bool = False
) -> list[tuple[str, dict[str, Any]]]:
    """One way through all steps, on a table that holds none of their rows."""
    servers.empty(server)
    create_table(server)
    fill_below(server, BASE_ROWS)
    writer = opened()
    try:
        _warm(writer, batches.size if warm_large else 0)
        measured = []
        for step, op, revision in STEPS:
            made = [writer.prepared(op, batch) for batch in batches.of(op, revision)]
            measured.append((step, _timed(writer, op, made, batches.total)))
            if differs(partial(_ask, server), op, revision, batches.total):
                raise AssertionError(f"{op}: the table does not hold what was written")
        return measured
    finally:
        writer.close()


def _warm(writer: Writer, large: int) -> None:
    """Every step, with rows that are gone again when the clock runs; `large`: the rows of one more batch."""
    for _, op, revision in STEPS:
        if large:
            batch = batch_of(op, -BASE_ROWS - WARM_BATCHES * WARM_ROWS - large, large, revision)
            writer.write(op, writer.prepared(op, batch))
        for number in range(WARM_BATCHES):
            batch = batch_of(op, -BASE_ROWS - (number + 1) * WARM_ROWS, WARM_ROWS, revision)
            writer.write(op, writer.prepared(op, batch))


def _timed(writer: Writer, op: Op, made: list[Any], rows: int) -> dict[str, Any]:
    """The clock around the writing alone. The cycle collector rests, as it nearly does in a service (`cdc.child.collect_seldom`)."""
    meter = Meter()
    gc.collect()
    gc.disable()
    try:
        meter.start()
        for batch in made:
            writer.write(op, batch)
        return meter.stop(rows)
    finally:
        gc.enable()


def differs(ask: Callable[[str], tuple[Any, ...] | None], op: Op, revision: int, total: int) -> bool:
    """Whether the number of rows, or one of them as a whole, is not what was written."""
    ident = total // 2
    counted = ask(f"SELECT count(*) FROM {TABLE} WHERE id > 0")
    found = ask(f"SELECT {', '.join(COLUMNS)} FROM {TABLE} WHERE id = {ident}")
    if op == "delete":
        expected: tuple[Any, ...] | None = None
    elif op == "insert":
        expected = row(ident, revision)
    else:
        changed = dict(zip(COLUMNS, row(ident, revision), strict=True))
        before = dict(zip(COLUMNS, row(ident, revision - 1), strict=True))
        expected = tuple((before | {name: changed[name] for name in CHANGED}).values())
    return counted != (0 if op == "delete" else total,) or found != expected


def _ask(server: Database, statement: str) -> tuple[Any, ...] | None:
    if isinstance(server, PostgreSQL):
        with server.connect(DATABASE) as session:
            return session.execute(statement.encode()).fetchone()
    with server.connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def _numbers(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """The median round: neither the luckiest nor the one in which the machine did something else."""
    return {
        "rows_per_second": statistics.median(one["rows"] / one["seconds"] for one in rounds),
        "cpu_us_per_row": statistics.median(one["cpu_seconds"] * 1e6 / one["rows"] for one in rounds),
    }


def _allow_local_files(server: MySQL) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
