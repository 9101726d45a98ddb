"""What a role process tells its supervisor, several times a second: facts, never a verdict. Guards I10.

Health is computed from these by `cdc.health`, a pure function; nothing sets "healthy". A line of facts is also the beat: the work
loop itself sends it, so a loop that hangs falls silent.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

RoleKind: TypeAlias = Literal["capture", "apply"]
RoleState: TypeAlias = Literal["starting", "running", "idle", "retrying", "paused", "halted", "dead"]

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_RESTART_ME = 64  # the configuration changed in a way that a fresh process takes up
EXIT_LEASE_LOST = 65  # another instance took over; start again and stand by


class RoleFacts(msgspec.Struct, kw_only=True):
    """One line of facts. Counters count since the deployment's first start (they are kept in the hub store).

    `state_since` and `retrying_since` are wall-clock seconds; `lag_seconds` is how old the oldest change is that this role has
    not passed on yet (0 when caught up); `retained_bytes` what the source's log keeps for us; `positions` per source, of an applier.
    """

    kind: RoleKind
    channel: str
    pid: int
    state: RoleState
    reason: str = ""
    state_since: float = 0.0
    retrying_since: float | None = None
    position: str = ""
    lag_seconds: float = 0.0
    transactions: int = 0
    rows: int = 0
    echoes: int = 0
    retained_bytes: int = 0
    parked: int = 0
    skipped: int = 0  # whole transactions that an operator left out
    positions: dict[str, str] = {}
    alarms: dict[str, int] = {}
    notices: tuple[str, ...] = ()  # the latest things in the log that are told, not replicated
    configuration_loaded_at: float = 0.0
    reload_error: str = ""
    numbers: dict[str, float] = {}  # further gauges for /metrics, by name without the prefix


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(RoleFacts)
