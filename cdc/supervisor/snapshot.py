"""What the supervisor tells the admin server, several times a second: the whole picture as one message. Pure.

The admin server answers from the last of these and asks nobody (O7). `public` texts, for `/readyz`, name no server and no address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from cdc.facts import RoleFacts
from cdc.health import Health, RoleHealth, RoleKey, RoleView
from cdc.supervisor.settings import MappingLine

_ADDRESSES: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]*://[^\s'\")]+"  # a URL
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\[[0-9a-f:.]+\](?::\d+)?"  # IPv6, in its three written forms; a time of day is none of them
    r"|(?<![\w:])(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}(?![\w:])"
    r"|(?<![\w:])[0-9a-f:]*::[0-9a-f:]*[0-9a-f](?![\w:])"
    r"|\b[\w.-]+@[\w.-]+"
    r"|\b(?:localhost|[\w-]+(?:\.[\w-]+)+):\d+\b",
    re.IGNORECASE,
)


class Access(msgspec.Struct, frozen=True):
    """Who may ask the admin server, and what it needs to write: sent with every snapshot, kept in memory only."""

    token: str | None
    public_metrics: bool
    configuration: str
    store_url: str
    deployment: str
    secrets: list[str]


class Snapshot(msgspec.Struct, frozen=True):
    """`status` is `/api/status` as it is, `ready` is `/readyz` as it is; `roles` the facts for `/metrics`."""

    at: float
    status: dict[str, Any]
    ready: dict[str, Any]
    roles: list[RoleFacts]
    up: dict[str, bool]  # by `capture.website`
    restarts: dict[str, int]
    access: Access


ENCODER: Final = msgspec.json.Encoder()
DECODER: Final = msgspec.json.Decoder(Snapshot)


def public(text: str, servers: Iterable[str]) -> str:
    """A reason without addresses: what anybody may read."""
    for server in sorted(filter(None, servers), key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(server)}(?::\d+)?(?![\w-])", "(server)", text)
    return _ADDRESSES.sub("(server)", text)


def readable_position(native: str) -> str:
    """A reader's position as one would look it up in the server: an LSN, or file:offset. As it is where it is something else."""
    try:
        found = msgspec.json.decode(native, type=dict[str, Any])
    except msgspec.DecodeError:
        return native
    if "file" in found and "offset" in found:
        return f"{found['file']}:{found['offset']}"
    return str(found.get("lsn", native))


def ready_document(health: Health, servers: Iterable[str]) -> dict[str, Any]:
    """The body of `/readyz`; its HTTP status is 503 where `status` is down."""
    servers = list(servers)
    channels = {
        name: {
            "capture": channel.capture.state if channel.capture else None,
            "apply": channel.apply.state if channel.apply else None,
            "reason": public(channel.reason, servers),
        }
        for name, channel in health.channels.items()
    }
    return {
        "status": health.status,
        "channels": channels,
        "reasons": [public(reason, servers) for reason in health.reasons],
    }


def status_document(
    health: Health,
    roles: Mapping[RoleKey, RoleView],
    rates: Mapping[RoleKey, float],
    mappings: Mapping[str, MappingLine],
    loaded_at: float,
    reload_error: str,
) -> dict[str, Any]:
    """The body of `/api/status` and of `datong status --json`."""
    channels = {}
    for name, channel in health.channels.items():
        channels[name] = {
            "capture": channel.capture
            and _capture(channel.capture, _facts(roles, ("capture", name)), rates.get(("capture", name), 0.0)),
            "apply": channel.apply
            and _apply(channel.apply, _facts(roles, ("apply", name)), rates.get(("apply", name), 0.0)),
        }
    return {
        "status": health.status,
        "reasons": list(health.reasons),
        "channels": channels,
        "mappings": {name: msgspec.to_builtins(line) for name, line in mappings.items()},
        "configuration": {"loaded_at": loaded_at, "reload_error": reload_error or None},
    }


def _facts(roles: Mapping[RoleKey, RoleView], key: RoleKey) -> RoleFacts:
    facts = roles[key].facts
    return RoleFacts(kind=key[0], channel=key[1], pid=0, state="starting") if facts is None else facts


def _capture(role: RoleHealth, facts: RoleFacts, rate: float) -> dict[str, Any]:
    return _common(role, facts, rate) | {
        "position": facts.position,
        "echoes": facts.echoes,
        "retained_bytes": facts.retained_bytes,
        "notices": list(facts.notices),
    }


def _apply(role: RoleHealth, facts: RoleFacts, rate: float) -> dict[str, Any]:
    return _common(role, facts, rate) | {
        "parked": facts.parked,
        "skipped": facts.skipped,
        "positions": facts.positions,
    }


def _common(role: RoleHealth, facts: RoleFacts, rate: float) -> dict[str, Any]:
    return {
        "state": role.state,
        "status": role.status,
        "reason": role.reason,
        "lag_seconds": round(facts.lag_seconds, 3),
        "transactions": facts.transactions,
        "rows": facts.rows,
        "rows_per_second": round(rate, 1),
        "alarms": facts.alarms,
    }
