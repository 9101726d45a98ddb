"""A private Redis server: nothing is kept on disk unless asked for, nothing is evicted, nobody enters without a password."""

from __future__ import annotations

import shutil

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cdc.demo.servers.process import ServerMissing, ServerProcess, spawn
from cdc.demo.servers.server import Server, write_private

_SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "no",
    "save": '""',
    "maxmemory-policy": "noeviction",
    "databases": "64",
    "dir": ".",
}


class Redis(Server):
    """Redis from Debian's package redis-server. With `tls` it listens with TLS only, on the same port."""

    kind = "Redis"
    scheme = "redis"

    def connect(self, database: str | None = None) -> redis.Redis:
        """A new client of the admin, for the logical database with that number (0); the caller closes it."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            db=int(database or 0),
            username=self.admin_user,
            password=self.password,
            socket_connect_timeout=10,
            retry=Retry(NoBackoff(), 0),  # redis-py would wait for seconds before it says that nobody answers
            ssl=self.tls is not None,
            ssl_cert_reqs="none",
            ssl_check_hostname=False,
        )

    def url(self, database: str | None = None, user: str | None = None, password: str | None = None) -> str:
        plain = super().url(database or "0", user, password)
        return plain.replace("redis://", "rediss://", 1) if self.tls else plain

    def _require_programs(self) -> None:
        _ = self._program()

    def _program(self) -> str:
        found = shutil.which("redis-server")
        if found is None:
            raise ServerMissing("redis-server is missing: run `make servers` (Debian's package redis-server)")
        return found

    def _make_data(self) -> None:
        self.data.mkdir()

    def _configure(self, *, first_start: bool) -> None:  # noqa: ARG002 - every start is the same here
        settings = {"port": str(self.port), **self._settings()}
        if self.tls:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-ca-cert-file": str(self.tls.ca),
                "tls-cert-file": str(self.tls.server_cert),
                "tls-key-file": str(self.tls.server_key),
                "tls-auth-clients": "optional",
            }
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        accounts = [f"user default off\nuser {self._account()}\n"]
        write_private(self.folder / "redis.conf", "".join(lines + accounts))

    def _settings(self) -> dict[str, str]:
        return {**_SETTINGS, **self.options}

    def _account(self) -> str:
        return f"{self.admin_user} on >{self.password} ~* &* +@all"

    def _launch(self) -> ServerProcess:
        return spawn([self._program(), str(self.folder / "redis.conf")], directory=self.data, log=self.log)

    def _answers(self) -> bool:
        client = self.connect()
        try:
            client.ping()
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        finally:
            client.close()
        return True
