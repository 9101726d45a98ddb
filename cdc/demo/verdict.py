"""Whether the check held: rows against the workload's record, row events of the logs against what explains them. Pure. Guards I1 to I3.

Every difference counts once, on the side where it shows: `lost` where a side has an earlier state of the thing (a change never came),
`diverged` where it has a state that never was. `loops` are row events that neither the workload nor its replication explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cdc.demo.business import KINDS, SIDES, Key, Kind, SideName, Thing
from cdc.demo.expectation import TABLES, Row, key_value, row
from cdc.demo.record import Record

Contents = Mapping[tuple[SideName, Kind], Mapping[str, Row]]
Events = Mapping[tuple[SideName, Kind], int]


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` names columns, never their values."""

    verdict: Literal["lost", "diverged"]
    side: SideName
    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.side}.{self.table} {self.key}: {self.what}"


def differences(record: Record, contents: Contents) -> Iterator[Difference]:
    """What is not as the record says, side by side. Nobody may write meanwhile."""
    with record.lock:
        present = record.present()
        for side in SIDES:
            for kind in KINDS:
                wanted = {key_value(side, key): (key, thing) for key, thing in present.items() if key.kind is kind}
                found = contents[side, kind]
                for name, (key, thing) in wanted.items():
                    if found.get(name) != row(side, thing):
                        yield _differs(record, side, key, thing, found.get(name))
                known = {key_value(side, key): key for key in record.histories if key.kind is kind}
                for name in found.keys() - wanted.keys():
                    yield _too_much(record, side, kind, name, known.get(name), found[name])


def _differs(record: Record, side: SideName, key: Key, thing: Thing, found: Row | None) -> Difference:
    table = TABLES[side, key.kind]
    if found is None:
        return Difference("lost", side, table.name, key.name, "the row is missing")
    names = [name for name, is_, should in zip(table.columns, found, row(side, thing), strict=True) if is_ != should]
    earlier = any(state is not None and row(side, state) == found for state in record.histories[key][:-1])
    if earlier:
        return Difference("lost", side, table.name, key.name, f"still has an earlier {', '.join(names)}")
    return Difference("diverged", side, table.name, key.name, f"has a {', '.join(names)} that nobody wrote")


def _too_much(record: Record, side: SideName, kind: Kind, name: str, key: Key | None, found: Row) -> Difference:
    table = TABLES[side, kind].name
    states = [] if key is None else [state for state in record.histories[key] if state is not None]
    if any(row(side, state) == found for state in states):
        return Difference("lost", side, table, name, "the row was deleted and is still there")
    return Difference("diverged", side, table, name, "a row that nobody wrote")


@dataclass(frozen=True, slots=True)
class LogBalance:
    """Row events in a side's own log for one table: what explains them, and how many there are.

    `own`: those of the side's own users, which are there for certain. Of the others' changes of one row some may be one event.
    """

    side: SideName
    kind: Kind
    expected: int
    counted: int
    own: int

    @property
    def excess(self) -> int:
        return max(0, self.counted - self.expected)

    @property
    def deficit(self) -> int:
        return max(0, self.own - self.counted)

    def __str__(self) -> str:
        return f"{self.side}.{TABLES[self.side, self.kind].name}: {self.counted} row events, {self.expected} explained"


def balance(record: Record, counted: Events) -> list[LogBalance]:
    """A committed row change is once in its own log and at most once in each other side's.

    An update to equal values is in PostgreSQL's own log (test_decoding shows it) and not in MariaDB's, and is replicated nowhere.
    """
    with record.lock:
        return [
            LogBalance(
                side,
                kind,
                sum(record.logged[source, kind] for source in SIDES) + _silent(record, side, kind),
                counted.get((side, kind), 0),
                record.logged[side, kind] + _silent(record, side, kind),
            )
            for side in SIDES
            for kind in KINDS
        ]


def _silent(record: Record, side: SideName, kind: Kind) -> int:
    return record.silent[side, kind] if side == "miniapp" else 0


@dataclass(slots=True)
class Result:
    """What the last line says. `ok` only where everything held."""

    seed: int
    transactions: int = 0
    rows_applied: int = 0
    echoes_dropped: int = 0
    loops: int = 0
    lost: int = 0
    diverged: int = 0
    parked: int = 0
    unlogged: int = 0  # row events that should be in a log and are not
    identities: int = 0  # people whom every side has once, under a key of its own
    references_translated: int = 0  # rows on another side than their own that refer to the right person
    misidentified: int = 0  # people and references that are not so
    disturbed: int = 0  # transactions that a side could not commit because its own rows were changed under it
    latencies_ms: Sequence[float] = ()
    seconds: float = 0.0
    error: str | None = "it did not come to an end"

    @property
    def ok(self) -> bool:
        wrong = (self.loops, self.lost, self.diverged, self.parked, self.unlogged, self.misidentified, self.disturbed)
        did = min(self.transactions, self.rows_applied, self.identities, self.references_translated)
        return self.error is None and not any(wrong) and did > 0

    def document(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "ok": self.ok,
            "seed": self.seed,
            "transactions": self.transactions,
            "rows_applied": self.rows_applied,
            "echoes_dropped": self.echoes_dropped,
            "loops": self.loops,
            "lost": self.lost,
            "diverged": self.diverged,
            "parked": self.parked,
            "identities": self.identities,
            "references_translated": self.references_translated,
            "latency_ms": {"p50": percentile(self.latencies_ms, 50), "p99": percentile(self.latencies_ms, 99)},
            "seconds": round(self.seconds, 1),
        }
        if self.unlogged:
            shown["unlogged"] = self.unlogged
        if self.misidentified:
            shown["misidentified"] = self.misidentified
        if self.disturbed:
            shown["disturbed"] = self.disturbed
        if self.error is not None:
            shown["error"] = self.error
        return shown


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile; None where there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return round(ordered[int(rank) - 1], 1)
