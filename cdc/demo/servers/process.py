"""Server processes that cannot outlive us: start, watch, stop, kill.

Never touches a process that this module did not start, nor a service of the system. A server dies with this
interpreter whatever ends it: setpriv(1) sets PR_SET_PDEATHSIG before the server's own program starts, and `atexit` ends
what an ordinary exit leaves.
"""

from __future__ import annotations

import atexit
import os
import pwd
import queue
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Below Linux's range for outgoing connections (32768 and up): nobody's connection can take the port of a server that
# is down for a moment.
_PORTS = range(20000, 32000)
_LOG_TAIL = 4000


class ServerMissing(RuntimeError):
    """A server's programs are not on this machine; the message names the package and the command that brings it."""


class ServerFailed(RuntimeError):
    """A server did not start, answer or stop; the message ends with its log's last lines."""


@dataclass(frozen=True, slots=True)
class _Order:
    arguments: Sequence[str]
    directory: Path
    log: Path
    environment: Mapping[str, str]
    answer: queue.SimpleQueue[subprocess.Popen[bytes] | OSError]


class _Starter:
    """One thread that starts every server and then lives as long as the interpreter.

    The kernel sends the parent-death signal when the *thread* that started the child ends (prctl(2)), so a server must
    not be the child of a thread that a test or a pool will end.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="datong-server-starter", daemon=True).start()

    def start(self, order: _Order) -> subprocess.Popen[bytes]:
        self._orders.put(order)
        answer = order.answer.get()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _serve(self) -> None:
        while True:
            order = self._orders.get()
            try:
                with order.log.open("ab") as log:
                    order.answer.put(
                        subprocess.Popen(
                            order.arguments,
                            cwd=order.directory,
                            env=dict(order.environment),
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    )
            except OSError as error:
                order.answer.put(error)


_starter: _Starter | None = None
_starter_lock = threading.Lock()
_running: dict[int, ServerProcess] = {}
_owner = os.getpid()


def _after_fork_in_child() -> None:
    """A forked child has neither the starter's thread nor a right to end its parent's servers."""
    global _starter, _starter_lock, _owner
    _starter, _starter_lock, _owner = None, threading.Lock(), os.getpid()
    _running.clear()


def _end_all() -> None:
    if os.getpid() == _owner:
        for process in list(_running.values()):
            process.kill()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_end_all)


def _the_starter() -> _Starter:
    global _starter  # noqa: PLW0603 - started on first need, once
    with _starter_lock:
        if _starter is None:
            _starter = _Starter()
        return _starter


class ServerProcess:
    """One running server program and its descendants."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid
        _running[self.pid] = self

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def terminate(self, signal_number: int, timeout: float) -> bool:
        """Ask the server to end; False where it was still there after `timeout` seconds."""
        if self.alive:
            self._popen.send_signal(signal_number)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        _running.pop(self.pid, None)
        return True

    def kill(self) -> None:
        """SIGKILL to the server and all its descendants, and wait until none is left."""
        family = descendants(self.pid) if self.alive else []
        if self.alive:
            self._popen.kill()
        self._popen.wait()
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for(lambda: not any(exists(pid) for pid in family), timeout=10)
        _running.pop(self.pid, None)


def spawn(
    arguments: Sequence[str], *, directory: Path, log: Path, user: str | None = None, death_signal: str = "KILL"
) -> ServerProcess:
    """Start a server that gets `death_signal` when we die; `user`: the account to run it as, when we are root."""
    order = _Order(
        [*_wrapper(user, death_signal), *arguments], directory, log, server_environment(directory), queue.SimpleQueue()
    )
    return ServerProcess(_the_starter().start(order))


def run_to_end(arguments: Sequence[str], *, directory: Path, log: Path, user: str | None = None) -> None:
    """Run a set-up program (initdb and the like) with its output in `log`; raises ServerFailed where it fails."""
    process = spawn(arguments, directory=directory, log=log, user=user)
    code = process._popen.wait(120)  # noqa: SLF001 - same module
    process.terminate(signal.SIGTERM, 0)
    if code:
        raise ServerFailed(f"{Path(arguments[0]).name} ended with code {code}; {log}:\n{tail(log)}")


def _wrapper(user: str | None, death_signal: str) -> list[str]:
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin:/bin")
    if setpriv is None:
        raise ServerMissing("setpriv is missing: install the package util-linux")
    account = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
    return [setpriv, "--pdeathsig", death_signal, *account, "--"]


def server_environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's: no proxy, no locale, no time zone, no library path reaches a server."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}


def exists(pid: int) -> bool:
    """Whether a process is there and not a zombie that waits for its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def descendants(pid: int) -> list[int]:
    """All live processes below `pid`, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(0), [])
        found += below
        pending += below
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    candidates = random.SystemRandom().sample(_PORTS, 200)
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no free port among {len(candidates)} tried between {_PORTS.start} and {_PORTS.stop}")


def wait_for(condition: Callable[[], bool], *, timeout: float, interval: float = 0.02) -> bool:
    """Ask until `condition()` holds; False when `timeout` seconds have passed."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    if not log.exists():
        return "(no log)"
    return log.read_bytes()[-_LOG_TAIL:].decode("utf-8", errors="replace").strip()


def service_account(name: str) -> str | None:
    """`name` when we are root and have to become somebody else for this server, else None: it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise ServerMissing(f"the account {name} is missing: run `make servers` (Debian's package {name})") from None
