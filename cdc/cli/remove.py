"""`datong remove CHANNEL`: takes everything of ours out of a channel's database, Redis and the hub store.

A slot that is left behind fills the source's disk. Refuses while a service runs: it would make everything anew.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from cdc.cli.configured import channel_of, load_for, who
from cdc.cli.failure import CommandError
from cdc.cli.running import is_running
from cdc.cli.stored import opened_store
from cdc.supervisor.following import settings_of

if TYPE_CHECKING:
    from config.models import Configuration


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    channel = channel_of(options, configuration)
    settings = settings_of(configuration)
    if is_running(settings.admin):
        raise CommandError(f"a service is running at {settings.admin}: stop it first, then remove {channel}")
    if not options.yes and sys.stdin.isatty():
        answer = input(f"Take everything of Datong out of {configuration.channels[channel].host}? [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("nothing was removed")
    _refuse_running_elsewhere(configuration, channel)
    from cdc.removing import forget_source, remove_from_database

    # First, since it may fail: without it the others would take the channel's next start for a lost hub store.
    for other in configuration.channels:
        if other != channel and any(spec.applies for spec in configuration.mappings_of(other)):
            forget_source(configuration.channels[other], configuration.deployment, other, channel)
            print(f"{other}: its progress for {channel} removed")
    for line in remove_from_database(configuration.channels[channel], configuration.deployment, channel):
        print(f"{channel}: {line}")
    for name in _remove_from_redis(configuration, channel):
        print(f"{channel}: Redis key {name} removed")
    with opened_store(configuration) as store:
        store.forget_channel(channel)
        store.audit(who(), "remove", channel)
    if any(entity.identity is not None for entity in configuration.entities().values()):
        from cdc.people_sessions import open_registry

        registry = open_registry(configuration)
        registry.forget_channel(channel)
        registry.close()
    print(f"{channel}: removed - take it out of the configuration too, or `datong run` makes it anew")
    return 0


def _refuse_running_elsewhere(configuration: Configuration, channel: str) -> None:
    """A role of this channel may run on another machine: its lease says so."""
    from cdc.lease import is_gone
    from cdc.redis_connection import Keys, connect, redis_errors

    address = settings_of(configuration).redis
    keys = Keys(configuration.deployment)
    client: Any = connect(address)
    with redis_errors(address, f"looking who runs {channel}"):
        holders = {role: client.get(keys.lease(role)) for role in (f"capture.{channel}", f"apply.{channel}")}
    client.close()
    held = [role for role, holder in holders.items() if holder and not is_gone(holder.decode())]
    if held:
        raise CommandError(
            f"{' and '.join(held)} still runs somewhere: stop it first, or wait until its lease has run out"
        )


def _remove_from_redis(configuration: Configuration, channel: str) -> list[str]:
    from cdc.redis_connection import Keys, connect, redis_errors

    address = settings_of(configuration).redis
    keys = Keys(configuration.deployment)
    client: Any = connect(address)
    names = [keys.stream(channel), keys.published(channel), keys.guard(channel)]
    with redis_errors(address, f"removing the keys of {channel}"):
        removed = [name for name in names if client.unlink(name)]
    client.close()
    return removed
