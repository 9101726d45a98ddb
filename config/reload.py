"""What a changed configuration asks of a running service: which mappings and channels differ, and what only a restart takes up.

Pure: two configurations in, a plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from config.models import Configuration
from transforms.specs import MappingSpec

# Parts that every process is built on.
_SERVICE: Final = ("deployment", "redis", "store", "admin")


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """Names of mappings and channels by what happened to them. `channels_changed` need their two roles restarted.

    `mappings_changed` are those that read or write differently; one that is only switched is in `enabled` or `disabled`.
    """

    enabled: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    mappings_added: frozenset[str] = frozenset()
    mappings_removed: frozenset[str] = frozenset()
    mappings_changed: frozenset[str] = frozenset()
    channels_added: frozenset[str] = frozenset()
    channels_removed: frozenset[str] = frozenset()
    channels_changed: frozenset[str] = frozenset()
    settings_changed: frozenset[str] = frozenset()  # apply, change_log, health...: taken up as they are
    service_changed: tuple[str, ...] = ()
    mappings_by_channel: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == ReloadPlan()

    @property
    def needs_restart(self) -> str:
        """One line for an operator; empty where a reload is enough."""
        if not self.service_changed:
            return ""
        return f"{', '.join(self.service_changed)} changed: restart the service to take that up"

    def mappings_of(self, channel: str) -> frozenset[str]:
        """Return the mappings of a channel that differ in any way."""
        return dict(self.mappings_by_channel).get(channel, frozenset())


def plan(old: Configuration, new: Configuration) -> ReloadPlan:
    """Compare two configurations."""
    before, after = old.mappings, new.mappings
    both = before.keys() & after.keys()
    switched = {name for name in both if before[name].enabled != after[name].enabled}
    changed = {name for name in both if _without_switch(before[name]) != _without_switch(after[name])}
    touched = switched | changed | (before.keys() ^ after.keys())
    channels = sorted({spec.channel for name in touched for spec in (before.get(name), after.get(name)) if spec})
    known = old.channels.keys() & new.channels.keys()
    settings = ("apply", "change_log", "max_behind", "health", "heartbeat", "conflicts")
    return ReloadPlan(
        enabled=frozenset(name for name in switched if after[name].enabled),
        disabled=frozenset(name for name in switched if not after[name].enabled),
        mappings_added=frozenset(after.keys() - before.keys()),
        mappings_removed=frozenset(before.keys() - after.keys()),
        mappings_changed=frozenset(changed),
        channels_added=frozenset(new.channels.keys() - old.channels.keys()),
        channels_removed=frozenset(old.channels.keys() - new.channels.keys()),
        channels_changed=frozenset(name for name in known if old.channels[name] != new.channels[name]),
        settings_changed=frozenset(name for name in settings if getattr(old, name) != getattr(new, name)),
        service_changed=tuple(name for name in _SERVICE if getattr(old, name) != getattr(new, name)),
        mappings_by_channel=tuple(
            (
                channel,
                frozenset(
                    name
                    for name in touched
                    if any(spec and spec.channel == channel for spec in (before.get(name), after.get(name)))
                ),
            )
            for channel in channels
        ),
    )


def _without_switch(spec: MappingSpec) -> tuple[object, ...]:
    return (
        spec.channel, spec.engine, spec.schema, spec.table, spec.entity, spec.direction, spec.columns, spec.key,
        spec.time_zone, spec.on_error, spec.on_truncate, dict(spec.on_insert),
    )  # fmt: skip
