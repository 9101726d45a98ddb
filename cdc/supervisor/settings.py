"""What the supervisor takes out of a configuration: which roles there are, where the admin server listens, what it may show.

Plain frozen data, so that two of them can be compared after a reload. The token and URLs never show in a repr (I9).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from cdc.health import RoleKey
from cdc.redis_connection import RedisAddress


class MappingLine(msgspec.Struct, frozen=True):
    """A mapping as `/api/mappings` and the status show it."""

    enabled: bool
    entity: str
    channel: str
    table: str
    direction: str


@dataclass(frozen=True, slots=True)
class AdminSettings:
    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    public_metrics: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """`roles` are all that this configuration asks for; `servers` the host names that a public answer must not show."""

    deployment: str
    roles: frozenset[RoleKey]
    channels: tuple[str, ...]
    mappings: Mapping[str, MappingLine]
    admin: AdminSettings
    redis: RedisAddress
    store_url: str = field(repr=False)
    max_lag_seconds: float = 60.0
    hang_seconds: float = 30.0
    grace_seconds: float = 10.0
    servers: frozenset[str] = frozenset()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    def needs_restart(self, running: ServiceSettings) -> str:
        """What cannot change while the service runs, as one line; empty where a reload is enough."""
        fixed = (
            ("deployment", self.deployment == running.deployment),
            ("redis", self.redis == running.redis),
            ("store.url", self.store_url == running.store_url),
            ("admin.listen", (self.admin.host, self.admin.port) == (running.admin.host, running.admin.port)),
        )
        changed = [name for name, same in fixed if not same]
        return f"needs a restart: {', '.join(changed)} changed in the file" if changed else ""

    def with_fixed_of(self, running: ServiceSettings) -> ServiceSettings:
        """This, with what cannot change left as it runs."""
        return replace(
            self,
            deployment=running.deployment,
            redis=running.redis,
            store_url=running.store_url,
            admin=replace(self.admin, host=running.admin.host, port=running.admin.port),
        )


def is_loopback(host: str) -> bool:
    if host.lower() in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
