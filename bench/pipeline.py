"""End to end from a backlog, latency and idle cost: the whole service beside native replication of the same engine, in the same run.

For each pair of servers and each workload: the subjects stand still, the workload is committed at the source, then one subject after
the other is started and its target watched until the last row is visible there. Then rows are committed at a steady pace, and then nothing
happens at all. See bench/README.md for what each number is.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, cast

from bench.harness import latency, servers
from bench.harness.arrival import NotArrived, looking_at
from bench.harness.meter import ProcessWatch
from bench.harness.native import Native, Replica, Subscription
from bench.harness.report import Options, Report, Result
from bench.harness.servers import DATABASE, Database, Engine
from bench.harness.service import DEPLOYMENT, SOURCE, Replication, cpu_seconds, peak_mb
from bench.harness.workload import Workload, create_table, fill_base, load, standard, transactions
from cdc.demo.servers import MariaDB, PostgreSQL, Redis, ServerFailed, ServerMissing
from cdc.demo.service import ServiceFailed
from cdc.redis_connection import Keys

PAIRS: Final[tuple[str, ...]] = (
    "mariadb->postgresql", "postgresql->mariadb", "mysql->postgresql", "mariadb->mariadb", "postgresql->postgresql",
    "postgresql->mysql",
)  # fmt: skip
SUBJECTS: Final = ("datong", "native")
PACES: Final = (50, 500)  # transactions a second
_LATENCY: Final = "orders_latency"
_PATIENCE_SECONDS: Final = 180.0
_WRONG: Final = (NotArrived, ServiceFailed, ServerFailed)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help="ins1000, ins10, ins1, upd1000, latency (all)")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))


def run(report: Report, options: Options) -> None:
    with ExitStack() as stack:
        house = House(report, options, stack)
        for name in options.extra.get("pairs", PAIRS):
            try:
                _pair(report, options, house, name)
            except ServerMissing as missing:
                for workload in _workloads(options):
                    for subject in options.extra.get("subjects", SUBJECTS):
                        report.add(Result(name, workload.name, subject, skipped=str(missing)))


class House:
    """The servers, each started when the first pair wants it and kept for the others."""

    def __init__(self, report: Report, options: Options, stack: ExitStack) -> None:
        self._report, self._folder, self._stack = report, options.folder, stack
        self._running: dict[str, Database] = {}
        self.redis = Redis(options.folder / "redis")
        stack.enter_context(servers.running(self.redis))
        report.versions["redis server"] = servers.version(self.redis)

    def server(self, engine: Engine, role: str) -> Database:
        """Raises ServerMissing."""
        name = f"{role}-{engine}"
        if name not in self._running:
            numbers = {"source": 1, "target": 2, "replica": 3}
            made = servers.make(engine, self._folder / name, server_id=numbers[role])
            self._running[name] = self._stack.enter_context(servers.running(made))
            self._report.versions[engine] = servers.version(made)
        return self._running[name]


@dataclass(slots=True)
class Run:
    """One pair at work."""

    name: str
    source: Database
    target: Database
    redis: Redis
    datong: Replication | None
    native: Native | None

    def tell(self, report: Report, workload: str, subject: str, **told: object) -> None:
        report.add(Result(self.name, workload, subject, **told))  # type: ignore[arg-type]


def _line(error: Exception) -> str:
    """An error as one line; the end of a log says more than its beginning."""
    first, *more = str(error).strip().splitlines()
    return f"{first} {more[-1]}"[:600] if more else first


def _workloads(options: Options) -> list[Workload]:
    """The standard ones, each long enough to outlast the second in which the service's other processes still start."""
    sizes = {
        "ins1000": (400_000, 120_000),
        "ins10": (200_000, 60_000),
        "ins1": (200_000, 80_000),
        "upd1000": (300_000, 120_000),
    }
    chosen = options.extra.get("workloads")
    return [
        replace(workload, rows=options.size(*sizes[workload.name], workload.batch))
        for workload in standard(options)
        if not chosen or workload.name in chosen
    ]


def _table(workload: Workload) -> str:
    return f"orders_{workload.name}"


def _pair(report: Report, options: Options, house: House, name: str) -> None:
    source_engine, target_engine = cast("tuple[Engine, Engine]", name.split("->"))
    subjects = options.extra.get("subjects", SUBJECTS)
    source, target = house.server(source_engine, "source"), house.server(target_engine, "target")
    replica = house.server("mariadb", "replica") if name == "mariadb->mariadb" and "native" in subjects else None
    folder = options.folder / name.replace("->", "-")
    folder.mkdir()
    workloads = _workloads(options)
    native = _native(source, target, replica) if "native" in subjects else None
    _tables(source, target, native, workloads)
    tables = [*map(_table, workloads), _LATENCY]
    servers.forget(house.redis)
    datong = Replication(folder, source, target, house.redis, tables) if "datong" in subjects else None
    run = Run(name, source, target, house.redis, datong, native)
    try:
        if native is not None:
            native.set_up(tables)
        _first_start(run)
        for workload in workloads:
            _backlog(report, run, workload, subjects)
        chosen = options.extra.get("workloads")
        if not chosen or "latency" in chosen:
            _paced(report, options, run, subjects)
    except _WRONG as error:
        run.tell(report, "start", "datong", failed=_line(error))
    finally:
        if datong is not None:
            datong.stop()
        if native is not None:
            native.remove()


def _native(source: Database, target: Database, replica: Database | None) -> Native | None:
    if isinstance(source, PostgreSQL) and isinstance(target, PostgreSQL):
        return Subscription(source, target)
    if isinstance(source, MariaDB) and isinstance(replica, MariaDB):
        return Replica(source, replica)
    return None


def _tables(source: Database, target: Database, native: Native | None, workloads: list[Workload]) -> None:
    """Equal tables everywhere: empty ones, and those that are updated with their base."""
    for server in dict.fromkeys((source, target, *([native.server] if native else []))):
        servers.empty(server)
    for workload in (*workloads, Workload("latency", "insert", 1, 0)):
        for server in dict.fromkeys((source, target, *([native.server] if isinstance(native, Replica) else []))):
            create_table(server, _table(workload))
            fill_base(server, workload, _table(workload))
    if isinstance(native, Subscription):
        native.make_database()


def _first_start(run: Run) -> None:
    """Take the log's present end."""
    if run.datong is not None:
        run.datong.start()
        run.datong.wait_until_ready()
        run.datong.stop()


def _backlog(report: Report, run: Run, workload: Workload, subjects: list[str]) -> None:
    load(run.source, workload, _table(workload))
    for subject in subjects:
        if subject == "native" and run.native is None:
            run.tell(report, workload.name, subject, skipped=_no_native(run.name))
            continue
        try:
            measured = _datong(run, workload) if subject == "datong" else _natively(run, workload)
            run.tell(report, workload.name, subject, numbers=measured)
        except _WRONG as error:
            run.tell(report, workload.name, subject, failed=_line(error))


def _no_native(name: str) -> str:
    source, _, target = name.partition("->")
    return f"{source} has no replication of its own into {target}"


def _datong(run: Run, workload: Workload) -> dict[str, float]:
    datong = run.datong
    assert datong is not None
    watches = {"source": ProcessWatch(run.source.pid), "redis": ProcessWatch(run.redis.pid)}
    with looking_at(run.target, DATABASE) as target:
        began = time.monotonic()
        datong.start()
        beginning = Beginning(run, datong)
        beginning.start()
        try:
            timing = target.time(
                _table(workload), workload, began, _PATIENCE_SECONDS, datong.wrong, beginning.first_seen
            )
            processes = datong.processes()
            seen = workload.rows / timing.rows
            costs = {
                "capture": cpu_seconds(processes["capture"]) - beginning.capture,
                "apply": (cpu_seconds(processes["apply"]) - beginning.apply) * seen,
                **{name: watch.cpu for name, watch in watches.items()},
                "target": beginning.target.cpu * seen,
            }
            peaks = {f"peak_{role}_mb": round(peak_mb(pid), 1) for role, pid in processes.items()}
        finally:
            datong.stop()
        target.check(_table(workload), workload)
    return {
        "rows_per_second": round(timing.rows / timing.seconds, 1),
        **{f"cpu_{name}_us": round(max(0.0, cpu) / workload.rows * 1e6, 1) for name, cpu in costs.items()},
        **peaks,
    }


def _natively(run: Run, workload: Workload) -> dict[str, float]:
    native = run.native
    assert native is not None
    watches = {"source": ProcessWatch(native.source.pid), "target": ProcessWatch(native.server.pid)}
    with looking_at(native.server, native.database) as target:
        began = time.monotonic()
        native.start()
        try:
            timing = target.time(_table(workload), workload, began, _PATIENCE_SECONDS, native.wrong)
            costs = {f"cpu_{name}_us": round(watch.cpu / workload.rows * 1e6, 1) for name, watch in watches.items()}
        finally:
            native.stop()
        target.check(_table(workload), workload)
    return {
        "rows_per_second": round(timing.rows / timing.seconds, 1),
        **costs,
    }


class Beginning(threading.Thread):
    """What starting up had cost: the capture when it had published something, the applier and the target when rows were seen there."""

    def __init__(self, run: Run, datong: Replication) -> None:
        super().__init__(daemon=True)
        self._datong, self._redis, self._target = datong, run.redis, run.target
        self._published = Keys(DEPLOYMENT).published(SOURCE)
        with self._redis.connect() as client:
            self._last = client.hget(self._published, "last")
        self.capture = self.apply = 0.0
        self.target = ProcessWatch(run.target.pid)

    def run(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._redis.connect() as client:
            while client.hget(self._published, "last") == self._last and time.monotonic() < deadline:
                time.sleep(0.01)
        self.capture = self._cpu("capture")

    def first_seen(self) -> None:
        self.apply = self._cpu("apply")
        self.target = ProcessWatch(self._target.pid)

    def _cpu(self, role: str) -> float:
        return cpu_seconds(self._datong.processes().get(role, 0))


# -- at a steady pace, and at rest


def _paced(report: Report, options: Options, run: Run, subjects: list[str]) -> None:
    seconds = 3.0 if options.quick else 10.0
    counts = [max(20, int(pace * seconds * min(1.0, options.factor))) for pace in PACES]
    used = [subject for subject in subjects if subject == "datong" or run.native is not None]
    whole = Workload("latency", "insert", 1, sum(counts) * len(used))
    statements = transactions(whole, servers.engine_of(run.source), _LATENCY)
    sent = 0
    for subject in subjects:
        if subject not in used:
            for pace in PACES:
                run.tell(report, f"latency{pace}", subject, skipped=_no_native(run.name))
            continue
        try:
            sent = _latencies(report, options, run, subject, statements, sent, counts)
        except _WRONG as error:
            run.tell(report, "latency", subject, failed=_line(error))
            return  # what was sent is not known


def _latencies(
    report: Report, options: Options, run: Run, subject: str, statements: Iterator[str], sent: int, counts: list[int]
) -> int:
    server, database = run.target, DATABASE
    if subject == "native":
        assert run.native is not None
        server, database = run.native.server, run.native.database
        run.native.start()
    elif run.datong is not None:
        run.datong.start()
        run.datong.wait_until_ready()
    try:
        with looking_at(server, database) as target:
            if sent:
                target.time(
                    _LATENCY, Workload("latency", "insert", 1, sent), time.monotonic(), _PATIENCE_SECONDS, lambda: ""
                )
            for pace, count in zip(PACES, counts, strict=True):
                numbers = latency.measure(run.source, target, _LATENCY, statements, sent + 1, count, pace)
                run.tell(report, f"latency{pace}", subject, numbers=numbers)
                sent += count
            target.check(_LATENCY, Workload("latency", "insert", 1, sent))
        if subject == "datong" and run.datong is not None:
            run.tell(report, "idle", subject, numbers=_idle(run.datong, 3.0 if options.quick else 10.0))
    finally:
        if subject == "native" and run.native is not None:
            run.native.stop()
        elif run.datong is not None:
            run.datong.stop()
    return sent


def _idle(datong: Replication, seconds: float) -> dict[str, float]:
    """Percent of a core that each process takes when nothing happens, and its resident memory."""
    processes = datong.processes()
    before = {role: cpu_seconds(pid) for role, pid in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    percent = {role: (cpu_seconds(pid) - before[role]) / passed * 100 for role, pid in processes.items()}
    return {
        "idle_cpu_percent": round(sum(percent.values()), 2),
        **{f"idle_cpu_{role}_percent": round(value, 2) for role, value in percent.items()},
        **{f"memory_{role}_mb": round(peak_mb(pid), 1) for role, pid in processes.items()},
    }
