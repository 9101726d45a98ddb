"""Programs of the service as tests start them: forked from what is imported already (`tests.prefork`), or as they are.

`DATONG_TEST_PROGRAMS=1` starts every one as it is.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from tests.prefork import MOST_BYTES, Order

_REPOSITORY = Path(__file__).parent.parent


class Forked:
    """What of `subprocess.Popen` tests use, for a process whose parent is the prefork process."""

    def __init__(self, server: PreforkServer, pid: int, name: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._name = name

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._name, timeout or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # not reaped, so the number is still its own
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


Program = Forked | subprocess.Popen[bytes]


class PreforkServer:
    """One process for this pytest process, started when it is first needed; the kernel ends it with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def ask(self, message: Order | int, descriptors: Sequence[int] = ()) -> Any:
        with self._lock:
            requests = self._socket = self._socket or self._started()
            socket.send_fds(requests, [msgspec.json.encode(message)], list(descriptors))
            answer = requests.recv(MOST_BYTES)
        assert answer, "the prefork process has ended"
        return msgspec.json.decode(answer)

    def start(self, order: Order, descriptors: Sequence[int]) -> Forked:
        return Forked(self, self.ask(order, descriptors), " ".join([order.module, *order.words]))

    @staticmethod
    def _started() -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.prefork", str(theirs.fileno())],
                cwd=_REPOSITORY, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return ours


_SERVER = PreforkServer()


def start(
    module: str,
    words: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = _REPOSITORY,
    output: IO[bytes],
    errors: IO[bytes],
    supervises: bool = False,
    as_it_is: bool = False,
) -> Program:
    """`python -m module words...`, in a session of its own; the kernel ends it with us. `supervises`: it is `run` or like it."""
    settings = dict(os.environ if environment is None else environment)
    if as_it_is or os.environ.get("DATONG_TEST_PROGRAMS"):
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", module, *words],
            env=settings, cwd=folder, stdout=output, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    with Path(os.devnull).open("rb") as nothing:
        order = Order(module, list(words), settings, str(folder), supervises)
        return _SERVER.start(order, [nothing.fileno(), output.fileno(), errors.fileno()])


def run(
    module: str,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path = _REPOSITORY,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """The same to its end, as `subprocess.run` with its output and errors as text."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(module, words, environment=environment, folder=folder, output=output, errors=errors)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        said = [(file.seek(0), file.read().decode())[1] for file in (output, errors)]
    return subprocess.CompletedProcess(list(words), code, *said)
