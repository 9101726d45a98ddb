"""A small world to test the whole service in: databases of a test's own, a configuration, `datong run` as a subprocess.

The default is "AB" of CASES.md section 2: one mapped table `t(id, v, note)` in each channel. Everything goes through real servers and
the real command; a test waits for conditions (`await_equal`, `await_status`), it never sleeps for luck.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cdc.demo.command_lines import command_line
from cdc.demo.servers import MariaDB
from cdc.demo.write_counter import RowEvents, row_event_counter
from tests import programs
from tests.ports import free_port
from tests.programs import Program
from tests.servers import MySQLDatabase, PostgreSQLDatabase, RedisDatabase
from tests.waiting import await_that

TOKEN = "test-token-" + "x" * 20
Database = MySQLDatabase | PostgreSQLDatabase


class Channel:
    """One channel of the world: a database, its table `t`, and (optionally) a proxy in front of it."""

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.database = database
        self.port = database.server.port
        self.options: dict[str, Any] = {}
        self.is_postgresql = isinstance(database, PostgreSQLDatabase)
        self.engine = (
            "postgresql" if self.is_postgresql else "mariadb" if isinstance(database.server, MariaDB) else "mysql"
        )

    def create_table(self, name: str = "t", columns: str = "v INT, note VARCHAR(200)") -> None:
        if self.is_postgresql:
            self.execute(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, {columns})")
            self.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL")
        else:
            self.execute(f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, {columns}) DEFAULT CHARSET=utf8mb4")

    def execute(self, statement: str, *parameters: object) -> tuple[tuple[object, ...], ...]:
        return self.database.execute(statement, *parameters)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor inside one user transaction, committed at the end."""
        with self.database.connect() as connection:
            if self.is_postgresql:
                with connection.transaction(), connection.cursor() as cursor:
                    yield cursor
            else:
                connection.begin()
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()

    def rows(self, table: str = "t") -> dict[object, tuple[object, ...]]:
        return {row[0]: tuple(row[1:]) for row in self.execute(f"SELECT * FROM {table}")}

    def url(self) -> str:
        server = self.database.server
        return f"{self.engine}://{server.admin_user}:${{{self.name.upper()}_PASSWORD}}@127.0.0.1:{self.port}/{self.database.name}"


class World:
    """Channels, their configuration and the service."""

    def __init__(self, folder: Path, redis: RedisDatabase, channels: Mapping[str, Database]) -> None:
        self.folder = folder
        self.redis = redis
        self.redis_port = redis.server.port
        self.channels = {name: Channel(name, database) for name, database in channels.items()}
        self.deployment = f"w{secrets.token_hex(3)}"
        self.path = folder / "datong.yaml"
        self.admin_port = free_port()
        self.extra: dict[str, Any] = {}
        self.extra_channels: dict[str, dict[str, Any]] = {}
        self.mappings: dict[str, dict[str, Any]] = {}
        self.fields: dict[str, dict[str, Any]] = {
            "id": {"type": "integer"},
            "v": {"type": "integer"},
            "note": {"type": "text"},
        }
        self.processes: list[Program] = []
        self.log_paths: list[Path] = []
        self._counters = ExitStack()

    # -- configuration

    def configuration(self) -> dict[str, Any]:
        mappings = {
            f"{name}.t": {
                "channel": name,
                "table": "t",
                "entity": "thing",
                "columns": {field: field for field in self.fields},
            }
            for name in self.channels
        }
        for name, changes in self.mappings.items():
            mappings.setdefault(name, {}).update(changes)
        return {
            "version": 1,
            "deployment": self.deployment,
            "redis": {
                "url": f"redis://{self.redis.server.admin_user}:${{REDIS_PASSWORD}}@127.0.0.1:{self.redis_port}/{self.redis.number}"
            },
            "store": {"url": f"sqlite:///{self.folder}/store.db"},
            "admin": {"listen": f"127.0.0.1:{self.admin_port}", "token": "${ADMIN_TOKEN}"},
            "channels": {name: {"url": channel.url(), **channel.options} for name, channel in self.channels.items()}
            | self.extra_channels,
            "entities": {"thing": {"key": ["id"], "fields": self.fields}},
            "mappings": mappings,
            **self.extra,
        }

    def write_configuration(self) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(_yaml(self.configuration()))
        temporary.replace(self.path)

    def environment(self) -> dict[str, str]:
        passwords = {
            f"{name.upper()}_PASSWORD": channel.database.server.password for name, channel in self.channels.items()
        }
        redis_password = getattr(self.redis.server, "password", "") or ""
        return {**os.environ, **passwords, "ADMIN_TOKEN": TOKEN, "REDIS_PASSWORD": redis_password}

    # -- the service

    def start(
        self,
        *arguments: str,
        faults: str = "",
        ready: bool = True,
        environment: Mapping[str, str] | None = None,
        as_it_is: bool = False,
    ) -> None:
        """Start `datong run` (or what `arguments` say) and wait until it is ready.

        `as_it_is`: as a program that imports for itself, with `environment` from its first instruction on.
        """
        if not self.path.exists():
            self.write_configuration()
        log_path = self.folder / f"service-{len(self.processes)}.log"
        env = self.environment() | ({"DATONG_FAULTS": faults} if faults else {}) | dict(environment or {})
        with log_path.open("wb") as log:
            process = programs.start(
                "cdc.cli", ["-c", str(self.path), *(arguments or ("run",))],
                environment=env, output=log, errors=log, supervises=True,
                as_it_is=as_it_is or environment is not None,
            )  # fmt: skip
        self.processes.append(process)
        self.log_paths.append(log_path)
        if ready:
            self.await_ready()

    def await_ready(self, timeout: float = 90) -> None:
        await_that(
            lambda: self.readiness()[0] == 200,
            timeout=timeout,
            message=lambda: f"ready; {self.readiness()}\n{self.log()[-3000:]}",
        )

    def await_green(self) -> None:
        """What /readyz says is a moment old: rows that have arrived are there before it says so."""
        await_that(lambda: self.readiness()[1].get("status") == "ok", message=lambda: f"green: {self.readiness()}")

    def await_idle(self) -> None:
        """Every role has read all there is: echoes too."""

        def idle() -> bool:
            roles = [role for channel in self.status()["channels"].values() for role in channel.values() if role]
            return all(role["state"] == "idle" for role in roles)

        await_that(idle, message=lambda: f"all idle: {self.status()}")

    def await_nothing_parked(self) -> None:
        await_that(
            lambda: all((c["apply"] or {}).get("parked", 0) == 0 for c in self.status()["channels"].values()),
            message=lambda: f"nothing parked: {self.status()}",
        )

    def stop(self, timeout: float = 20) -> int:
        process = self.processes[-1]
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL the supervisor; its children must follow by themselves."""
        self._kill(self.processes[-1])

    def _kill(self, process: Program) -> None:
        pids = _children(process.pid)
        process.kill()
        process.wait(10)
        await_that(lambda: not any(_alive(pid) for pid in pids), message=f"no orphan of {pids}")

    def role_pids(self) -> list[int]:
        return _children(self.processes[-1].pid)

    def role_pid(self, kind: str, channel: str) -> int:
        def find() -> int | None:
            for pid in self.role_pids():
                with suppress(OSError):  # it may have ended since
                    words = command_line(pid)
                    if kind in words and channel in words:
                        return pid
            return None

        return await_that(find, message=f"the process of {kind} {channel}")

    def freeze(self, *pids: int) -> None:
        """SIGSTOP, in a moment when none of them holds the hub store's lock: SQLite's is freed by its holder alone."""
        with closing(sqlite3.connect(self.folder / "store.db", timeout=20, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            store.execute("ROLLBACK")

    def await_event(self, event: str, text: str = "", **said: Any) -> dict[str, Any]:
        """Wait for a log line of the service: unlike what /readyz says, it stays, however short the state was that it tells of."""

        def logged() -> dict[str, Any] | None:
            lines = (line for line in self.log().rpartition("\n")[0].splitlines() if event in line and text in line)
            told = (json.loads(line) for line in lines)
            return next((line for line in told if line.items() >= ({"event": event} | said).items()), None)

        return await_that(logged, message=lambda: f"{event} {said} {text}:\n{self.log()[-3000:]}")

    def log(self) -> str:
        return self.log_paths[-1].read_text(errors="replace") if self.log_paths else ""

    def all_logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.log_paths)

    def close(self) -> None:
        self._counters.close()
        for process in self.processes:
            if process.poll() is None:
                self._kill(process)
        strays = [line for line in self.all_logs().splitlines() if not line.startswith("{")]
        assert not strays, f"the service's log is JSON, line by line, with no library's words between: {strays[:5]}"

    # -- HTTP and command line

    def get(self, path: str, *, token: str | None = TOKEN, method: str = "GET", body: str | None = None,
            headers: Mapping[str, str] | None = None) -> tuple[int, str]:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            all_headers = dict(headers or {})
            if token is not None:
                all_headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, body, all_headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        status, text = self.get("/readyz", token=None)
        return status, json.loads(text) if status in (200, 503) else {"error": text}

    def status(self) -> dict[str, Any]:
        asked: tuple[int, str] = (0, "")

        def answer() -> dict[str, Any] | None:
            nonlocal asked
            asked = status, text = self.get("/api/status")
            return json.loads(text) if status == 200 else None

        return await_that(answer, message=lambda: f"/api/status to answer: {asked}")

    def role(self, channel: str, kind: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.status()["channels"][channel][kind]
        return answer

    def await_state(self, channel: str, kind: str, *states: str, timeout: float = 60) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            status, answer = self.readiness()
            if status and answer.get("channels", {}).get(channel, {}).get(kind) in states:
                return answer
            return None

        return await_that(
            found,
            timeout=timeout,
            message=lambda: f"{channel} {kind} in {states}: {self.readiness()}\n{self.log()[-2000:]}",
        )

    def await_obeyed(self, channel: str) -> None:
        """Everything that operators ordered of a channel's applier is done; a line of its log may tell of a part."""
        left = "SELECT command, argument FROM datong_command WHERE channel = ? AND role = 'apply'"
        with closing(sqlite3.connect(self.folder / "store.db", timeout=20, isolation_level=None)) as store:
            await_that(lambda: not store.execute(left, (channel,)).fetchall(), message=f"orders of {channel} obeyed")

    def command(self, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        words = ["-c", str(self.path), *arguments]
        return programs.run("cdc.cli", words, environment=self.environment(), timeout=timeout)

    # -- what is in the databases

    def __getitem__(self, name: str) -> Channel:
        return self.channels[name]

    def await_equal(
        self, table: str = "t", timeout: float = 60, channels: tuple[str, ...] = ()
    ) -> dict[object, tuple[object, ...]]:
        """Wait until all channels hold equal rows, and answer them."""
        names = channels or tuple(self.channels)

        def equal() -> tuple[dict[object, tuple[object, ...]]] | None:
            rows = [self.channels[name].rows(table) for name in names]
            return (rows[0],) if all(r == rows[0] for r in rows) else None

        def difference() -> str:
            rows = {name: self.channels[name].rows(table) for name in names}
            keys = set().union(*rows.values())
            differing = [k for k in sorted(keys, key=str) if len({str(r.get(k)) for r in rows.values()}) > 1]
            shown = {k: {name: r.get(k) for name, r in rows.items()} for k in differing[:5]}
            return f"equal rows; {len(differing)} differ: {shown}; {self.readiness()}\n{self.log()[-3000:]}"

        return await_that(equal, timeout=timeout, message=difference)[0]

    def await_marker(self, source: str, target: str, timeout: float = 60) -> None:
        """Catch-up: a row written now at the source has arrived at the target, so everything before it has been passed."""
        ident = 10**15 + secrets.randbelow(10**9)
        self[source].execute("INSERT INTO t (id, v, note) VALUES (%s, 0, 'marker')", ident)
        await_that(
            lambda: self[target].execute("SELECT 1 FROM t WHERE id = %s", ident),
            timeout=timeout, message=lambda: f"marker from {source} at {target}: {self.readiness()}\n{self.log()[-3000:]}",
        )  # fmt: skip
        self[source].execute("DELETE FROM t WHERE id = %s", ident)
        await_that(
            lambda: not self[target].execute("SELECT 1 FROM t WHERE id = %s", ident),
            timeout=timeout,
            message="marker's end",
        )

    def await_markers(self, timeout: float = 60) -> None:
        """Catch-up between every two channels."""
        for source in self.channels:
            for target in self.channels:
                if source != target:
                    self.await_marker(source, target, timeout)

    def counters(self) -> dict[str, Any]:
        """Independent counters of the row events in every channel's own log, from now on (I2)."""
        return {
            name: self._counters.enter_context(row_event_counter(c.database.server, c.database.name))
            for name, c in self.channels.items()
        }

    def guard_records(self) -> int:
        """How many apply transactions the loop guard waits for, its own mark left out."""
        with self.redis.connect() as client:
            names = [client.hkeys(f"datong:{self.deployment}:guard:{name}") for name in self.channels]
        return sum(name != b"mark" for found in names for name in found)


def total(taken: Mapping[tuple[str, str], RowEvents], table: str = "t") -> int:
    return sum(events.total for (_, name), events in taken.items() if name == table)


def _yaml(document: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = YAML(typ="safe")
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.dump(document, text)
    return text.getvalue()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [grandchild for child in children for grandchild in _children(child)]
