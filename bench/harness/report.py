"""Numbers of one run: collected, printed as a table, and as the one JSON object that others read."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = ("mysql-replication", "PyMySQL", "psycopg", "redis", "hiredis", "msgspec")


@dataclass(frozen=True, slots=True)
class Options:
    """`folder`: this run's own, gone afterwards. `factor` multiplies sizes. `extra`: a command's own options by name."""

    folder: Path
    quick: bool
    factor: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def size(self, usual: int, quick: int, step: int = 1) -> int:
        """A number of rows: the usual or the quick one times `--rows`, a multiple of `step`, at least one step."""
        return max(step, int((quick if self.quick else usual) * self.factor) // step * step)


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the report. `skipped`: it cannot run on this machine; `failed`: it ran and went wrong. Both say why in one line."""

    server: str
    workload: str
    subject: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    skipped: str = ""
    failed: str = ""

    def plain(self) -> dict[str, object]:
        told = {"skipped": self.skipped} if self.skipped else {"failed": self.failed} if self.failed else {}
        return {"server": self.server, "workload": self.workload, "subject": self.subject, **self.numbers, **told}


class Report:
    """Rows as they come; each is told on standard error at once, since a run takes minutes."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.versions: dict[str, str] = {"python": platform.python_version(), **dict(_packages())}
        self.machine = _machine()

    @property
    def failed(self) -> bool:
        return any(result.failed for result in self.results)

    def add(self, result: Result) -> None:
        self.results.append(result)
        numbers = "  ".join(f"{name} {_shown(value)}" for name, value in result.numbers.items())
        words = f"skipped: {result.skipped}" if result.skipped else f"FAILED: {result.failed}" if result.failed else ""
        print(f"{result.server:24}{result.workload:10}{result.subject:26}{numbers}{words}", file=sys.stderr, flush=True)

    def text(self) -> str:
        """The machine, the versions, and one table per kind of number."""
        machine = ", ".join(f"{value}" for value in self.machine.values())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        blocks = [f"{machine}\n{versions}"]
        names = dict.fromkeys(name for result in self.results for name in result.numbers)
        blocks += [f"{name}\n{self._table(name)}" for name in names]
        told = dict.fromkeys(
            (r.server, r.subject, f"skipped: {r.skipped}" if r.skipped else f"FAILED: {r.failed}")
            for r in self.results if r.skipped or r.failed
        )  # fmt: skip
        if told:
            blocks.append("\n".join(f"{server} {subject}: {why}" for server, subject, why in told))
        return "\n\n".join(blocks)

    def json(self) -> str:
        found = {"machine": self.machine, "versions": self.versions, "results": [r.plain() for r in self.results]}
        return json.dumps(found, ensure_ascii=False)

    def _table(self, name: str) -> str:
        workloads = list(dict.fromkeys(r.workload for r in self.results))
        cells = {(r.server, r.subject, r.workload): r.numbers.get(name) for r in self.results}
        lines = [["", "", *workloads]]
        for server, subject in dict.fromkeys((r.server, r.subject) for r in self.results):
            values = [cells.get((server, subject, workload)) for workload in workloads]
            if any(value is not None for value in values):
                lines.append([server, subject, *("-" if value is None else _shown(value) for value in values)])
        return _aligned(lines)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(_cell(text, widths[i], left=i < 2) for i, text in enumerate(line)).rstrip() for line in lines
    )


def _cell(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _packages() -> Iterable[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _machine() -> dict[str, object]:
    """Enough to know a machine again; never its name."""
    processor, memory = platform.processor() or platform.machine(), 0
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        pass
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": processor,
        "cores": f"{cores} cores",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }
