"""From changes in the dictionary's form to row writes in this channel's form. Pure. Guards I6 (nothing bent)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cdc.model import Change, Layout
from sinks.contract import RowWrite
from transforms.compiled import CompiledMapping
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import ChannelValue, RefusedValueError, WireValue

Encode = Callable[[WireValue], ChannelValue]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How this channel writes the changes of one layout: which of its values go to which columns."""

    mapping: MappingSpec
    table: Table
    key_columns: tuple[str, ...]
    encode_key: tuple[Encode, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[int, Encode], ...]  # place in change.values, encoder


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

    def encode(self, layout: Layout, change: Change, ref: int) -> RowWrite | None:
        """The write for one change; None where nothing of it is mapped here. Raises RefusedValueError."""
        if layout in self._plans:
            plan = self._plans[layout]
        else:
            plan = self._plans[layout] = self._plan(layout)
        if plan is None:
            return None
        if change.refused is not None:
            raise RefusedValueError(layout.mapping, change.refused)
        if change.op == "update" and not plan.columns:
            return None
        key = tuple([encode(value) for encode, value in zip(plan.encode_key, change.key, strict=True)])
        if change.op == "delete":
            return RowWrite(plan.table, "delete", plan.key_columns, key, (), (), ref)
        values = change.values
        encoded = tuple([encode(values[at]) for at, encode in plan.values])
        return RowWrite(plan.table, change.op, plan.key_columns, key, plan.columns, encoded, ref)

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
            tuple(codec.encode for codec in compiled.key),
            tuple(codec.column for _, codec in chosen),
            tuple((at, codec.encode) for at, codec in chosen),
        )
