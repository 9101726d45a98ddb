"""Columns of SQLite, which is written and never captured: the kind of each declared type, and what it keeps exactly. Guards I6.

A declared type says more than SQLite's own affinity does (https://www.sqlite.org/datatype3.html): `decimal(12,2)` is a number there whose
text becomes a float, exact to 15 digits. A length is not kept by SQLite; it is here.
"""

from __future__ import annotations

import decimal
import math
from typing import Final, NoReturn

from transforms.kinds import Kind, Step
from transforms.tables import ColumnType
from transforms.values import RefusedValueError, masked

MOST_DIGITS: Final = 15
KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("int", "integer", "tinyint", "smallint", "mediumint", "bigint", "int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("text", "varchar", "char", "character", "nchar", "nvarchar", "clob"), "text"),
    **dict.fromkeys(("real", "double", "double precision", "float"), "float"),
    **dict.fromkeys(("decimal", "numeric"), "decimal"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("datetime", "timestamp"), "datetime"),
    "blob": "bytes",
    "date": "date",
}  # fmt: skip


def limits(column_type: ColumnType, kind: Kind, where: str) -> list[Step]:
    """What a value has to pass on its way into the column."""
    if kind == "integer":
        return [_integer(where)]
    if kind == "float":
        return [_float(where)]
    if kind == "decimal":
        return [_decimal(where)]
    if kind == "text" and column_type.length is not None:
        return [_at_most(column_type.length, where)]
    return []


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def _integer(where: str) -> Step:
    def step(value: int) -> int:
        return value if -(2**63) <= value < 2**63 else _refuse(where, value, "has more than 64 bits")

    return step


def _float(where: str) -> Step:
    def step(value: float) -> float:
        if math.isnan(value) or (value == 0 and math.copysign(1, value) < 0):
            _refuse(where, value, "would become another value in SQLite")
        return value

    return step


def _decimal(where: str) -> Step:
    def step(value: decimal.Decimal) -> decimal.Decimal:
        if not value.is_finite() or len(value.normalize(decimal.Context(prec=1000)).as_tuple().digits) > MOST_DIGITS:
            _refuse(where, value, f"has more than the {MOST_DIGITS} digits that SQLite keeps of a decimal")
        return value

    return step


def _at_most(length: int, where: str) -> Step:
    def step(value: str) -> str:
        return value if len(value) <= length else _refuse(where, value, f"is longer than {length} characters")

    return step
