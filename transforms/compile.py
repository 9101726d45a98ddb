"""Compile a mapping against a table's real columns, once: everything that can be wrong is said here, all at once.

    channel value -> column.decode -> transforms in order -> conversion -> field check -> wire
    channel value <- column.encode <- transforms reversed <- conversion <- field check <- wire

The result runs once per value in the hot path, so steps that do nothing are dropped and the rest is joined beforehand. A
column's NULL passes all transforms but `default`. ABSENT is never given to a codec.
"""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypedDict

from transforms import registry
from transforms.batches import many, over_column, over_wire
from transforms.capacity import ANOTHER_WORD, Misfit, fits
from transforms.columns import ColumnEnds, ColumnRefusedError, column_ends
from transforms.compiled import ColumnCodec, CompiledMapping, MappingRefusedError, Problem
from transforms.constants import Constant, constants, opposite
from transforms.conversions import conversion
from transforms.fields import FieldCodec, compose, field_codec
from transforms.kinds import PYTHON_CLASS, Kind, Step
from transforms.local_keys import local_field
from transforms.registry import NO_DEFAULT, Context, TransformRefusedError, Use
from transforms.special_columns import column_conversion
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec
from transforms.tables import Column, Table
from transforms.values import RefusedValueError, masked

# What an operator forgot, most likely, where a column's kind does not become the field's by itself.
_MISSING: Final[Mapping[tuple[Kind, Kind], str]] = {
    ("text", "integer"): "integer",
    ("text", "decimal"): "decimal",
    ("text", "float"): "decimal",
    ("text", "boolean"): "boolean, such as {boolean: {true: Y, false: N}}",
    ("integer", "instant"): "epoch, such as {epoch: ms}",
    ("integer", "datetime"): "epoch, such as {epoch: ms}",
    ("decimal", "instant"): "epoch, such as {epoch: s}",
    ("integer", "date"): "epoch to a field of type instant, or make the column a date",
    ("boolean", "text"): "enum, such as {enum: {true: Y, false: N}}",
}


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ` - did you mean 'x'?` for the closest of `names`, or nothing."""
    close = difflib.get_close_matches(name, list(names), 1)
    return f" - did you mean '{close[0]}'?" if close else ""


def compile_mapping(spec: MappingSpec, table: Table, *, capture: bool, apply: bool) -> CompiledMapping:
    """Compile the ways that are asked for; `MappingRefusedError` carries every problem with its path."""
    del capture  # decoding is compiled in any case: it is what proves that a column and its field fit
    path = f"mappings.{spec.name}"
    problems: list[Problem] = []
    zone = zoneinfo.ZoneInfo(spec.time_zone)
    codecs: dict[str, ColumnCodec] = {}
    for column_spec in spec.columns:
        at = f"{path}.columns.{column_spec.column}"
        try:
            codecs[column_spec.column] = _codec(spec, column_spec, table, zone, apply)
        except (ColumnRefusedError, TransformRefusedError) as error:
            problems.append(Problem(at, str(error)))
    problems.extend(Problem(f"{path}.key", message) for message in _key_problems(spec, table, apply))
    key: tuple[ColumnCodec, ...] = ()
    if spec.entity.identity is not None and not problems:
        try:
            key = tuple(local_codec(table, column, zone) for column in spec.key or table.primary_key)
        except ColumnRefusedError as error:
            problems.append(Problem(f"{path}.key", str(error)))
    rules = _rules(spec, table, path, problems, apply=apply)
    if problems:
        raise MappingRefusedError(problems)
    if spec.entity.identity is None:
        key = tuple(codecs[column] for column in spec.key)
    return CompiledMapping(spec, table, tuple(codecs[column_spec.column] for column_spec in spec.columns), key, **rules)


def local_codec(table: Table, name: str, zone: zoneinfo.ZoneInfo) -> ColumnCodec:
    """The codec of a column of a person's own key: no transforms, no field."""
    column = table.column(name)
    if column is None:
        raise ColumnRefusedError(
            f"no column '{name}' in table {table}{did_you_mean(name, (c.name for c in table.columns))}"
        )
    field = local_field(name, column, required=True)
    uses: frozenset[Use] = frozenset({"key"})
    return _join(
        ColumnSpec(name, name), column, column_ends(column), field, field_codec(field), zone, apply=False, uses=uses
    )


class _Rules(TypedDict):
    """See `CompiledMapping`."""

    where: tuple[Constant, ...]
    deleted: tuple[Constant, ...]
    on_insert: tuple[Constant, ...]
    alive: tuple[Constant, ...]


def _rules(spec: MappingSpec, table: Table, path: str, problems: list[Problem], *, apply: bool) -> _Rules:
    """The constants of a mapping that the asked ways need; what is wrong with them joins the problems."""
    mapped = {column.column for column in spec.columns}
    found: dict[str, dict[str, Constant]] = {"where": {}, "deleted": {}, "on_insert": {}}
    wanted = {
        "where": ("where", spec.where, apply),
        "deleted": ("on_delete.set", spec.deleted, apply),
        "on_insert": ("on_insert", spec.on_insert if apply else {}, True),
    }
    for name, (at, written, writes) in wanted.items():
        made, wrong = constants(written, table, writes=writes)
        found[name] = {constant.column: constant for constant in made}
        problems.extend(Problem(f"{path}.{at}.{column}", message) for column, message in wrong)
    alive: dict[str, Constant] = {}
    for name, constant in found["deleted"].items():
        column = table.column(name)
        if not apply or name in mapped or column is None:
            continue
        of_life = found["where"].get(name) or found["on_insert"].pop(name, None) or opposite(constant, column)
        if of_life is None:
            problems.append(
                Problem(
                    f"{path}.on_delete.set.{name}",
                    f"what column {name} holds for a row that lives is not known: say it in on_insert",
                )
            )
        else:
            alive[name] = of_life
    where, deleted, on_insert = (tuple(found[name].values()) for name in ("where", "deleted", "on_insert"))
    return _Rules(where=where, deleted=deleted, on_insert=on_insert, alive=tuple(alive.values()))


def _key_problems(spec: MappingSpec, table: Table, apply: bool) -> list[str]:
    if spec.entity.identity is not None:
        key = spec.key or table.primary_key
        unique = [set(names) for names in (table.primary_key, *table.unique_keys) if names]
        if not key:
            return [f"{table} has no primary key: name the unique columns that find a row"]
        if apply and unique and not any(names <= set(key) for names in unique):
            return [f"columns {', '.join(key)} do not identify a row of {table}"]
        return []
    mapped = {column_spec.column for column_spec in spec.columns}
    missing = [column for column in spec.key if column not in mapped]
    if missing:
        return [f"key column {column} is not mapped" for column in missing]
    if not spec.key:
        return ["no column finds a row: map the entity's key fields"]
    # A log knows the primary key at most, or, on PostgreSQL, the replica identity: only a catalog's word counts.
    unique_keys = [key for key in (table.primary_key, *table.unique_keys) if key]
    finding = {*spec.key, *(column for column, value in spec.where.items() if value is not None)}
    if apply and unique_keys and not any(set(key) <= finding for key in unique_keys):
        return [
            f"columns {', '.join(spec.key)} do not identify a row of {table}: make them its primary key or a unique key"
        ]
    return []


def _codec(
    spec: MappingSpec, column_spec: ColumnSpec, table: Table, zone: zoneinfo.ZoneInfo, apply: bool
) -> ColumnCodec:
    column = table.column(column_spec.column)
    if column is None:
        hint = did_you_mean(column_spec.column, (c.name for c in table.columns))
        raise ColumnRefusedError(f"no column '{column_spec.column}' in table {table}{hint}")
    return column_codec(spec, column_spec, column, zone, apply=apply)


def column_codec(
    spec: MappingSpec, column_spec: ColumnSpec, column: Column, zone: zoneinfo.ZoneInfo, *, apply: bool
) -> ColumnCodec:
    """Compile one column. Raises ColumnRefusedError and TransformRefusedError."""
    field = spec.entity.field(column_spec.field)
    if field is None:
        hint = did_you_mean(column_spec.field, (f.name for f in spec.entity.fields))
        raise ColumnRefusedError(f"no field '{column_spec.field}' in entity '{spec.entity.name}'{hint}")
    if apply and column.generated:
        raise ColumnRefusedError(f"column {column.name} is computed by the server and cannot be written")
    if field.type == "reference" and column_spec.transforms:
        raise ColumnRefusedError(
            f"field {field.name}: a reference is translated by identity alone: it takes no transforms"
        )
    try:
        ends = column_ends(column)
        if field.type == "reference":
            field = local_field(field.name, column, required=field.required)
        codec = field_codec(field)
    except ColumnRefusedError as error:
        raise ColumnRefusedError(f"column {column.name}: {error}") from None
    except ValueError as error:
        raise ColumnRefusedError(f"field {field.name}: {error}") from None
    return _join(column_spec, column, ends, field, codec, zone, apply, registry.uses(spec, column_spec))


def _join(
    column_spec: ColumnSpec,
    column: Column,
    ends: ColumnEnds,
    field: FieldSpec,
    codec: FieldCodec,
    zone: zoneinfo.ZoneInfo,
    apply: bool,
    uses: frozenset[Use],
) -> ColumnCodec:
    forth: list[Step | None] = [ends.own_form, *ends.reading]
    back: list[Step | None] = [*reversed(ends.writing)]
    kind = ends.kind
    default: object = NO_DEFAULT
    default_at = 0
    one_way: str | None = None
    random: str | None = None
    may_be_null = False
    for transform in column_spec.transforms:
        context = Context(field, codec.kind, zone, f"{ends.where}, transform {transform.name}", uses)
        built = registry.build(transform, kind, context)
        if built.encode is None:
            one_way = one_way or transform.name
        if built.random == "decode":
            random = f"transform {transform.name} makes something else of the same value each time: {built.steady}"
        if built.null is not NO_DEFAULT:
            default, default_at = (built.null, len(forth)) if default is NO_DEFAULT else (default, default_at)
        else:
            forth.append(built.decode if not may_be_null else _past_null(built.decode))
            back.append(built.encode)
        may_be_null = may_be_null or built.gives_null
        kind = built.kind
    plain = all(step.name == "default" for step in column_spec.transforms)
    if apply and plain:
        misfit = fits(field, column.type)
        if misfit is not None:
            raise ColumnRefusedError(misfit.told(column.name, column.type, field))
    if field.merge is not None:
        _check_counter(column_spec, column, ends, field)
    if apply and one_way is not None:
        raise TransformRefusedError(f"transform {one_way} has no way back, and the mapping applies: {way_out(one_way)}")
    joint = column_conversion(column.type, kind, codec.kind, ends.where) if plain else None
    joint = joint or conversion(kind, codec.kind, ends.where, zone)
    if joint is None:
        hint = _MISSING.get((kind, codec.kind)) if plain else None
        raise ColumnRefusedError(
            f"column {column.name} {column.type} cannot hold field {field.name}: {field.type}"
            + (f" (after its transforms it is {kind})" if column_spec.transforms else "")
            + (f" - add the transform {hint}" if hint else "")
        )
    rest = [joint.forth, *codec.checks, codec.to_wire]
    forth += [_past_null(step) if may_be_null and step is not None else step for step in rest]
    if may_be_null and field.required:
        forth.append(_some_value(field))
    back += [joint.back, *reversed(codec.checks), codec.from_wire]
    decode, of_null = _decoder(forth, field, default, default_at)
    decode_many = over_column(
        PYTHON_CLASS[ends.kind],
        many([step for step in forth[1:] if step is not None]),  # the column's class is looked at as a whole
        decode,
        null=of_null,
        refuses_null=of_null is None and field.required,
    )
    if one_way is not None:
        no_way = _no_way_back(ends.where, one_way)
        return ColumnCodec(column.name, field.name, ends.kind, decode, no_way, decode_many, no_way, random)
    encode, refuses_null = _encoder(back, ends.where, column, field, default)
    if apply and plain and field.type == "enum":
        _check_words(column, field, encode)
    # The wire form's class is the first step's to see; a field's values are never of two classes, but for huge integers.
    encode_many = over_wire(
        many([step for step in reversed(back) if step is not None]), encode, refuses_null=refuses_null
    )
    return ColumnCodec(column.name, field.name, ends.kind, decode, encode, decode_many, encode_many, random)


def way_out(transform: str) -> str:
    """What to do about a transform that has no way back."""
    if transform in ("trim", "lower", "upper"):
        return f"use direction capture, or {{{transform}: both}} to write that form here too"
    return "use direction capture"


def _check_words(column: Column, field: FieldSpec, encode: Step) -> None:
    """All that an enum may be is known: a column that cannot hold one of its values is told now."""
    for word in field.values or ():
        try:
            encode(word)
        except RefusedValueError as error:
            why = error.reason.removeprefix(f"{masked(word)} ")
            misfit = Misfit(f"enum with {word}, which {why}", ANOTHER_WORD)
            raise ColumnRefusedError(misfit.told(column.name, column.type, field)) from None


def _check_counter(column_spec: ColumnSpec, column: Column, ends: ColumnEnds, field: FieldSpec) -> None:
    """A counter's difference is what is added to the column, so the column must be a number that is the field's, or so many of it."""
    if ends.kind not in ("integer", "decimal") or column.type.name in ("year", "bit"):
        raise ColumnRefusedError(
            f"column {column.name} {column.type} cannot be added to: field {field.name} is a counter (merge: sum)"
        )
    for transform in column_spec.transforms:
        if transform.name not in ("scale", "integer", "default"):
            raise TransformRefusedError(
                f"transform {transform.name} does not keep sums, and field {field.name} is a counter"
            )


def _past_null(step: Step) -> Step:
    return lambda value: None if value is None else step(value)


def _some_value(field: FieldSpec) -> Step:
    def step(value: Any) -> Any:
        if value is None:
            raise RefusedValueError(f"field {field.name}", "is required and the transforms give no value")
        return value

    return step


def _decoder(
    steps: list[Step | None], field: FieldSpec, default: object, default_at: int
) -> tuple[Callable[[Any], Any], object]:
    """The decoder, and what NULL becomes."""
    run = compose([step for step in steps if step is not None])
    assert run is not None  # a column's own decode is always there
    if default is not NO_DEFAULT:
        after = compose([step for step in steps[default_at:] if step is not None])
        try:
            of_null = default if after is None else after(default)
        except RefusedValueError as error:
            raise TransformRefusedError(f"transform default: {error.reason}") from None
        return (lambda value: of_null if value is None else run(value)), of_null
    if field.required:

        def required(value: Any) -> Any:
            if value is None:
                raise RefusedValueError(f"field {field.name}", "is required and the column is NULL")
            return run(value)

        return required, None
    return (lambda value: None if value is None else run(value)), None


def _encoder(
    steps: list[Step | None], where: str, column: Column, field: FieldSpec, default: object
) -> tuple[Callable[[Any], Any], bool]:
    """The encoder, and whether it refuses a field without a value."""
    run = compose([step for step in reversed(steps) if step is not None])
    assert run is not None  # a wire form is always checked
    refusal = None
    if field.required:
        refusal = f"field {field.name} is required and has no value"
    elif default is not NO_DEFAULT:
        refusal = "the field has no value, and NULL in this column means its default"
    elif not column.nullable:
        refusal = "the column is NOT NULL and the field has no value"
    if refusal is None:
        return (lambda value: None if value is None else run(value)), False

    def encode(value: Any) -> Any:
        if value is None:
            raise RefusedValueError(where, refusal)
        return run(value)

    return encode, True


def _no_way_back(where: str, transform: str) -> Callable[[Any], NoReturn]:
    def encode(_value: object) -> NoReturn:
        raise RefusedValueError(where, f"transform {transform} has no way back")

    return encode
