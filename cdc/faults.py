"""Named fault points: a no-op unless the environment variable DATONG_FAULTS names them. For tests that kill.

DATONG_FAULTS is a list `point[@role]=action[*n]` joined by commas: `sink.commit_sent@apply.crm=kill*3` kills the process
the third time that the applier of crm gets there. Actions: kill (SIGKILL to itself), raise, exit, hang:SECONDS, drop.
`drop` and `raise` are answered to the caller as exceptions of this module. Every point is in POINTS; hitting an unknown
one is an error, so the list is complete (test C1 walks it).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Final

POINTS: Final = (
    "reader.after_event",
    "reader.mid_tx",
    "capture.decoded",
    "capture.before_publish",
    "capture.after_publish",
    "capture.before_release",
    "loop_guard.before_register",
    "loop_guard.after_register",
    "sink.before_first_stmt",
    "sink.mid_tx",
    "sink.before_commit",
    "sink.commit_sent",
    "sink.after_commit",
    "checkpoint.before",
    "checkpoint.after",
    "source_ack.after",
    "shutdown.mid_flush",
)


class InjectedFaultError(RuntimeError):
    """Raised at a fault point by the action `raise`."""


class InjectedDropError(ConnectionError):
    """Raised at a fault point by the action `drop`: the caller's connection is to be treated as lost."""


class Faults:
    """The armed fault points of one process; `role` is `capture.website` and the like."""

    def __init__(self, role: str, armed: str | None = None) -> None:
        self._armed: dict[str, tuple[str, int]] = {}
        self._hits: Counter[str] = Counter()
        for item in filter(None, (armed if armed is not None else os.environ.get("DATONG_FAULTS", "")).split(",")):
            place, _, action = item.strip().partition("=")
            point, _, only = place.partition("@")
            if point not in POINTS:
                raise ValueError(f"DATONG_FAULTS: no fault point {point!r}; there are: {', '.join(POINTS)}")
            name, _, count = action.partition("*")
            if not only or only == role:
                self._armed[point] = (name, int(count or 1))

    def hit(self, point: str) -> None:
        if not self._armed:
            return
        if point not in POINTS:
            raise ValueError(f"unknown fault point {point!r}")
        self._hits[point] += 1
        action, count = self._armed.get(point, ("", 0))
        if action and self._hits[point] == count:
            self._act(point, action)

    def _act(self, point: str, action: str) -> None:
        name, _, argument = action.partition(":")
        if name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name == "exit":
            os._exit(int(argument or 1))
        elif name == "hang":
            time.sleep(float(argument or 3600))
        elif name == "drop":
            raise InjectedDropError(f"fault point {point}")
        elif name == "raise":
            raise InjectedFaultError(f"fault point {point}")
        else:
            raise ValueError(f"DATONG_FAULTS: no action {name!r} at {point}")
