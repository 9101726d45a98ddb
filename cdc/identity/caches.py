"""The two caches: in this process, bounded by count, and in Redis, bounded by slots. Neither is trusted for truth.

What they hold is only ever what the hub store said in its present generation: every merge, split, undo and forgetting begins a
new one, and both caches are left behind then. What they do not hold is asked there, and nothing is decided by them. A Redis that
is flushed, slow to fill or shared with an older start costs time, never truth.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from cdc.redis_connection import Keys, RedisAddress, connect, redis_errors

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
EXPIRY_SECONDS: Final = 24 * 3600


class BoundedCache(Generic[K, V]):
    """The most recently used entries, between half of `size` and `size` of them: two dictionaries, and the older one is dropped.

    A hit costs one or two look-ups; there is no list to keep in order.
    """

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old.keys() - self._new.keys())

    def get(self, key: K) -> V | None:
        found = self._new.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._new) >= self._half and key not in self._new:
            self._old, self._new = self._new, {}
        self._new[key] = value

    def forget(self, key: K) -> None:
        self._new.pop(key, None)
        self._old.pop(key, None)

    def clear(self) -> None:
        self._new.clear()
        self._old.clear()


_ENTRY: Final = struct.Struct(">16s16sq")  # row, what it showed, person


class RedisCache:
    """Row and what it showed -> OneID, in a hash of `slots` fields: a later entry of the same slot takes its place."""

    def __init__(self, address: RedisAddress, deployment: str, slots: int) -> None:
        self._address = address
        self._prefix = Keys(deployment).identities
        self._slots = max(1, slots)
        self._redis: Any = connect(address)
        self._key = ""

    def close(self) -> None:
        self._redis.close()

    def enter(self, generation: str) -> None:
        """Use the entries of this generation of the hub store from now on; those of the one before are dropped."""
        before, self._key = self._key, f"{self._prefix}:{generation}"
        if before and before != self._key:
            with redis_errors(self._address, "dropping identities"):
                self._redis.unlink(before)

    def drop_all(self) -> None:
        """Drop the entries of every generation: somebody is to be forgotten."""
        with redis_errors(self._address, "dropping identities"):
            for name in self._redis.scan_iter(match=f"{self._prefix}:*", count=1000):
                self._redis.unlink(name)

    def get(self, rows: Sequence[tuple[bytes, bytes]]) -> list[int | None]:
        """The people of (row, what it showed), both as 16-byte digests; None: not in here."""
        if not rows:
            return []
        with redis_errors(self._address, "asking for identities"):
            found = self._redis.hmget(self._key, [self._slot(row) for row, _ in rows])
        people: list[int | None] = []
        for (row, shown), packed in zip(rows, found, strict=True):
            person = None
            if packed is not None and len(packed) == _ENTRY.size:
                its_row, its_shown, its_person = _ENTRY.unpack(packed)
                person = its_person if (its_row, its_shown) == (row, shown) else None
            people.append(person)
        return people

    def put(self, people: Mapping[tuple[bytes, bytes], int]) -> None:
        if not people:
            return
        entries = {self._slot(row): _ENTRY.pack(row, shown, person) for (row, shown), person in people.items()}
        with redis_errors(self._address, "keeping identities"), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(self._key, mapping=entries)
            pipe.expire(self._key, EXPIRY_SECONDS)
            pipe.execute()

    def forget(self, rows: Sequence[bytes]) -> None:
        if rows:
            with redis_errors(self._address, "dropping identities"):
                self._redis.hdel(self._key, *map(self._slot, rows))

    def _slot(self, row: bytes) -> str:
        return str(int.from_bytes(row[:8], "big") % self._slots)
