"""Resolving people: first sight, known by the hub store, by Redis, and by the process itself; microseconds per change, and memory.

1,000,000 people with two identifiers each (--quick: 50,000), in batches of 1,000, in a hub store in SQLite. Making the sightings
(normalising numbers, building tuples) is not measured; everything from there to the OneID is: digests, queries, decisions, caches.
`us_per_change` is wall clock, `cpu_us_per_change` this process's CPU alone. `rss_mib` is what the process grew by while it resolved,
with a cache of `cache` people.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

from bench.harness import servers
from bench.harness.report import Options, Report, Result
from cdc.demo.servers import Redis
from cdc.identity.caches import RedisCache
from cdc.identity.identifiers import Identifier
from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.identity.words import Row, Sighting
from cdc.redis_connection import RedisAddress

BATCH = 1000
CHANNEL = "website"


def sightings(first: int, count: int, order: int, *, begun: bool) -> list[Sighting]:
    return [
        Sighting(
            Row("member", (n,)),
            (Identifier("phone", "", f"+86139{n:08d}", 0), Identifier("openid", "", f"oX{n:026d}", 1)),
            (order, n),
            begun=begun,
        )
        for n in range(first, first + count)
    ]


def run(report: Report, options: Options) -> None:
    people = options.size(1_000_000, 50_000, BATCH)
    redis = Redis(options.folder / "redis")
    with servers.running(redis):
        report.versions["redis server"] = servers.version(redis)
        address = RedisAddress(f"redis://{redis.admin_user}:{redis.password}@127.0.0.1:{redis.port}/0")
        registry = Registry(f"sqlite:///{options.folder}/hub.db", "bench", None)
        registry.open()

        def resolver(cache: int, *, shared: bool) -> Resolver:
            store = RedisCache(address, "bench", people) if shared else None
            return Resolver(registry, CHANNEL, cache_size=cache, redis=store)

        try:
            _measure(report, "first sight", resolver(people // 10, shared=True), people, order=1, begun=True)
            _measure(report, "hub store", resolver(people // 10, shared=False), people, order=2)
            _measure(report, "redis", resolver(people // 10, shared=True), people, order=3)
            warm = resolver(2 * people, shared=False)
            for _ in _batches(warm, people, 4, begun=False):
                pass
            _measure(report, "process", warm, people, order=5)
        finally:
            registry.close()


def _batches(resolver: Resolver, people: int, order: int, *, begun: bool) -> Iterator[tuple[float, float]]:
    """Wall and CPU seconds of each batch; the same people must come out every time."""
    for first in range(0, people, BATCH):
        made = sightings(first, BATCH, order, begun=begun)
        wall, cpu = time.perf_counter(), time.process_time()
        found = resolver.resolve(made)
        yield time.perf_counter() - wall, time.process_time() - cpu
        if len(set(found)) != BATCH or None in found:
            raise AssertionError(f"{BATCH} people became {len(set(found))}")


def _measure(report: Report, name: str, resolver: Resolver, people: int, order: int, *, begun: bool = False) -> None:
    before = _rss_mib()
    wall = cpu = 0.0
    for seconds, used in _batches(resolver, people, order, begun=begun):
        wall += seconds
        cpu += used
    numbers = {
        "us_per_change": wall / people * 1e6,
        "cpu_us_per_change": cpu / people * 1e6,
        "rss_mib": _rss_mib() - before,
    }
    report.add(Result("sqlite", f"{people} people", f"known by: {name}" if not begun else name, numbers))


def _rss_mib() -> float:
    """The most that this process has held so far: what a later step adds to it is its own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
