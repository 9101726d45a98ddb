"""The supervisor's loop: reads reports, reaps, follows the configuration file, starts, kills, and tells the admin server. Guards I10.

It does no replication work and never waits for anything but its own clock: pipes are non-blocking, children are polled,
dependencies are asked by threads (`probes`), requests are answered by a process (`admin_feed`). What to do about a child is decided by
`plan`, what it all means by `cdc.health`. When it is killed itself, the kernel ends its children (`cdc.child`).
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final, Protocol

import structlog

from cdc.facts import EXIT_FAILED, EXIT_STOPPED, RoleFacts
from cdc.health import Health, RoleKey, RoleView, health
from cdc.supervisor.admin_feed import AdminFeed
from cdc.supervisor.plan import Decision, Life, Phase
from cdc.supervisor.probes import Probes
from cdc.supervisor.processes import RoleProcess, RolePrograms
from cdc.supervisor.rates import Rates
from cdc.supervisor.settings import ServiceSettings
from cdc.supervisor.snapshot import Access, Snapshot, ready_document, status_document

_TICK_SECONDS: Final = 0.1
_TELL_SECONDS: Final = 0.2

log = structlog.get_logger("datong.supervisor")


class Follower(Protocol):
    """The configuration file, followed: `poll` reads it where it changed."""

    @property
    def settings(self) -> ServiceSettings: ...
    @property
    def loaded_at(self) -> float: ...
    @property
    def reload_error(self) -> str: ...
    @property
    def configuration_path(self) -> str: ...
    def poll(self) -> bool:
        """Answer whether the file was read anew, whatever came of it."""
        ...


@dataclass(slots=True)
class _Role:
    """`leaving_at`: when it was told to end because nobody wants it any more."""

    life: Life
    process: RoleProcess | None = None
    facts: RoleFacts | None = None
    restarts: int = 0
    leaving_at: float | None = None


class Supervisor:
    """Runs until it is told to stop; `run` answers the exit code. Must live in the main thread: signals, PR_SET_PDEATHSIG."""

    def __init__(self, follower: Follower, programs: RolePrograms, admin: AdminFeed, probes: Probes) -> None:
        self._follower = follower
        self._programs = programs
        self._admin = admin
        self._probes = probes
        self._roles: dict[RoleKey, _Role] = {}
        self._selector = selectors.DefaultSelector()
        self._signals = 0
        self._stopping = False
        self._told_at = 0.0
        self._rates = Rates()
        self._status = ""

    def run(self) -> int:
        self._probes.start()
        try:
            with self._signals_caught():
                self._want(self._follower.settings.roles)
                while self._signals == 0:
                    self._turn()
                self._stop()
        finally:
            self._probes.stop()
            self._programs.close()
            self._admin.stop()
            self._selector.close()
        return EXIT_STOPPED if self._signals == 1 else EXIT_FAILED

    def _turn(self) -> None:
        self._listen(_TICK_SECONDS)
        self._reap()
        if self._follower.poll():
            self._configuration_read()
        self._act()
        self._tell()

    # -- children

    def _want(self, wanted: frozenset[RoleKey]) -> None:
        now = time.monotonic()
        for key in sorted(wanted - self._roles.keys()):
            self._roles[key] = _Role(Life(since=now))
        for key in self._roles.keys() - wanted:
            role = self._roles[key]
            if role.process is None:
                del self._roles[key]
            elif role.leaving_at is None:
                role.leaving_at = now
                role.process.signal(signal.SIGTERM)

    def _listen(self, seconds: float) -> None:
        for selected, _ in self._selector.select(seconds):
            if isinstance(selected.data, int):
                os.read(selected.data, 4096)
                continue
            key: RoleKey = selected.data
            self._hear(key, self._roles[key])

    def _hear(self, key: RoleKey, role: _Role) -> None:
        if role.process is None:
            return
        for said in role.process.facts():
            if isinstance(said, str):
                log.warning("role.unreadable", role=key[0], channel=key[1], reason=said)
            else:
                role.facts = said
                role.life = role.life.beat(time.monotonic())

    def _reap(self) -> None:
        for key, role in list(self._roles.items()):
            if role.process is None or (status := role.process.poll()) is None:
                continue
            self._hear(key, role)  # its last words
            pid = role.process.pid
            self._selector.unregister(role.process.pipe)
            role.process.close()
            role.process = None
            told = role.leaving_at is not None or self._stopping
            now = time.monotonic()
            role.life = role.life.stopped(now) if told else role.life.exited(status, now, _chance())
            if role.facts is not None and role.facts.state == "halted" and not told and not role.life.planned:
                role.life = role.life.with_reason(role.facts.reason)
            role.facts = None
            note = log.info if told or role.life.planned else log.error
            note(
                "role.ended",
                role=key[0],
                channel=key[1],
                pid=pid,
                status=status,
                reason=role.life.exit_reason or None,
                crashes=role.life.crashes,
            )
            self._told_at = 0.0  # told at once: it may run again before the next usual telling
            if role.leaving_at is not None:
                del self._roles[key]

    def _act(self) -> None:
        now = time.monotonic()
        settings = self._follower.settings
        for key, role in self._roles.items():
            if role.leaving_at is not None:
                if role.process is not None and now - role.leaving_at > settings.grace_seconds:
                    role.process.signal(signal.SIGKILL)
                continue
            match role.life.decide(now, settings.hang_seconds):
                case Decision.START if not self._programs.importing():
                    self._start(key, role, now)
                case Decision.KILL if role.process is not None:
                    reason = f"hung: no sign of life for {settings.hang_seconds:.0f} s; killed and starting again"
                    log.error("role.killed", role=key[0], channel=key[1], reason=reason)
                    role.life = role.life.killed(reason)
                    role.process.signal(signal.SIGKILL)
                case _:
                    pass

    def _start(self, key: RoleKey, role: _Role, now: float) -> None:
        try:
            role.process = self._programs.start(key)
        except OSError as error:
            role.life = role.life.could_not_start(f"cannot be started: {error}", now, _chance())
            log.error("role.not_started", role=key[0], channel=key[1], reason=str(error))
            return
        role.restarts += role.life.beat_at is not None or role.life.crashes > 0 or role.life.planned
        role.life = role.life.started(now)
        self._selector.register(role.process.pipe, selectors.EVENT_READ, key)
        log.info("role.started", role=key[0], channel=key[1], pid=role.process.pid)

    # -- the configuration

    def _configuration_read(self) -> None:
        if self._follower.reload_error:
            log.error("reload.rejected", reason=self._follower.reload_error)
        else:
            log.info("reload.accepted")
        now = time.monotonic()
        for role in self._roles.values():
            role.life = role.life.configuration_changed(now)
        self._want(self._follower.settings.roles)

    # -- the picture

    def _views(self) -> dict[RoleKey, RoleView]:
        now = time.monotonic()
        return {key: _view(role, now) for key, role in self._roles.items() if role.leaving_at is None}

    def _tell(self) -> None:
        if time.monotonic() - self._told_at < _TELL_SECONDS:
            return
        self._told_at = time.monotonic()
        follower, settings = self._follower, self._follower.settings
        views = self._views()
        now = time.time()
        judged = health(views, self._probes.seen(), now, settings.max_lag_seconds, follower.reload_error)
        self._note_change(judged)
        self._admin.tend(
            Snapshot(
                at=now,
                status=status_document(
                    judged,
                    views,
                    self._rates_of(views, now),
                    settings.mappings,
                    follower.loaded_at,
                    follower.reload_error,
                ),
                ready=ready_document(judged, settings.servers),
                roles=[view.facts for view in views.values() if view.facts is not None],
                up={".".join(key): view.alive for key, view in views.items()},
                restarts={".".join(key): role.restarts for key, role in self._roles.items()},
                access=_access(follower),
            )
        )

    def _rates_of(self, views: Mapping[RoleKey, RoleView], now: float) -> dict[RoleKey, float]:
        known = {key: view.facts.rows for key, view in views.items() if view.facts is not None}
        return {key: self._rates.note(key, rows, now) for key, rows in known.items()}

    def _note_change(self, judged: Health) -> None:
        """One line per change of the verdict, with its reasons."""
        if judged.status == self._status or self._stopping:
            return
        self._status = judged.status
        reasons = [*judged.reasons, *(f"{name}: {it.reason}" for name, it in judged.channels.items() if it.reason)]
        starting = all(role.facts is None for role in self._roles.values())
        note = log.info if judged.status == "ok" or starting else log.warning
        note("health.changed", status=judged.status, reasons=reasons)

    # -- the end

    def _stop(self) -> None:
        self._stopping = True
        log.info("service.stopping")
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._follower.settings.grace_seconds
        while any(role.process for role in self._roles.values()):
            if self._signals > 1 or time.monotonic() > deadline:
                self._signal_all(signal.SIGKILL)
            self._listen(_TICK_SECONDS / 2)
            self._reap()
            self._tell()
        log.info("service.stopped")

    def _signal_all(self, number: signal.Signals) -> None:
        for role in self._roles.values():
            if role.process is not None:
                role.process.signal(number)

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        """SIGTERM and SIGINT are counted; every signal, SIGCHLD too, wakes the loop at once."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._selector.register(reading, selectors.EVENT_READ, reading)
        woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        before = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._told_to_stop),
                (signal.SIGINT, self._told_to_stop),
                (signal.SIGCHLD, _ignore),
            )
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            self._selector.unregister(reading)
            os.close(reading)
            os.close(writing)

    def _told_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """SIGCHLD needs a handler, so that it wakes the loop; `poll` does the rest."""


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter, not a secret


def _view(role: _Role, now: float) -> RoleView:
    life = role.life
    return RoleView(
        facts=role.facts,
        alive=life.phase is Phase.RUNNING,
        silent_seconds=now - (life.beat_at or now),
        phase_seconds=now - life.since,
        planned=life.planned,
        exit_reason=life.exit_reason,
        crashes=life.crashes,
    )


def _access(follower: Follower) -> Access:
    settings = follower.settings
    return Access(
        token=settings.admin.token,
        public_metrics=settings.admin.public_metrics,
        configuration=follower.configuration_path,
        store_url=settings.store_url,
        deployment=settings.deployment,
        secrets=sorted(settings.secrets),
    )
