"""Resolving in batches: rows of one channel's log -> OneIDs. Guards I1 (never a guess, never a second person for one row), I8.

    in-process cache -> Redis -> hub store, read only -> hub store, deciding

Each step takes what the one before did not know, all of it at once. The first three only ever repeat what the hub store decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from cdc.identity.caches import BoundedCache, RedisCache
from cdc.identity.deciding import View, decide
from cdc.identity.identifiers import Identifier, e164
from cdc.identity.merging import Merging
from cdc.identity.registry import Generation, Registry
from cdc.identity.rows import Rows, Standing
from cdc.identity.words import OneID, Question, Row, Sighting

MOST_AT_ONCE: Final = 2000


@dataclass(frozen=True, slots=True)
class _Named:
    """A sighting with its digests: of the row, of each identifier, and of all it shows."""

    at: int  # its place in the batch
    sighting: Sighting
    row: bytes
    identifiers: tuple[bytes, ...]
    moved_from: bytes | None

    @property
    def claims(self) -> bytes:
        return b"".join(self.identifiers)

    @property
    def shown(self) -> bytes:
        return blake2b(self.claims, digest_size=16).digest()

    def is_before(self, known: Standing) -> bool:
        """Whether it is a sight of something that was decided already: it is read again."""
        return self.sighting.at <= (known.at_order, known.at_row)

    def stands(self, known: Standing | None) -> bool:
        """Whether the hub store says whose row this is, and this sight of it changes nothing there."""
        if known is None:
            return False
        sighting = self.sighting
        if self.is_before(known):
            return True
        return bool(known.live) and not sighting.ended and known.claims == self.claims


class Resolver:
    """One capture's. `max_rows` per entity. Not thread-safe."""

    def __init__(
        self,
        registry: Registry,
        channel: str,
        *,
        cache_size: int,
        redis: RedisCache | None = None,
        max_rows: Mapping[str, int | None] | None = None,
    ) -> None:
        self._registry = registry
        self._channel = channel
        self._redis = redis
        self._max_rows = max_rows or {}
        self._cache: BoundedCache[Row, tuple[tuple[Identifier, ...], OneID]] = BoundedCache(cache_size)
        self._references: BoundedCache[Row, OneID] = BoundedCache(cache_size)
        self._generation: Generation | None = None
        self._tombstones = False
        self.yields: dict[int, frozenset[str]] = {}  # of the last `resolve`: see `Link.yields`
        self.questions: list[Question] = []  # asked since the caller last took them

    def resolve(self, sightings: Sequence[Sighting]) -> list[OneID | None]:
        """The OneID of each; None for a late sight of somebody who was forgotten. Raises TransientError."""
        self.follow_generation()
        people: list[OneID | None] = [None] * len(sightings)
        self.yields = {}
        unknown: list[int] = []
        open_rows: set[Row] = set()  # of which an earlier sight is to be asked for: so are the later ones
        get = self._cache.get
        for number, sighting in enumerate(sightings):
            known = get(sighting.row)
            if (
                known is not None
                and known[0] == sighting.identifiers
                and not (sighting.begun or sighting.ended)
                and sighting.row not in open_rows
            ):
                people[number] = known[1]
            else:
                unknown.append(number)
                open_rows.add(sighting.row)
        for start in range(0, len(unknown), MOST_AT_ONCE):
            self._ask(sightings, unknown[start : start + MOST_AT_ONCE], people)
        return people

    def known(self, rows: Sequence[Row]) -> dict[Row, OneID]:
        """The people of rows that references name, as whose rows they are: appliers follow merges, and undo what they followed.

        Rows that nobody has seen are left out.
        """
        self.follow_generation()
        seal, channel, cache = self._registry.seal, self._channel, self._references
        found: dict[Row, OneID] = {}
        digests: dict[bytes, Row] = {}
        for row in rows:
            person = cache.get(row)
            if person is None:
                digests[seal.row(row.entity, channel, row.local)] = row
            else:
                found[row] = person
        if digests:
            with self._registry.reading() as hub:
                links = hub.standing(list(digests))
            for digest, link in links.items():
                found[digests[digest]] = link.person
                cache.put(digests[digest], link.person)
        return found

    def unlinked(self, rows: Sequence[Row]) -> set[Row]:
        """Which of these rows no link in the hub store names."""
        unknown = {row for row in rows if self._cache.get(row) is None and self._references.get(row) is None}
        if not unknown:
            return unknown
        digests = {self._registry.seal.row(row.entity, self._channel, row.local): row for row in unknown}
        with self._registry.reading() as hub:
            for digest in hub.links(list(digests)):
                unknown.discard(digests[digest])
        return unknown

    def follow_generation(self) -> None:
        """Leave behind what was remembered before a merge, a split or a forgetting. Raises TransientError."""
        generation = self._registry.generation()
        if generation == self._generation:
            return
        self._cache.clear()
        self._references.clear()
        e164.cache_clear()  # numbers are in there: whoever was forgotten is to be in no cache
        if self._redis is not None:
            self._redis.enter(str(generation))
        with self._registry.reading() as hub:
            self._tombstones = hub.has_tombstones()
        self._generation = generation

    def _ask(self, sightings: Sequence[Sighting], numbers: Sequence[int], people: list[OneID | None]) -> None:
        todo = [self._named(number, sightings[number]) for number in numbers]
        todo = self._from_redis(todo, people)
        if not todo:
            return
        # The same row twice in what is left: the later sight may only be told after the earlier one was decided.
        with self._registry.reading() as hub:
            known = hub.standing([named.row for named in todo])
            again = [
                named.row for named in todo if (link := known.get(named.row)) is not None and named.is_before(link)
            ]
            pasts = hub.pasts(again) if again else {}
        undecided: list[_Named] = []
        open_rows: set[bytes] = set()
        learned: dict[tuple[bytes, bytes], OneID] = {}
        for named in todo:
            link = known.get(named.row)
            if link is None or named.row in open_rows or not named.stands(link):
                undecided.append(named)
                open_rows.add(named.row)
                continue
            past = next((who for until, who in pasts.get(named.row, ()) if named.sighting.at <= until), None)
            if past is not None:  # read again, from before the key was used again
                people[named.at] = past
                continue
            people[named.at] = link.person
            if named.sighting.begun and link.yields:
                self.yields[named.at] = frozenset(link.yields.split())
            if link.live and link.claims == named.claims:  # not of something that is read again
                self._keep(named, link.person, learned)
        if undecided:
            self._decide(undecided, people, learned)
        if self._redis is not None:
            self._redis.put(learned)

    def _named(self, number: int, sighting: Sighting) -> _Named:
        seal, entity = self._registry.seal, sighting.row.entity
        digests = tuple([seal.identifier(entity, identifier) for identifier in sighting.identifiers])
        before = None if sighting.moved_from is None else seal.row(entity, self._channel, sighting.moved_from)
        return _Named(number, sighting, seal.row(entity, self._channel, sighting.row.local), digests, before)

    def _from_redis(self, todo: list[_Named], people: list[OneID | None]) -> list[_Named]:
        """What Redis does not know; a row with a later sight that it does not know is asked for whole."""
        if self._redis is None:
            return todo
        answers = self._redis.get([(named.row, named.shown) for named in todo])
        rest: list[_Named] = []
        open_rows: set[bytes] = set()
        for named, person in zip(todo, answers, strict=True):
            sight = named.sighting
            if person is None or sight.begun or sight.ended or named.row in open_rows:
                rest.append(named)
                open_rows.add(named.row)
            else:
                people[named.at] = person
                self._cache.put(named.sighting.row, (named.sighting.identifiers, person))
        return rest

    def _decide(
        self, undecided: list[_Named], people: list[OneID | None], learned: dict[tuple[bytes, bytes], OneID]
    ) -> None:
        registry = self._registry
        if self._redis is not None:
            self._redis.forget(
                [named.row for named in undecided]
            )  # first: what it says of them may be untrue in a moment
        with registry.deciding() as deciding:
            if self._tombstones:
                undecided = self._remembered(deciding.rows, undecided)
            view = deciding.view(
                self._channel,
                [row for n in undecided for row in (n.row, n.moved_from) if row is not None],
                [digest for n in undecided for digest in n.identifiers],
            )
            for named in undecided:
                limit = self._max_rows.get(named.sighting.row.entity)
                people[named.at] = decide(view, named.sighting, named.row, named.identifiers, limit, named.moved_from)
            locals_ = {n.row: n.sighting.row.local for n in undecided}
            values = {d: i.value for n in undecided for d, i in zip(n.identifiers, n.sighting.identifiers, strict=True)}
            deciding.keep(view, locals_, values)
            merging = Merging(deciding, registry.deployment, f"capture.{self._channel}")
            for joined in view.joined:
                merging.join(joined.entity, joined.kept, joined.gone)
        self.questions += view.questions
        self._learn(undecided, view, people, learned)

    def _learn(
        self, undecided: list[_Named], view: View, people: list[OneID | None], learned: dict[tuple[bytes, bytes], OneID]
    ) -> None:
        for joined in view.joined:
            for named in undecided:
                if people[named.at] == joined.gone:
                    people[named.at] = joined.kept
        for named in undecided:
            link = view.links[named.row]
            self._references.forget(named.sighting.row)
            if named.sighting.begun and link.yields:
                self.yields[named.at] = link.yields
            if link.live and link.claims == named.identifiers:
                self._keep(named, link.person, learned)
            else:
                self._cache.forget(named.sighting.row)

    def _remembered(self, hub: Rows, undecided: list[_Named]) -> list[_Named]:
        """Without the sights of those who were forgotten after them."""
        digests = {digest for named in undecided for digest in (named.row, *named.identifiers)}
        stones = hub.tombstones(list(digests), self._channel)
        if not stones:
            return undecided
        return [
            named
            for named in undecided
            if not any(stones.get(digest, -1) >= named.sighting.as_of for digest in (named.row, *named.identifiers))
        ]

    def _keep(self, named: _Named, person: OneID, learned: dict[tuple[bytes, bytes], OneID]) -> None:
        self._cache.put(named.sighting.row, (named.sighting.identifiers, person))
        if self._redis is not None:
            learned[named.row, named.shown] = person
