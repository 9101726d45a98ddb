"""What can be said of a mapping before any table is seen: names, parameters, ways back, and whether its transforms can lead from
any kind of column at all to the field. `datong check` and every reload ask this; `compile_mapping` decides with the table.
"""

from __future__ import annotations

import zoneinfo
from typing import Final, get_args

from transforms import registry
from transforms.compile import way_out
from transforms.compiled import Problem
from transforms.conversions import conversion
from transforms.fields import field_problems
from transforms.kinds import Kind, kind_of_field
from transforms.registry import Context, KindRefusedError, TransformRefusedError, Use
from transforms.specs import ColumnSpec, FieldSpec, MappingSpec
from transforms.stand_ins import refusal

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


def check_mapping(spec: MappingSpec) -> list[Problem]:
    """Return the problems of a mapping's columns whose fields exist and are declared well; the rest is config's to say."""
    problems = []
    zone = zoneinfo.ZoneInfo(spec.time_zone)
    for column in spec.columns:
        field = spec.entity.field(column.field)
        if field is None or field.type == "reference" or field_problems(field):
            continue
        try:
            _check_column(column, field, zone, spec.applies, registry.uses(spec, column))
            if column.transforms and (error := refusal(spec, column, field)) is not None:
                problems.append(Problem(f"mappings.{spec.name}.columns.{column.column}", str(error)))
        except TransformRefusedError as error:
            problems.append(Problem(f"mappings.{spec.name}.columns.{column.column}", str(error)))
    return problems


def _check_column(
    column: ColumnSpec, field: FieldSpec, zone: zoneinfo.ZoneInfo, applies: bool, uses: frozenset[Use]
) -> None:
    target = kind_of_field(field.type)
    kinds = set(_KINDS)
    for transform in column.transforms:
        context = Context(field, target, zone, f"column {column.column}, transform {transform.name}", uses)
        made: set[Kind] = set()
        refused: list[TransformRefusedError] = []
        one_way = False
        for kind in sorted(kinds):
            try:
                built = registry.build(transform, kind, context)
            except TransformRefusedError as error:
                refused.append(error)
                continue
            one_way = one_way or built.encode is None
            made.add(built.kind)
        if not made:
            # A parameter that is wrong for the kinds it is meant for says more than a kind that does not fit.
            raise next((error for error in refused if not isinstance(error, KindRefusedError)), refused[0])
        if one_way and applies:
            raise TransformRefusedError(
                f"transform {transform.name} has no way back, and the mapping applies: {way_out(transform.name)}"
            )
        kinds = made
    if not any(conversion(kind, target, "", zone) for kind in kinds):
        raise TransformRefusedError(
            f"the transforms end with {' or '.join(sorted(kinds))}, which cannot become field {field.name}: {field.type}"
        )
