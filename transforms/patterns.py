r"""Patterns of fields, matched by RE2: in time that grows with the text alone, whatever text comes. Guards I6, I8, N7.

The syntax is RE2's. Back references and look-around are no part of it, and `\d`, `\w`, `\s`, `\b` know ASCII only. What RE2 refuses
is refused when the configuration is read, with what to write instead; so is what RE2 reads as something else than Python's `re`
without a word. It must never log by itself: that would be the pattern on stderr, beside our log.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import re2

LONGEST_TEXT: Final = 1_000  # characters, of a field with a pattern and no max_length
_MAX_PATTERN: Final = 500
_MAX_MEMORY: Final = 8 << 20  # bytes of one pattern in one process: its program and the states that texts have led to

# How Python writes a character by its number; RE2 has another way.
_NUMBERED: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)
_READ_OTHERWISE: Final = re.compile(r"\\(?P<group>[1-9])|\\.|(?P<repeat>\{,[0-9]*\})", re.DOTALL)

# What RE2 says, and what to do about it.
_ADVICE: Final = (
    (r"invalid escape sequence: \\[uUN]|invalid escape sequence: \\x", r"write the character itself, or its number as \x{4e00}"),
    (r"invalid escape sequence: \\Z", "leave it out, the whole text must match anyway"),
    (r"invalid escape sequence: \\[1-9gk]|invalid perl operator: \(\?P$", "a back reference cannot be matched in linear time: leave it out"),
    (r"invalid perl operator: \(\?<?[=!]", "look-around cannot be matched in linear time: leave it out, and say what the text may hold instead"),
    (r"invalid perl operator: \(\?>", "write (?: instead, which matches the same texts in linear time"),
    (r"invalid perl operator: \(\?\(", "a condition cannot be matched in linear time: write both cases, with | between them"),
    (r"invalid perl operator", "groups are ( ), (?: ) and (?P<name> ), flags are i, m, s and U"),
    (r"bad repetition operator: .*\+$", "leave out the last +, the time is linear without it"),
    (r"invalid repetition size", "a repeat counts to 1000 at most, repeats inside it included: use *, + or smaller numbers"),
    (r"pattern too large", "it repeats too much: use *, + or smaller numbers in its braces"),
)  # fmt: skip


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    options.never_capture = True
    return options


_OPTIONS: Final = _options()


class PatternRefusedError(ValueError):
    """A pattern that RE2 does not take; the message says in one sentence what to do."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern; the function says whether a whole text matches it. `PatternRefusedError` for what cannot be matched."""
    if len(pattern) > _MAX_PATTERN:
        raise PatternRefusedError(f"the pattern is longer than {_MAX_PATTERN} characters")
    pattern = _NUMBERED.sub(lambda it: rf"\x{{{it[1] or it[2]}}}" if it[1] or it[2] else it[0], pattern)
    for found in _READ_OTHERWISE.finditer(pattern):
        if part := found["repeat"]:
            raise PatternRefusedError(
                f"the pattern is refused at '{part}': write {{0{part[1:]}, or \\{{ for the brace itself"
            )
        if found["group"]:
            raise PatternRefusedError(_refusal(f"invalid escape sequence: {found[0]}", found[0]))
    try:
        fullmatch = re2.compile(pattern, _OPTIONS).fullmatch
    except UnicodeEncodeError:
        raise PatternRefusedError("the pattern holds half of a surrogate pair: write the whole character") from None
    except re2.error as error:
        said = error.args[0].decode(errors="replace")
        raise PatternRefusedError(_refusal(said, said.partition(": ")[2])) from None

    def matches(text: str) -> bool:
        try:
            # Of a str the wrapper would count the characters before each end of the match, which takes longer than to match.
            return fullmatch(text.encode()) is not None
        except UnicodeEncodeError:  # half of a surrogate pair is no character, so no pattern takes it
            return False

    return matches


def _refusal(said: str, part: str) -> str:
    part = part[:40]
    shown = (f" at '{part}'" if part.isprintable() else f" at {part!r}") if part else ""
    for beginning, advice in _ADVICE:
        if re.match(beginning, said):
            return f"the pattern is refused{shown}: {advice}"
    return f"the pattern is not a valid regular expression (RE2): {said.partition(': ')[0]}{shown}"
