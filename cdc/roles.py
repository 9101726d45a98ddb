"""A role process: one capture or one applier, session after session, until it is told to stop. Guards I10.

    python -m cdc.roles capture website --config datong.yaml --report-fd 5

A session ends by an error or because something changed; what follows is decided here and nowhere else: a transient error is
tried again with backoff, a halt waits for a person and looks again every half minute, a lost lease stands by.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import structlog

from cdc.addresses import redis_address
from cdc.child import Report, SupervisorGoneError, bind_to_parent, collect_seldom
from cdc.control import STORE_POLL_SECONDS, Control
from cdc.errors import ChangeLogLostError, DatongError, HaltError, LeaseLostError, TransientError
from cdc.facts import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_RESTART_ME, EXIT_STOPPED, RoleKind
from cdc.faults import Faults, InjectedDropError
from cdc.lease import Lease
from cdc.logs import SECRETS
from cdc.logs import configure as configure_logs
from cdc.sessions import Session, open_apply, open_capture
from cdc.store import Store
from config.load import ConfigurationRefused, load
from config.models import Configuration
from config.watch import ConfigWatch

HALTED_RETRY_SECONDS: Final = 30.0
STANDBY_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 10.0
STABLE_SECONDS: Final = 10.0

log = structlog.get_logger()


class RoleProcess:
    """Runs sessions of one role. `run` answers the process's exit code."""

    def __init__(
        self, kind: RoleKind, channel: str, configuration: Configuration, watch: ConfigWatch, control: Control
    ) -> None:
        self._kind: RoleKind = kind
        self._channel = channel
        self._configuration = configuration
        self._watch = watch
        self._control = control
        self._faults = Faults(control.role)
        self._store = Store(configuration.store.url.get_secret_value(), configuration.deployment)
        self._lease = Lease(redis_address(configuration), configuration.deployment, control.role)
        self._failures = 0

    def run(self) -> int:
        control = self._control
        try:
            while not control.stop_requested:
                if self._needs_restart():
                    return EXIT_RESTART_ME
                self._one_session()
        finally:
            self._lease.release()
            self._store.close()
        log.info("role_stopped")
        return EXIT_STOPPED

    def _one_session(self) -> None:
        control = self._control
        control.configuration_taken_up()
        began = time.monotonic()
        asked: frozenset[int] = frozenset()
        try:
            self._store.open()
            if control.store is None:
                control.load_counters(self._store)
            control.poll_store()
            if control.paused:
                control.state("paused", "paused by an operator")
                self._wait(STANDBY_SECONDS, until=lambda: not control.paused)
                return
            holder = self._lease.acquire()
            if holder is not None:
                control.state("starting", f"standing by: another instance runs this role ({holder})")
                self._wait(STANDBY_SECONDS)
                return
            asked = control.asked()
            with self._open() as session:
                session.run()
            control.poll_store()  # what was counted since the last poll
            self._failures = 0
        except HaltError as error:
            log.error("halted", code=error.code, what=error.what, mend=error.mend)
            control.state("halted", str(error))
            self._wait(HALTED_RETRY_SECONDS, until=self._told_something(asked))
        except LeaseLostError as error:
            log.warning("lease_lost", reason=str(error))
            control.state("starting", f"standing by: {error}")
            self._wait(STANDBY_SECONDS)
        except ChangeLogLostError as error:
            self._backoff(str(error), time.monotonic() - began)
        except (TransientError, InjectedDropError) as error:
            self._backoff(str(error), time.monotonic() - began)

    def _open(self) -> Session:
        opened = open_capture if self._kind == "capture" else open_apply
        return opened(self._configuration, self._channel, self._store, self._lease, self._control, self._faults)

    def _backoff(self, reason: str, lasted: float) -> None:
        """Exponential, with jitter; forgotten after a session that held for a while."""
        self._failures = 1 if lasted > STABLE_SECONDS else self._failures + 1
        seconds = min(LONGEST_BACKOFF_SECONDS, 0.1 * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        log.warning("retrying", reason=reason, attempt=self._failures, seconds=round(seconds, 2))
        self._control.state("retrying", reason)
        self._wait(seconds, until=self._configuration_changed)

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, beating, until the time is up, something changed or the service stops."""
        deadline = time.monotonic() + seconds
        polled = time.monotonic()
        while not self._control.stop_requested and time.monotonic() < deadline and not until():
            self._control.beat()
            time.sleep(0.05)
            if self._control.paused and time.monotonic() - polled > 0.3:
                polled = time.monotonic()
                self._control.poll_store()

    def _told_something(self, before: frozenset[int]) -> Callable[[], bool]:
        """While halted: a changed configuration, or a new order of an operator (what halted may be skipped or dropped), is tried at once."""
        polled = time.monotonic()

        def told() -> bool:
            nonlocal polled
            if self._configuration_changed():
                return True
            if time.monotonic() - polled < STORE_POLL_SECONDS:
                return False
            polled = time.monotonic()
            with contextlib.suppress(TransientError):  # the next session tells it
                return bool(self._control.asked() - before)
            return False

        return told

    def _configuration_changed(self) -> bool:
        return configuration_changed(self._watch, self._control)

    def _needs_restart(self) -> bool:
        """Take up a changed configuration; True if it changed what this process was built on."""
        old, new = self._configuration, self._watch.current
        self._configuration = new
        SECRETS.know(new.secrets)
        self._control.facts.configuration_loaded_at = self._watch.loaded_at
        same = (
            old.deployment == new.deployment
            and old.store == new.store
            and old.redis == new.redis
            and old.channels.get(self._channel) == new.channels.get(self._channel)
        )
        return not same


def configuration_changed(watch: ConfigWatch, control: Control) -> bool:
    changed = watch.poll() is not None
    control.facts.reload_error = watch.error or ""
    return changed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cdc.roles")
    parser.add_argument("kind", choices=("capture", "apply"))
    parser.add_argument("channel")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--report-fd", type=int)
    parser.add_argument("--debug", action="store_true")
    options = parser.parse_args(arguments)
    if options.report_fd is not None:
        bind_to_parent()
    kind = cast("RoleKind", options.kind)
    try:
        configuration = load(options.config, os.environ)
    except ConfigurationRefused as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return EXIT_CONFIGURATION
    configure_logs(debug=options.debug, secrets=configuration.secrets, role=kind, channel=options.channel)
    watch = ConfigWatch(options.config, cast("Mapping[str, str]", os.environ))
    report = Report(options.report_fd) if options.report_fd is not None else None
    control = Control(kind, options.channel, report, lambda: configuration_changed(watch, control))

    def stop(_signal: int, _frame: object) -> None:
        if control.stop_requested:
            os._exit(1)
        control.stop_requested = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal's Ctrl-C goes to the whole group: the supervisor says when
    collect_seldom()
    try:
        control.beat(now=True)
        return RoleProcess(kind, options.channel, configuration, watch, control).run()
    except SupervisorGoneError:
        return EXIT_STOPPED
    except DatongError as error:
        log.error("role_failed", reason=str(error))
        return EXIT_FAILED
    except Exception as error:
        # A defect. Its message may hold a row's value (I9), so only its kind and place are told; --debug shows all.
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"unexpected {type(error).__name__} in {Path(place.filename).name}:{place.lineno} ({place.name})"
        control.state("retrying", reason)
        log.critical("role_crashed", reason=reason, hint="this is a defect: report it; --debug shows the traceback")
        if options.debug:
            raise
        return EXIT_FAILED


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # all is closed and durable; tearing down the interpreter would only keep the supervisor waiting
