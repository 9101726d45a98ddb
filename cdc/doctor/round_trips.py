"""Two-way transforms, tried: a field's value that is written into its column and read back has to be the same one. Pure.

Guards I6 and I2: a transform that says it is invertible and is not (one of a user's own, most likely) bends a value at each hop. A
sample that the column refuses is none: refusing is loud.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from typing import Final

from cdc.doctor.facts import Wish
from cdc.doctor.finding import Finding
from transforms.compiled import CompiledMapping
from transforms.registry import brings_to_one_form
from transforms.specs import FieldSpec
from transforms.values import RefusedValueError, WireValue

_SAMPLES: Final[dict[str, tuple[WireValue, ...]]] = {
    "text": ("", "a", "A b", "7", "é", "中文", "+8613800000000"),
    "integer": (0, 1, -1, 7, 100, 65_535),
    "decimal": ("0", "1", "-1.5", "12.34"),
    "float": (0.0, 1.0, -0.5),
    "boolean": (True, False),
    "date": ("2024-02-29", "1999-12-31"),
    "time": ("00:00:00", "23:59:59"),
    "datetime": ("2024-02-29T23:59:59", "1999-12-31T00:00:00"),
    "instant": ("2024-02-29T23:59:59Z", "1999-12-31T00:00:00Z"),
    "duration": ("PT0H0M0S", "PT25H1M2S"),
    "bytes": (b"", b"a", b"\x00\xff"),
    "json": ("null", '{"a":1}'),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000",),
}


def check_round_trips(wish: Wish, compiled: CompiledMapping) -> Iterator[Finding]:
    """One error for each two-way column that does not give a sample back."""
    spec = compiled.spec
    if not (spec.captures and spec.applies):
        return
    settling = {column.column for column in spec.columns if any(map(brings_to_one_form, column.transforms))}
    for codec in compiled.columns:
        field = spec.entity.field(codec.field)
        if field is None:
            continue
        for sample in _samples(field):
            try:
                written = codec.decode(codec.encode(sample)) if codec.column in settling else sample
                back = codec.decode(codec.encode(written))
            except RefusedValueError:
                continue
            if not _same(field, written, back):
                path = f"mappings.{spec.name}.columns.{codec.column}"
                yield wish.finding(
                    "ROUND_TRIP",
                    "error",
                    f"what field {field.name} writes into {codec.column} is read back as another value: its transforms do not invert each other",
                    [f"{path}: transforms that invert each other, or {spec.name}.direction: capture or apply"],
                    path=path,
                )
                break


def _samples(field: FieldSpec) -> tuple[WireValue, ...]:
    if field.values and field.type == "set":
        return ([], list(field.values), *([value] for value in field.values))
    if field.values:
        return field.values
    return _SAMPLES.get(field.type, ())


def _same(field: FieldSpec, sample: WireValue, back: WireValue) -> bool:
    if field.type == "decimal":
        return isinstance(back, str) and decimal.Decimal(back) == decimal.Decimal(str(sample))
    return back == sample
