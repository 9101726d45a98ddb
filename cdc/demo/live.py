"""The interactive `datong demo`: live traffic between three private databases, until somebody ends it."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from cdc.demo import screen
from cdc.demo.business import SIDES, Key, Order
from cdc.demo.expectation import key_value
from cdc.demo.movement import Movement
from cdc.demo.record import Record
from cdc.demo.service import Service
from cdc.demo.sides import Side
from cdc.demo.stage import Stage
from cdc.demo.workload import seed_things

READY_SECONDS: Final = 60.0
EXAMPLE_EVERY: Final = 5  # lines
COMPARE_EVERY: Final = 15
COMPARE_PATIENCE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """`seconds`: after how long it ends by itself; None: never."""

    seed: int
    seconds: int | None = None
    keep: bool = False


def live(options: LiveOptions) -> None:
    """Set the stage, start the service, show what moves. Whatever ends it, nothing stays behind (but the folder, if asked)."""
    with Stage(keep=options.keep) as stage, ExitStack() as stack:
        stack.callback(_farewell, stage)
        print(f"Starting two MariaDB servers, PostgreSQL and Redis on free ports, in {stage.folder} ...", flush=True)
        things = seed_things()
        stage.set_up(things)
        print(
            f"Three databases with the same {len(things)} members, orders and articles. Starting the service ...",
            flush=True,
        )
        service = Service(stage.configuration, stage.environment, stage.admin_port, stage.token)
        stack.callback(service.stop)
        pid = service.start()
        service.wait_until_ready(READY_SECONDS)
        print(screen.header(_place(stage, service, pid, options.seed)), flush=True)
        record = Record()
        record.seed(things)
        with Movement(stage, record, options.seed) as movement:
            _Show(stage, service, movement, pid).run(options.seconds)


def _place(stage: Stage, service: Service, pid: int, seed: int) -> screen.Place:
    return screen.Place(
        folder=stage.folder,
        ports={side: stage.server_of(side).port for side in SIDES},
        admin_port=stage.admin_port,
        token=stage.token,
        command=service.command,
        pid=pid,
        seed=seed,
    )


def _farewell(stage: Stage) -> None:
    with suppress(OSError):  # the terminal may be gone
        left = f"; {stage.folder} stays" if stage.keep else f" and {stage.folder} is removed"
        print(f"\nThe service has stopped; the servers end now{left}.", flush=True)


class _Show:
    """The loop of a line a second."""

    def __init__(self, stage: Stage, service: Service, movement: Movement, pid: int) -> None:
        self._stage = stage
        self._service = service
        self._movement = movement
        self._pid: int | None = pid

    def run(self, seconds: int | None) -> None:
        with ExitStack() as stack:
            sides = [stack.enter_context(self._stage.connect(side)) for side in SIDES]
            began = due = time.monotonic()
            lines = 0
            while seconds is None or time.monotonic() - began < seconds:
                if lines % screen.LINES_PER_HEAD == 0:
                    _say(screen.column_heads())
                lines += 1
                due = max(due + 1, time.monotonic())  # a second that was missed is not made up for
                time.sleep(max(0.0, due - time.monotonic()))
                self._tell_comings_and_goings()
                second = self._movement.look()
                _say(screen.line(second, screen.standing(second, self._trouble())))
                if lines % EXAMPLE_EVERY == 0 and second.order is not None:
                    self._show_example(sides, second.order)
                if lines % COMPARE_EVERY == 0 and self._pid is not None:
                    self._compare()

    def _tell_comings_and_goings(self) -> None:
        pid = self._service.pid()
        if pid == self._pid:
            return
        if pid is None:
            _say(
                screen.note(f"The service, process {self._pid}, is gone. The business goes on: start it again and see.")
            )
        else:
            _say(screen.note(f"The service is back, process {pid}."))
        self._pid = pid

    def _trouble(self) -> str | None:
        if self._pid is None:
            return "no service"
        answer = self._service.ask("/readyz", patience_seconds=0.5)
        if answer is None:
            return "starting"
        status = str(answer.get("status"))
        return None if status == "ok" else status

    @staticmethod
    def _show_example(sides: list[Side], key: Key) -> None:
        rows = {side.name: side.read(Order, [key]).get(key_value(side.name, key)) for side in sides}
        if text := screen.example(rows):
            _say(text)

    def _compare(self) -> None:
        found = self._movement.compare(COMPARE_PATIENCE_SECONDS)
        if found is None:
            return
        count, differing = found
        if differing:
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            _say(screen.note(f"NOT EQUAL on the three sides: {', '.join(differing[:3])}{more}"))
        else:
            _say(screen.note(f"Compared: all three systems hold the same {count} things, value by value."))


def _say(text: str) -> None:
    print(text, flush=True)
