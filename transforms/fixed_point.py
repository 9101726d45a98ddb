"""A two-way mapping must come to rest: what A writes to B and B back to A is, written to B again, what B has already.

    f_AB(f_BA(f_AB(x))) == f_AB(x)

Tried with generated values of every column and field, before anything runs: else two channels would change one value for ever,
each time somebody touches it. A value that some step refuses is parked when it comes, loudly, and so no concern here. Guards I3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from transforms import registry, samples
from transforms.compiled import ColumnCodec, CompiledMapping, Problem
from transforms.fields import field_codec, field_problems
from transforms.kinds import Kind, from_literal
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec
from transforms.stand_ins import stand_in
from transforms.values import RefusedValueError

_WRITTEN_TWICE: Final = 3  # values that show whether one value is always written alike


@dataclass(frozen=True, slots=True)
class Side:
    """One column of a field, in a mapping that captures and applies.

    `kind`: what such a column holds; `is_plain`: it is taken to hold the field's values as they are.
    """

    path: str
    codec: ColumnCodec
    kind: Kind
    column: ColumnSpec
    field: FieldSpec
    is_plain: bool = False

    def own_values(self) -> tuple[Any, ...]:
        """What columns of its kind hold, and what its transforms name."""
        return _of_column(self.kind, self.column)

    def values(self) -> tuple[Any, ...]:
        """The same, and what the field's values are in the column."""
        return (*_encoded(self.codec, self.field), *self.own_values())


def check_offline(specs: Iterable[MappingSpec]) -> list[Problem]:
    """Try all two-way mappings by their fields' types alone; columns without transforms are taken to be as wide as their field."""
    return _check(specs, _stand_in, alike=_same_offline)


def check_compiled(mappings: Iterable[CompiledMapping]) -> list[Problem]:
    """The same with the real columns of all channels."""
    known = {compiled.spec.name: compiled for compiled in mappings}

    def side(spec: MappingSpec, column: ColumnSpec, field: FieldSpec) -> Side | None:
        compiled = known[spec.name]
        codec = next(codec for codec in compiled.columns if codec.column == column.column)
        of_table = compiled.table.column(column.column)
        assert of_table is not None  # it was compiled
        return Side(_path(spec, column), codec, codec.kind, column, field)

    return _check((compiled.spec for compiled in known.values()), side, plain_too=True)


def _same_offline(members: Sequence[tuple[MappingSpec, ColumnSpec, FieldSpec]]) -> Hashable:
    """What decides about a field whose columns are not seen: large configurations say a few things very often. None: tried each time."""
    if any(step.name not in registry.builtin() for _, column, _ in members for step in column.transforms):
        return None
    name = members[0][2].name
    sides = tuple(
        (
            spec.channel,
            spec.time_zone,
            name in spec.entity.key,
            tuple((step.name, _by_value(step.parameter)) for step in column.transforms),
        )
        for spec, column, _ in members
    )
    return replace(members[0][2], name=""), sides


def _by_value(written: object) -> Hashable:
    """A parameter so that it equals what says the same: `1`, `1.0` and `true` are three words, and the order of a map counts."""
    if isinstance(written, Mapping):
        return dict, *((_by_value(key), _by_value(value)) for key, value in written.items())
    if isinstance(written, (list, tuple)):
        return list, *map(_by_value, written)
    assert isinstance(written, Hashable)  # YAML has nothing else
    return type(written), written


def _check(
    specs: Iterable[MappingSpec], side: Any, *, plain_too: bool = False, alike: Any = lambda _members: None
) -> list[Problem]:
    by_field: dict[tuple[str, str], list[tuple[MappingSpec, ColumnSpec, FieldSpec]]] = {}
    for spec in specs:
        for column in spec.columns:
            field = spec.entity.field(column.field)
            if (
                spec.captures
                and spec.applies
                and field is not None
                and field.type != "reference"
                and not field_problems(field)
            ):
                by_field.setdefault((spec.entity.name, field.name), []).append((spec, column, field))
    problems = []
    at_rest: set[Hashable] = set()
    for members in by_field.values():
        channels = {spec.channel for spec, _, _ in members}
        if len(channels) > 1 and (plain_too or any(column.transforms for _, column, _ in members)):
            name = alike(members)
            if name in at_rest:
                continue
            sides = [made for spec, column, field in members if (made := side(spec, column, field)) is not None]
            found = list(unrest(members[0][2], sides))
            problems += found
            if name is not None and not found:
                at_rest.add(name)
    return problems


def unrest(field: FieldSpec, sides: Sequence[Side]) -> Iterator[Problem]:
    """The first value, if any, that two columns of one field do not agree about.

    A column that gives all of the field's values back, and all that its own values become, bends none: then no pair is tried.
    """
    tried = [side for side in sides if not side.is_plain]
    wires = list(dict.fromkeys(map(_hashable, [*_field_wires(field), *(w for side in tried for w in _decoded(side))])))
    restless = [side for side in tried if not _gives_back(side.codec, wires)]
    if not restless:
        return
    for one in sides:
        for other in sides:
            if one is not other and (one in restless or other in restless):
                problem = _pair(field, one, other)
                if problem is not None and (random := next((side for side in (one, other) if side.codec.random), None)):
                    problem = _goes_round(field, random, other if random is one else one)
                if problem is not None:
                    yield problem
                    return


def _goes_round(field: FieldSpec, random: Side, other: Side) -> Problem:
    """A field that is made anew each time its row is captured: no value of it shows why."""
    return Problem(
        random.path,
        f"does not come to rest with {other.path} (field {field.name}), so it would go round for ever: {random.codec.random}, or give"
        " one mapping direction capture or apply",
    )


def _pair(field: FieldSpec, one: Side, other: Side) -> Problem | None:
    a, b = one.codec, other.codec
    for value in one.values():
        try:
            first = b.encode(a.decode(value))
            back = a.encode(b.decode(first))
            second = b.encode(a.decode(back))
            if _same(b, first, second):
                continue
        except RefusedValueError:
            continue
        else:
            return Problem(
                other.path,
                f"does not come to rest with {one.path}: {value!r} there is {first!r} here, which is {back!r} there and then"
                f" {second!r} here (field {field.name}); transforms of a two-way mapping must undo each other: mend them, or give"
                " one mapping direction capture or apply",
            )
    return None


def _same(codec: ColumnCodec, first: Any, second: Any) -> bool:
    """Whether a column holds one value twice. Of one that is encrypted to another text each time it is what the texts mean."""
    if second.__class__ is first.__class__ and second == first:
        return True
    wire = codec.decode(first)
    is_random = wire is not None and codec.encode(wire) != codec.encode(wire)
    return bool(is_random and codec.decode(second) == wire == codec.decode(first))


def _gives_back(codec: ColumnCodec, wires: Sequence[Any]) -> bool:
    twice = _WRITTEN_TWICE
    for hashable in wires:
        wire = _plain(hashable)
        try:
            written = codec.encode(wire)
            if codec.decode(written) != wire or (twice and wire is not None and codec.encode(wire) != written):
                return False
        except RefusedValueError:
            continue
        twice -= bool(twice)
    return True


@lru_cache(maxsize=64)
def _field_wires(field: FieldSpec) -> tuple[Any, ...]:
    """Values of a field as they travel."""
    return tuple(_wires(field))


def _wires(field: FieldSpec) -> Iterator[Any]:
    codec = field_codec(field)
    for value in samples.of_field(field, codec.kind):
        try:
            for check in codec.checks:
                value = check(value)
            yield codec.to_wire(value) if codec.to_wire is not None else value
        except RefusedValueError:
            continue


def _decoded(side: Side) -> Iterator[Any]:
    for value in side.own_values():
        try:
            yield side.codec.decode(value)
        except RefusedValueError:
            continue


def _hashable(wire: Any) -> Any:
    return ("list", *wire) if isinstance(wire, list) else wire


def _plain(wire: Any) -> Any:
    return list(wire[1:]) if isinstance(wire, tuple) else wire


def _encoded(codec: ColumnCodec, field: FieldSpec) -> Iterator[Any]:
    for wire in _field_wires(field):
        try:
            yield codec.encode(wire)
        except RefusedValueError:
            continue


def _of_column(kind: Kind, column: ColumnSpec) -> tuple[Any, ...]:
    values = samples.of_kind(kind)
    for step in column.transforms:
        if isinstance(step.parameter, dict) and step.name == "enum":
            for literal in step.parameter:
                with contextlib.suppress(ValueError):
                    values.append(from_literal(kind, literal))
    return tuple(values)


def _stand_in(spec: MappingSpec, column: ColumnSpec, field: FieldSpec) -> Side | None:
    made = stand_in(spec, column, field)
    if made is None:
        return None
    codec, kind = made
    return Side(_path(spec, column), codec, kind, column, field, is_plain=not column.transforms)


def _path(spec: MappingSpec, column: ColumnSpec) -> str:
    return f"mappings.{spec.name}.columns.{column.column}"
