"""`datong run` for a benchmark: a source and a target channel, an entity per table, and what each of its processes costs."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.harness.meter import rss_mb
from bench.harness.servers import DATABASE, Database, engine_of
from bench.harness.workload import COLUMNS, FIELDS
from cdc.demo.command_lines import command_line
from cdc.demo.servers import Redis
from cdc.demo.servers.process import descendants, free_port, tail, wait_for
from cdc.demo.service import Service, ServiceFailed

DEPLOYMENT: Final = "bench"
SOURCE: Final = "source"
_READY_SECONDS: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Replication:
    """The service between two servers. `start` waits until it is ready, `stop` until it is gone."""

    def __init__(self, folder: Path, source: Database, target: Database, redis: Redis, tables: Iterable[str]) -> None:
        token = secrets.token_urlsafe(12)
        port = free_port()
        path = folder / "datong.json.yaml"  # JSON is YAML
        path.write_text(json.dumps(_document(folder, source, target, redis, port, list(tables))), encoding="utf-8")
        passwords = {
            "BENCH_SOURCE_PASSWORD": source.password,
            "BENCH_TARGET_PASSWORD": target.password,
            "BENCH_REDIS_PASSWORD": redis.password,
            "BENCH_TOKEN": token,
        }
        self._service = Service(path, passwords, port, token)

    def start(self) -> None:
        """Raises cdc.demo.service.ServiceFailed."""
        self._service.start()

    def wait_until_ready(self) -> None:
        service = self._service
        # Not service.wait_until_ready: it wants both roles of every channel.
        if not wait_for(lambda: service.pid() is None or self._ready(), timeout=_READY_SECONDS):
            raise ServiceFailed(f"the service was not ready after {_READY_SECONDS:.0f} s: {tail(service.log)}")
        if service.pid() is None:
            raise ServiceFailed(f"the service ended at its start: {tail(service.log)}")

    def _ready(self) -> bool:
        answer = self._service.ask("/readyz")
        return answer is not None and answer.get("status") == "ok"

    def stop(self) -> None:
        self._service.stop()

    def wrong(self) -> str:
        """What went wrong, in one line; empty while all is well. A parked row or a halted role does not arrive."""
        if self._service.pid() is None:
            return "the service has ended"
        for name, channel in ((self._service.ask("/api/status") or {}).get("channels") or {}).items():
            for role in ("capture", "apply"):
                facts = channel.get(role) or {}
                if facts.get("state") == "halted" or facts.get("parked"):
                    return f"{role} {name}: {facts.get('state')} {facts.get('reason')}, {facts.get('parked')} parked"
        return ""

    def processes(self) -> dict[str, int]:
        """Its processes by what they do: supervisor, admin, capture, apply (and with a channel's name where there are more)."""
        pid = self._service.pid()
        return {} if pid is None else {_role(found): found for found in (pid, *descendants(pid))}


def _document(
    folder: Path, source: Database, target: Database, redis: Redis, port: int, tables: list[str]
) -> Mapping[str, Any]:
    columns = {name: name for name in COLUMNS}

    def url(server: Database, name: str) -> str:
        place = f"{server.host}:{server.port}/{DATABASE}"
        return f"{engine_of(server)}://{server.admin_user}:${{BENCH_{name}_PASSWORD}}@{place}"

    return {
        "version": 1,
        "deployment": DEPLOYMENT,
        "redis": {"url": f"redis://{redis.admin_user}:${{BENCH_REDIS_PASSWORD}}@{redis.host}:{redis.port}/0"},
        "store": {"url": f"sqlite:///{folder / 'store.db'}"},
        "admin": {"listen": f"127.0.0.1:{port}", "token": "${BENCH_TOKEN}"},
        "channels": {SOURCE: {"url": url(source, "SOURCE")}, "target": {"url": url(target, "TARGET")}},
        "entities": {table: {"key": ["id"], "fields": FIELDS} for table in tables},
        "mappings": {
            f"{channel}.{table}": {
                "channel": channel, "table": table, "entity": table, "direction": way, "columns": columns,
            }
            for table in tables
            for channel, way in ((SOURCE, "capture"), ("target", "apply"))
        },
    }  # fmt: skip


def _role(pid: int) -> str:
    words = command_line(pid)
    if "cdc.roles" in words:
        kind, channel = words[words.index("cdc.roles") + 1 :][:2]
        return kind if channel == {"capture": SOURCE, "apply": "target"}[kind] else f"{kind}_{channel}"
    return "admin" if "cdc.admin" in words else "fork_server" if "cdc.fork_server" in words else "supervisor"


def cpu_seconds(pid: int) -> float:
    """CPU of one process since its start, user and system; 0 where it is gone. proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb(pid: int) -> float:
    """The most resident memory that a process has had, in MB (10^6 bytes)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), rss_mb(pid))
