"""Field patterns whose matching time is bounded, whatever text comes. A pattern that could run away is refused up front.

A backtracking matcher tries at most as many ways through a pattern as its variable parts have combinations. That number is
counted here for the longest text the field may hold; beyond `MOST_WAYS`, or with anything that cannot be counted (back
references, look-around, conditions), the pattern is refused when the configuration is read.
"""

from __future__ import annotations

import re
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

MOST_WAYS: Final = 1_000_000
LONGEST_TEXT: Final = 1_000  # of a field with a pattern and no max_length
_MAX_PATTERN: Final = 500


class PatternRefusedError(ValueError):
    """A pattern that is not valid, or that could take too long."""


def compile_pattern(pattern: str, max_length: int | None) -> re.Pattern[str]:
    """Compile a pattern for `fullmatch` against texts of at most `max_length` characters."""
    if len(pattern) > _MAX_PATTERN:
        raise PatternRefusedError(f"the pattern is longer than {_MAX_PATTERN} characters")
    try:
        parsed = parser.parse(pattern)
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternRefusedError(f"the pattern is not a valid regular expression: {error}") from None
    if _ways(parsed, min(max_length or LONGEST_TEXT, LONGEST_TEXT)) > MOST_WAYS:
        raise PatternRefusedError(
            "the pattern could take too long to match: give the field a smaller max_length, or use fewer repeats and none "
            "inside another"
        )
    return compiled


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
    raise PatternRefusedError("the pattern uses a back reference, look-around or condition: these cannot be bounded")
