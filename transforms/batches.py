"""The same steps over many values at once: a column of a batch goes in as a list and comes out as a list. Pure. Guards I6.

An author of a transform writes one value at a time. What runs in the hot path is made of it here: the classes of a whole column
are looked at once, a step that gives values back as they are runs as one question to all of them, everything else as one
`map`. A batch that holds anything unusual raises, as the single value would; its caller then looks for the row, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from transforms.kinds import Step

Many: TypeAlias = Callable[[list[Any]], list[Any]]  # of values that are never None
_NONE: Final = type(None)


class Vectored:
    """A step with a form for many values; called, it is the step for one."""

    __slots__ = ("many", "one")

    def __init__(self, one: Step, many: Many) -> None:
        self.one = one
        self.many = many

    def __call__(self, value: Any) -> Any:
        return self.one(value)


def gate(one: Step, fine: Callable[[list[Any]], bool]) -> Vectored:
    """A step that gives most values back as they are; `fine` says of many values that it would do so with all of them.

    Where it says no, the values go one by one, so it may be too strict but never too mild.
    """

    def many(values: list[Any]) -> list[Any]:
        return values if fine(values) else list(map(one, values))

    return Vectored(one, many)


def single(step: Step) -> Step:
    """The step for one value, without the way through `Vectored`."""
    return step.one if isinstance(step, Vectored) else step


def many(steps: Iterable[Step]) -> Many | None:
    """Join steps over lists; None for none of them."""
    joined = [step.many if isinstance(step, Vectored) else _mapped(step) for step in steps]
    if not joined:
        return None
    if len(joined) == 1:
        return joined[0]

    def run(values: list[Any]) -> list[Any]:
        for step in joined:
            values = step(values)
        return values

    return run


def _mapped(step: Step) -> Many:
    return lambda values: list(map(step, values))


def over_column(
    accepted: type, run: Many | None, one: Callable[[Any], Any], *, null: object, refuses_null: bool
) -> Many:
    """A codec over a column's values, NULLs among them. `accepted`: the one class that `run` is for.

    A value of another class goes the way of `one`, which says what is wrong with it. `null` is what NULL becomes.
    """
    dense = {accepted}
    sparse = {accepted, _NONE}

    def column(values: list[Any]) -> list[Any]:
        classes = set(map(type, values))
        if classes == dense:
            return values if run is None else run(values)
        if refuses_null or not classes <= sparse:
            return list(map(one, values))
        if run is None:
            return values if null is None else [null if value is None else value for value in values]
        made = iter(run([value for value in values if value is not None]) if accepted in classes else ())
        return [null if value is None else next(made) for value in values]

    return column


def over_wire(run: Many | None, one: Callable[[Any], Any], *, refuses_null: bool) -> Many:
    """A codec over a field's values as they came, NULLs among them; the steps see their classes themselves."""

    def column(values: list[Any]) -> list[Any]:
        if None not in values:
            return values if run is None else run(values)
        if refuses_null:
            return list(map(one, values))
        there = [value for value in values if value is not None]
        made = iter(run(there) if there and run is not None else there)
        return [None if value is None else next(made) for value in values]

    return column


def shorter(limit: int) -> Callable[[list[Any]], bool]:
    """None of these texts, bytes or lists is longer than `limit`."""
    return lambda values: max(map(len, values)) <= limit


def between(least: Any, most: Any) -> Callable[[list[Any]], bool]:
    """All of these lie within the bounds; None leaves one open. Not for floats: NaN is neither within nor without."""

    def fine(values: list[Any]) -> bool:
        return (least is None or min(values) >= least) and (most is None or max(values) <= most)

    return fine


def ascii_only(values: list[str]) -> bool:
    return "".join(values).isascii()
