"""The supervised side of a process: bound to the supervisor's life, reporting facts to it. Guards I10 and "never an orphan".

A role calls `bind_to_parent()` first thing, and `Report.send` from its work loop at least twice a second: that line is its beat.
Reporting must never block the work: when the supervisor does not read, lines are dropped, and health goes red at the other end.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import sys
from typing import Final

from cdc.facts import ENCODER, RoleFacts

PARENT_VARIABLE: Final = "DATONG_SUPERVISOR_PID"
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


_YOUNG_OBJECTS: Final = 20_000  # before the cycle collector looks at them


class SupervisorGoneError(BrokenPipeError):
    """Nobody reads the reports any more: the supervisor ended, so this process has to end too."""


def collect_seldom() -> None:
    """Have the cycle collector look less often, and not at what was there before the work began.

    A batch is thousands of tuples that live for milliseconds and have no cycles; at its usual pace the collector walks over all of them
    again and again, a sixth of a capture's CPU. What is in cycles is still found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 100)


def bind_to_parent(parent_pid: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG); exit if it is dead already.

    `parent_pid`: who is expected to be the parent; by default what the supervisor put into the environment.
    """
    if parent_pid is None:
        parent_pid = int(os.environ.get(PARENT_VARIABLE, "0")) or os.getppid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # it died before the binding held
        raise SystemExit(1)


class Report:
    """The pipe to the supervisor, one JSON line of facts at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)
        self._unsent = b""

    def send(self, facts: RoleFacts) -> bool:
        """Report; answer whether the line went out. Raises SupervisorGoneError when the pipe is broken."""
        line = self._unsent or ENCODER.encode(facts) + b"\n"
        fresh = not self._unsent
        try:
            written = os.write(self._descriptor, line)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EBADF):
                raise SupervisorGoneError(error.errno, "the supervisor is gone") from None
            raise
        self._unsent = line[written:]
        return fresh and not self._unsent

    def close(self) -> None:
        os.close(self._descriptor)
