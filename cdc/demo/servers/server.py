"""What all private servers have in common: a folder, a port, an admin account, and a life that ends with ours.

A server lives in one folder (data, configuration, log, the admin's password) and listens on 127.0.0.1 only. It never
reads a configuration of the system, and never touches the system's own servers.
"""

from __future__ import annotations

import secrets
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import quote

from cdc.demo.servers.certificates import Certificates
from cdc.demo.servers.process import ServerFailed, ServerProcess, free_port, tail, wait_for

_START_TIMEOUT = 90.0
_STOP_TIMEOUT = 60.0


class Server(ABC):
    """One server. `start` makes its data folder where there is none; leaving the `with` block stops it cleanly."""

    kind: ClassVar[str]
    scheme: ClassVar[str]
    host: ClassVar[str] = "127.0.0.1"
    admin_user: ClassVar[str] = "datong_admin"
    _stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(
        self,
        folder: Path,
        *,
        options: Mapping[str, str] | None = None,
        port: int | None = None,
        tls: Certificates | None = None,
        fast: bool = True,
    ) -> None:
        """`options` are the server's own settings, over ours; `fast` gives up what only a power cut would need.

        `options` and `tls` may be changed later: the next start takes them.
        """
        self.folder = folder.absolute()
        self.options = dict(options or {})
        self.port = port or free_port()
        self.password = ""
        self._port_is_given = port is not None
        self.tls = tls
        self._fast = fast
        self._process: ServerProcess | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int:
        """The server's process; raises ServerFailed where it does not run."""
        if self._process is None or not self._process.alive:
            raise ServerFailed(f"{self} is not running; start it first")
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until the server answers its admin.

        Raises ServerMissing where its programs are not installed, ServerFailed with the log's end where it does not
        come up.
        """
        if self.running:
            return self
        self._require_programs()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._load_password()
        first_start = not self.data.exists()
        if first_start:
            self._make_data()
        for attempt in range(3):
            log_start = self.log.stat().st_size if self.log.exists() else 0
            self._configure(first_start=first_start)
            self._process = self._launch()
            if wait_for(lambda: self._dead() or self._answers(), timeout=_START_TIMEOUT) and not self._dead():
                self._after_start()
                return self
            self._process.kill()
            said = self.log.read_bytes()[log_start:].decode("utf-8", errors="replace")
            if attempt == 2 or self._port_is_given or not first_start or "in use" not in said.lower():
                break
            self.port = free_port()
        raise ServerFailed(f"{self} did not start; {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        """Stop cleanly; raises ServerFailed (and kills) where the server does not end."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if not process.terminate(self._stop_signal, _STOP_TIMEOUT):
            process.kill()
            raise ServerFailed(
                f"{self} did not stop within {_STOP_TIMEOUT:.0f} s, killed; {self.log}:\n{tail(self.log)}"
            )

    def kill(self) -> None:
        """SIGKILL, and wait until no process of the server is left: what a crash does."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()

    def discard(self) -> None:
        """End it in no time, its data being thrown away with the folder."""
        self.kill()

    def restart(self) -> Self:
        """Stop cleanly and start on the same port and data, with `options` as they are now."""
        self.stop()
        return self.start()

    def url(self, database: str | None = None, user: str | None = None, password: str | None = None) -> str:
        """A URL in Datong's form; the admin's account where no other one is given."""
        user, password = (self.admin_user, self.password) if user is None else (user, password or "")
        account = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return f"{self.scheme}://{account}@{self.host}:{self.port}/{quote(database or '', safe='')}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __str__(self) -> str:
        return f"{self.kind} on port {self.port} in {self.folder}"

    def _dead(self) -> bool:
        return self._process is None or not self._process.alive

    def _load_password(self) -> None:
        path = self.folder / "admin-password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(18), encoding="ascii")
        self.password = path.read_text(encoding="ascii")

    def _after_start(self) -> None:  # noqa: B027 - a server may have nothing to tidy up
        """Remove what only the first start needed."""

    @abstractmethod
    def _require_programs(self) -> None:
        """Raise ServerMissing where a program is not installed."""

    @abstractmethod
    def _make_data(self) -> None:
        """Make a fresh data folder, or raise ServerFailed and leave none."""

    @abstractmethod
    def _configure(self, *, first_start: bool) -> None:
        """Write the configuration for the present options and port."""

    @abstractmethod
    def _launch(self) -> ServerProcess:
        """Start the program."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the admin can connect and get an answer."""


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
