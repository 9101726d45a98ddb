"""One child process and the pipe it reports on. The only place that spawns; never waits for a child.

A child gets a process group of its own: Ctrl-C in a terminal reaches the supervisor alone, which then stops the children in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import msgspec

from cdc.child import PARENT_VARIABLE
from cdc.facts import DECODER, RoleFacts

ArgvOf: TypeAlias = Callable[[int], Sequence[str]]  # from the number of the descriptor to report on

_LONGEST_LINE: Final = 1 << 20
_READ_AT_ONCE: Final = 1 << 16


class RoleProcess:
    """A running role. `pipe` is readable when it has said something."""

    def __init__(self, argv_of: ArgvOf) -> None:
        """Start it. Raises OSError."""
        self.pipe, theirs = os.pipe()
        try:
            os.set_blocking(self.pipe, False)
            self._process = subprocess.Popen(
                list(argv_of(theirs)),
                pass_fds=(theirs,),
                stdin=subprocess.DEVNULL,
                process_group=0,
                env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
            )
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
