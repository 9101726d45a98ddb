"""Private MySQL 9 and MariaDB servers, set up as sources and targets of replication.

MySQL 9 is not in Debian 12: `scripts/install mysql9` unpacks it into a cache folder, and it is started from there
through that folder's own dynamic loader, with its own C library.
"""

from __future__ import annotations

import os
import shutil
import ssl
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from cdc.demo.servers.certificates import Certificates
from cdc.demo.servers.process import ServerMissing, ServerProcess, run_to_end, spawn
from cdc.demo.servers.server import Server, write_private

_COMMON = {
    "bind_address": "127.0.0.1",
    "skip_name_resolve": "ON",
    "character_set_server": "utf8mb4",
    "max_connections": "500",
    "log_bin": "binlog",
    "log_slave_updates": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "innodb_buffer_pool_size": "64M",
    # Relative to the data folder: a socket's full path may have 107 bytes only, and a test's folder is often longer.
    "socket": "mysql.sock",
    "pid_file": "mysql.pid",
}
# A SIGKILL loses nothing that was written, synced or not: only a power cut would.
_FAST = {"sync_binlog": "0", "innodb_flush_log_at_trx_commit": "2", "innodb_flush_method": "nosync"}
_DURABLE = {"sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1"}
_FIRST_START = "first-start.sql"


class _MySQLFamily(Server):
    def __init__(
        self,
        folder: Path,
        *,
        server_id: int,
        options: Mapping[str, str] | None = None,
        port: int | None = None,
        tls: Certificates | None = None,
        fast: bool = True,
    ) -> None:
        super().__init__(folder, options=options, port=port, tls=tls, fast=fast)
        self.server_id = server_id

    def connect(self, database: str | None = None) -> Connection[Cursor]:
        """A new connection of the admin, in autocommit; the caller closes it."""
        context = None
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False  # a test may have given this server a wrong certificate on purpose
            context.verify_mode = ssl.CERT_NONE
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.admin_user,
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=10,
            ssl=context,
        )

    def _settings(self) -> dict[str, str]:
        settings = {
            **_COMMON,
            **self._own_settings(),
            **(_FAST if self._fast else _DURABLE),
            "server_id": str(self.server_id),
        }
        if self.tls:
            settings |= {
                "ssl_ca": str(self.tls.ca),
                "ssl_cert": str(self.tls.server_cert),
                "ssl_key": str(self.tls.server_key),
            }
        return settings | self.options

    def _configure(self, *, first_start: bool) -> None:
        settings = {
            "port": str(self.port),
            "datadir": str(self.data),
            "tmpdir": str(self._temporary()),
            **self._settings(),
        }
        if first_start:
            settings["init_file"] = str(self.folder / _FIRST_START)
            write_private(self.folder / _FIRST_START, "".join(f"{line};\n" for line in self._first_statements()))
        lines = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
        write_private(self.folder / "my.cnf", f"[mysqld]\n{lines}")

    def _temporary(self) -> Path:
        """A folder for temporary tables of its own: a server that starts removes all `#sql*` files of the one it is given,
        those of other servers in /tmp too.
        """
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def _first_statements(self) -> list[str]:
        admin = f"'{self.admin_user}'@'%'"
        return [
            "SET SESSION sql_log_bin = 0",
            f"CREATE USER {admin} IDENTIFIED BY '{self.password}'",
            f"GRANT ALL PRIVILEGES ON *.* TO {admin} WITH GRANT OPTION",
            "ALTER USER 'root'@'localhost' ACCOUNT LOCK",
        ]

    def _launch(self) -> ServerProcess:
        program = [*self._program(), f"--defaults-file={self.folder / 'my.cnf'}", *self._program_options()]
        return spawn(program, directory=self.folder, log=self.log)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _after_start(self) -> None:
        (self.folder / _FIRST_START).unlink(missing_ok=True)

    @abstractmethod
    def _own_settings(self) -> Mapping[str, str]: ...

    @abstractmethod
    def _program(self) -> list[str]: ...

    def _program_options(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


class MariaDB(_MySQLFamily):
    """MariaDB from Debian's package mariadb-server."""

    kind = "MariaDB"
    scheme = "mariadb"

    def _require_programs(self) -> None:
        _ = self._program(), self._installer()

    def _program(self) -> list[str]:
        return [_find("mariadbd")]

    def _installer(self) -> str:
        return _find("mariadb-install-db")

    def _own_settings(self) -> Mapping[str, str]:
        return {"innodb_log_file_size": "64M", **({"debug_no_sync": "ON"} if self._fast else {})}

    def _make_data(self) -> None:
        arguments = [
            self._installer(),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--tmpdir={self._temporary()}",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            "--innodb-log-file-size=64M",
            *(["--innodb-flush-method=nosync", "--debug-no-sync"] if self._fast else []),
            *self._program_options(),
        ]
        try:
            run_to_end(arguments, directory=self.folder, log=self.log)
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)
            raise


class MySQL(_MySQLFamily):
    """MySQL 9 from the cache folder that `scripts/install mysql9` fills."""

    kind = "MySQL"
    scheme = "mysql"

    def _require_programs(self) -> None:
        if not (mysql_home() / "usr/sbin/mysqld").exists():
            raise ServerMissing(
                f"MySQL 9 is not in {mysql_home()}: run `make mysql9` (Debian's mysql-server-core from sid, into a folder)"
            )

    def _program(self) -> list[str]:
        libraries = mysql_home() / "usr/lib"
        multiarch = next(libraries.glob("*-linux-gnu*"), libraries)
        loader = next(iter([*multiarch.glob("ld-linux*.so.*"), *mysql_home().glob("usr/lib*/ld-linux*.so.*")]), None)
        if loader is None:
            raise ServerMissing(f"no dynamic loader in {mysql_home()}: remove it and run `make mysql9`")
        path = f"{multiarch}:{libraries / 'mysql/private'}"
        return [str(loader), "--library-path", path, str(mysql_home() / "usr/sbin/mysqld")]

    def _program_options(self) -> list[str]:
        home = mysql_home() / "usr"
        return [
            f"--basedir={home}",
            f"--plugin-dir={home / 'lib/mysql/plugin'}",
            f"--lc-messages-dir={home / 'share/mysql'}",
            "--secure-file-priv=NULL",
            *super()._program_options(),
        ]

    def _own_settings(self) -> Mapping[str, str]:
        return {
            "gtid_mode": "ON",
            "enforce_gtid_consistency": "ON",
            "mysqlx": "OFF",
            "innodb_redo_log_capacity": "64M",
        }

    def _make_data(self) -> None:
        """Copy a data folder made once (making one takes seconds), without its identity: MySQL makes a new uuid."""
        template = mysql_home().parent / f"mysql9-template-{os.geteuid()}"
        if not template.exists():
            self._make_template(template)
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(template, partial)
        (partial / "auto.cnf").unlink(missing_ok=True)
        partial.rename(self.data)

    def _make_template(self, template: Path) -> None:
        partial = self.folder / "template.partial"
        shutil.rmtree(partial, ignore_errors=True)
        arguments = [
            *self._program(),
            "--no-defaults",
            "--initialize-insecure",
            f"--datadir={partial}",
            f"--tmpdir={self._temporary()}",
            "--innodb-redo-log-capacity=64M",
            "--innodb-flush-method=nosync",
            *self._program_options(),
        ]
        run_to_end(arguments, directory=self.folder, log=self.log)
        offered = template.with_name(f"{template.name}.{os.getpid()}")
        shutil.copytree(partial, offered)
        shutil.rmtree(partial)
        try:
            offered.rename(template)
        except OSError:
            shutil.rmtree(offered)  # another process was first: its template is as good
            if not template.exists():
                raise


def mysql_home() -> Path:
    """Where `scripts/install mysql9` unpacks MySQL 9."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "datong" / "mysql9" / "root"


def _find(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/bin")
    if found is None:
        raise ServerMissing(f"{program} is missing: run `make servers` (Debian's package mariadb-server)")
    return found
