"""Role processes and the pipes they report on: how one is started, told and read. Never waits for one.

A child gets a process group of its own: Ctrl-C in a terminal reaches the supervisor alone, which then stops the children in order.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from cdc.facts import DECODER, RoleFacts
from cdc.health import RoleKey
from cdc.supervisor.forking import ForkServer
from cdc.supervisor.spawning import spawn

RoleWords: TypeAlias = Callable[[RoleKey], Sequence[str]]  # the arguments of a role's program, but for --report-fd

_LONGEST_LINE: Final = 1 << 20
_READ_AT_ONCE: Final = 1 << 16


class Child(Protocol):
    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...


class RoleProcess:
    """A running role. `pipe` is readable when it has said something."""

    def __init__(self, start: Callable[[int], Child]) -> None:
        """`start` starts it with the descriptor to report on. Raises OSError."""
        self.pipe, theirs = os.pipe()
        try:
            os.set_blocking(self.pipe, False)
            self._process = start(theirs)
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(theirs)
        self._pending = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, as Popen.returncode; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)  # a no-op once it has been reaped

    def facts(self) -> Iterator[RoleFacts | str]:
        """What it has said since: facts, or the reason why a line could not be read."""
        while True:
            try:
                chunk = os.read(self.pipe, _READ_AT_ONCE)
            except BlockingIOError:
                return
            if not chunk:
                return
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            if len(self._pending) > _LONGEST_LINE:
                self._pending = b""
                yield "an endless line"
            for line in lines:
                try:
                    yield DECODER.decode(line)
                except msgspec.DecodeError as error:
                    yield str(error)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.pipe)


class RolePrograms:
    """Starts every role as a program of its own."""

    def __init__(self, words_of: RoleWords, module: str = "cdc.roles") -> None:
        self._words_of = words_of
        self._module = module

    def importing(self) -> bool:
        """Whether roles start sooner if they are started a little later."""
        return False

    def start(self, key: RoleKey) -> RoleProcess:
        """Raises OSError."""
        return RoleProcess(lambda report: self._spawn(key, report))

    def close(self) -> None:
        """Nothing is kept."""

    def _spawn(self, key: RoleKey, report: int) -> Child:
        return spawn(self._module, [*self._words_of(key), "--report-fd", str(report)], [report])


class RoleForks(RolePrograms):
    """Has roles forked from what is imported already, and starts programs where that cannot be."""

    def __init__(self, words_of: RoleWords) -> None:
        super().__init__(words_of)
        self._server = ForkServer()

    def importing(self) -> bool:
        return self._server.importing()

    def close(self) -> None:
        self._server.close()

    def _spawn(self, key: RoleKey, report: int) -> Child:
        return self._server.fork(self._words_of(key), report) or super()._spawn(key, report)


def role_words(path: Path, *, debug: bool = False) -> RoleWords:
    """The arguments of a role's program, but for where it reports."""
    config = str(path.absolute())

    def words(role: RoleKey) -> list[str]:
        kind, channel = role
        return [kind, channel, "--config", config, *(["--debug"] if debug else [])]

    return words
