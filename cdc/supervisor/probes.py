"""Asks Redis and the hub store every second whether they answer, in threads that may hang without holding up anything. Guards I10.

The supervisor only reads the last answer and its age: a probe that hangs grows old, and old is out of reach.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from cdc.errors import DatongError
from cdc.health import Dependency

EVERY_SECONDS: Final = 1.0

Probe: TypeAlias = Callable[[], None]  # raises DatongError with one line


class Probes:
    """One daemon thread per dependency: a Redis that hangs says nothing about the store."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._answers: dict[str, tuple[float, str]] = {name: (time.monotonic(), "") for name in probes}
        self._stopped = threading.Event()
        self._probes = probes

    def start(self) -> None:
        for name, probe in self._probes.items():
            threading.Thread(target=self._run, args=(name, probe), name=f"probe-{name}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self, name: str, probe: Probe) -> None:
        while not self._stopped.is_set():
            error = _error_of(probe)
            self._answers[name] = (time.monotonic(), error)
            self._stopped.wait(EVERY_SECONDS)

    def seen(self) -> list[Dependency]:
        now = time.monotonic()
        return [Dependency(name, error, now - at) for name, (at, error) in self._answers.items()]


def _error_of(probe: Probe) -> str:
    try:
        probe()
    except DatongError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a defect: were the thread to end, it would look like a server that hangs
        return f"unexpected {type(error).__name__} while asking it: report it"
    return ""
