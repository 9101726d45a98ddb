"""In which order a batch with people is written: new people first, so that what refers to them finds their keys. Pure but for look-ups.

Guards I1 (what cannot be written yet is parked and names whom it waits for) and I4. A batch is cut into segments, in each of which a
person is created at most once and before anything else is done to it; creating people ahead of the rest of a segment changes
nothing for any row, because none of theirs is there. If the database sees that otherwise (a unique value that is still taken),
the batch is rejected as a whole and written again one by one, in the order in which it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from cdc.identity.directory import Directory
from cdc.identity.words import LocalKey, OneID
from cdc.model import Change, Layout
from transforms.compiled import CompiledMapping

MISSING_REFERENCE: Final = "missing_reference"
MISSING_PERSON: Final = "missing_person"
AWAITING: Final = frozenset({MISSING_REFERENCE, MISSING_PERSON})
FORGOTTEN: Final = "{} refers to OneID {}, who was forgotten"
OLD_KEY: Final = "{}: captured when its rows were no people yet: it names none"
Work: TypeAlias = tuple[Layout, Change]


@dataclass(slots=True)
class Segment:
    """Places in the batch: people to create, then everything else in order."""

    creates: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)


@dataclass(slots=True)
class PeoplePlan:
    """`keys` and `references`: what was known of local keys when the batch was planned; writing it adds to them.

    `forgotten`: who of those without a row never gets one: what is told of them is dropped, what refers to them is refused.
    """

    work: Sequence[Work]
    keys: dict[OneID, LocalKey]
    references: dict[OneID, LocalKey]
    forgotten: set[OneID] = field(default_factory=set)
    segments: list[Segment] = field(default_factory=list)

    dropped: int = 0  # changes of people who were forgotten
    itself: int = 0  # new rows that refer to themselves: written twice

    def __len__(self) -> int:
        """How many rows it writes at most."""
        return sum(len(segment.creates) + len(segment.rest) for segment in self.segments) + self.itself

    def places(self) -> Iterator[int]:
        """All that is to be written, in the order in which it came."""
        yield from sorted(at for segment in self.segments for at in (*segment.creates, *segment.rest))


@dataclass(frozen=True, slots=True)
class Concern:
    """What one layout has to do with people: whether its rows are people, and which of its values refer to one."""

    is_person: bool
    references: tuple[int, ...]


class Awaited(NamedTuple):
    """Whom a change waits for: to have a row of their own here, or one that a reference can name."""

    own: frozenset[OneID]
    referred: frozenset[OneID]


def names_a_person(change: Change) -> bool:
    """Not so for one that was captured before the entity had `identity`: its key was a field's value."""
    return len(change.key) == 1 and isinstance(change.key[0], int)


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

    def needed(self, layout: Layout, change: Change) -> list[OneID]:
        """Whom a change refers to and must find here: a new row may refer to itself."""
        referred = self.referred(layout, change)
        if referred and change.op == "insert" and self.concern(layout).is_person and change.key:
            return [person for person in referred if person != change.key[0]]
        return referred

    def refers_to_itself(self, layout: Layout, change: Change) -> bool:
        """Whether it makes a row that refers to itself: that is two writes, the second when its key is known."""
        return len(self.needed(layout, change)) < len(self.referred(layout, change))

    def awaited(self, layout: Layout, change: Change) -> Awaited:
        """The people who must have a row here before a change can be written, whatever it is."""
        waits = change.op == "update" and names_a_person(change) and self.concern(layout).is_person
        own = [change.key[0]] if waits else []
        return Awaited(frozenset(own), frozenset(self.needed(layout, change)))

    def settled(self, waits: Iterable[Awaited]) -> Awaited:
        """Who of these has a row here by now, or never will: a row of his own, and one that a reference can name (after merges)."""
        own: set[OneID] = set()
        referred: set[OneID] = set()
        for awaited in waits:
            own |= awaited.own
            referred |= awaited.referred
        here, nameable = self._directory.keys(own).keys(), self._directory.references(referred).keys()
        never = self._directory.forgotten((own - here) | (referred - nameable))
        return Awaited(frozenset(here | never), frozenset(nameable | never))

    def look_up(self, work: Sequence[Work]) -> PeoplePlan:
        """A plan without segments: the local keys of everybody who is named."""
        own = {c.key[0] for layout, c in work if self.concern(layout).is_person and names_a_person(c)}
        referred = {person for layout, c in work for person in self.referred(layout, c)}
        keys, references = self._directory.keys(own), self._directory.references(referred)
        forgotten = self._directory.forgotten((own - keys.keys()) | (referred - references.keys()))
        return PeoplePlan(work, keys, references, forgotten)

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
            is_person = self.concern(layout).is_person
            if is_person and not names_a_person(change):
                park(at, "refused", OLD_KEY.format(layout.entity))
                continue
            if is_person and change.key[0] in plan.forgotten:
                plan.dropped += 1
                continue
            missing = next((p for p in self.needed(layout, change) if p not in nameable), None)
            if missing in plan.forgotten:
                park(at, "refused", FORGOTTEN.format(layout.entity, missing))
                continue
            if missing is not None:
                park(at, MISSING_REFERENCE, f"{layout.entity} refers to OneID {missing}, who has no row here yet")
                continue
            if not is_person:
                segment.rest.append(at)
                continue
            person = change.key[0]
            if change.op == "insert" and person not in here:
                if person in touched:
                    segment, touched = Segment(), set()
                    plan.segments.append(segment)
                segment.creates.append(at)
                plan.itself += self.refers_to_itself(layout, change)
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
