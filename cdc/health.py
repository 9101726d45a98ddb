"""The verdict over all roles, as a pure function of facts: ok, degraded or down, and why. Guards I10.

Nothing sets "healthy": the supervisor gathers what each role last said and when, and this module says what that means
(INTERFACE.md section 3, `/readyz`). It must never do I/O, read a clock or remember anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from cdc.facts import RoleFacts, RoleKind, RoleState

Status: TypeAlias = Literal["ok", "degraded", "down"]
RoleKey: TypeAlias = tuple[RoleKind, str]

HUNG_AFTER_SECONDS: Final = 5.0
SILENT_IS_RED_AFTER_SECONDS: Final = 4.0  # red has to show within 5 s of the last sign, the polling included
RETRYING_IS_DOWN_AFTER_SECONDS: Final = 5.0
FIRST_BEAT_WITHIN_SECONDS: Final = 20.0  # a process has to start an interpreter and connect before its first beat
UNSTABLE_AFTER_CRASHES: Final = 3
SLOT_UNRESERVED: Final = 2.0  # of the gauge source_slot_wal_status (PostgreSQL)

_RANK: Final[dict[Status, int]] = {"ok": 0, "degraded": 1, "down": 2}


@dataclass(frozen=True, slots=True)
class RoleView:
    """One role as the supervisor sees it at one moment.

    `facts` are the last ones of the process that runs now (None: it has not spoken yet, or there is none); `silent_seconds` how
    long ago that was; `phase_seconds` for how long the process has been running, or not running. `planned`: it is being
    started, or started again at its own wish. `exit_reason` says how the last process ended, where that was a failure;
    `crashes` how often in a row.
    """

    facts: RoleFacts | None = None
    alive: bool = True
    silent_seconds: float = 0.0
    phase_seconds: float = 0.0
    planned: bool = True
    exit_reason: str = ""
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Dependency:
    """Redis or the hub store. `error` is one line, empty while it answers; `silent_seconds`: since it last answered."""

    name: str
    error: str = ""
    silent_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RoleHealth:
    state: RoleState
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """None: this channel has no such role here."""

    capture: RoleHealth | None
    apply: RoleHealth | None

    @property
    def reason(self) -> str:
        told = (("capture", self.capture), ("apply", self.apply))
        return "; ".join(f"{kind}: {role.reason}" for kind, role in told if role is not None and role.reason)


@dataclass(frozen=True, slots=True)
class Health:
    """`reasons` are those that belong to no channel: Redis, the hub store, a rejected reload."""

    status: Status
    channels: Mapping[str, ChannelHealth]
    reasons: tuple[str, ...]


def health(
    roles: Mapping[RoleKey, RoleView],
    dependencies: Iterable[Dependency],
    now: float,
    max_lag: float,
    reload_error: str = "",
) -> Health:
    """Judge everything at `now` (wall-clock seconds); `max_lag` in seconds."""
    judged = {key: _judge(view, now, max_lag) for key, view in roles.items()}
    names = sorted({channel for _, channel in judged})
    channels = {name: ChannelHealth(judged.get(("capture", name)), judged.get(("apply", name))) for name in names}
    reasons = [reason for dependency in dependencies if (reason := _out_of_reach(dependency))]
    statuses: list[Status] = [role.status for role in judged.values()]
    if reasons:
        statuses.append("down")
    reload_errors = {reload_error, *(view.facts.reload_error for view in roles.values() if view.facts is not None)}
    for error in sorted(filter(None, reload_errors)):
        statuses.append("degraded")
        reasons.append(error if error.startswith("needs a restart") else f"reload rejected: {error}")
    return Health(_worst(statuses), channels, tuple(reasons))


def _worst(statuses: Iterable[Status]) -> Status:
    return max(statuses, key=_RANK.__getitem__, default="ok")


def _out_of_reach(dependency: Dependency) -> str:
    if dependency.error:
        return f"{dependency.name} out of reach: {dependency.error}"
    if dependency.silent_seconds > SILENT_IS_RED_AFTER_SECONDS:
        return f"{dependency.name} out of reach: no answer for {dependency.silent_seconds:.0f} s"
    return ""


def _judge(view: RoleView, now: float, max_lag: float) -> RoleHealth:
    facts = view.facts
    if not view.alive or facts is None:
        return _judge_without_facts(view)
    if view.silent_seconds > SILENT_IS_RED_AFTER_SECONDS:
        return RoleHealth("dead", "down", f"hung: no sign of life for {view.silent_seconds:.0f} s")
    match facts.state:
        case "halted" | "dead":
            return RoleHealth(facts.state, "down", facts.reason or facts.state)
        case "starting":
            status: Status = "degraded" if _briefly_starting(view) else "down"
            return RoleHealth("starting", status, _since_its_last_end(facts.reason or "starting", view))
        case "retrying":
            since = facts.retrying_since if facts.retrying_since is not None else facts.state_since
            status = "down" if now - since >= RETRYING_IS_DOWN_AFTER_SECONDS else "degraded"
            return RoleHealth("retrying", status, facts.reason or "retrying")
        case "paused":
            return RoleHealth("paused", "degraded", facts.reason or "paused")
        case _:
            return _judge_moving(view, facts, max_lag)


def _judge_without_facts(view: RoleView) -> RoleHealth:
    if view.exit_reason:
        return RoleHealth("dead", "down", view.exit_reason)
    if view.alive and view.phase_seconds > FIRST_BEAT_WITHIN_SECONDS:
        return RoleHealth("dead", "down", f"hung: no sign of life since its start {view.phase_seconds:.0f} s ago")
    return RoleHealth("starting", "degraded" if _briefly_starting(view) else "down", "starting")


def _since_its_last_end(reason: str, view: RoleView) -> str:
    """A role that starts again after a failure is quick to: what ended it stays in sight until it runs."""
    return f"{reason} (its last end: {view.exit_reason})" if view.exit_reason else reason


def _briefly_starting(view: RoleView) -> bool:
    """A role that starts again at its own wish is no outage; one that has never run is not ready."""
    return view.planned and view.phase_seconds < HUNG_AFTER_SECONDS


def _judge_moving(view: RoleView, facts: RoleFacts, max_lag: float) -> RoleHealth:
    reasons = []
    if facts.parked:
        reasons.append(f"{facts.parked} parked")
    if facts.lag_seconds > max_lag:
        reasons.append(f"{facts.lag_seconds:.0f} s behind, more than health.max_lag ({max_lag:.0f} s)")
    if facts.numbers.get("source_slot_wal_status") == SLOT_UNRESERVED:
        reasons.append("the server may remove the log that the replication slot still needs (max_slot_wal_keep_size)")
    if view.crashes >= UNSTABLE_AFTER_CRASHES:
        reasons.append(f"crashed {view.crashes} times in a row, the last time: {view.exit_reason}")
    told = [*reasons, *filter(None, [facts.reason])]  # what it waits for is why it is behind
    return RoleHealth(facts.state, "degraded" if reasons else "ok", "; ".join(told))
