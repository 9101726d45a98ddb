"""What a role's work loop asks once a turn: go on? And what it tells: its facts, which are also its beat. Guards I10.

A session (one `Capture.run` or `Applier.run`) ends at a transaction boundary when the service stops, the role is paused or the
configuration changed; `cdc.roles` then decides what comes next. Nothing here waits for anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from cdc.child import Report
from cdc.errors import HaltError
from cdc.facts import RoleFacts, RoleKind, RoleState
from cdc.store import Command, Store

BEAT_SECONDS: Final = 0.25
STORE_POLL_SECONDS: Final = 0.5
COUNTERS: Final = ("transactions", "rows", "echoes", "skipped")


class Control:
    """One role's view of what it should do, and its voice."""

    def __init__(self, kind: RoleKind, channel: str, report: Report | None, config_changed: Callable[[], bool]) -> None:
        self.kind = kind
        self.channel = channel
        self.role = f"{kind}.{channel}"
        self.facts = RoleFacts(kind=kind, channel=channel, pid=os.getpid(), state="starting", state_since=time.time())
        self.stop_requested = False
        self.store: Store | None = None
        self.paused = False
        self._commands: list[Command] = []
        self._report = report
        self._config_changed = config_changed
        self._changed = False
        self._beat_at = 0.0
        self._polled_at = 0.0
        self._saved: dict[str, int] = {}

    def turn(self, *, at_boundary: bool = True) -> bool:
        """Beat, and look for a reason to end the session; True: go on. Raises TransientError if the hub store is away, and
        HaltError DETACHED where this target was taken out for being too far behind.
        """
        self.beat()
        now = time.monotonic()
        if now - self._polled_at >= STORE_POLL_SECONDS:
            self._polled_at = now
            self.poll_store()
        self._changed = self._changed or self._config_changed()
        return not (at_boundary and (self.stop_requested or self.paused or self._changed))

    def poll_store(self) -> None:
        """Read the pause from the hub store and keep the counters there."""
        if self.store is None:
            return
        self.paused = (self.channel, self.kind) in self.store.paused()
        if self.kind == "apply" and (reason := self.store.detached().get(self.channel)):
            mend = f"make its tables equal, then `datong remove {self.channel}` and start again (`datong resync` comes later)"
            raise HaltError("DETACHED", f"{self.channel}: {reason}", mend)
        self._commands = self.store.commands(self.channel, self.kind)
        values = {name: int(getattr(self.facts, name)) for name in COUNTERS}
        values |= {f"alarm.{name}": count for name, count in self.facts.alarms.items()}
        if values != self._saved:
            self.store.save_counters(self.role, values)
            self._saved = values

    def asked(self) -> frozenset[int]:
        """What operators have asked for and is not done yet, by number. Raises TransientError."""
        return frozenset(c.id for c in self.store.commands(self.channel, self.kind)) if self.store else frozenset()

    def take_commands(self) -> list[Command]:
        """What an operator asked for since the last poll; each is to be acknowledged in the store when done."""
        taken, self._commands = self._commands, []
        return taken

    def load_counters(self, store: Store) -> None:
        """Go on counting where the last process of this role stopped."""
        self.store = store
        for name, value in store.counters(self.role).items():
            if name in COUNTERS:
                setattr(self.facts, name, value)
            elif name.startswith("alarm."):
                self.facts.alarms[name.removeprefix("alarm.")] = value

    def configuration_taken_up(self) -> None:
        self._changed = False

    def alarm(self, name: str, count: int = 1) -> None:
        self.facts.alarms[name] = self.facts.alarms.get(name, 0) + count

    def state(self, state: RoleState, reason: str = "") -> None:
        """Say what the role does now; tells the supervisor at once when it changed."""
        facts = self.facts
        if (facts.state, facts.reason) == (state, reason):
            return
        if state != facts.state:
            facts.state_since = time.time()
            if state == "retrying":
                facts.retrying_since = facts.retrying_since or time.time()
        if state in {"running", "idle", "paused", "halted"}:
            facts.retrying_since = None
        facts.state, facts.reason = state, reason
        self.beat(now=True)

    def opening(self, what: str) -> None:
        """A session is being opened. One that failed before it moved is still being retried, for the reason that was told."""
        if self.facts.state == "retrying" and self.facts.retrying_since is not None:
            self.beat(now=True)
        else:
            self.state("starting", what)

    def beat(self, *, now: bool = False) -> None:
        """Send the facts, at most every quarter of a second. A supervisor that is gone ends this process."""
        at = time.monotonic()
        if self._report is None or (not now and at - self._beat_at < BEAT_SECONDS):
            return
        self._beat_at = at
        self._report.send(self.facts)
