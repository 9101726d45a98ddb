"""Field patterns whose matching time is bounded, whatever text comes.

A backtracking matcher tries at most as many ways through a pattern as its variable parts have combinations. That number is
counted here for the longest text the field may hold. Up to `MOST_WAYS` Python's own matcher is fast and safe; beyond it the
pattern is matched in linear time (`linear_patterns`). Refused when the configuration is read: what cannot be matched so, and a
repeat inside a repeat with nothing that tells one round from the next, which is a mistake whatever matches it.
"""

from __future__ import annotations

import re
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, Protocol

from transforms.linear_patterns import LinearPattern, NotLinearError

MOST_WAYS: Final = 10_000
LONGEST_TEXT: Final = 1_000  # of a field with a pattern and no max_length
_MAX_PATTERN: Final = 500


class PatternRefusedError(ValueError):
    """A pattern that is not valid, or that could take too long."""


class Matcher(Protocol):
    def fullmatch(self, text: str, /) -> object | None:
        """None where the text does not match."""


def compile_pattern(pattern: str, max_length: int | None) -> Matcher:
    """Compile a pattern for `fullmatch` against texts of at most `max_length` characters."""
    if len(pattern) > _MAX_PATTERN:
        raise PatternRefusedError(f"the pattern is longer than {_MAX_PATTERN} characters")
    try:
        parsed = parser.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternRefusedError(f"the pattern is not a valid regular expression: {error}") from None
    if _ways(parsed, min(max_length or LONGEST_TEXT, LONGEST_TEXT)) <= MOST_WAYS:
        return compiled
    if any(_runs_away(node) for node in parsed):
        raise PatternRefusedError(
            "the pattern could take too long to match: it repeats a part that may be read in several ways - put a separator"
            " into the repeated part, or repeat it less"
        )
    try:
        return LinearPattern(parsed)
    except (NotLinearError, RecursionError) as error:
        raise PatternRefusedError(str(error) or "the pattern is too deep") from None


def _ways(sequence: Any, longest: int) -> int:
    ways = 1
    for operator, argument in sequence:
        ways = min(ways * _ways_of(operator, argument, longest), MOST_WAYS + 1)
    return ways


def _ways_of(operator: Any, argument: Any, longest: int) -> int:
    if operator in (constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN, constants.AT):
        return 1
    if operator is constants.SUBPATTERN:
        return _ways(argument[3], longest)
    if operator is constants.BRANCH:
        return sum(_ways(branch, longest) for branch in argument[1])
    if operator in (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT):
        least, most, body = argument
        each = _ways(body, longest)
        most = min(int(most), longest)
        least = min(int(least), most)
        if each == 1:
            return most - least + 1
        ways = 0
        for times in range(least, most + 1):
            ways += int(each**times) if times < 64 else MOST_WAYS
            if ways > MOST_WAYS:
                break
        return ways
    return MOST_WAYS + 1  # it cannot be counted


_ONE_CHARACTER: Final = (constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN)
_REPEATS: Final = (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT)
_TRIED: Final = [chr(code) for code in (*range(0x300), 0x4E2D, 0x3000, 0x1F642)]


def _runs_away(node: Any) -> bool:
    """Whether something is repeated of which neither the first nor the last character marks where a round begins or ends."""
    operator, argument = node
    if operator is constants.SUBPATTERN:
        return any(map(_runs_away, argument[3]))
    if operator is constants.BRANCH:
        return any(_runs_away(inner) for branch in argument[1] for inner in branch)
    if operator not in _REPEATS:
        return False
    _, most, body = argument
    parts = _flat(body)
    if most == 1 or all(_is_fixed(part) for part in parts):
        return any(map(_runs_away, parts))
    if len(parts) == 1 and parts[0][0] is constants.BRANCH and _are_apart(parts[0][1][1]):
        return False
    marks = [end for end in (parts[0], parts[-1]) if _is_mark(end, [part for part in parts if part is not end])]
    return not any(_taken(end).isdisjoint(_inner(parts, end)) for end in marks) or any(map(_runs_away, parts))


def _is_mark(node: Any, rest: list[Any]) -> bool:
    """One character, or one class of characters at least once - so often as it likes only where something else must follow."""
    operator, argument = node
    if operator not in _REPEATS:
        return operator in _ONE_CHARACTER
    if argument[0] == 0 or len(argument[2]) != 1 or argument[2][0][0] not in _ONE_CHARACTER:
        return False
    return argument[0] == argument[1] or any(_is_needed(part) for part in rest)


def _is_needed(node: Any) -> bool:
    operator, argument = node
    return operator in _ONE_CHARACTER or (
        operator in _REPEATS and argument[0] > 0 and any(map(_is_needed, argument[2]))
    )


def _flat(sequence: Any) -> list[Any]:
    """The parts of a sequence, groups opened."""
    return [inner for node in sequence for inner in (_flat(node[1][3]) if node[0] is constants.SUBPATTERN else [node])]


def _is_fixed(node: Any) -> bool:
    operator, argument = node
    if operator in _REPEATS:
        return argument[0] == argument[1] and all(map(_is_fixed, _flat(argument[2])))
    return operator in _ONE_CHARACTER or operator is constants.AT


def _are_apart(branches: Any) -> bool:
    """Alternatives of a fixed length, of which the first character tells which one it is."""
    seen: set[str] = set()
    for branch in branches:
        parts = _flat(branch)
        if not parts or parts[0][0] not in _ONE_CHARACTER or not all(map(_is_fixed, parts)):
            return False
        first = _characters(parts[0])
        if not seen.isdisjoint(first):
            return False
        seen |= first
    return True


def _inner(parts: list[Any], end: Any) -> frozenset[str]:
    """The characters that the parts but `end` may take."""
    return frozenset(c for part in parts if part is not end for c in _taken(part))


def _taken(node: Any) -> frozenset[str]:
    operator, argument = node
    if operator in _ONE_CHARACTER:
        return _characters(node)
    if operator in _REPEATS:
        return frozenset(c for part in _flat(argument[2]) for c in _taken(part))
    if operator is constants.BRANCH:
        return frozenset(c for branch in argument[1] for part in _flat(branch) for c in _taken(part))
    return frozenset()


def _characters(node: Any) -> frozenset[str]:
    """Which of the characters that are tried a class takes, whatever their case."""
    state = parser.State()
    state.str = ""
    takes = compiler.compile(parser.SubPattern(state, [node]), re.IGNORECASE | re.UNICODE)
    return frozenset(filter(takes.fullmatch, _TRIED))
