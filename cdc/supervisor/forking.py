"""The supervisor's side of the fork server (`cdc.fork_server`): roles start from what is imported already.

It is a way to start sooner and nothing else: where it is missing, slow or gone, roles are started as programs of their own, and
a new fork server for the next one. Linux only: elsewhere there is none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from cdc.supervisor.spawning import spawn

_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
_IMPORT_SECONDS: Final = 20.0  # as long as roles wait for its imports
_ANSWER_SECONDS: Final = 5.0  # a machine under load needs tens of milliseconds; longer is a server that hangs

log = structlog.get_logger("datong.supervisor")


class ForkedChild:
    """A child that the fork server made: what of `subprocess.Popen` the supervisor uses. This process is its parent."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # not reaped, so the number is still its own
            os.kill(self.pid, number)


class ForkServer:
    """One fork server process, started at once and again when it has ended. Never raises."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._ready = False
        self._asked_at = 0.0
        # What it forks becomes this process's child only where that is so.
        self._possible = sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        self._start()

    def _start(self) -> None:
        if not self._possible:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                self._process = spawn("cdc.fork_server", [str(theirs.fileno())], [theirs.fileno()])
            except OSError as error:
                ours.close()
                log.warning("fork_server.gone", reason=str(error))
                return
        self._socket, self._ready, self._asked_at = ours, False, time.monotonic()

    def importing(self) -> bool:
        """Whether it is worth waiting for: it starts, and will soon be ready."""
        if self._socket is None or self._ready:
            return False
        try:
            self._ready = bool(self._socket.recv(64))
        except BlockingIOError:
            if time.monotonic() - self._asked_at < _IMPORT_SECONDS:
                return True
        except OSError:
            pass  # told below
        if not self._ready:
            self._gone("it did not get ready")
        return False

    def fork(self, words: Sequence[str], report: int) -> ForkedChild | None:
        """A role with these words, reporting on a descriptor of ours; None: it has to be started otherwise."""
        if self._socket is None:
            self._start()
        if self._socket is None or self.importing() or not self._ready:
            return None
        try:
            self._socket.settimeout(_ANSWER_SECONDS)
            socket.send_fds(self._socket, [msgspec.json.encode(list(words))], [report])
            pid = int(self._socket.recv(64))
        except (OSError, ValueError) as error:  # ValueError: nothing more to read, it has ended
            self._gone(str(error))
            self._start()
            return None
        return ForkedChild(pid)

    def _gone(self, reason: str) -> None:
        log.warning("fork_server.gone", reason=reason, hint="roles start without it, a second later")
        self.close()

    def close(self) -> None:
        """End it; what it forked lives on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
