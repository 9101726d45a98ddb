"""Saying in the log which changes were parked, without a line for each of thousands. Guards I6 and I8; every one is in `datong parked list`.

The first of a kind - mapping, reason, and what was said but for the values in it - is told at once and whole. Those that follow are counted,
and told in one line when some seconds have passed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from sinks.contract import ParkedRow
from sinks.taken_keys import told

SUMMARY_SECONDS: Final = 5.0
_MOST_KINDS: Final = 200

# A masked value (`transforms.values.masked`), and a number that is no part of a name.
_VALUE: Final = re.compile(r"\S*\*{3}\(\d+\)|\*+|(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")

log = structlog.get_logger()


def kind_of(error: str) -> str:
    """What was said, but for the values in it: column and constraint stay."""
    return _VALUE.sub("*", error)


@dataclass(slots=True)
class _Flood:
    since: float
    last: ParkedRow
    untold: int = 0


class ParkedLines:
    """One session's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floods: dict[tuple[str, str, str], _Flood] = {}

    def tell(self, rows: Iterable[ParkedRow]) -> None:
        """Of changes that are parked now."""
        for row in rows:
            kind = row.mapping, row.reason, kind_of(row.error)
            flood = self._floods.get(kind)
            if flood is not None:
                flood.last = replace(row, change=b"")  # it may be large
                flood.untold += 1
                continue
            if len(self._floods) >= _MOST_KINDS:
                self._summarize(self._floods.pop(next(iter(self._floods))))
            self._floods[kind] = _Flood(self._clock(), replace(row, change=b""))
            log.warning(
                "row_parked", id=row.id, mapping=row.mapping, reason=row.reason, error=told(row.error, row.taken)
            )

    def tell_when_due(self) -> None:
        """Summaries of what came after the first, and the end of those kinds of which no more came."""
        now = self._clock()
        for kind, flood in list(self._floods.items()):
            if now - flood.since >= SUMMARY_SECONDS:
                if not flood.untold:
                    del self._floods[kind]
                self._summarize(flood)
                flood.since = now

    def close(self) -> None:
        for flood in self._floods.values():
            self._summarize(flood)
        self._floods.clear()

    def _summarize(self, flood: _Flood) -> None:
        if flood.untold:
            row = flood.last
            log.warning(
                "rows_parked", rows=flood.untold, mapping=row.mapping, reason=row.reason, last=row.id,
                error=told(row.error, row.taken), hint="more of the same kind; `datong parked list` has them all",
            )  # fmt: skip
            flood.untold = 0
