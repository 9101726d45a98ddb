"""Who a row is: the decision, over a view of what the hub store knows. Pure: no I/O, no clock. Never a guess.

`View` holds what was loaded for a batch under the hub store's identity lock; `decide` changes it, and what it changed is
written back in the same transaction. Rules, in this order:

- A row with a link is that link's person. What lies at or before the place where the link was last written is read again
  after a crash: it changes nothing. If the key was another person's row until then, that is kept: it is about that one.
- A new row is the person of its strongest identifier that has an owner, unless that person contradicts one of the row's
  stronger identifiers, or has a row in this channel already: then it is a person of its own, and a question.
- An identifier without an owner goes to the row's person; one that a row no longer shows is let go of.
- An identifier that belongs to somebody else makes two people one only if nothing they have contradicts and no channel
  has a row for both; otherwise it is a question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cdc.identity.words import Joined, OneID, Place, Question, QuestionKind, Sighting

FieldScope = tuple[str, str]


@dataclass(slots=True)
class Link:
    """A row's person. `person` is whose row it is, `canonical` who that is after merges; `claims` what the row showed last.

    `yields`: the fields which other channels had told of that person when the row was inserted: theirs stand.
    """

    person: OneID
    canonical: OneID
    live: bool
    at: Place
    claims: tuple[bytes, ...]
    channel: str
    yields: frozenset[str] = frozenset()


@dataclass(slots=True)
class Owned:
    """An identifier's owner, how many rows have come with it, and whether it identifies anybody still."""

    person: OneID
    field: str
    scope: str
    rows: int = 1
    blocked: bool = False


@dataclass(slots=True)
class Person:
    """What is known of a person: the channels in which it has a live row, and its identifiers by field and scope.

    `told`: the fields that inserts of its rows gave a value, since a row of it was deleted the last time.
    """

    channels: set[str] = field(default_factory=set)
    identifiers: dict[FieldScope, set[bytes]] = field(default_factory=dict)
    told: frozenset[str] = frozenset()


@dataclass(slots=True)
class View:
    """What the hub store knows of a batch's rows and identifiers, and what was decided. Digests name rows and identifiers."""

    channel: str
    new_person: Callable[[], OneID]
    links: dict[bytes, Link] = field(default_factory=dict)
    owners: dict[bytes, Owned] = field(default_factory=dict)
    people: dict[OneID, Person] = field(default_factory=dict)
    created: dict[OneID, str] = field(default_factory=dict)  # with their entity
    changed_links: set[bytes] = field(default_factory=set)
    changed_owners: set[bytes] = field(default_factory=set)
    released: set[bytes] = field(default_factory=set)
    changed_told: set[OneID] = field(default_factory=set)
    questions: list[Question] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)
    past: list[tuple[bytes, Place, OneID]] = field(default_factory=list)  # whose a row was, up to a place

    def person(self, ident: OneID) -> Person:
        found = self.people.get(ident)
        if found is None:
            found = self.people[ident] = Person()
        return found


def decide(
    view: View,
    sighting: Sighting,
    row: bytes,
    digests: tuple[bytes, ...],
    max_rows: int | None = None,
    moved_from: bytes | None = None,
) -> OneID:
    """Decide whose row it is; `row` and `digests` name the sighting's row and its identifiers, `moved_from` the row that it was before.

    A later sighting of the batch may make that person another's: see `View.joined`.
    """
    link = view.links.get(row)
    if link is None or (not link.live and not sighting.ended and sighting.at > link.at):
        before = None if moved_from is None or sighting.ended else view.links.get(moved_from)
        if before is not None:
            _go_on(view, sighting, row, digests, before)
        else:
            _begin(view, sighting, row, digests, max_rows)
        if link is not None and link.person != view.links[row].person:
            view.past.append((row, link.at, link.person))
    elif sighting.at > link.at and sighting.ended:
        link.at = sighting.at
        view.changed_links.add(row)
        if link.live:
            link.live = False
            view.person(link.canonical).channels.discard(link.channel)
            if not sighting.goes_on:
                _tell(view, link.canonical, frozenset())
    elif sighting.at > link.at:
        _update(view, sighting, row, digests, link)
        if sighting.begun:  # an applier had taken the row over before this channel's log was read
            _register(view, sighting, link)
    return view.links[row].person


def _update(view: View, sighting: Sighting, row: bytes, digests: tuple[bytes, ...], link: Link) -> None:
    """A row that is known shows other identifiers than before."""
    before = link.claims
    for digest in before:
        owned = view.owners.get(digest)
        if digest not in digests and owned is not None and owned.person == link.canonical and not owned.blocked:
            view.person(owned.person).identifiers.get((owned.field, owned.scope), set()).discard(digest)
            del view.owners[digest]
            view.changed_owners.discard(digest)
            view.released.add(digest)
    link.at, link.claims = sighting.at, digests
    view.changed_links.add(row)
    for number, digest in enumerate(digests):
        if digest not in before and not _claim(view, sighting, number, digest, link.canonical):
            _meet(view, sighting, digest, link.canonical)


def _go_on(view: View, sighting: Sighting, row: bytes, digests: tuple[bytes, ...], before: Link) -> None:
    """A row under another key: the same person, whatever identifies it or not."""
    link = view.links[row] = Link(
        before.person, before.canonical, True, sighting.at, before.claims, view.channel, before.yields
    )
    view.person(link.canonical).channels.add(view.channel)
    _update(view, sighting, row, digests, link)


def _begin(view: View, sighting: Sighting, row: bytes, digests: tuple[bytes, ...], max_rows: int | None) -> None:
    """A row without a link: new here, or never seen by a capture, or a key that is used again."""
    _count(view, digests, max_rows)
    person, at_odds = _place(view, sighting, digests)
    live = not sighting.ended
    view.links[row] = Link(person, person, live, sighting.at, digests, view.channel)
    view.changed_links.add(row)
    if not live:
        return
    view.person(person).channels.add(view.channel)
    if sighting.begun:
        _register(view, sighting, view.links[row])
    for number, digest in enumerate(digests):
        if not _claim(view, sighting, number, digest, person) and not at_odds:
            _meet(view, sighting, digest, view.links[row].canonical)


def _register(view: View, sighting: Sighting, link: Link) -> None:
    """A channel's users registered somebody: what others told first stands, so that all rows of one person become equal."""
    told = view.person(link.canonical).told
    link.yields = told.intersection(sighting.told)
    _tell(view, link.canonical, told.union(sighting.told))


def _tell(view: View, person: OneID, told: frozenset[str]) -> None:
    known = view.person(person)
    if known.told != told:
        known.told = told
        view.changed_told.add(person)


def _count(view: View, digests: tuple[bytes, ...], max_rows: int | None) -> None:
    """One more row comes with these identifiers; too many, and one identifies nobody any more (test data)."""
    for digest in digests:
        owned = view.owners.get(digest)
        if owned is not None:
            owned.rows += 1
            owned.blocked = owned.blocked or (max_rows is not None and owned.rows > max_rows)
            view.changed_owners.add(digest)


def _place(view: View, sighting: Sighting, digests: tuple[bytes, ...]) -> tuple[OneID, bool]:
    """The person of a new row, and whether it is a person of its own although an identifier is somebody else's."""
    entity = sighting.row.entity
    matched = next((at for at, digest in enumerate(digests) if _owner(view, digest) is not None), None)
    if matched is None:
        return _create(view, entity), False
    found = view.owners[digests[matched]].person
    kind: QuestionKind | None = None
    if _contradicts(view, sighting, digests, matched, found):
        kind = "contradiction"
    elif view.channel in view.person(found).channels:
        kind = "two_rows"
    if kind is None:
        return found, False
    person = _create(view, entity)
    if not sighting.ended:
        view.questions.append(Question(kind, entity, person, found, digests[matched], view.channel))
    return person, True


def _create(view: View, entity: str) -> OneID:
    person = view.new_person()
    view.created[person] = entity
    return person


def _owner(view: View, digest: bytes) -> OneID | None:
    owned = view.owners.get(digest)
    return None if owned is None or owned.blocked else owned.person


def _contradicts(view: View, sighting: Sighting, digests: tuple[bytes, ...], matched: int, person: OneID) -> bool:
    """Whether the row shows a stronger identifier than the one that matched, and the person has another value of it."""
    theirs = view.person(person).identifiers
    for identifier, digest in zip(sighting.identifiers[:matched], digests[:matched], strict=True):
        owned = view.owners.get(digest)
        others = theirs.get((identifier.field, identifier.scope))
        if (owned is None or not owned.blocked) and others and digest not in others:
            return True
    return False


def _claim(view: View, sighting: Sighting, number: int, digest: bytes, person: OneID) -> bool:
    """Whether an identifier is the person's now, or nobody's (blocked)."""
    owned = view.owners.get(digest)
    if owned is not None:
        return owned.blocked or owned.person == person
    identifier = sighting.identifiers[number]
    view.owners[digest] = Owned(person, identifier.field, identifier.scope)
    view.changed_owners.add(digest)
    view.person(person).identifiers.setdefault((identifier.field, identifier.scope), set()).add(digest)
    return True


def _meet(view: View, sighting: Sighting, digest: bytes, person: OneID) -> None:
    """A person's row shows an identifier of another person: they are one, or it is a question."""
    entity, other = sighting.row.entity, view.owners[digest].person
    if other == person:
        return
    one, two = view.person(person), view.person(other)
    kind: QuestionKind | None = None
    if any(two.identifiers.get(name) and values and values.isdisjoint(two.identifiers[name])
           for name, values in one.identifiers.items()):  # fmt: skip
        kind = "contradiction"
    elif one.channels & two.channels:
        kind = "two_people"
    if kind is not None:
        view.questions.append(Question(kind, entity, person, other, digest, view.channel))
        return
    _join(view, entity, min(person, other), max(person, other))


def _join(view: View, entity: str, kept: OneID, gone: OneID) -> None:
    view.joined.append(Joined(entity, kept, gone))
    into, of = view.person(kept), view.people.pop(gone)
    into.channels |= of.channels
    view.changed_told.discard(gone)
    _tell(view, kept, into.told | of.told)
    for name, digests in of.identifiers.items():
        into.identifiers.setdefault(name, set()).update(digests)
    for owned in view.owners.values():
        if owned.person == gone:
            owned.person = kept
    for link in view.links.values():
        if link.canonical == gone:
            link.canonical = kept
        if link.person == gone:
            link.person = kept
