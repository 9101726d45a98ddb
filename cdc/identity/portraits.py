"""Who somebody is, for an operator and for other systems: identifiers, rows in every channel, open questions. Masked unless revealed. Guards I9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from cdc.identity.identifiers import Identifier, Normaliser
from cdc.identity.registry import Registry
from cdc.identity.rows import Rows
from cdc.identity.words import LocalKey, OneID
from transforms.specs import EntitySpec

_SHORT: Final = 8
_MOST_DIGITS: Final = 18  # of a OneID: what any hub store can hold
ONEID_PREFIX: Final = "oneid:"


def shown(value: str, *, reveal: bool) -> str:
    """An identifier as it may be shown: its first three and last two characters, where it is long enough to hide behind them."""
    if reveal:
        return value
    return f"{value[:3]}***{value[-2:]}" if len(value) > _SHORT else "***"


class Portraits:
    """Answers questions about people of one deployment. `entities` are those with identity, `channels` all channels."""

    def __init__(self, registry: Registry, entities: Iterable[EntitySpec], channels: Iterable[str]) -> None:
        self._registry = registry
        self._normalisers = {e.name: Normaliser(e.identity) for e in entities if e.identity is not None}
        self._channels = tuple(channels)

    def find(self, key: str) -> list[OneID]:
        """Everybody whom a key may mean: `oneid:17`, an identifier in any spelling, or a local key of any channel."""
        with self._registry.reading() as rows:
            if key.startswith(ONEID_PREFIX):
                number = key.removeprefix(ONEID_PREFIX)
                if not (number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS):
                    return []
                return [int(number)] if rows.entity_of(int(number)) is not None else []
            found = self._by_identifier(rows, key) | self._by_row(rows, key)
            merged = rows.merged(list(found))
        return sorted({merged.get(person, person) for person in found})

    def find_by(self, values: Mapping[str, str]) -> list[OneID]:
        """Who has all of these identifiers, by field. Raises KeyError for a field that identifies nobody."""
        people: set[OneID] | None = None
        with self._registry.reading() as rows:
            for field, text in values.items():
                known = [n for n in self._normalisers.values() if field in n.rule.by]
                if not known:
                    raise KeyError(field)
                found = self._by_identifier(rows, text, field)
                people = found if people is None else people & found
        return sorted(people or ())

    def portrait(self, person: OneID, *, reveal: bool) -> dict[str, Any]:
        """As JSON has it: `oneid`, `entity`, `identifiers`, `rows`, `merged` (who became this person), `questions`."""
        with self._registry.reading() as rows:
            canonical = rows.merged([person]).get(person, person)
            merged = sorted(gone for gone, _ in rows.merged_from([canonical]))
            everyone = [canonical, *merged]
            identifiers = [
                {
                    "field": field,
                    **({"scope": scope} if scope else {}),
                    "value": shown(self._registry.seal.open(digest, value).decode(), reveal=reveal),
                }
                for _, field, scope, digest, value in rows.identifiers(everyone)
            ]
            found = [
                {
                    "oneid": owner,
                    "channel": channel,
                    "key": self._local_text(self._registry.local(digest, value), reveal=reveal),
                    "there": live,
                }
                for owner, channel, digest, value, live in rows.rows_of(everyone)
            ]
            questions = [
                question["id"]
                for question in self._questions(rows)
                if {question["one"], question["other"]} & set(everyone)
            ]
            entity = rows.entity_of(canonical)
        return {
            "oneid": canonical, "entity": entity, "identifiers": sorted(identifiers, key=str),
            "rows": sorted(found, key=lambda row: (row["channel"], row["oneid"])), "merged": merged, "questions": questions,
        }  # fmt: skip

    def conflicts(self, *, reveal: bool) -> list[dict[str, Any]]:
        """The open questions, with both sides."""
        with self._registry.reading() as rows:
            asked = self._questions(rows)
        people = {person for question in asked for person in (question["one"], question["other"])}
        portraits = {person: self.portrait(person, reveal=reveal) for person in people}
        return [
            question | {"one": portraits[question["one"]], "other": portraits[question["other"]]} for question in asked
        ]

    def _questions(self, rows: Rows) -> list[dict[str, Any]]:
        sql = (
            "SELECT id, kind, entity, one, other, channel, since FROM datong_identity_question"
            " WHERE deployment = ? AND decision IS NULL ORDER BY id"
        )
        names = ("id", "kind", "entity", "one", "other", "channel", "since")
        return [dict(zip(names, row, strict=True)) for row in rows.all(sql, self._registry.deployment)]

    def _by_identifier(self, rows: Rows, text: str, field: str | None = None) -> set[OneID]:
        seal, digests = self._registry.seal, list[bytes]()
        scopes: Mapping[str, Sequence[str]] = self._scopes(rows)
        for entity, normaliser in self._normalisers.items():
            for identifier in normaliser.spellings(text):
                if field is None or identifier.field == field:
                    digests += [
                        seal.identifier(entity, Identifier(identifier.field, scope, identifier.value, identifier.rank))
                        for scope in scopes.get(identifier.field, ("",))
                    ]
        return {owned.person for owned in rows.owners(digests).values() if not owned.blocked}

    def _scopes(self, rows: Rows) -> dict[str, list[str]]:
        """The scopes that fields have been seen with."""
        fields = {name for normaliser in self._normalisers.values() for name in normaliser.rule.scope}
        if not fields:
            return {}
        found: dict[str, list[str]] = {field: [""] for field in fields}
        sql = "SELECT DISTINCT field, scope FROM datong_identifier WHERE deployment = ?"
        for field, scope in rows.all(sql, self._registry.deployment):
            found.setdefault(field, [""]).append(scope)
        return found

    def _by_row(self, rows: Rows, text: str) -> set[OneID]:
        locals_: list[LocalKey] = [(text,)]
        with suppress(ValueError):
            locals_.append((int(text),))
        digests = [
            self._registry.seal.row(entity, channel, local)
            for entity in self._normalisers for channel in self._channels for local in locals_
        ]  # fmt: skip
        return {link.canonical for link in rows.links(digests).values()}

    @staticmethod
    def _local_text(local: LocalKey, *, reveal: bool) -> str:
        """A number is a number; a text may be an openid."""
        return ", ".join(str(v) if isinstance(v, int) else shown(str(v), reveal=reveal) for v in local)
