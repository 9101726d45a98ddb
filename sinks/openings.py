"""The beginning of a transaction, sent in front of the first statements that follow: a round trip less for every transaction.

An opening waits (`open_with`), goes out with what is sent next, or ahead of it, and is checked when its answers come. A transaction that did not open
as it should is rolled back at once, and nothing may be written until its sink has rolled back as well. Guards I2: no row is written
whose progress line was not as it was known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sinks.contract import SinkError

S = TypeVar("S")  # a statement
A = TypeVar("A")  # its answer


def tell(_answers: Sequence[object], error: SinkError | None) -> None:
    """The check of an opening whose answers say nothing but that they are there."""
    if error is not None:
        raise error


@dataclass(frozen=True, slots=True)
class Opening(Generic[S, A]):
    """The first statements of a transaction. `check` gets their answers, and the error that ended them; it raises what is to be told."""

    statements: tuple[S, ...]
    check: Callable[[Sequence[A], SinkError | None], None] = tell


class OpeningSession(ABC, Generic[S, A]):
    """What sessions that send several statements at once have in common. `send` puts `_opening` in front and makes it `_opened`; what
    reads the answers takes it from there and gives it to `_check_opening`.
    """

    def __init__(self) -> None:
        self.void = False  # a transaction did not open: nothing may be written until it is rolled back
        self._opening: Opening[S, A] | None = None  # goes in front of what is sent next
        self._opened: Opening[S, A] | None = None  # was sent, and its answers were not read yet

    @abstractmethod
    def run(self, statements: Sequence[S], /) -> Iterable[A]:
        """Send statements in order in one round trip and answer them. Raises at the first that fails; those after it have not run."""

    @abstractmethod
    def roll_back(self) -> None:
        """Roll back whole, whatever is under way; a session that cannot say that it did is closed, which rolls back as well."""

    def open_with(self, opening: Opening[S, A]) -> None:
        """Have statements go in front of those that are sent next."""
        self._opening, self.void = opening, False

    def flush(self) -> None:
        """Send an opening that nothing has followed, and check it."""
        if self._opening is not None:
            list(self.run(()))

    def _check_opening(self, opening: Opening[S, A], answers: Sequence[A], error: SinkError | None) -> None:
        """A transaction that did not open as it should is rolled back at once, with what was sent along."""
        try:
            opening.check(answers, error)
        except SinkError:
            self.roll_back()
            self.void = True
            raise
