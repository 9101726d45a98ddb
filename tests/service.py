"""A service over fake roles as tests drive it (`tests/fake_service.py`), and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdc.demo.command_lines import command_line
from tests import programs
from tests.ports import free_port
from tests.programs import Program
from tests.waiting import await_that

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def request(
    port: int,
    method: str,
    path: str,
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    said = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    try:
        connection.request(method, path, body=body, headers=said)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class FakeService:
    """Started with `roles` like ["capture.website"]; `behave` changes what a role does while it runs."""

    def __init__(self, folder: Path, *roles: str, **more: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self._said: dict[str, Any] = {"port": self.port, **more}
        self._roles: dict[str, Any] = {}
        self.configure(*roles)
        (folder / "roles.json").write_text("{}")
        self._process: Program | None = None

    @property
    def process(self) -> Program:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def configure(self, *roles: str, **more: Any) -> None:
        self._said |= more
        self._said["roles"] = [role.split(".") for role in roles]
        self._write("settings.json", self._said)

    def use_file(self, text: str) -> Path:
        """Follow a real configuration file instead; `PORT` in it is the service's port."""
        path = self.folder / "datong.yaml"
        path.write_text(text.replace("PORT", str(self.port)))
        return path

    def behave(self, role: str, do: str | int | None = None, **facts: Any) -> None:
        self._roles[role] = {"do": do, "facts": facts}
        self._write("roles.json", self._roles)

    def _write(self, name: str, document: object) -> None:
        fresh = self.folder / f"{name}.new"
        fresh.write_text(json.dumps(document))
        fresh.replace(self.folder / name)

    def start(self) -> FakeService:
        with (self.folder / "log").open("ab") as log:
            self._process = programs.start(
                "tests.fake_service", [str(self.folder)], output=log, errors=log, supervises=True
            )
        return self

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str, method: str = "GET", **more: Any) -> Answer:
        return request(self.port, method, path, **more)

    def ready(self) -> dict[str, Any] | None:
        try:
            return {"code": (answer := self.ask("/readyz")).code, **answer.json}
        except (OSError, http.client.HTTPException):
            return None

    def await_status(self, status: str, *, saying: str = "", timeout: float = 90) -> dict[str, Any]:
        """Wait until /readyz has this status, with this text anywhere in it."""

        def reached() -> dict[str, Any] | None:
            ready = self.ready()
            return ready if ready and ready["status"] == status and saying in json.dumps(ready) else None

        return await_that(reached, timeout=timeout, message=lambda: f"{status} {saying}: {self.ready()}\n{self.log}")

    def await_event(self, event: str, *, saying: str = "", **said: Any) -> dict[str, Any]:
        """Wait for a log line: unlike what /readyz says, it stays, however short the state was that it tells of."""

        def logged() -> dict[str, Any] | None:
            whole = self.log.rpartition("\n")[0]
            lines = (json.loads(line) for line in whole.splitlines() if saying in line)
            return next((line for line in lines if line.items() >= ({"event": event} | said).items()), None)

        return await_that(logged, message=lambda: f"{event} {said} {saying}:\n{self.log}")

    def children(self) -> dict[str, int]:
        """Process ids by role name, `admin` for the server."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                argv = command_line(int(entry.name))
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.process.pid and "tests.fake_role" in argv:
                found[".".join(argv[3:5])] = int(entry.name)
            elif parent == self.process.pid and "cdc.admin" in argv:
                found["admin"] = int(entry.name)
        return found


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that nobody reaped has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
