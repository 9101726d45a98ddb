r"""Patterns that a backtracking matcher could run away with, matched in time that grows with the text alone. Guards I6, N7.

An e-mail address or a URL is usually declared with repeats whose characters overlap: `[^@]+@[^@]+\.[^@]+`. Python's own matcher
may try every way through such a pattern. Here all ways are followed at once (Thompson's construction, its sets of states kept as
they are met), so a text costs at most its length times the pattern's states. What one character is, is still Python's word:
every class is compiled by `re` itself. What is no regular language (back references, look-around, atomic groups) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

MOST_STATES: Final = 1_000
_MOST_KEPT: Final = 20_000  # steps that are remembered, of all texts together
_ONE_CHARACTER: Final = (constants.LITERAL, constants.NOT_LITERAL, constants.ANY, constants.IN)
_BEGIN: Final = (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING)
_END: Final = (constants.AT_END, constants.AT_END_STRING)


class NotLinearError(ValueError):
    """The message says in one sentence what this matcher does not do."""


@dataclass(slots=True)
class _State:
    """`takes`: what one character must be to go on to `then`; None where nothing is taken. `at`: the place in the text it asks for."""

    takes: re.Pattern[str] | None = None
    at: str | None = None  # "begin", "end", "accept"
    then: list[int] = field(default_factory=list)
    is_dollar: bool = False  # `$`, which would also stand before a last line break


@dataclass(slots=True)
class _Met:
    """A set of states that some text has led to, and where each character leads from there."""

    states: frozenset[int]
    accepts: bool
    steps: dict[str, _Met] = field(default_factory=dict)


class LinearPattern:
    """`fullmatch` alone, answering True or None."""

    def __init__(self, parsed: Any) -> None:
        self._states: list[_State] = []
        self._classes: dict[str, re.Pattern[str]] = {}
        start, end = self._sequence(parsed, parsed.state.flags, parsed.state)
        self._add(_State(at="accept"))
        self._states[end].then.append(len(self._states) - 1)
        self._refuse_line_breaks()
        self._met: dict[frozenset[int], _Met] = {}
        self._kept = 0
        self._first = self._meet(self._closed([start], begin=True))

    def fullmatch(self, text: str) -> bool | None:
        met = self._first
        for character in text:
            following = met.steps.get(character)
            if following is None:
                following = self._step(met, character)
            met = following
            if not met.states:
                return None
        return True if met.accepts else None

    def _step(self, met: _Met, character: str) -> _Met:
        if self._kept >= _MOST_KEPT:
            self._kept = 0
            for known in (*self._met.values(), self._first):
                known.steps.clear()
            self._met.clear()
        reached = []
        for number in met.states:
            state = self._states[number]
            if state.takes is not None and state.takes.fullmatch(character):
                reached += state.then
        following = met.steps[character] = self._meet(self._closed(reached, begin=False))
        self._kept += 1
        return following

    def _meet(self, states: frozenset[int]) -> _Met:
        met = self._met.get(states)
        if met is None:
            at_end = self._closed(states, begin=False, end=True)
            met = self._met[states] = _Met(states, any(self._states[n].at == "accept" for n in at_end))
        return met

    def _closed(self, numbers: Iterable[int], *, begin: bool, end: bool = False) -> frozenset[int]:
        """The states that are reached without a character. Those that wait for the text's end stay among them."""
        seen = set(numbers)
        waiting = list(seen)
        while waiting:
            state = self._states[waiting.pop()]
            if state.takes is not None or (state.at == "begin" and not begin) or (state.at == "end" and not end):
                continue
            for number in state.then:
                if number not in seen:
                    seen.add(number)
                    waiting.append(number)
        return frozenset(
            n for n in seen if self._states[n].takes is not None or self._states[n].at in ("end", "accept")
        )

    def _add(self, state: _State) -> int:
        if len(self._states) >= MOST_STATES:
            raise NotLinearError("the pattern repeats too much: use smaller numbers in its braces")
        self._states.append(state)
        return len(self._states) - 1

    def _sequence(self, sequence: Any, flags: int, of: Any) -> tuple[int, int]:
        start = end = self._add(_State())
        for node in sequence:
            first, last = self._node(node, flags, of)
            self._states[end].then.append(first)
            end = last
        return start, end

    def _node(self, node: Any, flags: int, of: Any) -> tuple[int, int]:
        operator, argument = node
        if operator in _ONE_CHARACTER:
            return self._one(node, flags, of)
        if operator is constants.AT and argument in (*_BEGIN, *_END) and not flags & re.MULTILINE:
            at = "begin" if argument in _BEGIN else "end"
            number = self._add(_State(at=at, is_dollar=argument is constants.AT_END))
            last = self._add(_State())
            self._states[number].then.append(last)
            return number, last
        if operator is constants.SUBPATTERN:
            _, more, fewer, body = argument
            return self._sequence(body, (flags | more) & ~fewer, of)
        if operator is constants.BRANCH:
            return self._branch(argument[1], flags, of)
        if operator in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            least, most, body = argument
            return self._repeat(least, most, body, flags, of)
        raise NotLinearError(
            "the pattern uses a back reference, look-around, condition, word boundary or atomic group: these cannot be bounded"
        )

    def _one(self, node: Any, flags: int, of: Any) -> tuple[int, int]:
        name = f"{flags} {node!r}"
        takes = self._classes.get(name)
        if takes is None:
            takes = self._classes[name] = compiler.compile(parser.SubPattern(of, [node]), flags)
        number, last = self._add(_State(takes)), self._add(_State())
        self._states[number].then.append(last)
        return number, last

    def _branch(self, branches: Any, flags: int, of: Any) -> tuple[int, int]:
        start, end = self._add(_State()), self._add(_State())
        for branch in branches:
            first, last = self._sequence(branch, flags, of)
            self._states[start].then.append(first)
            self._states[last].then.append(end)
        return start, end

    def _repeat(self, least: Any, most: Any, body: Any, flags: int, of: Any) -> tuple[int, int]:
        start = end = self._add(_State())
        for _ in range(int(least)):
            first, last = self._sequence(body, flags, of)
            self._states[end].then.append(first)
            end = last
        done = self._add(_State())
        if most is constants.MAXREPEAT:
            first, last = self._sequence(body, flags, of)
            self._states[end].then += [first, done]
            self._states[last].then += [first, done]
            return start, done
        for _ in range(int(most) - int(least)):
            first, last = self._sequence(body, flags, of)
            self._states[end].then += [first, done]
            end = last
        self._states[end].then.append(done)
        return start, done

    def _refuse_line_breaks(self) -> None:
        """`$` also stands before a line break at the very end, and then more would have to follow it."""
        for number, state in enumerate(self._states):
            if state.is_dollar and any(self._states[n].takes for n in self._closed([number], begin=True, end=True)):
                raise NotLinearError("the pattern has $ before its end: leave it out, the whole text must match anyway")
