"""Who has which row in one channel: OneID -> local key for appliers, and the links of rows that they made or removed. Guards I1.

The key of a change names the row of that very person; a reference names whoever that person is after merges. An applier's link
that contradicts what is known (the row is somebody else's, the person has another row here) is a question, and never moves a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cdc.errors import HaltError
from cdc.identity.caches import BoundedCache
from cdc.identity.deciding import Link, View
from cdc.identity.registry import Generation, Registry, pack_local
from cdc.identity.rows import Rows
from cdc.identity.words import LocalKey, OneID, Question


@dataclass(frozen=True, slots=True)
class MadeLink:
    entity: str
    person: OneID
    local: LocalKey


class Directory:
    """One channel's. Not thread-safe. Raises TransientError."""

    def __init__(self, registry: Registry, channel: str, *, cache_size: int) -> None:
        self._registry = registry
        self._channel = channel
        self._keys: BoundedCache[OneID, LocalKey] = BoundedCache(cache_size)
        self._references: BoundedCache[OneID, LocalKey] = BoundedCache(cache_size)
        self._generation: Generation | None = None
        self.followed: dict[OneID, OneID] = {}  # of those looked up: who has a row here, and is named by that of whom

    def keys(self, people: Iterable[OneID]) -> dict[OneID, LocalKey]:
        """The local keys of people's own rows, or of who they were joined with; nobody without a living row."""
        self.follow_generation()
        found, missing = _cached(self._keys, people)
        if missing:
            with self._registry.reading() as hub:
                joined = hub.joined(missing)
                locals_ = self._locals(hub, {*missing, *joined.values()})
            for person in missing:
                local = locals_.get(person) or locals_.get(joined.get(person, person))
                if local is not None:
                    found[person] = local
                    self._keys.put(person, local)
        return found

    def references(self, people: Iterable[OneID]) -> dict[OneID, LocalKey]:
        """The local keys by which people are named here, after merges: the kept person's row, else any that is theirs."""
        self.follow_generation()
        found, missing = _cached(self._references, people)
        if missing:
            with self._registry.reading() as hub:
                merged = hub.merged(missing)
                canonical = {person: merged.get(person, person) for person in missing}
                others: dict[OneID, list[OneID]] = {}
                for gone, kept in hub.merged_from(list(set(canonical.values()))):
                    others.setdefault(kept, []).append(gone)
                wanted = {*canonical.values(), *(p for gone in others.values() for p in gone)}
                locals_ = self._locals(hub, wanted)
            for person in missing:
                into = canonical[person]
                candidates = (into, person, *others.get(into, ()))
                local = next((locals_[p] for p in candidates if p in locals_), None)
                if into != person and into in locals_ and person in locals_:
                    self.followed[person] = into
                if local is not None:
                    found[person] = local
                    self._references.put(person, local)
        return found

    def link(self, made: Sequence[MadeLink]) -> list[Question]:
        """Keep the links of rows that exist now; answer what could not be linked without a guess.

        Who has been forgotten meanwhile is not linked again.
        """
        registry, channel = self._registry, self._channel
        named = [(registry.seal.row(link.entity, channel, link.local), link) for link in made]
        if not named:
            return []
        with registry.deciding() as deciding:
            rows = deciding.rows
            known = rows.known([link.person for link in made])
            named = [(digest, link) for digest, link in named if link.person in known]
            joined = rows.joined([link.person for link in made])
            view = View(channel, deciding.new_person, links=rows.links([digest for digest, _ in named]))
            people = {joined.get(link.person, link.person) for link in made}
            for person, where in rows.channels(list(people)):
                view.person(person).channels.add(where)
            for digest, link in named:
                _link(view, digest, link.entity, joined.get(link.person, link.person))
            deciding.keep(view, {digest: link.local for digest, link in named}, {})
        for link in made:
            self._keys.forget(link.person)
            self._references.forget(link.person)
        return view.questions

    def unlink(self, gone: Sequence[tuple[str, LocalKey]]) -> None:
        """Rows of people that are gone: (entity, local key)."""
        if not gone:
            return
        digests = [self._registry.seal.row(entity, self._channel, local) for entity, local in gone]
        with self._registry.deciding() as deciding:
            links = {d: link for d, link in deciding.rows.links(digests).items() if link.live}
            for link in links.values():
                link.live = False
                self._keys.forget(link.person)
                self._references.forget(link.person)
                self._references.forget(link.canonical)
            deciding.rows.write_links((digest, link, b"") for digest, link in links.items())

    def forgotten(self, people: Iterable[OneID]) -> set[OneID]:
        """Who of these was forgotten: nothing brings that OneID back. Raises HaltError where one was never given out."""
        asked = sorted(set(people))
        if not asked:
            return set()
        with self._registry.reading() as hub:
            gone = set(asked) - hub.known(asked)
            last = hub.last_person() if gone else 0
        if gone and max(gone) > last:
            raise HaltError(
                "IDENTITIES_LOST",
                f"{self._channel}: changes name OneID {max(gone)}, and the hub store has given out {last} so far",
                "was it restored from a backup? put back the hub store of before, or start over with `datong remove` for every channel",
            )
        return gone

    def owners(self, entity: str, locals_: Sequence[LocalKey]) -> dict[LocalKey, OneID]:
        """Whose these rows are; those that are nobody's are left out."""
        digests = {self._registry.seal.row(entity, self._channel, local): local for local in locals_}
        with self._registry.reading() as hub:
            links = hub.links(list(digests))
        return {digests[digest]: link.person for digest, link in links.items() if link.live}

    def forget(self, people: Iterable[OneID]) -> None:
        """Ask the hub store anew for these."""
        for person in people:
            self._keys.forget(person)
            self._references.forget(person)

    def _locals(self, hub: Rows, people: Iterable[OneID]) -> dict[OneID, LocalKey]:
        rows = hub.rows_of(sorted(people), self._channel)
        return {person: self._registry.local(digest, value) for person, _, digest, value, _ in rows}

    def follow_generation(self) -> None:
        """Leave behind what was remembered before a merge, a split or a forgetting."""
        generation = self._registry.generation()
        if generation != self._generation:
            self._keys.clear()
            self._references.clear()
            self.followed.clear()
            self._generation = generation


def _cached(cache: BoundedCache[OneID, LocalKey], people: Iterable[OneID]) -> tuple[dict[OneID, LocalKey], list[OneID]]:
    found: dict[OneID, LocalKey] = {}
    missing: list[OneID] = []
    for person in set(people):
        local = cache.get(person)
        if local is None:
            missing.append(person)
        else:
            found[person] = local
    return found, missing


def _link(view: View, digest: bytes, entity: str, person: OneID) -> None:
    known = view.links.get(digest)
    if known is not None and known.live:
        if person not in {known.person, known.canonical}:
            view.questions.append(Question("two_people", entity, known.canonical, person, digest, view.channel))
        return
    if view.channel in view.person(person).channels:
        other = view.new_person()
        view.created[other] = entity
        view.questions.append(Question("two_rows", entity, other, person, digest, view.channel))
        person = other
    view.person(person).channels.add(view.channel)
    at, claims = ((0, 0), ()) if known is None else (known.at, known.claims)
    view.links[digest] = Link(person, person, live=True, at=at, claims=claims, channel=view.channel)
    view.changed_links.add(digest)


__all__ = ["Directory", "MadeLink", "pack_local"]
