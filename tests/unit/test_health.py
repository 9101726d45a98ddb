"""Health as a table: facts in, verdict out."""

from __future__ import annotations

import msgspec
import pytest

from cdc.facts import RoleFacts
from cdc.health import ChannelHealth, Dependency, Health, RoleView, health

NOW = 1_000_000.0


def facts(state: str, **more: object) -> RoleFacts:
    return msgspec.structs.replace(RoleFacts(kind="capture", channel="website", pid=1, state=state), **more)  # type: ignore[arg-type]


def judge(view: RoleView, *dependencies: Dependency, reload_error: str = "") -> Health:
    return health({("capture", "website"): view}, dependencies, NOW, max_lag=60, reload_error=reload_error)


@pytest.mark.parametrize(
    ("view", "status", "state", "said"),
    [
        (RoleView(facts("running")), "ok", "running", ""),
        (RoleView(facts("idle")), "ok", "idle", ""),
        (RoleView(facts("idle"), silent_seconds=3.9), "ok", "idle", ""),
        (RoleView(facts("running"), silent_seconds=4.6), "down", "dead", "hung: no sign of life for 5 s"),
        (RoleView(facts("paused"), silent_seconds=60), "down", "dead", "hung"),
        (RoleView(facts("halted", reason="SLOT_LOST: gone - resync")), "down", "halted", "SLOT_LOST: gone - resync"),
        (RoleView(facts("paused")), "degraded", "paused", "paused"),
        (RoleView(facts("idle", numbers={"source_slot_wal_status": 1.0})), "ok", "idle", ""),
        (
            RoleView(facts("idle", numbers={"source_slot_wal_status": 2.0})),
            "degraded",
            "idle",
            "the server may remove the log",
        ),
        (RoleView(facts("retrying", retrying_since=NOW - 4.9, reason="refused")), "degraded", "retrying", "refused"),
        (RoleView(facts("retrying", retrying_since=NOW - 5, reason="refused")), "down", "retrying", "refused"),
        (RoleView(facts("retrying", state_since=NOW - 9)), "down", "retrying", "retrying"),
        (RoleView(facts("running", parked=2)), "degraded", "running", "2 parked"),
        (RoleView(facts("running", lag_seconds=61)), "degraded", "running", "61 s behind"),
        (RoleView(facts("running", lag_seconds=60)), "ok", "running", ""),
        (
            RoleView(facts("running", lag_seconds=61, reason="the change log is full")),
            "degraded",
            "running",
            "61 s behind, more than health.max_lag (60 s); the change log is full",
        ),
        (RoleView(facts("starting")), "degraded", "starting", "starting"),
        (RoleView(facts("starting"), planned=False), "down", "starting", "starting"),
        (
            RoleView(facts("starting", reason="opening"), planned=False, exit_reason="killed by SIGKILL"),
            "down",
            "starting",
            "opening (its last end: killed by SIGKILL)",
        ),
        (RoleView(facts("starting", reason="standing by"), phase_seconds=6), "down", "starting", "standing by"),
        (RoleView(None, planned=False), "down", "starting", "starting"),
        (RoleView(None, planned=True, phase_seconds=1), "degraded", "starting", "starting"),
        (RoleView(None, planned=True, phase_seconds=6), "down", "starting", "starting"),
        (RoleView(None, phase_seconds=21), "down", "dead", "hung: no sign of life since its start 21 s ago"),
        (RoleView(None, alive=False, exit_reason="killed by SIGKILL"), "down", "dead", "killed by SIGKILL"),
        (RoleView(None, alive=True, exit_reason="killed by SIGKILL"), "down", "dead", "killed by SIGKILL"),
        (RoleView(facts("running"), alive=False, exit_reason="exit code 1"), "down", "dead", "exit code 1"),
        (RoleView(facts("running"), crashes=2, exit_reason="exit code 1"), "ok", "running", ""),
        (RoleView(facts("running"), crashes=3, exit_reason="exit code 1"), "degraded", "running", "crashed 3 times"),
    ],
)
def test_a_role_is_judged_by_what_it_said_and_when(view: RoleView, status: str, state: str, said: str) -> None:
    judged = judge(view)
    role = judged.channels["website"].capture
    assert role is not None
    assert (judged.status, role.status, role.state) == (status, status, state)
    assert role.reason.startswith(said)
    assert bool(role.reason) == bool(said)


@pytest.mark.parametrize(
    ("dependency", "said"),
    [
        (Dependency("Redis", "connection refused"), "Redis out of reach: connection refused"),
        (Dependency("hub store", "", silent_seconds=4.1), "hub store out of reach: no answer for 4 s"),
    ],
)
def test_a_dependency_out_of_reach_is_down_whatever_the_roles_say(dependency: Dependency, said: str) -> None:
    judged = judge(RoleView(facts("idle")), dependency)
    assert judged.status == "down"
    assert judged.reasons == (said,)


def test_dependencies_that_answer_are_no_reason() -> None:
    judged = judge(RoleView(facts("idle")), Dependency("Redis"), Dependency("hub store", silent_seconds=1))
    assert judged == Health("ok", judged.channels, ())


def test_a_rejected_reload_is_degraded_and_says_why() -> None:
    judged = judge(RoleView(facts("idle")), reload_error="mappings.a: no entity 'b'")
    assert (judged.status, judged.reasons) == ("degraded", ("reload rejected: mappings.a: no entity 'b'",))


def test_a_reload_that_a_role_rejected_is_told_once() -> None:
    judged = judge(RoleView(facts("idle", reload_error="bad")), reload_error="bad")
    assert judged.reasons == ("reload rejected: bad",)


def test_what_needs_a_restart_is_not_called_a_rejection() -> None:
    assert judge(RoleView(facts("idle")), reload_error="needs a restart: redis").reasons == ("needs a restart: redis",)


def test_the_worst_role_decides_and_the_others_keep_their_own_state() -> None:
    judged = health(
        {
            ("capture", "website"): RoleView(facts("running")),
            ("apply", "website"): RoleView(facts("paused")),
            ("apply", "crm"): RoleView(facts("halted", reason="gone")),
        },
        (),
        NOW,
        60,
    )
    assert judged.status == "down"
    assert {
        name: (c.capture and c.capture.status, c.apply and c.apply.status) for name, c in judged.channels.items()
    } == {
        "crm": (None, "down"),
        "website": ("ok", "degraded"),
    }
    assert judged.channels["crm"].reason == "apply: gone"


def test_a_channel_with_one_role_has_no_state_for_the_other() -> None:
    assert judge(RoleView(facts("idle"))).channels["website"] == ChannelHealth(
        judge(RoleView(facts("idle"))).channels["website"].capture, None
    )
