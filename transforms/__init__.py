"""Values, and how they change form: the dictionary's types, channel types, field transforms. Imports nothing of ours."""

from __future__ import annotations

from transforms.compile import compile_mapping
from transforms.compiled import ColumnCodec, CompiledMapping, MappingRefusedError, Problem
from transforms.offline import check_mapping
from transforms.registry import Built, Context, Transform, TransformRefusedError
from transforms.values import ABSENT, RefusedValueError, Unrepresentable, masked

__all__ = [
    "ABSENT",
    "Built",
    "ColumnCodec",
    "CompiledMapping",
    "Context",
    "MappingRefusedError",
    "Problem",
    "RefusedValueError",
    "Transform",
    "TransformRefusedError",
    "Unrepresentable",
    "check_mapping",
    "compile_mapping",
    "masked",
]
