"""People in the check: each channel numbers its subscribers itself, and what refers to one has to refer to the same one everywhere.

Plain SQL by what the applications know: their own keys, phone numbers. Nothing of Datong. Guards I1 and I3 for identities.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cdc.demo.business import SIDES, SideName
from cdc.demo.stage import DATABASES, Stage

PEOPLE_PER_SIDE: Final = 20
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Tables:
    """What a channel calls its subscribers and their visits, and how it writes a phone number."""

    people: str
    key: str
    phone: str
    name: str
    visits: str
    number: str
    person: str
    cents: str
    written: str  # 138-0000-0000, +8613800000000


_TABLES: Final[dict[SideName, _Tables]] = {
    "website": _Tables("subscribers", "id", "mobile", "nick", "visits", "visit_no", "subscriber_id", "spent", "dashed"),
    "miniapp": _Tables("fans", "uid", "phone", "nickname", "checkins", "number", "fan", "cents", "e164"),
    "crm": _Tables("contacts", "contact_no", "tel", "name", "calls", "call_no", "contact", "amount", "international"),
}


def _written(digits: str, style: str) -> str:
    """`13812345678` as a channel writes it."""
    match style:
        case "dashed":
            return f"{digits[:3]}-{digits[3:7]}-{digits[7:]}"
        case "e164":
            return f"+86{digits}"
        case _:
            return f"+86 {digits[:3]} {digits[3:7]} {digits[7:]}"


@dataclass(slots=True)
class PeopleVerdict:
    """`identities`: people whom every side has, once, under a key of its own. `references`: visits on another side than their
    own that refer to the right person. `wrong`: what is not so.
    """

    identities: int = 0
    references: int = 0
    wrong: list[str] = field(default_factory=list)


class People:
    """The subscribers' part of the workload and its judgement."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._chance = random.Random(f"{seed}/people")  # noqa: S311 - data, not a secret
        self._phones: dict[SideName, list[str]] = {
            side: [f"13{number}{n:08d}" for n in self._chance.sample(range(10**8), PEOPLE_PER_SIDE)]
            for number, side in enumerate(SIDES, 1)
        }
        self._visits: dict[str, tuple[SideName, str]] = {}  # number -> where it was written, the visitor's phone

    def arrive(self) -> None:
        """Every side's own people come, each with a visit in the same transaction."""
        for side, phones in self._phones.items():
            for at, phone in enumerate(phones):
                self._write(side, phone, f"{side[0].upper()}{at}", new=True)

    def mingle(self, patience: float) -> None:
        """Everybody visits another side than their own, under the key that they have there; raises TimeoutError."""
        deadline = time.monotonic() + patience
        everybody = {phone for phones in self._phones.values() for phone in phones}
        while any(len(self._keys(side)) < len(everybody) for side in SIDES):
            if time.monotonic() > deadline:
                raise TimeoutError("not everybody has come to every side")
            time.sleep(_POLL_SECONDS)
        for number, (side, phones) in enumerate(self._phones.items()):
            other = SIDES[(number + 1) % len(SIDES)]
            for at, phone in enumerate(phones):
                self._write(other, phone, f"{side[0].upper()}{other[0].upper()}{at}", new=False)

    def judge(self, patience: float) -> PeopleVerdict:
        """Look until all is as it should be, or time is up."""
        deadline = time.monotonic() + patience
        while True:
            verdict = self._verdict()
            if not verdict.wrong or time.monotonic() > deadline:
                return verdict
            time.sleep(_POLL_SECONDS)

    def _verdict(self) -> PeopleVerdict:
        verdict = PeopleVerdict()
        keys: dict[SideName, Mapping[str, list[int]]] = {side: self._keys(side) for side in SIDES}
        for phone in (phone for phones in self._phones.values() for phone in phones):
            found = [keys[side].get(phone, []) for side in SIDES]
            if [len(own) for own in found] == [1] * len(SIDES) and len({own[0] for own in found}) == len(SIDES):
                verdict.identities += 1
            else:
                verdict.wrong.append(
                    f"a subscriber has {[len(own) for own in found]} rows, keys of their own: expected one each"
                )
        for side in SIDES:
            visits = self._read_visits(side)
            for number, (source, phone) in self._visits.items():
                if visits.get(number) != phone:
                    verdict.wrong.append(f"{side}: visit {number} of {source} refers to somebody else, or is missing")
                elif source != side:
                    verdict.references += 1
        return verdict

    def _write(self, side: SideName, phone: str, number: str, *, new: bool) -> None:
        tables = _TABLES[side]
        spelling = _written(phone, tables.written)
        with self._cursor(side) as cursor:
            if new:
                insert = f"INSERT INTO {tables.people} ({tables.phone}, {tables.name}) VALUES (%s, %s)"
                cursor.execute(insert, (spelling, f"guest {number}"))
            cursor.execute(
                f"INSERT INTO {tables.visits} ({tables.number}, {tables.person}, {tables.cents})"
                f" SELECT %s, {tables.key}, 990 FROM {tables.people} WHERE {tables.phone} = %s",
                (number, spelling),
            )
        self._visits[number] = (side, phone)

    def _keys(self, side: SideName) -> Mapping[str, list[int]]:
        """A side's own keys by phone number."""
        tables = _TABLES[side]
        with self._cursor(side) as cursor:
            cursor.execute(f"SELECT {tables.phone}, {tables.key} FROM {tables.people}")
            found: dict[str, list[int]] = {}
            for phone, key in cursor.fetchall():
                found.setdefault(_digits(phone), []).append(int(key))
        return found

    def _read_visits(self, side: SideName) -> dict[str, str]:
        tables = _TABLES[side]
        with self._cursor(side) as cursor:
            cursor.execute(
                f"SELECT v.{tables.number}, p.{tables.phone} FROM {tables.visits} v"
                f" JOIN {tables.people} p ON p.{tables.key} = v.{tables.person}"
            )
            return {str(number): _digits(phone) for number, phone in cursor.fetchall()}

    @contextmanager
    def _cursor(self, side: SideName) -> Iterator[Any]:
        """One transaction on a connection of its own."""
        connection: Any = self._stage.server_of(side).connect(DATABASES[side])
        with closing(connection):
            if side == "miniapp":
                connection.autocommit = False
            else:
                connection.autocommit(False)
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()


def _digits(phone: str) -> str:
    """The number without its country and separators."""
    return "".join(character for character in phone if character.isdigit())[-11:]
