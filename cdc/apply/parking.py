"""Parked changes of one target: which keys wait, what is kept of a change, how it is tried again. Guards I1 and I4.

A parked change is never lost and never overtaken: later changes of its key wait behind it. With the progress table they live in
`datong_parked` of the target, in the same transaction as the progress that passes them; with bookkeeping `none` in the hub store,
written before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

import msgspec

from cdc.model import Change, Entry, Layout, key_text
from sinks.contract import ParkedRow
from transforms.values import WireValue

_UNSAFE = re.compile(r"[^a-z0-9._-]")


class ParkedChange(msgspec.Struct, frozen=True, array_like=True):
    """All that is needed to encode and write the change later, by the mapping as it is then."""

    layout: Layout
    change: Change
    committed_at: int
    transaction: str


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ParkedChange).decode
pack_row = msgspec.msgpack.Encoder().encode
unpack_row = msgspec.msgpack.Decoder(ParkedRow).decode


def parked_id(source: str, order: int, index: int, entity: str) -> str:
    """The id of a parked change: the same when the same change is parked again."""
    return f"{source}-{order}-{index}-{_UNSAFE.sub('_', entity.lower())}"


def parked_row(
    deployment: str, entry: Entry, layout: Layout, change: Change, key_fields: Sequence[str], reason: str, error: str
) -> ParkedRow:
    """`key_fields`: the entity's key, so that a change which moves its row holds both places."""
    return ParkedRow(
        id=parked_id(entry.channel, entry.order, change.index, layout.entity),
        deployment=deployment,
        source=entry.channel,
        order=entry.order,
        index=change.index,
        mapping=layout.mapping,
        entity=layout.entity,
        key_text="\n".join(keys_of(layout, change, key_fields)),
        reason=reason,
        error=error,
        since=time.time_ns() // 1000,
        change=_pack(
            ParkedChange(
                Layout(layout.mapping, layout.entity, layout.fields), change, entry.committed_at, entry.transaction
            )
        ),
    )


def parked_change(row: ParkedRow) -> ParkedChange:
    return _unpack(row.change)


def moved_key(layout: Layout, change: Change, key_fields: Sequence[str]) -> str | None:
    """The key that an update moves its row to; None where the key stays. `key_fields` in the key's own order."""
    values = dict(zip(layout.fields, change.values, strict=False))
    if not any(name in values for name in key_fields):
        return None
    key: tuple[WireValue, ...] = tuple(values.get(name, old) for name, old in zip(key_fields, change.key, strict=True))
    return key_text(layout.entity, key)


def keys_of(layout: Layout, change: Change, key_fields: Sequence[str]) -> list[str]:
    """The keys that a change touches: its own, and the one that it moves its row to."""
    keys = [key_text(layout.entity, change.key)]
    if change.op == "update" and (moved := moved_key(layout, change, key_fields)) is not None:
        keys.append(moved)
    return keys


class ParkedKeys:
    """The keys that wait at this target, with the ids that hold each, in the order in which they came."""

    def __init__(self, rows: Iterable[ParkedRow]) -> None:
        self._ids: dict[str, dict[str, None]] = {}
        self.latest = 0  # since when the last one waits: nothing that comes is older, whatever the clock says
        self.add(rows)

    def __contains__(self, key: str) -> bool:
        return key in self._ids

    def __bool__(self) -> bool:
        return bool(self._ids)

    def __len__(self) -> int:
        return len({ident for ids in self._ids.values() for ident in ids})

    def add(self, rows: Iterable[ParkedRow]) -> None:
        for row in rows:
            self.latest = max(self.latest, row.since)
            for key in row.keys:
                self._ids.setdefault(key, {})[row.id] = None

    def remove(self, rows: Iterable[ParkedRow]) -> None:
        for row in rows:
            for key in row.keys:
                ids = self._ids.get(key, {})
                ids.pop(row.id, None)
                if not ids:
                    self._ids.pop(key, None)
