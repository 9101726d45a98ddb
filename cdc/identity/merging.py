"""Making two people one, undoing it, keeping them apart, forgetting one. Every step is an event in the hub store, numbered.

Runs inside `Registry.deciding()`. What was moved is kept with the event, so that it can be put back. A merge of people of whom no
channel has two rows moves their rows as well: nothing changes in any table. Where a channel has a row for both, the rows stay two
rows under two OneIDs, replicated as before (nothing is deleted, nothing diverges); identifiers are the kept one's from then on,
and references follow, which appliers do at the event's place in the change log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from cdc.errors import DatongError
from cdc.identity.registry import Deciding
from cdc.identity.words import OneID

EventKind = Literal["join", "merge", "split", "undo", "forget"]


class IdentityRefusedError(DatongError):
    """What an operator asked for cannot be done; one line."""


class Detail(msgspec.Struct, array_like=True):
    """What an event moved: identifiers and rows by digest, people by OneID; `question` the ids that it decided."""

    identifiers: list[bytes] = []
    links: list[bytes] = []
    people: list[OneID] = []
    questions: list[int] = []
    undoes: int = 0


class Event(msgspec.Struct, frozen=True):
    seq: int
    kind: str
    entity: str
    kept: OneID
    gone: OneID
    who: str
    at: float
    undone_by: int | None
    detail: Detail


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Detail).decode
_EVENT = (
    "SELECT seq, kind, entity, kept, gone, who, at, undone_by, detail FROM datong_identity_event WHERE deployment = ?"
)


class Merging:
    """The operations, in one open transaction."""

    def __init__(self, deciding: Deciding, deployment: str, who: str) -> None:
        self._deciding = deciding
        self._rows = deciding.rows
        self._deployment = deployment
        self._who = who

    def join(self, entity: str, kept: OneID, gone: OneID) -> Event:
        """Two people whom the rules found to be one. No cache is left behind: what one holds of `gone` is still its row."""
        return self._unite("join", entity, kept, gone, rows_too=True)

    def merge(self, one: OneID, other: OneID, keep: OneID) -> Event:
        """An operator's decision. Raises IdentityRefusedError."""
        if one == other or keep not in {one, other}:
            raise IdentityRefusedError(f"merge {one} {other} --keep {keep}: name two people, and keep one of them")
        entity, gone = self._same_entity(one, other), other if keep == one else one
        canonical = self._rows.merged([one, other])
        if canonical:
            (which, into) = next(iter(canonical.items()))
            raise IdentityRefusedError(f"{which} is merged into {into} already")
        channels = list(self._rows.channels([one, other]))
        both = {c for p, c in channels if p == one} & {c for p, c in channels if p == other}
        event = self._unite("merge", entity, keep, gone, rows_too=not both)
        self._deciding.begin_generation()
        return event

    def split(self, one: OneID, other: OneID, to: OneID | None) -> Event:
        """They are two people: the last merge of them is undone, or their questions are closed, the identifier being `to`'s."""
        entity = self._same_entity(one, other)
        merged = self.last_merge(one, other)
        if merged is not None:
            return self.undo(merged.seq)
        asked = list(self._questions(one, other))
        if not asked:
            raise IdentityRefusedError(f"{one} and {other} are two people already, and there is no question about them")
        if to is not None and to not in {one, other}:
            raise IdentityRefusedError(f"split {one} {other} --to {to}: the identifier goes to one of the two")
        moved = []
        if to is not None:
            moved = [d for _, d in asked if (owned := self._rows.owners([d]).get(d)) is not None and owned.person != to]
            self._give(moved, to)
        self._decide([ident for ident, _ in asked], "split")
        event = self._event("split", entity, one if to is None else to, other if to in {None, one} else one,
                            Detail(moved, questions=[ident for ident, _ in asked]))  # fmt: skip
        self._deciding.begin_generation()
        return event

    def undo(self, seq: int) -> Event:
        """Put back what an event moved and nobody has moved since. Raises IdentityRefusedError."""
        event = self.event(seq)
        if event is None or event.kind not in {"join", "merge", "split"} or event.undone_by is not None:
            raise IdentityRefusedError(f"there is no decision {seq} to undo")
        detail, gone = event.detail, event.gone
        if event.kind != "split":
            later = self._rows.merged([event.kept])
            if later:
                raise IdentityRefusedError(f"{event.kept} was merged into {later[event.kept]} since: undo that first")
            self._rows.many(
                "UPDATE datong_identity_link SET person = ? WHERE digest = ? AND person = ?",
                [(gone, digest, event.kept) for digest in detail.links],
            )
            self._set_merged([p for p in detail.people if p != gone], gone, joined=None)
            self._set_merged([gone], None, joined=False)
        self._rows.many(
            "UPDATE datong_identifier SET person = ? WHERE digest = ? AND person = ?",
            [(gone, digest, event.kept) for digest in detail.identifiers],
        )
        self._decide(detail.questions, None)
        undone = self._event("undo", event.entity, event.kept, gone, Detail(undoes=seq))
        self._rows.many(
            "UPDATE datong_identity_event SET undone_by = ? WHERE deployment = ? AND seq = ?",
            [(undone.seq, self._deployment, seq)],
        )
        self._deciding.begin_generation()
        return undone

    def forget(self, person: OneID, positions: Mapping[str, int]) -> Event:
        """Remove all identifiers, rows and questions of a person; what `positions` of the channels' logs cover stays forgotten."""
        rows = self._rows
        canonical = rows.merged([person]).get(person, person)
        everyone = [canonical, *(gone for gone, _ in rows.merged_from([canonical]))]
        entity = self._entity(canonical)
        links = [(digest, channel) for _, channel, digest, _, _ in rows.rows_of(everyone)]
        sql = "SELECT digest FROM datong_identifier WHERE deployment = ? AND person = ?"
        identifiers = [bytes(r[0]) for p in everyone for r in rows.all(sql, self._deployment, p)]
        stones = [(digest, channel, positions.get(channel, 0)) for digest, channel in links]
        stones += [(digest, channel, order) for digest in identifiers for channel, order in positions.items()]
        rows.many(
            "INSERT INTO datong_identity_tombstone (digest, channel, deployment, at_order) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (digest, channel) DO UPDATE SET at_order = excluded.at_order",
            [(digest, channel, self._deployment, order) for digest, channel, order in stones],
        )
        mine = [(self._deployment, p) for p in everyone]
        rows.many("DELETE FROM datong_identifier WHERE deployment = ? AND person = ?", mine)
        rows.many("DELETE FROM datong_identity_link WHERE deployment = ? AND person = ?", mine)
        rows.many("DELETE FROM datong_identity_past WHERE deployment = ? AND person = ?", mine)
        rows.many("DELETE FROM datong_identity_question WHERE deployment = ? AND one = ?", mine)
        rows.many("DELETE FROM datong_identity_question WHERE deployment = ? AND other = ?", mine)
        rows.many("DELETE FROM datong_person WHERE deployment = ? AND id = ?", mine)
        rows.many(
            "DELETE FROM datong_identity_move WHERE deployment = ? AND seq IN"
            " (SELECT seq FROM datong_identity_event WHERE deployment = ? AND ? IN (kept, gone))",
            [(self._deployment, *one) for one in mine],
        )
        # An undo would bring their digests back.
        blank = _pack(Detail())
        for column in ("kept", "gone"):
            rows.many(
                f"UPDATE datong_identity_event SET detail = ?, undone_by = 0 WHERE deployment = ? AND {column} = ?",
                [(blank, self._deployment, p) for p in everyone],
            )
        event = self._event("forget", entity, canonical, canonical, Detail())
        self._deciding.begin_generation()
        return event

    def event(self, seq: int) -> Event | None:
        row = self._rows.one(f"{_EVENT} AND seq = ?", self._deployment, seq)
        return None if row is None else _event_of(row)

    def last_merge(self, one: OneID, other: OneID) -> Event | None:
        """The merge that made these two people one, if it was not undone."""
        sql = f"{_EVENT} AND kind IN ('join', 'merge') AND undone_by IS NULL AND kept IN (?, ?) AND gone IN (?, ?) ORDER BY seq DESC LIMIT 1"
        row = self._rows.one(sql, self._deployment, one, other, one, other)
        return None if row is None else _event_of(row)

    def _unite(self, kind: EventKind, entity: str, kept: OneID, gone: OneID, *, rows_too: bool) -> Event:
        rows = self._rows
        identifiers = [digest for _, _, _, digest, _ in rows.identifiers([gone])]
        self._give(identifiers, kept)
        links = []
        if rows_too:
            links = [digest for _, _, digest, _, _ in rows.rows_of([gone])]
            rows.many("UPDATE datong_identity_link SET person = ? WHERE digest = ?", [(kept, d) for d in links])
        people = [p for p, _ in rows.merged_from([gone])]
        self._set_merged(people, kept, joined=None)
        self._set_merged([gone], kept, joined=rows_too)
        questions = [ident for ident, _ in self._questions(kept, gone)]
        self._decide(questions, "merge")
        return self._event(kind, entity, kept, gone, Detail(identifiers, links, [gone, *people], questions))

    def _give(self, identifiers: Sequence[bytes], person: OneID) -> None:
        self._rows.many("UPDATE datong_identifier SET person = ? WHERE digest = ?", [(person, d) for d in identifiers])

    def _set_merged(self, people: Sequence[OneID], into: OneID | None, *, joined: bool | None) -> None:
        """`joined` None: as it was."""
        if joined is None:
            self._rows.many(
                "UPDATE datong_person SET merged_into = ? WHERE deployment = ? AND id = ?",
                [(into, self._deployment, p) for p in people],
            )
            return
        self._rows.many(
            "UPDATE datong_person SET merged_into = ?, joined = ? WHERE deployment = ? AND id = ?",
            [(into, joined, self._deployment, p) for p in people],
        )

    def _questions(self, one: OneID, other: OneID) -> list[tuple[int, bytes]]:
        """Open questions about two people: (id, the identifier's digest)."""
        sql = (
            "SELECT id, identifier FROM datong_identity_question WHERE deployment = ? AND decision IS NULL"
            " AND ((one = ? AND other = ?) OR (one = ? AND other = ?))"
        )
        return [(r[0], bytes(r[1])) for r in self._rows.all(sql, self._deployment, one, other, other, one)]

    def _decide(self, questions: Sequence[int], decision: str | None) -> None:
        self._rows.many(
            "UPDATE datong_identity_question SET decision = ? WHERE id = ?", [(decision, q) for q in questions]
        )

    def _same_entity(self, one: OneID, other: OneID) -> str:
        entity = self._entity(one)
        if self._entity(other) != entity:
            raise IdentityRefusedError(f"{one} and {other} are of different entities")
        return entity

    def _entity(self, person: OneID) -> str:
        row = self._rows.one(
            "SELECT entity FROM datong_person WHERE deployment = ? AND id = ?", self._deployment, person
        )
        if row is None:
            raise IdentityRefusedError(f"there is no OneID {person}")
        return str(row[0])

    def _event(self, kind: EventKind, entity: str, kept: OneID, gone: OneID, detail: Detail) -> Event:
        seq = self._rows.one(
            "SELECT COALESCE(MAX(seq), 0) + 1 FROM datong_identity_event WHERE deployment = ?", self._deployment
        )[0]
        event = Event(seq, kind, entity, kept, gone, self._who, time.time(), None, detail)
        self._rows.many(
            "INSERT INTO datong_identity_event (deployment, seq, kind, entity, kept, gone, who, at, detail, undoes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    self._deployment,
                    seq,
                    kind,
                    entity,
                    kept,
                    gone,
                    self._who,
                    event.at,
                    _pack(detail),
                    detail.undoes or None,
                )
            ],
        )
        return event


def _event_of(row: Sequence[Any]) -> Event:
    seq, kind, entity, kept, gone, who, at, undone_by, detail = row
    return Event(seq, kind, entity, kept, gone, who, at, undone_by, _unpack(bytes(detail)))
