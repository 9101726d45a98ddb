"""Where the demo plays: private servers, three databases with equal content, an account of our own in each, and a configuration.

Everything lives in one temporary folder and is gone with `close`, whatever happened before. What is done here to the databases is
what a user does to theirs (README): an account with the least privileges that the service needs, and nothing else of ours.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pymysql.connections import Connection
from pymysql.cursors import Cursor

from cdc.demo.business import KINDS, SIDES, SideName, Thing
from cdc.demo.expectation import TABLES, row
from cdc.demo.servers import MariaDB, PostgreSQL, Redis, Server
from cdc.demo.servers.process import free_port
from cdc.demo.servers.server import write_private
from cdc.demo.sides import Side

DATABASES: Final[dict[SideName, str]] = {"website": "shop", "miniapp": "miniapp", "crm": "crm"}
ACCOUNT: Final = "datong"
PEOPLE_TABLES: Final[dict[SideName, tuple[str, str]]] = {
    "website": ("subscribers", "visits"),
    "miniapp": ("fans", "checkins"),
    "crm": ("contacts", "calls"),
}
_SQL_SCRIPT: Final = """#!/bin/sh
# Opens a channel's database in its own client: sql website | miniapp | crm
set -a; . {env}; set +a
case "$1" in
  website) MYSQL_PWD="$WEBSITE_PASSWORD" exec mariadb --default-character-set=utf8mb4 -h127.0.0.1 -P"$WEBSITE_PORT" -udatong shop ;;
  miniapp) PGPASSWORD="$MINIAPP_PASSWORD" exec psql -h 127.0.0.1 -p "$MINIAPP_PORT" -U datong miniapp ;;
  crm) MYSQL_PWD="$CRM_PASSWORD" exec mariadb --default-character-set=utf8mb4 -h127.0.0.1 -P"$CRM_PORT" -udatong crm ;;
  *) echo "usage: $0 website | miniapp | crm" >&2; exit 2 ;;
esac
"""
_EXAMPLES: Final = Path(__file__).resolve().parents[2] / "config" / "examples"


class Stage:
    """A context manager: set up when entered, gone when left. `keep` leaves the folder (never the processes)."""

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="datong-demo-"))
        self.folder.chmod(0o711)  # PostgreSQL's account has to pass through
        self.website = MariaDB(self.folder / "website", server_id=11)
        self.miniapp = PostgreSQL(self.folder / "miniapp")
        self.crm = MariaDB(self.folder / "crm", server_id=12)
        self.redis = Redis(self.folder / "redis")
        self.admin_port = free_port()
        self._passwords = {side: secrets.token_urlsafe(15) for side in SIDES}
        self._token = secrets.token_urlsafe(15)

    @property
    def servers(self) -> Sequence[Server]:
        return (self.website, self.miniapp, self.crm, self.redis)

    @property
    def configuration(self) -> Path:
        return self.folder / "coffee.yaml"

    @property
    def environment_file(self) -> Path:
        return self.folder / "env"

    @property
    def token(self) -> str:
        return self._token

    @property
    def environment(self) -> dict[str, str]:
        """The variables that config/examples/coffee.yaml asks for."""
        return {
            "WEBSITE_PORT": str(self.website.port),
            "WEBSITE_PASSWORD": self._passwords["website"],
            "MINIAPP_PORT": str(self.miniapp.port),
            "MINIAPP_PASSWORD": self._passwords["miniapp"],
            "CRM_PORT": str(self.crm.port),
            "CRM_PASSWORD": self._passwords["crm"],
            "REDIS_URL": self.redis.url("0"),
            "DATONG_STORE": f"sqlite:///{self.folder / 'datong.db'}",
            "DATONG_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "DATONG_ADMIN_TOKEN": self._token,
        }

    def set_up(self, things: Sequence[Thing]) -> None:
        """Start the servers, all at once, and fill them with the same things.

        Raises ServerMissing where programs are not installed, ServerFailed where one does not come up.
        """
        with ThreadPoolExecutor(len(self.servers)) as pool:
            started = [pool.submit(server.start) for server in self.servers]
            for future in started:
                future.result()
        self._make_mariadb(self.website, "website")
        self._make_mariadb(self.crm, "crm")
        self._make_postgresql()
        for side in SIDES:
            with self.connect(side) as connected:
                for kind in KINDS:
                    connected.fill(kind, [row(side, thing) for thing in things if isinstance(thing, kind)])
        shutil.copyfile(_EXAMPLES / "coffee.yaml", self.configuration)
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in self.environment.items()]
        write_private(self.environment_file, "".join(lines))
        script = self.folder / "sql"
        write_private(script, _SQL_SCRIPT.format(env=shlex.quote(str(self.environment_file))))
        script.chmod(0o700)

    def server_of(self, side: SideName) -> MariaDB | PostgreSQL:
        match side:
            case "website":
                return self.website
            case "miniapp":
                return self.miniapp
            case "crm":
                return self.crm

    def connect(self, side: SideName) -> Side:
        """A connection as the channel's own application has one."""
        if side == "miniapp":
            postgresql = self.miniapp.connect(DATABASES[side])
            postgresql.autocommit = False
            return Side(side, postgresql)
        server = self.website if side == "website" else self.crm
        mariadb = server.connect(DATABASES[side])
        mariadb.autocommit(False)
        return Side(side, mariadb)

    def _make_mariadb(self, server: MariaDB, side: SideName) -> None:
        database = DATABASES[side]
        with server.connect() as connection:
            _run(connection, f"CREATE DATABASE {database} DEFAULT CHARSET utf8mb4")
        with server.connect(database) as connection:
            for statement in _statements(side):
                _run(connection, statement)
            _run(connection, f"CREATE USER {ACCOUNT}@'%' IDENTIFIED BY '{self._passwords[side]}'")
            _run(connection, f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {ACCOUNT}@'%'")
            for kind in KINDS:
                table = TABLES[side, kind].name
                _run(connection, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.{table} TO {ACCOUNT}@'%'")
            for table in PEOPLE_TABLES[side]:
                _run(connection, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.{table} TO {ACCOUNT}@'%'")
            for table in ("datong_progress", "datong_parked", "datong_identity"):
                _run(connection, f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {database}.{table} TO {ACCOUNT}@'%'")

    def _make_postgresql(self) -> None:
        """A publication can only be made by the tables' owner: the account is a member of the role that owns them."""
        database, password = DATABASES["miniapp"], self._passwords["miniapp"]
        with self.miniapp.connect() as connection:
            connection.execute("CREATE ROLE miniapp_owner NOLOGIN")
            connection.execute(f"CREATE ROLE {ACCOUNT} LOGIN REPLICATION PASSWORD '{password}'".encode())
            connection.execute(f"GRANT miniapp_owner TO {ACCOUNT}".encode())
            connection.execute(f"CREATE DATABASE {database}".encode())
            connection.execute(f"GRANT CREATE ON DATABASE {database} TO {ACCOUNT}".encode())
        with self.miniapp.connect(database) as connection:
            connection.execute("GRANT CREATE ON SCHEMA public TO miniapp_owner")
            connection.execute("SET ROLE miniapp_owner")
            for statement in _statements("miniapp"):
                connection.execute(statement.encode())

    def close(self) -> None:
        """End every server at once (its data goes with the folder) and remove the folder."""
        with ExitStack() as stack:
            if not self.keep:
                stack.callback(_remove, self.folder)
            for server in self.servers:
                stack.callback(server.discard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _statements(side: SideName) -> list[str]:
    text = (_EXAMPLES / f"coffee.{side}.sql").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def _run(connection: Connection[Cursor], statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _remove(folder: Path) -> None:
    """A server that is just ending may still make a file: try again."""
    for attempt in range(5):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        except OSError:
            if attempt == 4:
                raise
        else:
            return
        time.sleep(0.1)
