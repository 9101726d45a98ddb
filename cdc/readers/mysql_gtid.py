"""GTID sets of MySQL and MariaDB as values: read, add, show, encode for the dump command. Pure.

MySQL: which transactions of which origin (uuid, tag) are in, holes included. MariaDB: per domain the last one. Adding the next transaction
and showing the set are in the hot path (once per transaction), so the text is rebuilt from the one interval that grew.
"""

from __future__ import annotations

import re
import struct
import uuid
from typing import Final, TypeAlias

Intervals: TypeAlias = list[list[int]]  # [first, last], both inclusive, ascending, neither touching nor overlapping

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_LARGEST: Final = (1 << 63) - 2  # MySQL's GNO_END is the first that is none (sql/rpl_gtid.h)
_MARIADB_GTID: Final = re.compile(r"(\d+)-(\d+)-(\d+)")


class MySQLGtids:
    """A MySQL GTID set: `uuid:1-5:7,uuid:tag:1-3`. Mutable; `str()` is its canonical text."""

    __slots__ = ("_intervals", "_last", "_others")

    def __init__(self, text: str = "") -> None:
        """Raises ValueError where the text is not a GTID set."""
        self._intervals: dict[str, Intervals] = {}  # by origin: `uuid` or `uuid:tag`
        self._last = ""  # the origin that grew last
        self._others: str | None = None  # the text of all other origins
        for part in "".join(text.split()).lower().split(","):
            if part:
                self._read(part)

    def _read(self, part: str) -> None:
        first, *rest = part.split(":")
        if not _UUID.fullmatch(first) or not rest:
            raise ValueError(f"not a GTID set: {part[:80]!r}")
        origin = first
        for item in rest:
            if _TAG.fullmatch(item):
                origin = f"{first}:{item}"
                continue
            low, _, high = item.partition("-")
            if not low.isdecimal() or (high and not high.isdecimal()) or not int(low) <= int(high or low) <= _LARGEST:
                raise ValueError(f"not an interval of a GTID set: {item[:80]!r}")
            self._add_interval(origin, int(low), int(high or low))

    def add(self, origin: str, number: int) -> None:
        intervals = self._intervals.get(origin)
        if intervals and intervals[-1][1] == number - 1:
            intervals[-1][1] = number
        else:
            self._add_interval(origin, number, number)
        if origin != self._last:
            self._last, self._others = origin, None

    def _add_interval(self, origin: str, low: int, high: int) -> None:
        merged: Intervals = []
        for first, last in sorted([*self._intervals.get(origin, []), [low, high]]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        self._intervals[origin] = merged
        self._others = None

    def remove(self, origin: str, number: int) -> None:
        left: Intervals = []
        for first, last in self._intervals.pop(origin, []):
            left += [
                span for span in ([first, min(last, number - 1)], [max(first, number + 1), last]) if span[0] <= span[1]
            ]
        for first, last in left:
            self._add_interval(origin, first, last)
        self._others = None

    def has(self, origin: str, number: int) -> bool:
        intervals = self._intervals.get(origin)
        if not intervals or number > intervals[-1][1]:
            return False  # the usual case: it is a new one
        return any(first <= number <= last for first, last in intervals)

    def __str__(self) -> str:
        if self._others is None:
            self._others = ",".join(self._show(o) for o in sorted(self._intervals) if o != self._last)
        if self._last not in self._intervals:
            return self._others
        shown = self._show(self._last)
        return f"{self._others},{shown}" if self._others else shown

    def _show(self, origin: str) -> str:
        intervals = self._intervals[origin]
        if len(intervals) == 1:  # without holes, as most are
            first, last = intervals[0]
            return f"{origin}:{first}" if first == last else f"{origin}:{first}-{last}"
        spans = ":".join(str(a) if a == b else f"{a}-{b}" for a, b in intervals)
        return f"{origin}:{spans}"

    def encode(self) -> bytes:
        """The set as COM_BINLOG_DUMP_GTID carries it (MySQL's Gtid_set::encode; the tagged form only where a tag is)."""
        tagged = any(":" in origin for origin in self._intervals)
        count = len(self._intervals)
        out = [struct.pack("<Q", (1 << 56) | (count << 8) | 1 if tagged else count)]
        for origin, intervals in sorted(self._intervals.items()):
            name, _, tag = origin.partition(":")
            out.append(uuid.UUID(name).bytes)
            if tagged:
                out.append(bytes([len(tag) << 1]) + tag.encode())  # a variable-length integer of one byte
            out.append(struct.pack("<Q", len(intervals)))
            out.extend(struct.pack("<QQ", first, last + 1) for first, last in intervals)
        return b"".join(out)


def mariadb_gtid(domain: int, server: int, number: int) -> str:
    return f"{domain}-{server}-{number}"


class MariaDBGtids:
    """A MariaDB GTID position: `0-1-100,5-2-7`, the last transaction of each domain."""

    __slots__ = ("_last",)

    def __init__(self, text: str = "") -> None:
        """Raises ValueError where the text is not a GTID position."""
        self._last: dict[int, tuple[int, int]] = {}
        for part in filter(None, "".join(text.split()).split(",")):
            match = _MARIADB_GTID.fullmatch(part)
            if match is None:
                raise ValueError(f"not a GTID position: {part[:80]!r}")
            domain, server, number = map(int, match.groups())
            self._last[domain] = (server, number)

    def add(self, domain: int, server: int, number: int) -> None:
        self._last[domain] = (server, number)

    def has(self, domain: int, server: int, number: int) -> bool:
        """Whether it comes at or before the last one of its domain, as far as that can be told: from the same server."""
        last = self._last.get(domain)
        return last is not None and last[0] == server and number <= last[1]

    def missing_from(self, state: str) -> str:
        """What of this position a server does not have, by its `gtid_binlog_state`; empty where it has all of it."""
        has: dict[tuple[int, int], int] = {}
        for part in filter(None, "".join(state.split()).split(",")):
            domain, server, number = map(int, part.split("-"))
            has[domain, server] = max(number, has.get((domain, server), 0))
        lacking = [(d, s, n) for d, (s, n) in sorted(self._last.items()) if has.get((d, s), 0) < n]
        return ",".join("-".join(map(str, gtid)) for gtid in lacking)

    def __str__(self) -> str:
        if len(self._last) == 1:
            ((domain, (server, number)),) = self._last.items()
            return f"{domain}-{server}-{number}"
        return ",".join(f"{d}-{s}-{n}" for d, (s, n) in sorted(self._last.items()))
