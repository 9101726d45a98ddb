"""Subject debezium-json: Debezium's embedded engine (`pydbzengine`), JSON format, counting only.

Runs in the peers' own interpreter (`make peers`). Its log configuration stands first on the class path: at its default level it
writes more log than data. A JVM needs time to compile itself, so the first tenth of the rows is not counted: rows, seconds and CPU
are from there to the end.
"""

from __future__ import annotations

import importlib.metadata
import json
import threading
import time
from pathlib import Path
from typing import Any

from bench.harness.meter import Meter
from bench.harness.subject import CannotRun, Outcome, Task, serve

_QUIET = """
status=ERROR
rootLogger.level=ERROR
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%level %c{1} %m%n
rootLogger.appenderRef.stdout.ref=console
"""
_SILENT_SECONDS = 60.0
_SLOT = "bench_debezium"


def prepare(task: Task) -> None:
    """PostgreSQL: its slot and publication. MySQL: it starts at the place that the task names."""
    if task["address"]["engine"] == "mariadb":
        raise CannotRun("pydbzengine brings no MariaDB connector, and Debezium's MySQL connector refuses MariaDB")
    if task["address"]["engine"] == "postgresql":
        from bench.subjects.recvlogical import connect  # prepare runs in our interpreter, which has psycopg

        with connect(task) as connection:
            connection.execute(f"CREATE PUBLICATION {_SLOT} FOR TABLE orders")
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [_SLOT])


def run(task: Task) -> Outcome:
    counter = _Counter(task["workload"]["rows"])
    folder = Path(task["folder"])
    engine = _engine(task, folder, counter)
    if task["address"]["engine"] != "postgresql":
        _place(task, folder)
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    while not counter.done.wait(1):
        if not thread.is_alive():
            raise RuntimeError("the engine ended before it had read everything")
        if time.monotonic() - counter.heard > _SILENT_SECONDS:
            raise RuntimeError(f"no row for {_SILENT_SECONDS:.0f} s, {counter.rows} of {counter.until} are read")
    counter.check()
    outcome = dict(counter.outcome)
    outcome["versions"] = {"pydbzengine (Debezium)": importlib.metadata.version("pydbzengine")}
    return outcome


class _Counter:
    """Debezium's handler: counts, and looks into one row of each batch."""

    def __init__(self, until: int) -> None:
        self.until = until
        self.rows = 0
        self.heard = time.monotonic()
        self.done = threading.Event()
        self.outcome: Outcome = {}
        self._warm: int | None = None
        self._looked: list[str] = []
        self._meter = Meter()

    def take(self, records: Any) -> None:
        self.heard = time.monotonic()
        if self.done.is_set():
            return
        self.rows += len(records)
        self._looked.append(str(records[0].value()))
        if self._warm is None and self.rows >= self.until // 10:
            self._warm = self.rows
            self._meter.start()
        if self.rows >= self.until:
            self.outcome = self._meter.stop(self.rows - (self._warm or 0))
            self.done.set()

    def check(self) -> None:
        if self.rows != self.until:
            raise ValueError(f"{self.rows} rows were read, {self.until} are in the log")
        for text in self._looked:
            after = json.loads(text)["after"]
            if after["order_no"] != f"SO-2026-{after['id']:012d}" or len(after) != 10:
                raise ValueError("a row is not as it was written")


def _engine(task: Task, folder: Path, counter: _Counter) -> Any:
    try:
        from pydbzengine import DebeziumJsonEngine
    except ImportError as error:
        raise CannotRun(f"pydbzengine cannot be imported ({error}): run `make peers`") from None
    configuration = folder / "debezium"
    configuration.mkdir(exist_ok=True)
    (configuration / "log4j2.properties").write_text(_QUIET, encoding="ascii")
    options = ["-Xms256m", "-Xmx1g", f"-Dlog4j2.configurationFile={configuration / 'log4j2.properties'}"]
    engine = DebeziumJsonEngine(
        properties=_properties(task, folder), handler=counter, jvm_opts=options, extra_classpaths=[str(configuration)]
    )
    engine._ensure_jvm_started()  # noqa: SLF001 - a consumer can only be made in a running JVM
    engine.consumer = _consumer(counter)
    return engine


def _consumer(counter: _Counter) -> Any:
    """As light as Python allows: pydbzengine's own asks Java about every record; here the last of a batch is marked, which covers all."""
    import jpype

    def handle(_self: object, records: Any, committer: Any) -> None:
        counter.take(records)
        committer.markProcessed(records[len(records) - 1])
        committer.markBatchFinished()

    def supports_tombstones(_self: object) -> bool:
        return True

    class Consumer:
        handleBatch = jpype.JOverride(handle)  # noqa: N815 - Java's names
        supportsTombstoneEvents = jpype.JOverride(supports_tombstones)  # noqa: N815

        def set_change_handler(self, handler: object) -> None: ...
        def clear_error(self) -> None: ...
        def raise_if_failed(self) -> None: ...

    return jpype.JImplements("io/debezium/engine/DebeziumEngine$ChangeConsumer")(Consumer)()


def _place(task: Task, folder: Path) -> None:
    """Write the offset to start from, as Kafka Connect's FileOffsetBackingStore keeps it: a serialized HashMap of byte arrays."""
    import jpype

    file, position, gtids = task["log"]
    to_bytes = jpype.JArray(jpype.JByte)
    key = to_bytes(json.dumps(["bench", {"server": "bench"}], separators=(",", ":")).encode())
    value = to_bytes(json.dumps({"file": file, "pos": position, "gtids": gtids}, separators=(",", ":")).encode())
    offsets = jpype.JClass("java.util.HashMap")()
    offsets.put(key, value)
    name = str(folder / "debezium-offsets")
    stream = jpype.JClass("java.io.ObjectOutputStream")(jpype.JClass("java.io.FileOutputStream")(name))
    stream.writeObject(offsets)
    stream.close()


def _properties(task: Task, folder: Path) -> dict[str, str]:
    address = task["address"]
    common = {
        "name": "bench",
        "topic.prefix": "bench",
        "database.hostname": address["host"],
        "database.port": address["port"],
        "database.user": address["user"],
        "database.password": address["password"],
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": folder / "debezium-offsets",
        "offset.flush.interval.ms": 60_000,
        "converter.schemas.enable": "false",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "decimal.handling.mode": "string",
    }
    if address["engine"] == "postgresql":
        own: dict[str, Any] = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.dbname": address["database"],
            "table.include.list": "public.orders",
            "plugin.name": "pgoutput",
            "slot.name": _SLOT,
            "publication.name": _SLOT,
            "publication.autocreate.mode": "disabled",
            "snapshot.mode": "no_data",
        }
    else:
        own = {
            "connector.class": "io.debezium.connector.mysql.MySqlConnector",
            "database.server.id": 4_000_003,
            "database.include.list": address["database"],
            "table.include.list": f"{address['database']}.orders",
            "include.schema.changes": "false",
            "snapshot.mode": "recovery",  # the schema as it is now, the log from the offset that `_place` wrote
            "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
            "schema.history.internal.file.filename": folder / "debezium-history",
        }
    return {name: str(value) for name, value in {**common, **own}.items()}


if __name__ == "__main__":
    serve(prepare, run)
