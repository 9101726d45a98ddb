"""References follow a merge, in every channel: what refers to the row of somebody who was merged refers to the kept one's. Guards I3.

Found before the transaction, written in it, by the rows' own keys; which rows were moved is kept in the hub store before that, so
that an undo moves exactly those back, and with them the rows which came in between and were written as the kept one's from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cdc.identity.directory import Directory
from cdc.identity.registry import Registry, pack_local, unpack_local
from cdc.identity.words import Decision, LocalKey, OneID
from sinks.contract import PeopleSink, RowWrite
from transforms.compiled import ColumnCodec, CompiledMapping
from transforms.values import ChannelValue


@dataclass(frozen=True, slots=True)
class Followed:
    """A reference that names `gone` and was written as `kept`'s, in the row with this key."""

    kept: OneID
    gone: OneID
    mapping: str
    column: str
    local: LocalKey


class Moving:
    """One applier's. `mappings` answers the compiled mappings by entity as they are now."""

    def __init__(
        self,
        registry: Registry,
        channel: str,
        directory: Directory,
        people: PeopleSink,
        mappings: Callable[[], Mapping[str, CompiledMapping]],
    ) -> None:
        self._registry = registry
        self._channel = channel
        self._directory = directory
        self._people = people
        self._mappings = mappings

    def writes_of(self, decision: Decision) -> list[RowWrite]:
        """The updates that a decision means here. Raises TransientError, and what the sink raises."""
        self._directory.forget((decision.kept, decision.gone))
        locals_ = self._directory.keys((decision.kept, decision.gone))
        kept, gone = locals_.get(decision.kept), locals_.get(decision.gone)
        if kept is None or gone is None or kept == gone:
            return []
        if decision.kind == "merge":
            return self._moved(decision, kept, gone)
        if decision.kind == "undo":
            return self._moved_back(decision, kept, gone)
        return []

    def note(self, followed: Sequence[Followed]) -> None:
        """Keep which references were written as the kept one's although they named the other, for an undo. Raises TransientError."""
        by_merge: dict[tuple[OneID, OneID], list[tuple[str, str, bytes]]] = {}
        for one in followed:
            by_merge.setdefault((one.kept, one.gone), []).append((one.mapping, one.column, pack_local(one.local)))
        for (kept, gone), moved in by_merge.items():
            seq = self._registry.merge_of(kept, gone)
            if seq is not None:
                self._registry.keep_moves(self._channel, seq, moved)

    def _moved(self, decision: Decision, kept: LocalKey, gone: LocalKey) -> list[RowWrite]:
        writes: list[RowWrite] = []
        moved: list[tuple[str, str, bytes]] = []
        for compiled, codec in self._references(decision.entity):
            key_columns = tuple(key.column for key in compiled.key)
            (old,), (new,) = _values(codec, gone), _values(codec, kept)
            for row in self._people.look_up(compiled.table, (codec.column,), [(old,)], key_columns):
                key = row[1:]
                writes.append(RowWrite(compiled.table, "update", key_columns, key, (codec.column,), (new,)))
                local = tuple(c.decode(v) for c, v in zip(compiled.key, key, strict=True))
                moved.append((compiled.spec.name, codec.column, pack_local(local)))
        self._registry.keep_moves(self._channel, decision.seq, moved)
        return writes

    def _moved_back(self, decision: Decision, kept: LocalKey, gone: LocalKey) -> list[RowWrite]:
        writes: list[RowWrite] = []
        moves = self._registry.moves(self._channel, decision.undoes)
        for compiled, codec in self._references(decision.entity):
            key_columns = tuple(key.column for key in compiled.key)
            (now,), (then,) = _values(codec, kept), _values(codec, gone)
            locals_ = [
                unpack_local(p) for name, column, p in moves if (name, column) == (compiled.spec.name, codec.column)
            ]
            keys = [tuple(c.encode(v) for c, v in zip(compiled.key, local, strict=True)) for local in locals_]
            rows = self._people.look_up(compiled.table, key_columns, keys, (codec.column,))
            writes += [
                RowWrite(compiled.table, "update", key_columns, row[:-1], (codec.column,), (then,))
                for row in rows if row[-1] == now  # nobody has pointed it elsewhere since
            ]  # fmt: skip
        return writes

    def _references(self, entity: str) -> list[tuple[CompiledMapping, ColumnCodec]]:
        """The columns of this channel that refer to people of an entity."""
        found = []
        for compiled in self._mappings().values():
            for codec in compiled.columns:
                field = compiled.spec.entity.field(codec.field)
                if field is not None and field.type == "reference" and field.to == entity:
                    found.append((compiled, codec))
        return found


def _values(codec: ColumnCodec, local: LocalKey) -> tuple[ChannelValue, ...]:
    return tuple(codec.encode(value) for value in local)
