"""Rows a second, from counters that only grow, over the last ten seconds. Pure: the clock is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

WINDOW_SECONDS: Final = 10.0


class Rates:
    def __init__(self) -> None:
        self._samples: dict[Hashable, deque[tuple[float, int]]] = {}

    def note(self, key: Hashable, value: int, now: float) -> float:
        """Add a sample and answer the rate since the oldest one that is kept; a counter that fell starts anew."""
        samples = self._samples.setdefault(key, deque())
        if samples and value < samples[-1][1]:
            samples.clear()
        samples.append((now, value))
        while samples[0][0] < now - WINDOW_SECONDS:
            samples.popleft()
        since, before = samples[0]
        return (value - before) / (now - since) if now - since >= 1 else 0.0
