"""Writing batches into a database: our sink beside what one would do without it, new and existing rows, updates, deletes.

For each server, batch size and way to write: a table of 50,000 rows; more rows are inserted, inserted again with other values, updated
in three columns and deleted, in transactions of one batch. What a running service does once is done before the clock runs: connecting,
reading catalogs, preparing statements, and making the rows. What was written is compared afterwards.
The ways take turns of a few batches, each in a database of its own on one server, so that what else the machine does meets all of them;
the median batch counts. `of_fastest` is ours divided by the fastest of the others.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bench.harness import servers
from bench.harness.meter import cpu_seconds
from bench.harness.report import Options, Report, Result
from bench.harness.servers import DATABASE, ENGINES, Database, Engine
from bench.harness.workload import COLUMNS, TABLE, create_table, fill_below, row
from bench.writers import on_mysql, on_postgresql
from bench.writers.contract import CHANGED, Make, Op, Writer, batch_of
from bench.writers.ours import Ours
from cdc.demo.servers import MySQL, PostgreSQL, ServerMissing
from sinks.connections import Address

SIZES: Final = (100, 1000, 5000)
BASE_ROWS: Final = 50_000  # that are in the table before
FEWEST_BATCHES: Final = 12  # of which a median says something
ROWS_A_TURN: Final = 3000  # that one way writes before another one does
# Before the clock runs, so many small batches of each step: servers and drivers prepare what comes often.
WARM_ROWS: Final = 20
WARM_BATCHES: Final = 12
# Tens of times slower than the others: a tenth of the rows, after the others.
SLOW: Final = frozenset({"pymysql-executemany", "sqlalchemy-core"})
OURS: Final = "datong"
Step: TypeAlias = tuple[str, Op, int]  # its name, what is written, the rows' revision
STEPS: Final[tuple[Step, ...]] = (
    ("new", "insert", 0), ("existing", "insert", 1), ("update", "update", 2), ("delete", "delete", 0),
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="rows in a transaction")
    parser.add_argument("--subjects", nargs="+", metavar="NAME", help="only these")
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
            report.add(Result(engine, "", OURS, skipped=str(missing)))


def ways(engine: Engine, chosen: Sequence[str] | None) -> dict[str, Make]:
    """The subjects by name."""
    others = on_postgresql.WRITERS if engine == "postgresql" else on_mysql.WRITERS
    return {name: make for name, make in {OURS: Ours, **others}.items() if not chosen or name in chosen}


def _size(report: Report, options: Options, server: Database, size: int) -> None:
    total = max(options.size(200_000, 40_000, size), FEWEST_BATCHES * size)
    subjects = ways(servers.engine_of(server), options.extra.get("subjects"))
    lanes = [
        _Lane(name, server, make, f"{DATABASE}_{number}", progress=bool(options.extra.get("progress")))
        for number, (name, make) in enumerate(subjects.items())
    ]
    fast, slow = [lane for lane in lanes if lane.name not in SLOW], [lane for lane in lanes if lane.name in SLOW]
    try:
        for side_by_side, rows in ((fast, total), (slow, max(size, total // 10 // size * size))):
            for lane in side_by_side:
                lane.open(options.size(BASE_ROWS, BASE_ROWS), size if lane.name not in SLOW else 0)
            for step in STEPS:
                _in_turn([lane for lane in side_by_side if not lane.failed], step, Batches(size, rows))
    finally:
        for lane in lanes:
            lane.close()
    for result in _results(servers.engine_of(server), size, lanes):
        report.add(result)


def _in_turn(lanes: Sequence[_Lane], step: Step, batches: Batches) -> None:
    """One step of every way: some batches in a row by each, as a writer that is busy has them, then the next by each."""
    name, op, revision = step
    order, dice = list(lanes), random.Random(0)  # the same order in every run
    following = batches.of(op, revision)
    while some := list(itertools.islice(following, max(1, ROWS_A_TURN // batches.size))):
        dice.shuffle(order)
        for lane in order:
            lane.write(name, op, some)
    for lane in lanes:
        lane.compare(op, revision, batches.total)


def _results(engine: Engine, size: int, lanes: Sequence[_Lane]) -> Iterator[Result]:
    for name, _, _ in STEPS:
        for lane in lanes:
            if not lane.failed:
                yield Result(engine, f"{name}{size}", lane.name, _numbers(name, lane, lanes, size))
    for lane in lanes:
        if lane.failed:
            yield Result(engine, f"all{size}", lane.name, failed=lane.failed)


def _numbers(step: str, lane: _Lane, lanes: Sequence[_Lane], size: int) -> dict[str, float]:
    """Of the median batch: neither the luckiest nor the one in which the machine did something else."""
    took = lane.took[step]
    numbers = {
        "rows_per_second": size / statistics.median(seconds for seconds, _ in took),
        "cpu_us_per_row": statistics.median(cpu for _, cpu in took) * 1e6 / size,
    }
    others = [size / statistics.median(seconds for seconds, _ in other.took[step])
              for other in lanes if other.name != OURS and not other.failed]  # fmt: skip
    if lane.name == OURS and others:
        numbers["of_fastest"] = numbers["rows_per_second"] / max(others)
    return numbers


@dataclass(frozen=True, slots=True)
class Batches:
    """`total` rows in batches of `size`, from id 1 on."""

    size: int
    total: int

    def of(self, op: Op, revision: int) -> Iterator[list[Any]]:
        return (batch_of(op, first, self.size, revision) for first in range(1, self.total + 1, self.size))


class _Lane:
    """One way to write, in a database of its own; what went wrong in it is told, and the others go on."""

    def __init__(self, name: str, server: Database, make: Make, database: str, *, progress: bool) -> None:
        self.name = name
        self.failed = ""
        self.took: dict[str, list[tuple[float, float]]] = {}  # by step: seconds and CPU seconds of each batch
        self._server, self._make, self._database, self._progress = server, make, database, progress
        self._writer: Writer | None = None

    def open(self, base: int, large: int) -> None:
        """Connected and warm, with `base` rows in the table; `large`: the rows of a batch, where one is written first."""
        with self._noted():
            servers.empty(self._server, self._database)
            create_table(self._server, database=self._database)
            fill_below(self._server, base, database=self._database)
            it = self._server
            address = Address(servers.engine_of(it), it.host, it.port, it.admin_user, self._database, it.password)
            self._writer = self._make(address, progress=self._progress)
            _warm(self._writer, large)

    def write(self, step: str, op: Op, batches: Sequence[Sequence[Any]]) -> None:
        """Each batch a transaction. The clock is around the writing alone; the cycle collector rests, as it nearly does in a service
        (`cdc.child.collect_seldom`).
        """
        if self._writer is None:
            return
        took = self.took.setdefault(step, [])
        with self._noted(), _no_collection():
            for made in [self._writer.prepared(op, batch) for batch in batches]:
                cpu, began = cpu_seconds(), time.monotonic()
                self._writer.write(op, made)
                took.append((time.monotonic() - began, cpu_seconds() - cpu))

    def compare(self, op: Op, revision: int, total: int) -> None:
        with self._noted():
            if not self.failed and differs(self._ask, op, revision, total):
                raise AssertionError(f"{op}: the table does not hold what was written")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - told in the report, which then says that it failed
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, why: str) -> None:
        self.failed = self.failed or why
        self.close()

    def _ask(self, statement: str) -> tuple[Any, ...] | None:
        if isinstance(self._server, PostgreSQL):
            with self._server.connect(self._database) as session:
                return session.execute(statement.encode()).fetchone()
        with self._server.connect(self._database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _warm(writer: Writer, large: int) -> None:
    """Every step, with rows that are gone again when the clock runs; `large`: the rows of one more batch."""
    below = -BASE_ROWS - WARM_BATCHES * WARM_ROWS
    for _, op, revision in STEPS:
        if large:
            batch = batch_of(op, below - large, large, revision)
            writer.write(op, writer.prepared(op, batch))
        for number in range(WARM_BATCHES):
            batch = batch_of(op, below + number * WARM_ROWS, WARM_ROWS, revision)
            writer.write(op, writer.prepared(op, batch))


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


def _allow_local_files(server: MySQL) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
