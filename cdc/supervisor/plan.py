"""One supervised process as a pure state machine: what happened to it and the clock in, what to do about it out.

Guards I10 (a hung process is noticed and replaced) and "no crash loop faster than backoff". No process, signal or clock is
touched here; `cdc.supervisor.runner` does that. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from cdc.facts import EXIT_CONFIGURATION, EXIT_LEASE_LOST, EXIT_RESTART_ME

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MOST_SECONDS: Final = 30.0
STABLE_AFTER_SECONDS: Final = 30.0
LEASE_LOST_SECONDS: Final = 1.0
HASTY_SECONDS: Final = 1.0  # a process that wants a restart this soon after its start has to wait for as long


FIRST_BEAT_PATIENCE: Final = 3.0


class Phase(Enum):
    WAITING = "waiting"  # no process; it is due at `due`
    RUNNING = "running"
    HELD = "held"  # no process, and none until the configuration changes


class Decision(Enum):
    NOTHING = "nothing"
    START = "start"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Life:
    """`since`: when the phase began. `crashes`: failures in a row. `planned`: the last end was the process's own wish, or none."""

    phase: Phase = Phase.WAITING
    due: float = 0.0
    since: float = 0.0
    beat_at: float | None = None
    crashes: int = 0
    planned: bool = False
    exit_reason: str = ""
    kill_reason: str = ""

    def decide(self, now: float, hang_seconds: float) -> Decision:
        """Say what is to be done at `now`."""
        if self.phase is Phase.WAITING and now >= self.due:
            return Decision.START
        # Before its first beat a process imports and starts: on a busy machine that takes its time, and killing adds to the load.
        patience = hang_seconds if self.beat_at is not None else FIRST_BEAT_PATIENCE * hang_seconds
        if self.phase is Phase.RUNNING and now - self._last_sign > patience:
            return Decision.KILL
        return Decision.NOTHING

    @property
    def _last_sign(self) -> float:
        return self.since if self.beat_at is None else self.beat_at

    def started(self, now: float) -> Life:
        return replace(self, phase=Phase.RUNNING, since=now, beat_at=None, kill_reason="")

    def beat(self, now: float) -> Life:
        stable = now - self.since >= STABLE_AFTER_SECONDS
        return replace(
            self, beat_at=now, crashes=0 if stable else self.crashes, exit_reason="" if stable else self.exit_reason
        )

    def killed(self, reason: str) -> Life:
        """The runner is killing it; the reason is shown once it has ended. Its silence is counted anew meanwhile."""
        return replace(self, kill_reason=reason)

    def exited(self, status: int, now: float, chance: float) -> Life:
        """The process ended: `status` as in Popen.returncode, `chance` a random number in [0, 1) for the jitter."""
        ran = now - self.since
        if status in (EXIT_RESTART_ME, EXIT_LEASE_LOST) and not self.kill_reason:
            pause = LEASE_LOST_SECONDS if status == EXIT_LEASE_LOST else 0.0 if ran >= HASTY_SECONDS else HASTY_SECONDS
            return replace(
                self, phase=Phase.WAITING, due=now + pause, since=now, beat_at=None, planned=True, exit_reason=""
            )
        if status == EXIT_CONFIGURATION:
            reason = "its configuration was refused (the log says why); it starts again when the file changes"
            return replace(self, phase=Phase.HELD, since=now, beat_at=None, planned=False, exit_reason=reason)
        crashes = 1 if ran >= STABLE_AFTER_SECONDS else self.crashes + 1
        return replace(
            self,
            phase=Phase.WAITING,
            due=now + backoff(crashes, chance),
            since=now,
            beat_at=None,
            crashes=crashes,
            planned=False,
            exit_reason=self.kill_reason or describe_exit(status),
        )

    def stopped(self, now: float) -> Life:
        """It ended because it was told to, and stays ended."""
        return replace(self, phase=Phase.HELD, since=now, beat_at=None, planned=False, exit_reason="stopped")

    def with_reason(self, reason: str) -> Life:
        """Its own last words say more than an exit code."""
        return replace(self, exit_reason=reason)

    def could_not_start(self, reason: str, now: float, chance: float) -> Life:
        crashes = self.crashes + 1
        return replace(
            self, due=now + backoff(crashes, chance), since=now, crashes=crashes, planned=False, exit_reason=reason
        )

    def configuration_changed(self, now: float) -> Life:
        """A new file may be what a held process was waiting for."""
        return replace(self, phase=Phase.WAITING, due=now, since=now) if self.phase is Phase.HELD else self


def backoff(crashes: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row: doubling from 0.2 to 30, of which the upper half is jitter."""
    full: float = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(crashes - 1, 20))
    return full * (0.5 + chance / 2)


def describe_exit(status: int) -> str:
    """Popen.returncode in an operator's words."""
    if status >= 0:
        return f"ended by itself with exit code {status}; starting again"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"killed by {name}; starting again"
