"""Generated values of each kind, for trying what a configuration makes of them. Pure; the same every time (a fixed seed).

They are made up, so they may be shown where they tell what is wrong. None of them comes from anybody's data.
"""

from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from functools import cache
from typing import Any, Final

from transforms.kinds import Kind
from transforms.specs import FieldSpec

_SEED: Final = 20_240_229
_LETTERS: Final = "abcXYZ 09-_.,:/+*'éß中文元İ"
_TEXTS: Final = (
    "", "a", "Abc", "ABC", " a b ", "中文", "Straße", "0", "007", "1", "-1", "42", "1.50", "19.90", "1e3", "a,b", "true", "Y", "N", "null",
    "13800138000", "+8613800138000", "138-0013-8000", "010-62345678", "2024-02-29", "2024/02/29 23:59", "2024-02-29T23:59:59",
    "2024-02-29 23:59:59", "PT1H30M", "{}", '{"a":1}', "c56a4180-65aa-42ec-a945-5fd21dec0538",
)  # fmt: skip
_UTC: Final = dt.UTC
_MOMENTS: Final = (
    dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(1999, 12, 31, 23, 59, 59, 999_999), dt.datetime(2024, 2, 29, 12, 30),  # noqa: DTZ001
    dt.datetime(2024, 3, 10, 2, 30), dt.datetime(2024, 11, 3, 1, 30), dt.datetime(2030, 1, 1), dt.datetime(2024, 7, 1, 8, 0, 0, 5000),  # noqa: DTZ001
)  # fmt: skip


def of_kind(kind: Kind) -> list[Any]:
    """Channel values of a kind."""
    return list(_of_kind(kind))


@cache
def _of_kind(kind: Kind) -> list[Any]:
    rng = random.Random(_SEED)  # noqa: S311 - nothing secret
    match kind:
        case "text":
            return [*_TEXTS, *("".join(rng.choices(_LETTERS, k=rng.randrange(1, 12))) for _ in range(20))]
        case "integer":
            whole = [
                0,
                1,
                -1,
                2,
                7,
                42,
                100,
                255,
                1000,
                1990,
                32767,
                65536,
                2**31 - 1,
                13800138000,
                1_709_164_800,
                2**53,
            ]
            return [*whole, *(rng.randrange(-(10**9), 10**12) for _ in range(20))]
        case "decimal":
            small = ["0", "1", "-1", "0.01", "19.90", "1990", "0.5", "100", "12345.6789"]
            return [decimal.Decimal(text) for text in small] + [
                decimal.Decimal(rng.randrange(-(10**9), 10**9)).scaleb(-rng.randrange(0, 5)) for _ in range(20)
            ]
        case "float":
            return [0.0, 1.0, -1.5, 0.1, 19.9, 1e10, 1e-7, *(rng.uniform(-1000, 1000) for _ in range(10))]
        case "boolean":
            return [True, False]
        case "date":
            return [moment.date() for moment in _MOMENTS]
        case "time":
            return [moment.time() for moment in _MOMENTS]
        case "datetime":
            return list(_MOMENTS)
        case "instant":
            return [moment.replace(tzinfo=_UTC) for moment in _MOMENTS]
        case "duration":
            return [
                dt.timedelta(hours=h, minutes=m, microseconds=u)
                for h, m, u in ((0, 0, 0), (1, 30, 0), (25, 0, 0), (-2, 5, 250_000))
            ]
        case "bytes":
            return [b"", b"a", b"\0\xff", rng.randbytes(16)]
        case "json":
            return ["{}", "[]", "null", '"a"', "1", '{"a":[1,2.5,true]}', '["a","b"]']
        case "uuid":
            return [uuid.UUID(int=0), uuid.UUID(_TEXTS[-1])]
        case "set":
            return [()]


def of_field(field: FieldSpec, kind: Kind) -> list[Any]:
    """Values of a field; those that its constraints refuse are among them, for the field itself to say."""
    values = field.values or ()
    if kind == "text":
        return [*values] if field.type == "enum" else [*values, *(text[: field.max_length] for text in of_kind(kind))]
    if kind == "set":
        return [(), *((value,) for value in values), tuple(values)]
    if kind in ("integer", "decimal"):
        bounds = [decimal.Decimal(b) for b in (field.minimum, field.maximum) if b is not None]
        ends: list[Any] = [int(b) if kind == "integer" else b for b in bounds]
        made = [*ends, *of_kind(kind)]
        if kind == "decimal" and field.scale is not None:
            made = [round(value, field.scale) for value in made]
        return made
    return [*(bound for bound in (field.earliest, field.latest) if bound is not None), *of_kind(kind)]
