"""In which order a batch with people is written: new people first, so that what refers to them finds their keys. Pure but for look-ups.

Guards I1 (what cannot be written yet is parked and names whom it waits for) and I4. A batch is cut into segments, in each of which a
person is created at most once and before anything else is done to it; creating people ahead of the rest of a segment changes
nothing for any row, because none of theirs is there. If the database sees that otherwise (a unique value that is still taken),
the batch is rejected as a whole and written again one by one, in the order in which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cdc.identity.directory import Directory
from cdc.identity.words import LocalKey, OneID
from cdc.model import Change, Layout
from transforms.compiled import CompiledMapping

MISSING_REFERENCE: Final = "missing_reference"
MISSING_PERSON: Final = "missing_person"
AWAITING: Final = frozenset({MISSING_REFERENCE, MISSING_PERSON})
Work: TypeAlias = tuple[Layout, Change]


@dataclass(slots=True)
class Segment:
    """Places in the batch: people to create, then everything else in order."""

    creates: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)


@dataclass(slots=True)
class PeoplePlan:
    """`keys` and `references`: what was known of local keys when the batch was planned; writing it adds to them."""

    work: Sequence[Work]
    keys: dict[OneID, LocalKey]
    references: dict[OneID, LocalKey]
    segments: list[Segment] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(segment.creates) + len(segment.rest) for segment in self.segments)

    def places(self) -> Iterator[int]:
        """All that is to be written, in the order in which it came."""
        yield from sorted(at for segment in self.segments for at in (*segment.creates, *segment.rest))


@dataclass(frozen=True, slots=True)
class Concern:
    """What one layout has to do with people: whether its rows are people, and which of its values refer to one."""

    is_person: bool
    references: tuple[int, ...]


class Planner:
    """One applier's. `describe` answers the compiled mappings by entity as they are now."""

    def __init__(self, mappings: Callable[[], Mapping[str, CompiledMapping]], directory: Directory) -> None:
        self._mappings = mappings
        self._directory = directory
        self._concerns: dict[Layout, Concern] = {}

    def concern(self, layout: Layout) -> Concern:
        known = self._concerns.get(layout)
        if known is None:
            compiled = self._mappings().get(layout.entity)
            if compiled is None:
                return Concern(is_person=False, references=())
            entity = compiled.spec.entity
            mapped = {codec.field for codec in compiled.columns}
            references = []
            for at, name in enumerate(layout.fields):
                spec = entity.field(name)
                if name in mapped and spec is not None and spec.type == "reference":
                    references.append(at)
            known = self._concerns[layout] = Concern(entity.identity is not None, tuple(references))
        return known

    def concerns(self, layout: Layout) -> bool:
        concern = self.concern(layout)
        return concern.is_person or bool(concern.references)

    def referred(self, layout: Layout, change: Change) -> list[OneID]:
        """The people that a change refers to."""
        values = change.values
        return [person for at in self.concern(layout).references
                if len(values) > at and isinstance(person := values[at], int)]  # fmt: skip

    def awaited(self, layout: Layout, change: Change) -> list[OneID]:
        """The people who must have a row here before a change can be written, whatever it is."""
        own = [change.key[0]] if self.concern(layout).is_person and change.op == "update" and change.key else []
        return [*own, *self.referred(layout, change)]

    def here(self, people: set[OneID]) -> set[OneID]:
        """Who of these has a row here by now."""
        return self._directory.keys(people).keys() & self._directory.references(people).keys()

    def look_up(self, work: Sequence[Work]) -> PeoplePlan:
        """A plan without segments: the local keys of everybody who is named."""
        own = {c.key[0] for layout, c in work if self.concern(layout).is_person and c.key}
        referred = {person for layout, c in work for person in self.referred(layout, c)}
        return PeoplePlan(work, self._directory.keys(own), self._directory.references(referred))

    def plan(
        self, work: Sequence[Work], waits: Callable[[int], bool], park: Callable[[int, str, str], None]
    ) -> PeoplePlan:
        """`waits(at)`: an earlier change of its key is parked; `park(at, reason, error)` parks one."""
        plan = self.look_up(work)
        here = set(plan.keys)  # who has a row, at this place of the batch
        nameable = set(plan.references)
        segment, touched = Segment(), set[OneID]()
        plan.segments.append(segment)
        for at, (layout, change) in enumerate(work):
            if waits(at):
                park(at, "waiting", "an earlier change of this key is parked")
                continue
            if change.refused is not None:
                park(at, "refused", f"{layout.mapping}: {change.refused}")
                continue
            missing = next((p for p in self.referred(layout, change) if p not in nameable), None)
            if missing is not None:
                park(at, MISSING_REFERENCE, f"{layout.entity} refers to OneID {missing}, who has no row here yet")
                continue
            if not self.concern(layout).is_person:
                segment.rest.append(at)
                continue
            person = change.key[0]
            if change.op == "insert" and person not in here:
                if person in touched:
                    segment, touched = Segment(), set()
                    plan.segments.append(segment)
                segment.creates.append(at)
                here.add(person)
                nameable.add(person)
            elif person not in here:
                if change.op == "update":
                    park(at, MISSING_PERSON, f"OneID {person} has no row here yet")
                continue
            else:
                segment.rest.append(at)
                if change.op == "delete":
                    here.discard(person)
            touched.add(person)
        return plan
