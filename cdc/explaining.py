"""What a mapping makes of a table's columns, both ways, as lines for an operator. Pure; the catalogs are given.

Guards I6 before anything runs: what will be refused or parked is named here, with what to declare instead. No key of a transform shows.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transforms import registry
from transforms.columns import ColumnRefusedError, column_ends
from transforms.compile import column_codec, compile_mapping
from transforms.compiled import CompiledMapping, MappingRefusedError
from transforms.fixed_point import check_compiled
from transforms.kinds import kind_of_field
from transforms.narrowing import narrower
from transforms.promises import Source, unkept
from transforms.registry import TransformRefusedError
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec, TransformSpec
from transforms.tables import Column, Table

HEADS = ("column", "type there", "transforms", "field", "type", "captured", "applied", "lossy")
_SECRET = frozenset({"hash", "encrypt"})
_QUOTED = frozenset("{}[],:#\"'&*!|>%@`\\\n\t")  # what a text in YAML's short form cannot hold as it is
_MOST_WORDS = 12


@dataclass(slots=True)
class Explanation:
    """`rows` fit HEADS; `rules` are the mapping's conditions; `problems` are what refuses it."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def explain(spec: MappingSpec, table: Table, others: Sequence[Source]) -> Explanation:
    """`others`: the mappings of the same entity in other channels, with their tables where those could be seen."""
    made = Explanation()
    zone = zoneinfo.ZoneInfo(spec.time_zone)
    sources = [(other, of) for other, of in others if other.captures and of is not None]
    too_narrow = {problem.path: problem.message for problem in unkept(spec, table, others)}
    for column in spec.columns:
        refused = too_narrow.get(f"mappings.{spec.name}.columns.{column.column}")
        made.rows.append(_row(spec, column, table, zone, sources, refused))
    made.rules += _rules(spec, table)
    compiled = _compiled(spec, table, made.problems)
    made.problems += [f"{path}: {message}" for path, message in too_narrow.items()]
    if compiled is not None:
        ignored: list[str] = []
        known = [found for other, of in others if of is not None and (found := _compiled(other, of, ignored))]
        made.problems += map(str, check_compiled([compiled, *known]))
    return made


def _compiled(spec: MappingSpec, table: Table, problems: list[str]) -> CompiledMapping | None:
    try:
        return compile_mapping(spec, table, capture=spec.captures, apply=spec.applies)
    except MappingRefusedError as refused:
        problems += map(str, refused.problems)
        return None


def _row(
    spec: MappingSpec,
    column_spec: ColumnSpec,
    table: Table,
    zone: zoneinfo.ZoneInfo,
    sources: Sequence[tuple[MappingSpec, Table]],
    refused: str | None,
) -> tuple[str, ...]:
    column = table.column(column_spec.column)
    target = spec.entity.field(column_spec.field)
    assert target is not None  # the configuration was checked
    name = column_spec.column + (" (key)" if column_spec.column in spec.key else "")
    there = "-" if column is None else f"{column.type}{'' if column.nullable else ' not null'}"
    steps = ", ".join(_step(step) for step in column_spec.transforms) or "-"
    what = target.type + (f" {_constraints(target)}" if _constraints(target) else "")
    return (
        name, there, steps, target.name, what,
        _way(spec, column_spec, column, zone, wanted=spec.captures, apply=False),
        f"REFUSED: {refused}" if refused else _way(spec, column_spec, column, zone, wanted=spec.applies, apply=True),
        "-" if column is None or refused else _lossy(spec, column_spec, column, sources),
    )  # fmt: skip


def _step(step: TransformSpec) -> str:
    if step.parameter is None:
        return step.name
    if step.name in _SECRET or step.name not in registry.builtin():
        return f"{step.name}: ..."
    return f"{step.name}: {_as_yaml(step.parameter)}"


def _as_yaml(value: object) -> str:
    """A parameter as an operator writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_as_yaml(key)}: {_as_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    if isinstance(value, str):
        return value if value and value == value.strip() and not _QUOTED & set(value) else f'"{value}"'
    return _constant(value)


def _constraints(target: FieldSpec) -> str:
    names = ("required", "max_length", "minimum", "maximum", "pattern", "precision", "scale", "merge", "to")
    told = []
    for name in names:
        value = getattr(target, name)
        if value is not None and value is not False:
            told.append(name if value is True else f"{name} {value}")
    told += [f"minimum {target.earliest}"] if target.earliest is not None else []
    told += [f"maximum {target.latest}"] if target.latest is not None else []
    if target.values is not None:
        told.append(f"one of {_some(target.values)}" if target.type != "set" else f"of {_some(target.values)}")
    return ", ".join(told)


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_WORDS]) + (
        f" and {len(words) - _MOST_WORDS} more" if len(words) > _MOST_WORDS else ""
    )


def _way(
    spec: MappingSpec,
    column_spec: ColumnSpec,
    column: Column | None,
    zone: zoneinfo.ZoneInfo,
    *,
    wanted: bool,
    apply: bool,
) -> str:
    """Whether one way works for the column, or why not."""
    if not wanted:
        return "no"
    if column is None:
        return "REFUSED: no such column"
    try:
        column_codec(spec, column_spec, column, zone, apply=apply)
    except (ColumnRefusedError, TransformRefusedError) as error:
        return f"REFUSED: {error}"
    return "yes"


def _lossy(
    spec: MappingSpec, column_spec: ColumnSpec, column: Column, sources: Sequence[tuple[MappingSpec, Table]]
) -> str:
    """What cannot pass: ways without a way back, and values of other channels' columns that this one is too narrow for."""
    target = spec.entity.field(column_spec.field)
    assert target is not None
    notes = [f"{name} has no way back" for name in _one_way(spec, column_spec, column, target)]
    notes += [
        f"enum names no column value for {', '.join(missing)}: such a change is parked"
        for step in column_spec.transforms
        if spec.applies and step.name == "enum" and isinstance(step.parameter, dict)
        if (missing := [v for v in target.values or () if v not in set(map(str, step.parameter.values()))])
    ]
    if spec.applies:
        for other, table in sources:
            for theirs in other.columns:
                source = table.column(theirs.column)
                if theirs.field == target.name and source is not None:
                    notes += _from_another(column_spec, column, target, other.name, theirs, source)
    return "; ".join(notes) or "-"


def _from_another(
    column_spec: ColumnSpec, column: Column, target: FieldSpec, name: str, theirs: ColumnSpec, source: Column
) -> list[str]:
    """Values of another mapping's column that this one does not hold."""
    notes = []
    always = target.required or any(step.name == "default" for step in theirs.transforms)
    if source.nullable and not (column.nullable or always):
        notes.append(f"NULL from {name}: is parked - add `required: true` or make the column nullable")
    if not column_spec.transforms and not theirs.transforms:
        misfit = narrower(target, source.type, column.type)
        if misfit is not None:
            notes.append(f"{misfit.holds} from {name}: beyond the column is parked - {misfit.mend} or widen the column")
    return notes


def _one_way(spec: MappingSpec, column_spec: ColumnSpec, column: Column, target: FieldSpec) -> list[str]:
    """The transforms without a way back, built for the column as it is."""
    found = []
    try:
        kind = column_ends(column).kind
        own = kind if target.type == "reference" else kind_of_field(target.type)
        zone = zoneinfo.ZoneInfo(spec.time_zone)
        for step in column_spec.transforms:
            built = registry.build(step, kind, registry.Context(target, own, zone, column.name))
            found += [] if built.encode is not None else [step.name]
            kind = built.kind
    except (ColumnRefusedError, TransformRefusedError):
        return found  # what refuses the column is told beside it
    return found


def _rules(spec: MappingSpec, table: Table) -> list[str]:
    lines = []
    if spec.where:
        lines.append(
            f"where {_pairs(spec.where)}: only such rows are captured; written on insert; no other row is touched"
        )
    if spec.on_insert:
        lines.append(f"on_insert {_pairs(spec.on_insert)}: written when a row is created here")
    if spec.on_delete == "set":
        lines.append(f"on_delete sets {_pairs(spec.deleted)}; a row that has these counts as deleted")
    elif spec.on_delete == "ignore":
        lines.append("on_delete ignore: a delete that arrives does nothing here")
    if spec.counters:
        lines.append(f"counters: {', '.join(sorted(spec.counters))}: differences are added")
    mapped = {column.column for column in spec.columns} | set(spec.where) | set(spec.on_insert) | set(spec.deleted)
    computed = [column.name for column in table.columns if column.generated and column.name not in mapped]
    if computed:
        lines.append(f"computed by the server, never written: {', '.join(computed)}")
    if spec.applies:
        missing = [
            column.name
            for column in table.columns
            if not (column.nullable or column.has_default or column.generated or column.name in mapped)
        ]
        if missing:
            lines.append(
                f"NOT NULL without default, and nothing fills them when a row is created: {', '.join(missing)} - use on_insert"
            )
    return lines


def _pairs(constants: Mapping[str, object]) -> str:
    return ", ".join(f"{column} = {_constant(value)}" for column, value in constants.items())


def _constant(value: object) -> str:
    """As YAML has it."""
    if value is None:
        return "null"
    return ("true" if value else "false") if isinstance(value, bool) else repr(value)
