"""Parked changes of one key as the fewest changes that end the same, for trying them again. Pure. Guards I1, I4.

A row that its target refused may have been mended where it came from: its text shortened, its number changed. That mend is a later change of
the key, so it waits behind the one that was refused, and one after the other they would never get in. In a retry all of them
become visible at once: a reader of the target sees only their end.

A delete is never dropped behind an insert (what is not mapped begins anew with the row), nor is an insert before a delete: whether the
row that a delete finds is the one which was never let in, only the database knows. A move keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from cdc.model import Change, Layout


@dataclass(frozen=True, slots=True)
class Attempt:
    """A change to write, and the places of the parked changes that it stands for."""

    refs: tuple[int, ...]
    layout: Layout
    change: Change
    keys: tuple[str, ...]


def fold(attempts: Iterable[Attempt], counters: Sequence[frozenset[str]]) -> list[Attempt]:
    """The same in the fewest attempts. `counters`: per parked change, its fields that add up."""
    folded: list[Attempt] = []
    last: dict[str, int] = {}  # per key, its last attempt
    for attempt in attempts:
        (key, *others) = attempt.keys
        place = last.get(key)
        one = None
        if place is not None and not others and len(folded[place].keys) == 1:
            one = _one(folded[place], attempt, counters[attempt.refs[0]])
        if one is not None and place is not None:
            folded[place] = one
            continue
        for each in attempt.keys:
            last[each] = len(folded)
        folded.append(attempt)
    return folded


def _one(first: Attempt, second: Attempt, counters: frozenset[str]) -> Attempt | None:
    """One change for two of a key, or None where they are to stay two."""
    a, b = first.change, second.change
    refs = first.refs + second.refs
    if a.op == "update" and b.op == "delete":
        return Attempt(refs, second.layout, b, second.keys)
    if b.op != "update" or a.op == "delete" or a.refused is not None or b.refused is not None or a.if_new or b.if_new:
        return None
    if a.key != b.key or first.layout.entity != second.layout.entity:
        return None
    fields = dict(zip(first.layout.fields, a.values, strict=True))
    before = dict(zip(first.layout.fields, a.before, strict=False))
    before_b = dict(zip(second.layout.fields, b.before, strict=False))
    if a.op == "insert" and not fields.keys() >= set(second.layout.fields):
        return None  # what the rest of the row holds, only the database knows
    if a.op == "update" and bool(before) != bool(before_b):
        return None
    for name, value in zip(second.layout.fields, b.values, strict=True):
        if name in counters:
            total = _total(fields.get(name, before_b.get(name)), before_b.get(name), value)
            if total is None:
                return None
            fields[name] = total
        else:
            fields[name] = value
        if a.op == "update" and before_b:
            before.setdefault(name, before_b[name])
    values, names = tuple(fields.values()), tuple(fields)
    change = structs.replace(a, layout=b.layout, values=values, before=tuple(before[name] for name in names if before))
    return Attempt(refs, Layout(second.layout.mapping, second.layout.entity, names), change, second.keys)


def _total(there: Any, before: Any, now: Any) -> int | None:
    """What a counter holds after a change by `now - before`; None where that is not a matter of whole numbers."""
    if type(there) is not int or type(before) is not int or type(now) is not int:
        return None
    return there + now - before
