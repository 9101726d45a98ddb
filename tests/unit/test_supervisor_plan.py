"""When a process is started, killed and started again: the pure part of the supervisor."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from cdc.facts import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_LEASE_LOST, EXIT_RESTART_ME, EXIT_STOPPED
from cdc.supervisor.plan import (
    BACKOFF_MOST_SECONDS,
    Decision,
    Life,
    Phase,
    backoff,
    describe_exit,
)

HANG = 30.0


def running(since: float = 0.0) -> Life:
    return Life().started(since)


def wait_after(life: Life, now: float) -> float:
    return life.due - now


def test_a_new_life_starts_at_once() -> None:
    assert Life().decide(0.0, HANG) is Decision.START


def test_a_crash_is_followed_by_a_longer_pause_each_time() -> None:
    life, now, pauses = running(), 0.0, []
    for _ in range(12):
        now += 1
        life = life.exited(EXIT_FAILED, now, chance=0.999999)
        pauses.append(wait_after(life, now))
        now = life.due
        assert life.decide(now, HANG) is Decision.START
        life = life.started(now)
    assert [round(pause, 2) for pause in pauses] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30, 30]


def test_a_role_that_ran_for_long_starts_its_backoff_anew() -> None:
    life = running()
    for _ in range(5):
        life = life.exited(EXIT_FAILED, 1, 0).started(2)
    life = life.exited(EXIT_FAILED, 40, 0)
    assert (life.crashes, round(wait_after(life, 40), 6)) == (1, backoff(1, 0))


def test_a_role_that_runs_stably_is_no_longer_called_crashed() -> None:
    life = running().exited(EXIT_FAILED, 1, 0).started(2)
    assert life.beat(3).crashes == 1
    assert life.beat(32).crashes == 0


def test_a_restart_that_was_asked_for_is_at_once_and_no_crash() -> None:
    life = running().exited(EXIT_RESTART_ME, 10, 0)
    assert life.decide(10, HANG) is Decision.START
    assert (life.crashes, life.planned, life.exit_reason) == (0, True, "")


def test_restarts_asked_for_in_a_tight_loop_are_slowed_down() -> None:
    assert wait_after(running().exited(EXIT_RESTART_ME, 0.1, 0), 0.1) == 1.0


def test_a_lost_lease_waits_a_second() -> None:
    assert wait_after(running().exited(EXIT_LEASE_LOST, 10, 0), 10) == 1.0


def test_a_refused_configuration_is_not_tried_again_until_it_changes() -> None:
    life = running().exited(EXIT_CONFIGURATION, 1, 0)
    assert life.phase is Phase.HELD
    assert life.decide(1e9, HANG) is Decision.NOTHING
    assert life.configuration_changed(2).decide(2, HANG) is Decision.START


def test_a_changed_configuration_does_not_cut_a_backoff_short() -> None:
    life = running().exited(EXIT_FAILED, 1, 0)
    assert life.configuration_changed(1) == life


def test_a_silent_process_is_killed_after_the_hang_time_and_the_reason_is_kept() -> None:
    life = running().beat(10)
    assert life.decide(40, HANG) is Decision.NOTHING
    assert life.decide(40.1, HANG) is Decision.KILL
    ended = life.killed("hung").exited(-signal.SIGKILL, 41, 0)
    assert (ended.exit_reason, ended.crashes) == ("hung", 1)


def test_a_process_that_never_spoke_is_killed_too() -> None:
    assert running(5).decide(35.1, HANG) is Decision.NOTHING  # it may still be importing, on a busy machine
    assert running(5).decide(95.1, HANG) is Decision.KILL


def test_an_end_without_being_told_to_is_a_failure_even_with_exit_code_zero() -> None:
    life = running().exited(EXIT_STOPPED, 1, 0)
    assert (life.crashes, life.exit_reason) == (1, "ended by itself with exit code 0; starting again")


def test_what_was_told_to_stop_stays_stopped_and_is_no_crash() -> None:
    life = running().stopped(5)
    assert (life.decide(1e9, HANG), life.crashes, life.exit_reason) == (Decision.NOTHING, 0, "stopped")


def test_exits_are_described_by_signal_name() -> None:
    assert describe_exit(-9) == "killed by SIGKILL; starting again"
    assert describe_exit(-64).startswith("killed by ")


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_no_backoff_is_shorter_than_a_tenth_or_longer_than_thirty_seconds(crashes: int, chance: float) -> None:
    assert 0.1 <= backoff(crashes, chance) <= BACKOFF_MOST_SECONDS


@given(
    st.lists(
        st.tuples(st.sampled_from(["exit", "beat", "config"]), st.integers(-15, 65), st.floats(0, 100)), max_size=30
    )
)
def test_whatever_happens_a_life_is_never_stuck(events: list[tuple[str, int, float]]) -> None:
    """Not running means: due within 30 s, or held for a new configuration."""
    now, life = 0.0, Life()
    for kind, status, passed in events:
        now += passed
        if life.decide(now, HANG) is Decision.START:
            life = life.started(now)
        if kind == "beat" and life.phase is Phase.RUNNING:
            life = life.beat(now)
        elif kind == "exit" and life.phase is Phase.RUNNING:
            life = life.exited(status, now, 0.5)
        elif kind == "config":
            life = life.configuration_changed(now)
    if life.phase is Phase.WAITING:
        assert life.due - now <= BACKOFF_MOST_SECONDS
        assert life.decide(max(now, life.due), HANG) is Decision.START
    elif life.phase is Phase.HELD:
        assert life.configuration_changed(now).decide(now, HANG) is Decision.START
