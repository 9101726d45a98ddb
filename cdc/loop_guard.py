"""The loop guard: which transactions of a target's log are our own applies, kept in Redis. Guards I2.

Before an apply transaction commits, its record is written here under the identity that the target's log will show; if that
fails nothing is committed. Capture asks once per batch. A record is removed when capture has durably passed its transaction (by
the script that publishes), or when its rollback is certain; never by clock.

Where the log itself carries the record, the log decides and this answer is only checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cdc.model import ApplyRecord
from cdc.redis_connection import Keys, RedisAddress, connect, redis_errors


class GuardRecord(msgspec.Struct, frozen=True, array_like=True):
    """An apply record with the incarnation of the server that it was begun on."""

    incarnation: str
    record: ApplyRecord


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(GuardRecord).decode


_MANY = 16
_MARK = "mark"
_MARKED = GuardRecord("", ApplyRecord("", "", 0, "", 0, ()))


class LoopGuard:
    """The records of one target channel."""

    def __init__(self, address: RedisAddress, deployment: str, channel: str) -> None:
        self._address = address
        self._key = Keys(deployment).guard(channel)
        self._redis: Any = connect(address)

    def close(self) -> None:
        self._redis.close()

    def register(self, identity: str, record: GuardRecord) -> None:
        """Write a record before its transaction commits. Raises TransientError: then the transaction must not commit."""
        with redis_errors(self._address, "registering an apply transaction"):
            self._redis.hset(self._key, identity, _encode(record))

    def forget(self, identities: Sequence[str]) -> None:
        """Remove the records of transactions that were certainly rolled back."""
        if identities:
            with redis_errors(self._address, "forgetting rolled back transactions"):
                self._redis.hdel(self._key, *identities)

    def mark(self) -> None:
        """Leave a sign in the guard: where it is gone later, Redis has lost records."""
        with redis_errors(self._address, "marking the loop guard"):
            self._redis.hset(self._key, _MARK, _encode(_MARKED))

    def is_marked(self) -> bool:
        with redis_errors(self._address, "asking the loop guard"):
            return bool(self._redis.hexists(self._key, _MARK))

    def records(self) -> dict[str, GuardRecord]:
        """All records that no capture has passed yet: as many as transactions are under way."""
        with redis_errors(self._address, "reading the loop guard"):
            found = self._redis.hgetall(self._key)
        return {identity.decode(): _decode(packed) for identity, packed in found.items() if identity != _MARK.encode()}

    def recognise(self, identities: Sequence[str]) -> dict[str, GuardRecord]:
        """Which of these transactions are ours, as Redis knows."""
        if not identities:
            return {}
        with redis_errors(self._address, "asking the loop guard"):
            if len(identities) > _MANY and self._redis.hlen(self._key) * 4 < len(identities):
                there = self._redis.hgetall(self._key)  # few transactions are under way: less than so many questions
                return {i: _decode(packed) for i in identities if (packed := there.get(i.encode()))} if there else {}
            found = self._redis.hmget(self._key, identities)
        return {identity: _decode(packed) for identity, packed in zip(identities, found, strict=True) if packed}
