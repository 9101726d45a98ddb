"""Measuring a process: wall clock, CPU (children included), resident memory. Standard library only, so that peers' own
interpreters can import it.

`Meter` is used inside the measured process, around exactly the work that is claimed; `ProcessWatch` looks at a process from outside.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.1


def rss_mb(pid: int | str = "self") -> float:
    """Resident memory in MB (10^6 bytes), 0 where the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1e6
    except (OSError, IndexError):
        return 0.0


def cpu_seconds() -> float:
    """CPU of this process and of its children that have ended: all threads, user and system."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Meter:
    """`start`, then `sample` now and then, then `stop`; the outcome is what a subject answers."""

    def __init__(self) -> None:
        self._began = self._cpu = self._sampled = 0.0
        self._memory: list[float] = []

    def start(self) -> None:
        self._memory = [rss_mb()]
        self._cpu = cpu_seconds()
        self._began = self._sampled = time.monotonic()

    def sample(self) -> None:
        """Look at the memory, ten times a second at most."""
        now = time.monotonic()
        if now - self._sampled >= _SAMPLE_SECONDS:
            self._sampled = now
            self._memory.append(rss_mb())

    def stop(self, rows: int) -> dict[str, Any]:
        seconds, cpu = time.monotonic() - self._began, cpu_seconds() - self._cpu
        self._memory.append(rss_mb())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return {"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "memory_mb": self._memory, "peak_mb": peak}


class ProcessWatch:
    """A process and its descendants, seen from outside: of a service, a server, a peer. `cpu` counts from the watch's start."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._before = self._ticks()

    @property
    def cpu(self) -> float:
        """CPU seconds since the start, of those descendants that still live or have been waited for."""
        return (self._ticks() - self._before) / _TICKS

    @property
    def memory_mb(self) -> dict[int, float]:
        """Resident memory now, by pid."""
        return {pid: rss_mb(pid) for pid in self.family()}

    def family(self) -> list[int]:
        found, pending = [], [self.pid]
        while pending:
            pid = pending.pop()
            found.append(pid)
            try:
                words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            except OSError:
                continue
            pending += map(int, words)
        return found

    def _ticks(self) -> int:
        """proc(5): utime, stime, and cutime and cstime of children that were waited for."""
        total = 0
        for pid in self.family():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
            except OSError:
                continue
            total += sum(map(int, fields.split()[11:15]))
        return total
