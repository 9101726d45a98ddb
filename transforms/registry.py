"""The one registry of transforms: names, parameters, and how each is built for one column.

A `Transform` is a name, a parameter model and a `build` function. Building checks everything that can be known before a row
comes - the parameter, the kind of value it is given, the field it leads to - and returns the two steps. `encode` is None
where the way back is not possible, and such a transform is refused in a mapping that applies.

A user's own transforms are entry points in the group `datong.transforms`, each a `Transform` object. Nothing that an operator
writes is ever evaluated as code or as a template.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal, NoReturn, TypeAlias

import pydantic

from transforms.kinds import PYTHON_CLASS, Kind, Step
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec, TransformSpec
from transforms.values import RefusedValueError, masked

ENTRY_POINT_GROUP: Final = "datong.transforms"


class TransformRefusedError(ValueError):
    """A transform that cannot be built here; the message says why in one sentence."""


class KindRefusedError(TransformRefusedError):
    """A transform that is given a kind of value that it is not for."""


class _NoDefault:
    """The type of `NO_DEFAULT`: NULL stays NULL."""


NO_DEFAULT: Final = _NoDefault()


# What a column's value is for besides being a value: the entity's key, what identifies a person, a column by which a person's row is found.
Use: TypeAlias = Literal["key", "identity", "match"]


def uses(spec: MappingSpec, column: ColumnSpec) -> frozenset[Use]:
    """What one column of a mapping is used for."""
    identity = spec.entity.identity
    found: list[tuple[Use, bool]] = [
        ("key", column.field in spec.entity.key),
        ("identity", identity is not None and column.field in identity.fields),
        ("match", column.column in spec.match),
    ]
    return frozenset(use for use, is_so in found if is_so)


@dataclass(frozen=True, slots=True)
class Context:
    """Where a transform is built: `target` is the field's kind, `time_zone` what the channel's wall clock means."""

    field: FieldSpec
    target: Kind
    time_zone: zoneinfo.ZoneInfo
    where: str
    uses: frozenset[Use] = frozenset()

    @property
    def is_key(self) -> bool:
        """Whether the field is part of its entity's key."""
        return "key" in self.uses

    def refuse(self, value: object, why: str) -> NoReturn:
        """Refuse one value, masked."""
        raise RefusedValueError(self.where, f"{masked(value)} {why}")


@dataclass(frozen=True, slots=True)
class Built:
    """A transform for one column: `decode` towards the field, `encode` back to the column; neither is given None.

    `null` is what NULL becomes (`NO_DEFAULT`: it stays NULL). `gives_null`: decode may answer None, for no value. `random`: the step
    that makes something else of one value each time, as encryption with a nonce does; it is refused on what finds a row or a person.
    `steady`: what an operator writes so that it does not, such as "say `deterministic: true`".
    """

    kind: Kind
    decode: Step
    encode: Step | None
    null: object = NO_DEFAULT
    gives_null: bool = False
    random: Literal["decode", "encode"] | None = None
    steady: str = "leave it out"


@dataclass(frozen=True, slots=True)
class Transform:
    """`parameter` is the type that a parameter must have, checked by pydantic; None takes no parameter at all.

    `example`: a good parameter as YAML has it, shown where one is wrong.
    """

    name: str
    summary: str
    parameter: Any
    build: Callable[[Any, Kind, Context], Built]
    invertible: bool = True
    example: str = ""


def require(kind: Kind, accepted: Iterable[Kind], name: str) -> None:
    """Refuse a transform on a kind of value that it is not for."""
    if kind not in (accepted := tuple(accepted)):
        raise KindRefusedError(f"transform {name} takes {' or '.join(accepted)}, and is given {kind}")


@cache
def builtin() -> dict[str, Transform]:
    from transforms.families import ALL

    return {transform.name: transform for transform in ALL}


@cache
def _own_entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def known(name: str) -> Transform:
    """Return the transform of that name; `TransformRefusedError` says what is wrong with the name."""
    if transform := builtin().get(name):
        return transform
    if point := _own_entry_points().get(name):
        return _load(point)
    names = [*builtin(), *_own_entry_points()]
    close = difflib.get_close_matches(name, names, 1)
    hint = f" - did you mean '{close[0]}'?" if close else f" (there are: {', '.join(sorted(names))})"
    raise TransformRefusedError(f"no transform '{name}'{hint}")


def _load(point: importlib.metadata.EntryPoint) -> Transform:
    try:  # a user's module may raise anything; it is told, with its name
        loaded = point.load()
    except Exception as error:
        raise TransformRefusedError(f"transform {point.name} ({point.value}) cannot be loaded: {error!r}") from error
    if not isinstance(loaded, Transform):
        raise TransformRefusedError(f"transform {point.name} ({point.value}) is not a transforms.Transform")
    return replace(loaded, name=point.name, build=_told(loaded))


def _told(own: Transform) -> Callable[[Any, Kind, Context], Built]:
    """Whatever a user's function raises for a value is a refusal that names the transform, never the value (I9)."""

    def build(parameter: Any, kind: Kind, context: Context) -> Built:
        made = own.build(parameter, kind, context)
        encode = None if made.encode is None else told(made.encode, kind, context)
        return replace(made, decode=told(made.decode, made.kind, context, made.gives_null), encode=encode)

    def told(step: Step, kind: Kind, context: Context, may_be_null: bool = False) -> Step:
        expected = PYTHON_CLASS[kind]

        def run(value: Any) -> Any:
            try:
                given = step(value)
            except RefusedValueError:
                raise
            except Exception as error:  # noqa: BLE001 - see the docstring
                raise RefusedValueError(context.where, f"the transform failed with {type(error).__name__}") from None
            if given.__class__ is expected or (given is None and may_be_null):
                return given
            raise RefusedValueError(context.where, f"the transform gave {type(given).__name__} instead of {kind}")

        return run

    return build


def checked_parameter(transform: Transform, parameter: object) -> object:
    """Validate a parameter as written; `TransformRefusedError` says what is wrong with it."""
    if transform.parameter is None:
        if parameter is not None:
            raise TransformRefusedError(f"transform {transform.name} takes no parameter")
        return None
    try:
        return _adapter(transform.parameter).validate_python(parameter)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
        example = f" - for example {{{transform.name}: {transform.example}}}" if transform.example else ""
        raise TransformRefusedError(f"transform {transform.name} {_said(found, parameter)}{example}") from None


def _said(found: Sequence[Any], parameter: object) -> str:
    """What is wrong with a parameter, without pydantic's own words for its alternatives and containers, and without the value (I9)."""
    if parameter is None:
        return "needs a parameter"
    first = found[0]
    kind, context = first["type"], first.get("ctx", {})
    inside = [part for part in first["loc"] if isinstance(part, str) and part != "[key]"]
    names = [part for part in inside if part.islower() and len(part) < 20]
    if {each["loc"][-1] for each in found if each["loc"]} >= {"bool", "int", "float", "str"}:
        said, names = "must be a plain value: a text, a number, true or false", names[:-1]
    elif kind == "missing":
        said = "is missing"
    elif kind == "extra_forbidden":
        said = "is not known"
    elif kind in ("too_short", "string_too_short"):
        least = context.get("min_length", 1)
        said = "must not be empty" if least == 1 else f"must have at least {least} characters"
    elif kind in ("dict_type", "model_type", "dataclass_type"):
        said = "must hold keys and values"
    elif kind == "string_type":
        said = "must be a text: put it in quotes"
    elif kind == "value_error":
        said = str(context["error"])
    else:
        said = str(first["msg"]).replace("Input should be", "must be")
    at = ".".join(names)
    return f"parameter{f' {at}' if at else ''}: {said}"


def _adapter(parameter: Any) -> pydantic.TypeAdapter[object]:
    """Made once: it costs more than all that is validated by it. By identity, since not every type can be hashed."""
    made = _adapters.get(id(parameter))
    if made is None:
        made = _adapters[id(parameter)] = parameter, pydantic.TypeAdapter(parameter)
    return made[1]


_adapters: Final[dict[int, tuple[object, pydantic.TypeAdapter[object]]]] = {}


def brings_to_one_form(spec: TransformSpec) -> bool:
    """Whether an operator asked for a step that changes a value once, on both ways alike: `lower: both`."""
    return spec.name in ("trim", "lower", "upper") and spec.parameter == "both"


def _needs_steady(random: Literal["decode", "encode"], context: Context) -> str | None:
    """Why equal values have to stay equal here, where they have to."""
    if context.is_key:
        return f"field {context.field.name} is in the entity's key"
    if random == "decode" and "identity" in context.uses:
        return f"field {context.field.name} identifies people"
    if random == "encode" and "match" in context.uses:
        return "the column is in `match`, by which rows are found"
    return None


def build(spec: TransformSpec, kind: Kind, context: Context) -> Built:
    """Build one step of a column's transforms."""
    transform = known(spec.name)
    built = transform.build(checked_parameter(transform, spec.parameter), kind, context)
    if built.random is not None and (used := _needs_steady(built.random, context)):
        raise TransformRefusedError(
            f"transform {transform.name}: {used}, and one value would become another one each time: {built.steady}"
        )
    return built if transform.invertible else replace(built, encode=None)
