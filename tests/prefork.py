"""A process that has imported the whole service, and forks a program of it on request: `python -m tests.prefork DESCRIPTOR`.

A service that starts imports for more than two seconds of CPU, in three processes, and the suite starts hundreds of them. What is
forked here runs the same `main` with the same arguments, environment and descriptors; only the imports are not repeated. The two
programs that a supervisor starts (`cdc.supervisor.spawning`) are waiting beside it, imported as well; one that it has to
start again is a program like any other. `tests.programs` is the other end.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from setproctitle import setproctitle

import cdc.cli
from cdc.child import PARENT_VARIABLE, bind_to_parent
from cdc.supervisor import admin_feed, forking, spawning

MOST_BYTES: Final = 1 << 18
SPARES: Final = ("cdc.fork_server", "cdc.admin")
MODULES: Final = (
    "cdc.supervisor.service",
    "cdc.fork_server",
    "cdc.admin.__main__",
    "tests.fake_service",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
)


class Order(msgspec.Struct):
    """A program to start, with three descriptors beside it: what it reads, and writes to as output and errors."""

    module: str
    words: list[str]
    environment: dict[str, str]
    folder: str
    supervises: bool  # it starts SPARES


class Spare:
    """A program of the supervisor's, forked while this process had no thread, that waits for its words."""

    def __init__(self, module: str, others: Sequence[Spare]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            bind_to_parent(parent)
            for held in (ours, *(other._socket for other in others)):
                held.close()
            _wait_as_spare(module, theirs)
        theirs.close()
        self._socket = ours
        self._status: int | None = None

    def start(self, words: Sequence[str], descriptors: Sequence[int]) -> Spare:
        told = msgspec.json.encode([list(words), [str(one) for one in descriptors], str(os.getpid())])
        with self._socket:
            socket.send_fds(self._socket, [told], list(descriptors))
        return self

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a spare", timeout or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _wait_as_spare(module: str, orders: socket.socket) -> None:
    """Become the program once there are words for it; end where there never are. Never returns."""
    packet, given, _, _ = socket.recv_fds(orders, MOST_BYTES, 8)
    if not packet:
        os._exit(0)
    orders.close()
    words, names, supervisor = msgspec.json.decode(packet)
    os.setpgid(0, 0)
    os.environ[PARENT_VARIABLE] = supervisor
    number = dict(zip(names, map(str, given), strict=True))
    _run(module, [number.get(word, word) for word in words])


def _run(module: str, words: list[str]) -> None:
    """What `python -m module words...` does, from what is imported already. Never returns."""
    setproctitle(" ".join([sys.executable, "-m", module, *words]))
    sys.argv = [module, *words]
    program = sys.modules.get(f"{module}.__main__") or sys.modules[module]
    code: Any
    try:
        code = program.main()
    except SystemExit as end:
        code = end.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - an interpreter prints it and ends too
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


def _become(order: Order, descriptors: Sequence[int]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    bind_to_parent(int(os.environ["DATONG_PREFORK_PID"]))
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    os.chdir(order.folder)
    if order.supervises:
        _prepare_spares()
    _run(order.module, order.words)


def _prepare_spares() -> None:
    spares: dict[str, Spare] = {}
    for module in SPARES:
        spares[module] = Spare(module, list(spares.values()))
    program = spawning.spawn

    def spawn(module: str, words: Sequence[str], passed: Sequence[int]) -> Any:
        spare = spares.pop(module, None)
        return program(module, words, passed) if spare is None else spare.start(words, passed)

    forking.spawn = admin_feed.spawn = spawn  # type: ignore[attr-defined,assignment]


def serve(requests: socket.socket) -> None:
    """Answer orders with a process id, and process ids with a status, until the other end is closed."""
    orders = msgspec.json.Decoder(Order | int)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not packet:
            return
        asked = orders.decode(packet)
        if isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            requests.send(msgspec.json.encode(os.waitstatus_to_exitcode(status) if pid else None))
            continue
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(asked, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(msgspec.json.encode(pid))


def main() -> int:
    bind_to_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in a terminal is for pytest
    # It finds its room now, while the environment is as it was.
    setproctitle(f"{sys.executable} -m tests.prefork")
    for found in pkgutil.iter_modules(cdc.cli.__path__):
        if found.name != "__main__":
            importlib.import_module(f"cdc.cli.{found.name}")
    for module in MODULES:
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork copies one thread only"
    os.environ["DATONG_PREFORK_PID"] = str(os.getpid())
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        requests.set_inheritable(False)
        serve(requests)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
