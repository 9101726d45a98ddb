"""What the configuration asks of each channel, as the roles read it. Pure but for the hub store's word on what was started."""

from __future__ import annotations

from cdc import sessions
from cdc.addresses import address_of
from cdc.doctor.facts import Wish
from cdc.readers.postgresql_position import slot_name
from config.models import Configuration


def wishes(configuration: Configuration, started: frozenset[str]) -> list[Wish]:
    """One per channel, in the configuration's order."""
    return [_wish(configuration, channel, channel in started) for channel in configuration.channels]


def _wish(configuration: Configuration, channel: str, started: bool) -> Wish:
    settings = configuration.channels[channel]
    address = address_of(settings)
    mappings = configuration.mappings_of(channel)
    name = slot_name(configuration.deployment, channel)
    return Wish(
        channel=channel,
        deployment=configuration.deployment,
        address=address,
        bookkeeping=settings.bookkeeping,
        mappings=tuple(mapping for mapping in mappings if mapping.enabled),
        captures=any(mapping.captures for mapping in mappings),
        applies=any(mapping.applies for mapping in mappings),
        published=frozenset(sessions.table_of(mapping, address) for mapping in mappings if mapping.captures),
        server_id=sessions.server_id(configuration.deployment, channel),
        slot=name,
        publication=name,
        started=started,
        disabled=tuple(mapping for mapping in mappings if not mapping.enabled),
    )
