"""From the configuration file to what the supervisor needs, at the start and whenever the file changes.

The role processes follow the same file by themselves; here it decides which roles there are, who may ask, and what cannot change
while the service runs. An invalid file changes nothing and says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cdc import logs
from cdc.health import RoleKey
from cdc.redis_connection import RedisAddress
from cdc.supervisor.settings import AdminSettings, MappingLine, ServiceSettings

if TYPE_CHECKING:
    from config.models import Configuration
    from config.watch import ConfigWatch

_SELF: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def settings_of(
    configuration: Configuration, only: RoleKey | None = None, listen: AdminSettings | None = None
) -> ServiceSettings:
    """`only`: one role alone; `listen`: instead of admin.listen."""
    tls = configuration.redis.tls
    roles = all_roles(configuration)
    token = configuration.admin.token
    admin = AdminSettings(
        listen.host if listen else configuration.admin.host,
        listen.port if listen else configuration.admin.port,
        token.get_secret_value() if token else None,
        configuration.admin.public_metrics,
    )
    return ServiceSettings(
        deployment=configuration.deployment,
        roles=roles if only is None else roles & {only},
        channels=tuple(configuration.channels),
        mappings={
            spec.name: MappingLine(
                enabled=spec.enabled,
                entity=spec.entity.name,
                channel=spec.channel,
                table=f"{spec.schema}.{spec.table}" if spec.schema else spec.table,
                direction=spec.direction,
            )
            for spec in configuration.specs
        },
        admin=admin,
        redis=RedisAddress(
            configuration.redis.url.get_secret_value(),
            *((str(tls.ca), _text(tls.cert), _text(tls.key)) if tls else (None, None, None)),
        ),
        store_url=configuration.store.url.get_secret_value(),
        max_lag_seconds=configuration.health.max_lag,
        hang_seconds=configuration.health.hung_after,
        grace_seconds=configuration.health.stop_within,
        servers=_servers(channel.host for channel in configuration.channels.values()),
        secrets=configuration.secrets,
    )


def all_roles(configuration: Configuration) -> frozenset[RoleKey]:
    """Capture where any mapping captures, apply where any applies; a mapping that is off may be turned on at any time."""
    captures: set[RoleKey] = {("capture", spec.channel) for spec in configuration.specs if spec.captures}
    applies: set[RoleKey] = {("apply", spec.channel) for spec in configuration.specs if spec.applies}
    return frozenset(captures | applies)


def _servers(hosts: Iterable[str]) -> frozenset[str]:
    """Loopback names are no secret, and ordinary words of a reason."""
    return frozenset(hosts) - _SELF


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class ConfigurationFollower:
    """Polls the file's watch, which looks at the file's identity first and so costs next to nothing."""

    def __init__(
        self, path: Path, watch: ConfigWatch, only: RoleKey | None = None, listen: AdminSettings | None = None
    ) -> None:
        self.configuration_path = str(path.absolute())
        self._watch = watch
        self._only = only
        self._listen = listen
        self._rejected = ""
        self._restart_needed = ""
        self.settings = settings_of(watch.current, only, listen)
        self._started_with = self.settings

    @property
    def loaded_at(self) -> float:
        return self._watch.loaded_at

    @property
    def reload_error(self) -> str:
        return self._rejected or self._restart_needed

    def poll(self) -> bool:
        fresh = self._watch.poll()
        rejected = self._watch.error or ""
        if fresh is None:
            changed, self._rejected = rejected != self._rejected, rejected
            return changed
        self._rejected = rejected
        settings = settings_of(fresh, self._only, self._listen)
        self._restart_needed = settings.needs_restart(self._started_with)
        self.settings = settings.with_fixed_of(self._started_with)
        logs.SECRETS.know(settings.secrets | self._started_with.secrets)
        return True
