"""The same servers from a container engine, for machines without these programs: `DATONG_TEST_SERVERS=containers`.

A container takes the place of the server's process; everything else (settings, accounts, URLs) is the product's.
Containers are removed by testcontainers when the session ends.
"""

from __future__ import annotations

from abc import abstractmethod

from testcontainers.core.container import DockerContainer

from cdc.demo import servers
from cdc.demo.servers.process import ServerProcess
from cdc.demo.servers.server import Server


class _ContainerProcess(ServerProcess):
    """A container where a process is expected; the engine keeps its data over stop and start."""

    def __init__(self, container: DockerContainer) -> None:
        self._container = container.get_wrapped_container()
        self._container.reload()
        self.pid = int(self._container.attrs["State"]["Pid"])

    @property
    def alive(self) -> bool:
        self._container.reload()
        return bool(self._container.status == "running")

    def terminate(self, signal_number: int, timeout: float) -> bool:
        if self.alive:
            self._container.kill(signal_number)
            self._container.wait(timeout=timeout)
        return True

    def kill(self) -> None:
        if self.alive:
            self._container.kill()
            self._container.wait(timeout=30)


class _InContainer(Server):
    _container: DockerContainer | None = None

    def _require_programs(self) -> None:
        """The image has them."""

    def _make_data(self) -> None:
        self.data.mkdir()

    def _configure(self, *, first_start: bool) -> None:
        """All settings are arguments."""

    def _launch(self) -> ServerProcess:
        if self._container is None:
            self._container = self._made().with_bind_ports(self._inner_port(), self.port)
            self._container.start()
        else:
            self._container.get_wrapped_container().start()
        return _ContainerProcess(self._container)

    @abstractmethod
    def _made(self) -> DockerContainer: ...

    @abstractmethod
    def _inner_port(self) -> int: ...


class _MySQLInContainer(_InContainer):
    def _inner_port(self) -> int:
        return 3306

    def _container_of(self, image: str, settings: dict[str, str], prefix: str) -> DockerContainer:
        accounts = self.folder / "accounts.sql"
        admin = f"'{self.admin_user}'@'%'"
        accounts.write_text(
            "SET SESSION sql_log_bin = 0;\n"
            f"CREATE USER {admin} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO {admin} WITH GRANT OPTION;\n",
            encoding="ascii",
        )
        accounts.chmod(0o644)
        # Where the image keeps its data, socket and process id is its own affair.
        arguments = [
            f"--{name}={value}"
            for name, value in {**settings, "bind_address": "0.0.0.0"}.items()
            if name not in {"socket", "pid_file"}
        ]
        return (
            DockerContainer(image)
            .with_env(f"{prefix}_ROOT_PASSWORD", self.password)
            .with_volume_mapping(accounts, "/docker-entrypoint-initdb.d/accounts.sql")
            .with_command(arguments)
        )


class MariaDB(_MySQLInContainer, servers.MariaDB):
    def _made(self) -> DockerContainer:
        return self._container_of("mariadb:10.11", self._settings(), "MARIADB")


class MySQL(_MySQLInContainer, servers.MySQL):
    def _made(self) -> DockerContainer:
        return self._container_of("mysql:9", self._settings(), "MYSQL")


class PostgreSQL(_InContainer, servers.PostgreSQL):
    def _inner_port(self) -> int:
        return 5432

    def _made(self) -> DockerContainer:
        settings = {**self._settings(), "listen_addresses": "*", "unix_socket_directories": "/var/run/postgresql"}
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (
            DockerContainer("postgres:15")
            .with_env("POSTGRES_USER", self.admin_user)
            .with_env("POSTGRES_PASSWORD", self.password)
            .with_env("POSTGRES_DB", "postgres")
            .with_command(["postgres", *arguments])
        )


class Redis(_InContainer, servers.Redis):
    def _inner_port(self) -> int:
        return 6379

    def _made(self) -> DockerContainer:
        settings = {**self._settings(), "bind": "0.0.0.0", "dir": "/data", "save": ""}
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return DockerContainer("redis:7").with_command(["redis-server", *arguments, "--user", *self._account().split()])
