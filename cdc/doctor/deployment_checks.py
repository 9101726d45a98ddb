"""What only shows when all channels are seen together: one database in two channels, clocks that differ. Pure. Guards I2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cdc.doctor.facts import ServerFacts
from cdc.doctor.finding import Finding

_NOTABLE_SKEW_SECONDS: Final = 1.0


def check_distinct_databases(servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for channel, facts in servers.items():
        other = first.setdefault(facts.identity, channel)
        if other != channel:
            yield Finding(
                "SAME_DATABASE",
                "error",
                channel,
                f"channels.{channel}.url",
                f"channel {channel} is the same database as channel {other}: every change would go round in it",
                [f"channels.{channel}: remove it, and put its mappings under {other}"],
            )


def check_clocks(servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    """Clocks decide nothing about causality, but `latest` and every lag shown go by them."""
    if len(servers) < 2:
        return
    ordered = sorted(servers, key=lambda channel: servers[channel].skew_seconds)
    behind, ahead = servers[ordered[0]], servers[ordered[-1]]
    apart = ahead.skew_seconds - behind.skew_seconds
    sure = apart - ahead.skew_error_seconds - behind.skew_error_seconds
    if sure > _NOTABLE_SKEW_SECONDS:
        text = f"the clock of {ordered[-1]} is {apart:.1f} s ahead of {ordered[0]}: `latest` and the lag shown go by these clocks"
        yield Finding("CLOCK_SKEW", "warning", None, "channels", text, ["timedatectl set-ntp true (on both servers)"])
    else:
        text = f"the servers' clocks are at most {max(apart, 0) * 1000:.0f} ms apart"
        yield Finding("CLOCKS", "info", None, "channels", text)
