"""What identifies a person, brought to one form: phones to E.164, e-mail case-folded, everything else verbatim. Pure.

Guards that two spellings of one number are one person, and that values which say nothing (blocked ones, empty text, a phone that
is none) never make two people one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import phonenumbers

from transforms.specs import IdentifierKind, IdentitySpec
from transforms.values import WireValue

_PHONES: Final = frozenset({"phone", "mobile", "telephone", "phone_number", "mobile_number"})
_EMAILS: Final = frozenset({"email", "e_mail", "mail"})


class Identifier(NamedTuple):
    """`field` of the dictionary, the scope where it has one, and the value in its one form; `rank` 0 is the strongest."""

    field: str
    scope: str
    value: str
    rank: int


def kind_of(name: str, kinds: Mapping[str, IdentifierKind]) -> IdentifierKind:
    """What a field is: as declared, else by its name."""
    if name in kinds:
        return kinds[name]
    return "phone" if name in _PHONES else "email" if name in _EMAILS else "verbatim"


@lru_cache(maxsize=65_536)
def e164(text: str, region: str) -> str | None:
    """A number in E.164; None for what is not a possible number. Parsing costs about 50 microseconds, hence the cache."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number) or number.extension:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def folded_email(text: str) -> str | None:
    """Case-folded, without surrounding space; None where it is not local@domain."""
    address = text.strip().casefold()
    local, _, domain = address.rpartition("@")
    return address if local and domain else None


class Normaliser:
    """One entity's rule, ready to run over rows. `identifiers(values)` takes the rule's `fields` in order."""

    def __init__(self, rule: IdentitySpec) -> None:
        self.rule = rule
        places = {name: at for at, name in enumerate(rule.fields)}
        self._steps: list[tuple[str, int, int | None, Callable[[str], str | None], frozenset[str], int]] = []
        for rank, name in enumerate(rule.by):
            step = _normal_form(kind_of(name, rule.kinds), rule.region)
            scope = rule.scope.get(name)
            blocked = frozenset(normal for value in rule.block if (normal := step(value)) is not None)
            self._steps.append((name, places[name], None if scope is None else places[scope], step, blocked, rank))

    def identifiers(self, values: tuple[WireValue, ...]) -> tuple[Identifier, ...]:
        """The identifiers of a row, strongest first. A scoped one without its scope identifies nobody."""
        found = []
        for name, at, scope_at, normal_form, blocked, rank in self._steps:
            value = values[at]
            if value is None or value == "":
                continue
            normal = normal_form(value if isinstance(value, str) else str(value))
            if normal is None or normal in blocked:
                continue
            scope = ""
            if scope_at is not None:
                within = values[scope_at]
                if within is None or within == "":
                    continue
                scope = str(within)
            found.append(Identifier(name, scope, normal, rank))
        return tuple(found)

    def normal(self, field: str, text: str) -> str | None:
        """The one form of a field's value; None where it identifies nobody."""
        return next((normal_form(text) for name, _, _, normal_form, _, _ in self._steps if name == field), None)

    def spellings(self, text: str) -> list[Identifier]:
        """What an operator's word may mean: an identifier of any field, without scope."""
        found = []
        for name, _, _, normal_form, _, rank in self._steps:
            normal = normal_form(text)
            if normal:
                found.append(Identifier(name, "", normal, rank))
        return found


def _normal_form(kind: IdentifierKind, region: str) -> Callable[[str], str | None]:
    if kind == "phone":
        return lambda text: e164(text, region)
    if kind == "email":
        return folded_email
    return str
