"""Redis: reachable, new enough, never evicting, large enough for the change log. One gathering function, pure checks.

Guards I1: an evicted entry of the change log is a lost change until the captures go back for it; and I8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cdc.doctor.finding import Finding
from cdc.doctor.server_checks import version_of
from cdc.errors import HaltError, TransientError
from cdc.redis_connection import RedisAddress, connect, redis_errors

_LEAST: Final = (6, 2)
_PATH: Final = "redis.url"
_ROOM: Final = 1.25  # of change_log.max_bytes: the loop guard, buffers and fragmentation need some too


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`maxmemory` 0: no limit but the machine's, whose memory is `machine_bytes`."""

    version: str
    policy: str
    maxmemory: int
    machine_bytes: int
    append_only: bool
    snapshots: bool
    is_replica: bool
    is_cluster: bool


def gather_redis(address: RedisAddress) -> RedisFacts:
    """Raises HaltError where Redis refuses us, TransientError where it is out of reach."""
    client = connect(address)
    try:
        with redis_errors(address, "asking what it is"):
            client.ping()
            info: dict[str, object] = client.info()
    finally:
        client.close()
    return RedisFacts(
        version=str(info.get("redis_version", "")),
        policy=str(info.get("maxmemory_policy", "")),
        maxmemory=int(str(info.get("maxmemory", 0))),
        machine_bytes=int(str(info.get("total_system_memory", 0))),
        append_only=str(info.get("aof_enabled", 0)) == "1",
        snapshots=str(info.get("rdb_last_save_time", 0)) != "0" and str(info.get("rdb_saves", 0)) != "0",
        is_replica=info.get("role") == "slave",
        is_cluster=str(info.get("cluster_enabled", 0)) == "1",
    )


def check_redis(facts: RedisFacts, max_bytes: int) -> Iterator[Finding]:
    """`max_bytes` is change_log.max_bytes."""
    if version_of(facts.version) < _LEAST:
        text = f"Redis {facts.version} is older than {_LEAST[0]}.{_LEAST[1]}"
        yield _finding("REDIS_VERSION", "error", text, f"upgrade Redis to {_LEAST[0]}.{_LEAST[1]} or later")
    if facts.policy != "noeviction":
        text = f"maxmemory-policy is {facts.policy}: Redis would throw changes away when it is full"
        yield _finding(
            "REDIS_EVICTION", "error", text,
            "redis-cli CONFIG SET maxmemory-policy noeviction", "redis.conf: maxmemory-policy noeviction",
        )  # fmt: skip
    need = int(max_bytes * _ROOM)
    if 0 < facts.maxmemory < need:
        text = f"maxmemory is {facts.maxmemory} bytes, less than the change log may take (change_log.max_bytes {max_bytes} and a quarter)"
        yield _finding(
            "REDIS_MEMORY", "error", text,
            f"redis-cli CONFIG SET maxmemory {need}", f"redis.conf: maxmemory {need}",
        )  # fmt: skip
    elif facts.maxmemory == 0 and 0 < facts.machine_bytes < need:
        text = f"the machine of Redis has {facts.machine_bytes} bytes, less than the change log may take"
        yield _finding("REDIS_MEMORY", "warning", text, f"change_log.max_bytes: {facts.machine_bytes // 2}")
    if facts.is_replica:
        text = "this Redis is a replica: it takes no writes"
        yield _finding("REDIS_REPLICA", "error", text, f"{_PATH}: the primary's address")
    if facts.is_cluster:
        text = "this Redis is a cluster: one step that touches several keys does not work there"
        yield _finding("REDIS_CLUSTER", "error", text, f"{_PATH}: a single Redis, or one with Sentinel's address")
    kept = [name for name, on in (("append-only file", facts.append_only), ("snapshots", facts.snapshots)) if on]
    text = f"persistence: {' and '.join(kept) or 'none'}" + (
        "" if facts.append_only else "; a restart of Redis costs a re-read of the logs, no change"
    )
    yield Finding("REDIS_PERSISTENCE", "info", None, _PATH, text)


def redis_out_of_reach(error: HaltError | TransientError) -> Finding:
    if isinstance(error, HaltError):
        return _finding("REDIS_REFUSED", "error", error.what, f"{_PATH}: {error.mend}")
    what, _, hint = str(error).rpartition(" - ")
    return _finding(
        "REDIS_UNREACHABLE",
        "error",
        what or hint,
        f"{_PATH}: a Redis that runs, its port, and redis.tls where it wants TLS",
    )


def _finding(code: str, severity: str, text: str, *mend: str) -> Finding:
    return Finding(code, "error" if severity == "error" else "warning", None, _PATH, text, list(mend))
