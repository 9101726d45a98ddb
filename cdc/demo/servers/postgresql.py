"""A private PostgreSQL server with logical replication switched on.

PostgreSQL refuses to run as root; there it runs as the account `postgres` of Debian's package, in a folder that
becomes that account's.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from cdc.demo.servers.process import ServerFailed, ServerMissing, ServerProcess, run_to_end, service_account, spawn
from cdc.demo.servers.server import Server, write_private

_ACCOUNT = "postgres"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Relative to the data folder, which only the server's account may enter; a socket's path may have 107 bytes only.
    "unix_socket_directories": ".",
    "wal_level": "logical",
    "max_replication_slots": "50",
    "max_wal_senders": "50",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_prepared_transactions": "20",
    "password_encryption": "scram-sha-256",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
# Only what a power cut would need. Not synchronous_commit: without it a SIGKILL loses commits, and a walsender waits.
_FAST = {"fsync": "off"}
_QUIT_TIMEOUT = 10.0  # the server itself kills what has not ended after five


class PostgreSQL(Server):
    """PostgreSQL from Debian's package postgresql; every connection needs a password, the socket's too."""

    kind = "PostgreSQL"
    scheme = "postgresql"
    _stop_signal = signal.SIGINT  # "fast shutdown": ends sessions; SIGTERM would wait for them (manual, 19.5)

    def connect(self, database: str | None = None) -> psycopg.Connection[TupleRow]:
        """A new connection of the admin, in autocommit, to `postgres` where no database is given; the caller closes it."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.admin_user,
            password=self.password,
            dbname=database or "postgres",
            autocommit=True,
            connect_timeout=10,
            sslmode="require" if self.tls else "disable",
        )

    def url(self, database: str | None = None, user: str | None = None, password: str | None = None) -> str:
        return super().url(database or "postgres", user, password)

    def discard(self) -> None:
        """By "immediate shutdown": a killed one leaves shared memory in the system, which nobody would ever free."""
        if self._process is not None and self._process.terminate(signal.SIGQUIT, _QUIT_TIMEOUT):
            self._process = None
        self.kill()

    def _require_programs(self) -> None:
        _ = postgresql_programs(), service_account(_ACCOUNT)

    def _make_data(self) -> None:
        account = service_account(_ACCOUNT)
        if account:
            self._give_to(account)
        password_file = self.folder / "initdb-password"
        write_private(password_file, self.password)
        if account:
            shutil.chown(password_file, account)
        arguments = [
            str(postgresql_programs() / "initdb"),
            f"--pgdata={self.data}",
            f"--username={self.admin_user}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]
        try:
            run_to_end(arguments, directory=self.folder, log=self.log, user=account)
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        finally:
            password_file.unlink()
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\ninclude = 'datong.conf'\n")

    def _give_to(self, account: str) -> None:
        """Make the folder the account's, and let it pass through the temporary folders above."""
        shutil.chown(self.folder, account)
        temporary = Path(tempfile.gettempdir()).resolve()
        for parent in self.folder.resolve().parents:
            if parent.stat().st_mode & 0o001:
                continue
            if temporary not in parent.parents:
                raise ServerFailed(
                    f"the account {account} cannot enter {parent}: use a folder below {temporary} for {self.folder.name}"
                )
            parent.chmod(parent.stat().st_mode | 0o011)

    def _configure(self, *, first_start: bool) -> None:  # noqa: ARG002 - every start is the same here
        settings = {"port": str(self.port), **self._settings()}
        account = service_account(_ACCOUNT)
        if self.tls:
            for source, name in ((self.tls.ca, "ca"), (self.tls.server_cert, "cert"), (self.tls.server_key, "key")):
                copy = self.data / f"tls-{name}.pem"
                write_private(copy, source.read_text(encoding="ascii"))
                if account:
                    shutil.chown(copy, account)
                settings[f"ssl_{name}_file"] = copy.name
            settings["ssl"] = "on"
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
        write_private(self.data / "datong.conf", "".join(lines))
        if account:
            shutil.chown(self.data / "datong.conf", account)

    def _settings(self) -> dict[str, str]:
        return {**_SETTINGS, **(_FAST if self._fast else {}), **self.options}

    def _launch(self) -> ServerProcess:
        return spawn(
            [str(postgresql_programs() / "postgres"), "-D", str(self.data)],
            directory=self.data,
            log=self.log,
            user=service_account(_ACCOUNT),
            death_signal="QUIT",  # the postmaster then ends its children at once, which KILL would leave to themselves
        )

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


def postgresql_programs() -> Path:
    """The folder of initdb and postgres: the newest under Debian's /usr/lib/postgresql, else where PATH has it."""
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True):
        if (found / "initdb").exists() and (found / "postgres").exists():
            return found
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    raise ServerMissing("initdb is missing: run `make servers` (Debian's package postgresql)")


def _version(programs: Path) -> float:
    try:
        return float(programs.parent.name)
    except ValueError:
        return 0.0
