"""From changes in the dictionary's form to row writes in this channel's form. Pure. Guards I6 (nothing bent).

Changes of one layout and operation are encoded together, column by column, wherever they stand in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from msgspec import structs

from cdc.model import Change, Layout, Op
from sinks.contract import RowWrite
from transforms.compiled import ColumnCodec, CompiledMapping
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import RefusedValueError

# What becomes of a change: its write, nothing (it is not for this channel), or why it cannot be written.
Outcome: TypeAlias = RowWrite | RefusedValueError | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How this channel writes the changes of one layout: which of its values go to which columns."""

    mapping: MappingSpec
    table: Table
    key_columns: tuple[str, ...]
    key: tuple[ColumnCodec, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[int, ColumnCodec], ...]  # place in change.values, codec


class Encoder:
    """Encodes changes by the enabled mappings of one target; one mapping per entity."""

    def __init__(self, mappings: Mapping[str, CompiledMapping]) -> None:
        self._mappings = dict(mappings)  # by entity
        self._plans: dict[Layout, _Plan | None] = {}

    def renew(self, mappings: Mapping[str, CompiledMapping]) -> None:
        """Take up mappings that were compiled anew."""
        self._mappings = dict(mappings)
        self._plans.clear()

    def mapping_of(self, layout: Layout) -> MappingSpec | None:
        """The mapping that writes this entity here; None: this channel does not map it, or has it disabled."""
        compiled = self._mappings.get(layout.entity)
        return None if compiled is None else compiled.spec

    @property
    def mappings(self) -> Mapping[str, CompiledMapping]:
        return self._mappings

    def encode_new(self, layout: Layout, change: Change, ref: int) -> RowWrite:
        """The insert of a row whose key the server gives: no key, and no key columns but those that fields fill."""
        plan = self._plan_of(layout)
        assert plan is not None  # the caller has asked `mapping_of`
        write = _one(replace(plan, key_columns=(), key=()), layout, structs.replace(change, key=(), op="insert"), ref)
        assert write is not None  # an insert always writes
        return write

    def encode(self, layout: Layout, change: Change, ref: int) -> RowWrite | None:
        """The write for one change; None where nothing of it is mapped here. Raises RefusedValueError."""
        plan = self._plan_of(layout)
        return None if plan is None else _one(plan, layout, change, ref)

    def encode_all(self, changes: Sequence[tuple[Layout, Change]]) -> list[Outcome]:
        """What becomes of each, in order; `ref` of a write is its place in `changes`."""
        outcomes: list[Outcome] = [None] * len(changes)
        groups: dict[tuple[int, Op], list[int]] = {}
        plans: dict[int, tuple[Layout, _Plan]] = {}
        for at, (layout, change) in enumerate(changes):
            if change.refused is not None:
                outcomes[at] = RefusedValueError(layout.mapping, change.refused)
                continue
            name = id(layout)
            if name not in plans:
                plan = self._plan_of(layout)
                if plan is None:
                    continue
                plans[name] = layout, plan
            # Equal layouts of several entries share a plan.
            groups.setdefault((id(plans[name][1]), change.op), []).append(at)
        for places in groups.values():
            layout, first = changes[places[0]]
            plan = plans[id(layout)][1]
            made = _together(plan, first.op, [changes[at][1] for at in places], places)
            if made is None:
                made = [_tried(plan, *changes[at], at) for at in places]
            for at, outcome in zip(places, made, strict=True):
                outcomes[at] = outcome
        return outcomes

    def _plan_of(self, layout: Layout) -> _Plan | None:
        if layout not in self._plans:
            self._plans[layout] = self._plan(layout)
        return self._plans[layout]

    def _plan(self, layout: Layout) -> _Plan | None:
        compiled = self._mappings.get(layout.entity)
        if compiled is None:
            return None
        by_field = {codec.field: codec for codec in compiled.columns}
        chosen = [(at, by_field[name]) for at, name in enumerate(layout.fields) if name in by_field]
        return _Plan(
            compiled.spec,
            compiled.table,
            tuple(codec.column for codec in compiled.key),
            compiled.key,
            tuple(codec.column for _, codec in chosen),
            tuple(chosen),
        )


def _one(plan: _Plan, layout: Layout, change: Change, ref: int) -> RowWrite | None:
    if change.refused is not None:
        raise RefusedValueError(layout.mapping, change.refused)
    if change.op == "update" and not plan.columns:
        return None
    key = tuple([codec.encode(value) for codec, value in zip(plan.key, change.key, strict=True)])
    if change.op == "delete":
        return RowWrite(plan.table, "delete", plan.key_columns, key, (), (), ref)
    values = change.values
    encoded = tuple([codec.encode(values[at]) for at, codec in plan.values])
    return RowWrite(plan.table, change.op, plan.key_columns, key, plan.columns, encoded, ref)


def _tried(plan: _Plan, layout: Layout, change: Change, ref: int) -> Outcome:
    try:
        return _one(plan, layout, change, ref)
    except RefusedValueError as error:
        return error


def _together(plan: _Plan, op: Op, changes: Sequence[Change], refs: Sequence[int]) -> list[Outcome] | None:
    """The writes of changes that are alike; None where one of them is refused: they go one by one then."""
    if op == "update" and not plan.columns:
        return [None] * len(changes)
    try:
        keys = zip(*[codec.encode_many([c.key[at] for c in changes]) for at, codec in enumerate(plan.key)], strict=True)
        if op == "delete":
            return [
                RowWrite(plan.table, op, plan.key_columns, key, (), (), ref)
                for key, ref in zip(keys, refs, strict=True)
            ]
        values = zip(*[codec.encode_many([c.values[at] for c in changes]) for at, codec in plan.values], strict=True)
        return [
            RowWrite(plan.table, op, plan.key_columns, key, plan.columns, row, ref)
            for key, row, ref in zip(keys, values, refs, strict=True)
        ]
    except RefusedValueError:
        return None
