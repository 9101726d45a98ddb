"""The service as the demo runs it: `datong run`, a process of its own, asked over its admin address like any user would.

It must be able to die and come back without us (a person kills it and starts it again elsewhere), and must not outlive us: the kernel
ends what we started when we are killed, and `stop` ends whatever runs with this stage's configuration.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cdc.demo.command_lines import command_line
from cdc.demo.servers import ServerMissing
from cdc.demo.servers.process import exists, tail, wait_for

_STOP_SECONDS: Final = 15.0


class ServiceFailed(RuntimeError):
    """The service ended, or was not ready in time; the message ends with its log's last lines."""


class Service:
    """Start it once; then it is what /proc and its admin address say it is."""

    def __init__(self, configuration: Path, environment: Mapping[str, str], admin_port: int, token: str) -> None:
        self._configuration = configuration
        self._environment = environment
        self._admin_port = admin_port
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self.log = configuration.with_name("datong.log")

    @property
    def command(self) -> list[str]:
        """The exact command line."""
        program = Path(sys.executable).with_name("datong")
        start = [str(program)] if program.exists() else [sys.executable, "-m", "cdc.cli"]
        return [*start, "-c", str(self._configuration), "run"]

    def start(self) -> int:
        """Start it in a process group of its own, so that the terminal's Ctrl-C does not reach it; answer its PID.

        Call from the main thread: the kernel's parent-death signal comes when the calling thread ends (prctl(2)).
        """
        setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', os.defpath)}:/usr/bin:/bin")
        if setpriv is None:
            raise ServerMissing("setpriv is missing: install the package util-linux")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [setpriv, "--pdeathsig", "TERM", "--", *self.command],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process.pid

    def wait_until_ready(self, seconds: float) -> None:
        """Raises ServiceFailed where it ends first or takes longer."""
        if not wait_for(lambda: self.pid() is None or self.ready(), timeout=seconds, interval=0.1):
            raise ServiceFailed(f"the service was not ready after {seconds:.0f} s: {self._said()}")
        if self.pid() is None:
            raise ServiceFailed(f"the service ended at its start: {self._said()}")

    def ready(self) -> bool:
        answer = self.ask("/readyz")
        if answer is None or answer.get("status") != "ok":
            return False
        states = [channel[role] for channel in answer["channels"].values() for role in ("capture", "apply")]
        return bool(states) and all(state in ("running", "idle") for state in states)

    def ask(self, path: str, patience_seconds: float = 3.0) -> dict[str, Any] | None:
        """A JSON document of the admin address, whatever its HTTP status; None where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=patience_seconds)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {self._token}"})
            document = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return document if isinstance(document, dict) else None

    def pid(self) -> int | None:
        """The process that runs `run` with our configuration, whoever started it."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        return next(iter(self._supervisors()), None)

    def stop(self) -> None:
        """End every process of it: ask, wait, then kill. The roles end with their supervisor."""
        pids = self._supervisors()
        for pid in pids:
            _signal(pid, signal.SIGTERM)
        wait_for(self._gone, timeout=_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to whatever runs with our configuration, and wait for the end of it."""
        for pid in self._all():
            _signal(pid, signal.SIGKILL)
        wait_for(self._gone, timeout=5)

    def _gone(self) -> bool:
        if self._process is not None:
            self._process.poll()  # reaps it
        return not self._all()

    def _supervisors(self) -> list[int]:
        return [pid for pid, words in self._commands() if "run" in words]

    def _all(self) -> list[int]:
        return [pid for pid, _ in self._commands()]

    def _commands(self) -> list[tuple[int, Sequence[str]]]:
        """Processes that have our configuration's path, which is unique, as an argument: ours, and nobody else's."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = command_line(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            program = any(Path(word).name == "datong" or word.startswith("cdc.") for word in words[:4])
            if program and " ".join(str(self._configuration).split()) in " ".join(words) and exists(int(entry.name)):
                found.append((int(entry.name), words))
        return sorted(found)

    def _said(self) -> str:
        return f"{self.log}:\n{tail(self.log)}"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
