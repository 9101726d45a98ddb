"""The admin server as the supervisor sees it: a process of its own that is fed snapshots and answers each with one byte.

It is a process and not a thread because a request must never delay supervision: no body, however large, and no number of
requests takes this interpreter's lock or memory. The listening socket is bound here, before anything starts, so that a port in use
is one clear line, and stays open while the process is replaced. Feeding never blocks: a snapshot that does not fit is skipped.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from typing import Final

import structlog

from cdc.errors import DatongError
from cdc.supervisor.plan import Decision, Life
from cdc.supervisor.settings import AdminSettings
from cdc.supervisor.snapshot import ENCODER, Snapshot
from cdc.supervisor.spawning import spawn

_HANG_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 2.0
_BACKLOG: Final = 512

log = structlog.get_logger("datong.supervisor")


class CannotListenError(DatongError):
    """The admin address cannot be listened on."""


def listen(admin: AdminSettings) -> socket.socket:
    """Bind the admin address. Raises CannotListenError with one line that says what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            admin.host, admin.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListenError(
            f"admin.listen: cannot listen on {admin}: {error.strerror} - give an address of this machine"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListenError(
            f"admin.listen: cannot listen on {admin}: {error.strerror} - stop what uses that port or give another one"
        ) from None
    return listener


class AdminFeed:
    """Keeps the admin process running and fed. Owned by the supervisor's loop, which calls `tend` a few times a second."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._life = Life()
        self._process: subprocess.Popen[bytes] | None = None
        self._feed: socket.socket | None = None
        self._unsent = b""

    def tend(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        if self._process is not None and (status := self._process.poll()) is not None:
            self._life = self._life.exited(status, now, random.random())  # noqa: S311 - jitter, not a secret
            log.warning("admin.ended", reason=self._life.exit_reason)
            self._forget()
        match self._life.decide(now, _HANG_SECONDS):
            case Decision.START:
                self._start(now)
            case Decision.KILL if self._process is not None:
                self._life = self._life.killed("hung; replaced")
                self._process.kill()
            case _:
                pass
        self._send(snapshot, now)

    def _start(self, now: float) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = (self._listener.fileno(), theirs.fileno())
        with theirs:
            try:
                self._process = spawn("cdc.admin", [*map(str, descriptors)], descriptors)
            except OSError as error:
                ours.close()
                self._life = self._life.could_not_start(str(error), now, random.random())  # noqa: S311 - jitter
                log.error("admin.not_started", reason=str(error))
                return
        self._feed = ours
        self._life = self._life.started(now)

    def _send(self, snapshot: Snapshot, now: float) -> None:
        if self._feed is None:
            return
        try:
            if not self._unsent:
                self._unsent = ENCODER.encode(snapshot) + b"\n"
            self._unsent = self._unsent[self._feed.send(self._unsent) :]
            if self._feed.recv(4096):
                self._life = self._life.beat(now)
        except BlockingIOError:
            return
        except OSError:
            return  # it is ending; `poll` will say so

    def _forget(self) -> None:
        self._process = None
        self._unsent = b""
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def stop(self) -> None:
        """End the process, within two seconds, and close the address."""
        self._listener.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._forget()
