"""Breaks the service on purpose, for `datong demo --check --sabotage`: a check that cannot fail is no check.

Does nothing unless the environment variable DATONG_SABOTAGE says so when the process starts; then each hook is one comparison with
a constant. The variable is `KIND:PATH`, KIND one of KINDS, PATH a file that does not exist: `loss` and `value` happen once in the whole
service, by the process that manages to create it. Must never be set on an installation that matters: it breaks I1, I2 and I6, silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from msgspec import structs

from cdc.model import Change

VARIABLE: Final = "DATONG_SABOTAGE"
KINDS: Final = ("loop", "loss", "value")

Value = TypeVar("Value")


class Sabotage:
    """What is to be broken, and whether it was broken already. `NONE` breaks nothing."""

    __slots__ = ("_kind", "_once")

    def __init__(self, armed: str = "") -> None:
        """Raises ValueError where `armed` is neither empty nor `KIND:PATH`."""
        kind, _, once = armed.partition(":")
        if armed and (kind not in KINDS or not once):
            raise ValueError(f"{VARIABLE}: {armed!r} is not KIND:PATH with one of {', '.join(KINDS)}; unset it")
        self._kind = kind
        self._once = Path(once)

    @property
    def kind(self) -> str:
        """One of KINDS, or empty."""
        return self._kind

    def forgets_echo(self) -> bool:
        """Whether an echo is to be taken for a user's transaction: always, once armed."""
        return self._kind == "loop"

    def drops_change(self) -> bool:
        """Whether this captured change is to vanish: one in the whole service."""
        return self._kind == "loss" and self._first()

    def bends_value(self, value: Value) -> Value:
        """The value, or once in the whole service one that is wrong by one: the first number that is no code and no time."""
        number: Any = value
        if self._kind == "value" and type(number) is int and 100 < number < 1_000_000 and self._first():
            number += 1
        return cast("Value", number)

    def _first(self) -> bool:
        try:
            os.close(os.open(self._once, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            self._kind = ""  # another one was first
            return False
        self._kind = ""
        return True


def from_environment(environment: Mapping[str, str]) -> Sabotage:
    return Sabotage(environment.get(VARIABLE, ""))


def tampered(changes: list[Change], sabotage: Sabotage) -> list[Change]:
    """Captured changes as a sabotaged service publishes them."""
    kept = [change for change in changes if not sabotage.drops_change()]
    return [structs.replace(c, values=tuple(sabotage.bends_value(value) for value in c.values)) for c in kept]


ACTIVE: Final = from_environment(os.environ)
