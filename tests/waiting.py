"""Waiting for a condition: tests never sleep for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def await_that(
    condition: Callable[[], T | None],
    *,
    timeout: float = 60,
    message: str | Callable[[], str] = "",
    interval: float = 0.02,
) -> T:
    """Ask until `condition()` is true and return what it said; fail the test after `timeout` seconds.

    `message` says what was waited for; given as a function it is called at the end, to show the state reached.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            pytest.fail(f"waited {timeout} s for: {said or condition}; last answer: {answer!r}", pytrace=True)
        time.sleep(interval)
