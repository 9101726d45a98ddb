"""`/metrics`: one snapshot as Prometheus text (exposition format 0.0.4). Names begin with `datong_`; no row value, no address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from cdc.supervisor.snapshot import Snapshot

STATES: Final = ("starting", "running", "idle", "retrying", "paused", "halted", "dead")
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9_]+")


def metrics_text(snapshot: Snapshot, *, up: bool) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(snapshot, up=up))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, snapshot: Snapshot, *, up: bool) -> None:
        self._snapshot = snapshot
        self._up = up

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("datong_up", "1 unless the service is down", value=float(self._up))
        yield GaugeMetricFamily("datong_snapshot_timestamp_seconds", "When this was so", value=self._snapshot.at)
        yield from self._roles()
        yield from self._counters()
        yield from self._gauges()

    def _roles(self) -> Iterable[Metric]:
        state = GaugeMetricFamily(
            "datong_role_state", "1 for the state that a role is in", labels=["channel", "role", "state"]
        )
        for channel, roles in self._snapshot.status["channels"].items():
            for kind in ("capture", "apply"):
                role: dict[str, Any] | None = roles[kind]
                for name in STATES if role else ():
                    state.add_metric([channel, kind, name], float(role is not None and role["state"] == name))
        yield state
        running = GaugeMetricFamily("datong_role_up", "1 while a role's process runs", labels=["channel", "role"])
        for name, alive in self._snapshot.up.items():
            kind, _, channel = name.partition(".")
            running.add_metric([channel, kind], float(alive))
        yield running
        restarts = CounterMetricFamily(
            "datong_role_restarts", "Restarts of a role since the service started", labels=["channel", "role"]
        )
        for name, count in self._snapshot.restarts.items():
            kind, _, channel = name.partition(".")
            restarts.add_metric([channel, kind], count)
        yield restarts

    def _counters(self) -> Iterable[Metric]:
        for name, kind, field, help_text in (
            ("datong_captured_transactions", "capture", "transactions", "Transactions captured"),
            ("datong_captured_rows", "capture", "rows", "Row changes captured"),
            ("datong_echoes_dropped", "capture", "echoes", "Transactions of our own that were dropped when captured"),
            ("datong_applied_transactions", "apply", "transactions", "Transactions applied"),
            ("datong_applied_rows", "apply", "rows", "Row changes applied"),
            ("datong_skipped_transactions", "apply", "skipped", "Transactions that an operator left out"),
        ):
            counter = CounterMetricFamily(name, help_text, labels=["channel"])
            for facts in self._snapshot.roles:
                if facts.kind == kind:
                    counter.add_metric([facts.channel], getattr(facts, field))
            yield counter
        alarms = CounterMetricFamily(
            "datong_alarms", "What should not have happened", labels=["channel", "role", "alarm"]
        )
        for facts in self._snapshot.roles:
            for alarm, count in sorted(facts.alarms.items()):
                alarms.add_metric([facts.channel, facts.kind, alarm], count)
        yield alarms

    def _gauges(self) -> Iterable[Metric]:
        lag = GaugeMetricFamily(
            "datong_lag_seconds", "Age of the oldest change that was not passed on yet", labels=["channel", "role"]
        )
        retained = GaugeMetricFamily(
            "datong_source_retained_bytes", "What a source's log keeps for us", labels=["channel"]
        )
        parked = GaugeMetricFamily("datong_parked_rows", "Changes that wait for something", labels=["channel"])
        further: dict[str, GaugeMetricFamily] = {}
        for facts in self._snapshot.roles:
            lag.add_metric([facts.channel, facts.kind], facts.lag_seconds)
            if facts.kind == "capture":
                retained.add_metric([facts.channel], facts.retained_bytes)
            else:
                parked.add_metric([facts.channel], facts.parked)
            for number, value in facts.numbers.items():
                name = f"datong_{_NOT_A_NAME.sub('_', number.lower())}"
                if name not in further:
                    further[name] = GaugeMetricFamily(name, "A gauge of a role", labels=["channel", "role"])
                further[name].add_metric([facts.channel, facts.kind], value)
        return [lag, retained, parked, *further.values()]
