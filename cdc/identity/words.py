"""The words of identity as data: what was seen of a row, which person it is, what only an operator can decide. No I/O."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from cdc.identity.identifiers import Identifier
from transforms.values import WireValue

OneID: TypeAlias = int
LocalKey: TypeAlias = tuple[WireValue, ...]
Place: TypeAlias = tuple[int, int]  # (order, row number) in a channel's log


class Row(NamedTuple):
    """A row of a channel that is a person."""

    entity: str
    local: LocalKey


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """A row as one change of its channel's log shows it: its whole set of identifiers, strongest first.

    `begun`: the change inserts the row (its key may have been another's before); `ended`: it deletes it. Sightings of one
    channel come in the order of its log. `read_for`: of a row that was read from the table and not from the log, the order of the
    change for which it was read. `told`: the fields that an insert gives a value. `goes_on`, `moved_from`: the row
    ends under this key only, and goes on under another; the key that it had before.
    """

    row: Row
    identifiers: tuple[Identifier, ...]
    at: Place
    begun: bool = False
    ended: bool = False
    read_for: int = 0
    told: tuple[str, ...] = ()
    goes_on: bool = False
    moved_from: LocalKey | None = None

    @property
    def as_of(self) -> int:
        """The order that a tombstone covers, or does not."""
        return max(self.at[0], self.read_for)


QuestionKind: TypeAlias = Literal[
    "two_people",  # an identifier of one row belongs to another person
    "two_rows",  # a second row of one channel says that it is the same person
    "contradiction",  # an identifier claimed by a row that contradicts stronger identifiers: a recycled number
]


class Question(msgspec.Struct, frozen=True):
    """Two people who may be one, because of an identifier (by its digest) that a row of a channel showed.

    `one` is the person of that row, `other` whom the identifier belonged to.
    """

    kind: QuestionKind
    entity: str
    one: OneID
    other: OneID
    identifier: bytes
    channel: str


class Decision(msgspec.Struct, frozen=True):
    """An operator's answer as appliers get it: `kind` merge, split or undo (of the decision `undoes`)."""

    seq: int
    kind: str
    entity: str
    kept: OneID
    gone: OneID
    undoes: int


class Joined(msgspec.Struct, frozen=True):
    """Two OneIDs turned out to be one person whom no channel has two rows for: `gone` is `kept` from now on."""

    entity: str
    kept: OneID
    gone: OneID
