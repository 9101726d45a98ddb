"""The change log: one Redis stream per channel, the only thing that capture and apply share. Guards I1, I4, I8.

An entry's id is `order-end`: it grows with the source's log. What Redis holds under one id is a pack: entries that follow each other, under
the id of the last, since a thousand small transactions cost Redis and both its clients a thousand times one. So a stream cannot hold an entry
twice, and a reader finds its place by its own progress, within a pack too. Publishing is one Lua script that appends, moves the published position and its state, and
removes the loop-guard records that are passed; it refuses a caller without the lease, and one that published something which
Redis no longer holds (flushed, restored): nothing is ever appended behind a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, TypeAlias

import msgspec

from cdc.errors import ChangeLogLostError, LeaseLostError
from cdc.model import IDENTITY_SOURCE, Checkpoint, Entry, Order, Seen
from cdc.redis_connection import Keys, RedisAddress, append_once, connect, redis_errors

EntryId: TypeAlias = tuple[int, int]  # (order, end)
NOWHERE: Final[EntryId] = (0, 0)
PACK_ENTRIES: Final = 250
PACK_BYTES: Final = 1 << 16  # a larger entry is a pack of its own
_ARRAY: Final = b"\xdc"  # msgpack: an array whose length stands in the next two bytes, big-endian

_PUBLISH: Final = resources.files("cdc").joinpath("publish.lua").read_text()
_encode_entry = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_pack = msgspec.msgpack.Decoder(list[Entry]).decode
_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(Checkpoint).decode


@dataclass(frozen=True, slots=True)
class Published:
    """How far a channel's stream goes, and the capture state at that place; `trimmed`: what lies before is gone."""

    last: EntryId
    state: Checkpoint
    trimmed: EntryId


@dataclass(frozen=True, slots=True)
class Measure:
    """`bytes` that a stream holds, about, and the id of its last entry."""

    bytes: int
    last: EntryId


@dataclass(frozen=True, slots=True)
class Delivered:
    """Entries read from one source's stream, with their packed size in bytes (about), and in how many packs they lay."""

    source: str
    entries: list[tuple[Entry, int]]
    packs: int


class ChangeLog:
    """One process's connection to the change log."""

    def __init__(self, address: RedisAddress, deployment: str) -> None:
        self._address = address
        self._keys = Keys(deployment)
        self._redis: Any = connect(address)
        self._publish = self._redis.register_script(_PUBLISH)
        # An applier reads tens of thousands of entries a second: no dictionary for each of them.
        self._redis.set_response_callback("XREAD", _as_sent)

    def close(self) -> None:
        self._redis.close()

    # -- the writing side: a capture

    def published(self, channel: str) -> Published | None:
        """What Redis holds of a channel; None where it holds nothing (never started, or flushed)."""
        with redis_errors(self._address, f"reading the published position of {channel}"):
            last, state, trimmed = self._redis.hmget(self._keys.published(channel), "last", "state", "trimmed")
            exists = self._redis.exists(self._keys.stream(channel))
        if not last or not state or not exists:
            return None
        return Published(_entry_id(last), _decode_state(state), _entry_id(trimmed) if trimmed else NOWHERE)

    def start(self, channel: str, holder: str, state: Checkpoint) -> EntryId:
        """Begin a stream anew at a checkpoint: what Redis may still hold of it is dropped. Raises LeaseLostError."""
        keys = self._keys
        aside: dict[str, Seen | None] = {key: seen for key, (_, seen) in state.aside.items()}
        first = Entry(channel, state.position.order, 0, 0, True, 0, state.hlc, "", state.seen, aside, (), ())
        at = (first.order, 0)
        with (
            redis_errors(self._address, f"starting the stream of {channel}"),
            self._redis.pipeline(transaction=True) as pipe,
        ):
            pipe.watch(keys.lease(f"capture.{channel}"))
            if pipe.get(keys.lease(f"capture.{channel}")) != holder.encode():
                raise LeaseLostError(f"capture {channel}: another instance holds the lease")
            pipe.multi()
            pipe.delete(keys.stream(channel), keys.published(channel))
            pipe.xadd(keys.stream(channel), {"e": _pack([_encode_entry(first)]), "w": "0"}, id=_id_text(at))
            values = {
                "last": _id_text(at),
                "state": _encode_state(state),
                "written": "0",
                "trimmed": _id_text((state.last_order, state.last_end)),
            }
            pipe.hset(keys.published(channel), mapping=values)
            pipe.execute()
        return at

    def publish(
        self,
        channel: str,
        holder: str,
        expected: EntryId,
        entries: Sequence[Entry],
        state: Checkpoint,
        passed: Sequence[str],
    ) -> EntryId:
        """Append entries, which all lie after `expected`; answer the id of the last one.

        `passed` are the loop guard's fields whose transactions the new state has passed. Raises LeaseLostError,
        ChangeLogLostError, TransientError (then it is not known whether it happened: read `published` again).
        """
        keys = self._keys
        last = (entries[-1].order, entries[-1].end)
        packs = list(_packs(entries, expected))
        arguments: list[str | bytes | int] = [holder, _id_text(expected), _encode_state(state), len(packs)]
        for name_and_pack in packs:
            arguments += name_and_pack
        arguments += passed
        names = [keys.stream(channel), keys.published(channel), keys.lease(f"capture.{channel}"), keys.guard(channel)]
        with redis_errors(self._address, f"publishing changes of {channel}"):
            answer = self._publish(keys=names, args=arguments)
        if answer == b"LEASE":
            raise LeaseLostError(f"capture {channel}: another instance holds the lease")
        if answer == b"LOST":
            raise ChangeLogLostError(f"Redis no longer holds what {channel} published up to {_id_text(expected)}")
        return last

    def measure(self, channel: str) -> Measure | None:
        """How much a channel's stream holds and where it ends; None where Redis has no such stream (flushed, evicted)."""
        with (
            redis_errors(self._address, f"measuring the stream of {channel}"),
            self._redis.pipeline(transaction=True) as pipe,
        ):
            pipe.hmget(self._keys.published(channel), "written", "last")
            pipe.xrange(self._keys.stream(channel), count=1)
            pipe.exists(self._keys.stream(channel))
            (written, last), first, exists = pipe.execute()
        if not last or not exists:
            return None
        return Measure(int(written or 0) - int(first[0][1][b"w"]) if first else 0, _entry_id(last))

    def trim(self, channel: str, up_to: EntryId) -> None:
        """Drop entries up to and including `up_to`, which every applier has durably passed."""
        with (
            redis_errors(self._address, f"trimming the stream of {channel}"),
            self._redis.pipeline(transaction=True) as pipe,
        ):
            pipe.hset(self._keys.published(channel), "trimmed", _id_text(up_to))
            pipe.xtrim(self._keys.stream(channel), minid=_id_text((up_to[0], up_to[1] + 1)), approximate=False)
            pipe.execute()

    # -- decisions about people, whose truth is in the hub store

    def identity_end(self) -> int:
        """The number of the last decision in the stream; 0: there is none, or Redis was flushed."""
        with redis_errors(self._address, "reading decisions about people"):
            found = self._redis.xrevrange(self._keys.stream(IDENTITY_SOURCE), count=1)
        return _entry_id(found[0][0])[0] if found else 0

    def append_identity(self, entries: Sequence[Entry]) -> None:
        """Append decisions; one that another process has appended meanwhile is there once."""
        for entry in entries:
            with redis_errors(self._address, "publishing decisions about people"):
                values = {"e": _pack([_encode_entry(entry)]), "w": "0"}
                append_once(self._redis, self._keys.stream(IDENTITY_SOURCE), values, entry.stream_id)

    # -- the reading side: an applier

    def trimmed(self, sources: Sequence[str]) -> dict[str, EntryId]:
        """Per source, up to where its stream has been dropped; a source that Redis does not know is left out."""
        with redis_errors(self._address, "reading what was trimmed"), self._redis.pipeline(transaction=False) as pipe:
            for source in sources:
                pipe.hget(self._keys.published(source), "trimmed")
            return {s: _entry_id(at) for s, at in zip(sources, pipe.execute(), strict=True) if at}

    def read(self, after: Mapping[str, EntryId], packs: int, block_seconds: float) -> list[Delivered]:
        """Entries after a place in each stream, at most `packs` of each; waits up to `block_seconds` when there are none (0: not at all)."""
        streams = {self._keys.stream(source): _id_text(at) for source, at in after.items()}
        block = int(block_seconds * 1000) or None
        with redis_errors(self._address, "reading the change log"):
            answer = self._redis.xread(streams, count=packs, block=block)
        sources = {self._keys.stream(source).encode(): source for source in after}
        return [_delivered(sources[name], found, after[sources[name]]) for name, found in answer or ()]

    def find(self, source: str, order: Order) -> Entry | None:
        """The first entry of a transaction that is still held; None where there is none of that order."""
        with redis_errors(self._address, f"looking into the stream of {source}"):
            found = self._redis.xrange(self._keys.stream(source), min=f"{order}-1", count=1)
        entries = _unpacked(found[0][1][b"e"]) if found else []
        return next((entry for entry in entries if entry.order == order and entry.end), None)

    def newest(self, sources: Sequence[str]) -> dict[str, EntryId]:
        """Per source, the last entry that was published."""
        with redis_errors(self._address, "reading the streams' ends"), self._redis.pipeline(transaction=False) as pipe:
            for source in sources:
                pipe.hget(self._keys.published(source), "last")
            return {s: _entry_id(at) for s, at in zip(sources, pipe.execute(), strict=True) if at}


def _packs(entries: Sequence[Entry], after: EntryId) -> Iterator[tuple[str, bytes]]:
    """Entries in order as packs, each with its id. Redis refuses a pack that is not in order; what is within one, only we can."""
    held: list[bytes] = []
    size = 0
    last = entries[0]
    for entry in entries:
        before, after = after, (entry.order, entry.end)
        if after <= before:
            raise ValueError(f"{entry.channel}: entry {_id_text(after)} does not come after {_id_text(before)}")
        encoded = _encode_entry(entry)
        if held and (len(held) == PACK_ENTRIES or size + len(encoded) > PACK_BYTES):
            yield last.stream_id, _pack(held)
            held, size = [], 0
        held.append(encoded)
        size += len(encoded)
        last = entry
    yield last.stream_id, _pack(held)


def _pack(encoded: list[bytes]) -> bytes:
    return b"".join((_ARRAY, len(encoded).to_bytes(2, "big"), *encoded))


def _delivered(source: str, found: Sequence[tuple[bytes, Sequence[bytes]]], after: EntryId) -> Delivered:
    """What XREAD answered of one stream. An id comes with its fields' names and values in turn: `e` is the first (publish.lua)."""
    entries: list[tuple[Entry, int]] = []
    for _, fields in found:
        packed = fields[1]
        pack = _unpacked(packed)
        size = len(packed) // len(pack)
        entries += [(entry, size) for entry in pack]
    known = 0  # of the first pack: what lies up to the place that was asked for
    while (entries[known][0].order, entries[known][0].end) <= after:
        known += 1
    return Delivered(source, entries[known:] if known else entries, len(found))


def _unpacked(packed: bytes) -> list[Entry]:
    """Before there were packs, an entry stood alone; it has too few fields for a length of two bytes."""
    return _decode_pack(packed) if packed[:1] == _ARRAY else [_decode_entry(packed)]


def _as_sent(answer: Any, **_: Any) -> Any:
    return answer


def _entry_id(text: bytes) -> EntryId:
    order, _, end = text.partition(b"-")
    return int(order), int(end)


def _id_text(at: EntryId) -> str:
    return f"{at[0]}-{at[1]}"
