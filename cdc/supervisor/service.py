"""`datong run`, `datong capture X`, `datong apply X`: everything wired for one supervisor, in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from cdc import logs
from cdc.errors import TransientError
from cdc.health import RoleKey
from cdc.redis_connection import connect, redis_errors
from cdc.store import Store
from cdc.supervisor.admin_feed import AdminFeed, listen
from cdc.supervisor.following import ConfigurationFollower
from cdc.supervisor.probes import Probe, Probes
from cdc.supervisor.processes import RolePrograms
from cdc.supervisor.runner import Supervisor
from cdc.supervisor.settings import AdminSettings, ServiceSettings

if TYPE_CHECKING:
    from config.models import Configuration

log = structlog.get_logger("datong.supervisor")


def run_service(
    path: Path,
    configuration: Configuration,
    programs: RolePrograms,
    *,
    only: RoleKey | None = None,
    listen_on: AdminSettings | None = None,
    debug: bool = False,
) -> int:
    """Run until told to stop; answer the exit code.

    Raises CannotListenError and StoreRefusedError before anything is started. Redis or a store server that does not
    answer yet is no reason not to start: health says so, and the roles try again.
    """
    from config.watch import ConfigWatch

    logs.configure(debug=debug, secrets=configuration.secrets)
    follower = ConfigurationFollower(path, ConfigWatch(path, os.environ), only, listen_on)
    settings = follower.settings
    listener = listen(settings.admin)
    store = Store(settings.store_url, settings.deployment)
    try:
        store.open()
    except TransientError as error:
        log.warning("store.out_of_reach", reason=str(error))
    log.info("service.started", admin=f"http://{settings.admin}", roles=sorted(map(".".join, settings.roles)))
    probes = Probes({"Redis": _redis_probe(settings), "hub store": _store_probe(settings)})
    store.close()
    return Supervisor(follower, programs, AdminFeed(listener), probes).run()


def _redis_probe(settings: ServiceSettings) -> Probe:
    client: Any = connect(settings.redis)

    def probe() -> None:
        with redis_errors(settings.redis, "asking whether it is there"):
            client.ping()

    return probe


def _store_probe(settings: ServiceSettings) -> Probe:
    store = Store(settings.store_url, settings.deployment)
    opened = False

    def probe() -> None:
        nonlocal opened
        if opened:
            store.ping()
        else:
            store.open()
            opened = True

    return probe
