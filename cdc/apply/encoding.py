"""From changes in the dictionary's form to row writes in this channel's form. Pure. Guards I6 (nothing bent).

Changes of one layout and operation are encoded together, column by column, wherever they stand in a batch.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeAlias

from cdc.apply.write_plan import WritePlan
from cdc.model import Change, Layout, Op
from sinks.contract import RowWrite
from transforms.compiled import CompiledMapping
from transforms.specs import MappingSpec
from transforms.values import RefusedValueError

# What becomes of a change: its writes (none: it is not for this channel), or why it cannot be written.
Outcome: TypeAlias = list[RowWrite] | RefusedValueError


class Encoder:
    """Encodes changes by the enabled mappings of one target. Of several mappings of one entity, `where` tells the rows apart."""

    def __init__(self, mappings: Iterable[CompiledMapping]) -> None:
        self._mappings: dict[str, list[CompiledMapping]] = {}
        self._plans: dict[Layout, tuple[WritePlan, ...]] = {}
        self._over = False
        self.renew(mappings)

    def renew(self, mappings: Iterable[CompiledMapping]) -> None:
        """Take up mappings that were compiled anew."""
        self._mappings.clear()
        for compiled in mappings:
            self._mappings.setdefault(compiled.spec.entity.name, []).append(compiled)
        self._plans.clear()

    @property
    def writes_over(self) -> bool:
        """Whether inserts write over rows of their key, also where rows are inserted in several channels."""
        return self._over

    @writes_over.setter
    def writes_over(self, over: bool) -> None:
        if over != self._over:
            self._over = over
            self._plans.clear()

    def mapping_of(self, layout: Layout) -> MappingSpec | None:
        """The (first) mapping that writes this entity here; None: this channel does not map it, or has it disabled."""
        compiled = self._mappings.get(layout.entity)
        return None if compiled is None else compiled[0].spec

    @property
    def maps(self) -> Container[str]:
        """The entities that are written here."""
        return self._mappings

    @property
    def mappings(self) -> Mapping[str, CompiledMapping]:
        """By entity: the first mapping of each. People have only one."""
        return {entity: compiled[0] for entity, compiled in self._mappings.items()}

    def encode_new(self, layout: Layout, change: Change, ref: int) -> RowWrite:
        """The insert of a row whose key the server gives: no key, and no key columns but those that fields fill."""
        return self._plans_of(layout)[0].new(change, ref)

    def encode(self, layout: Layout, change: Change, ref: int) -> list[RowWrite]:
        """The writes of one change; none where nothing of it is mapped here. Raises RefusedValueError."""
        (outcome,) = self.encode_all([(layout, change)], ref)
        if isinstance(outcome, RefusedValueError):
            raise outcome
        return outcome

    def encode_all(self, changes: Sequence[tuple[Layout, Change]], first_ref: int = 0) -> list[Outcome]:
        """What becomes of each, in order; `ref` of a write is its place in `changes`, counted from `first_ref`."""
        outcomes: list[Outcome] = [[] for _ in changes]
        groups: dict[tuple[int, Op], list[int]] = {}
        plans: dict[int, tuple[WritePlan, ...]] = {}  # by the layout's identity: `changes` keeps it alive
        for at, (layout, change) in enumerate(changes):
            if change.refused is not None:
                outcomes[at] = RefusedValueError(layout.mapping, change.refused)
                continue
            name = id(layout)
            found = plans.get(name)
            if found is None:
                found = plans[name] = self._plans_of(layout)
            # Equal layouts of several entries share their plans.
            groups.setdefault((id(found), change.op), []).append(at)
        for places in groups.values():
            layout, first = changes[places[0]]
            for plan in plans[id(layout)]:
                refs = [first_ref + at for at in places]
                made: Sequence[RowWrite | RefusedValueError | None] | None = plan.together(
                    first.op, [changes[at][1] for at in places], refs
                )
                if made is None:
                    made = [plan.one(changes[at][1], ref) for at, ref in zip(places, refs, strict=True)]
                _collect(outcomes, places, made)
        return outcomes

    def _plans_of(self, layout: Layout) -> tuple[WritePlan, ...]:
        plans = self._plans.get(layout)
        if plans is None:
            mappings = self._mappings.get(layout.entity, ())
            plans = self._plans[layout] = tuple(
                WritePlan(compiled, layout, contested=compiled.contested and not self._over) for compiled in mappings
            )
        return plans


def _collect(
    outcomes: list[Outcome], places: Sequence[int], made: Sequence[RowWrite | RefusedValueError | None]
) -> None:
    """A row that leaves one mapping for another is deleted before it is inserted."""
    for at, write in zip(places, made, strict=True):
        outcome = outcomes[at]
        if isinstance(write, RefusedValueError):
            outcomes[at] = write
        elif write is not None and not isinstance(outcome, RefusedValueError):
            if write.op == "delete" or (write.op == "update" and write.lenient):
                outcome.insert(0, write)
            else:
                outcome.append(write)
