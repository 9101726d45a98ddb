"""Values that a column of a type cannot hold exactly: each is refused, never bent."""

# ruff: noqa: DTZ001 - zone-less datetimes are values under test

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

UNFIT_MYSQL: list[tuple[str, list[Any]]] = [
    ("decimal(12,2)", [decimal.Decimal("1.005"), decimal.Decimal(12345678901), decimal.Decimal("NaN")]),
    ("double", [float("nan"), float("inf"), "1", 1]),
    ("float", [0.1234567890123, 1e300]),
    ("datetime(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 123456), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ("timestamp NULL", [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 5, dt.UTC), dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
                        dt.datetime(2200, 1, 1, tzinfo=dt.UTC)]),
    ("time", [dt.timedelta(hours=839), dt.timedelta(seconds=1.5)]),
    ("varchar(3)", ["abcd", "ab  ", 3, b"x", "\ud800"]),
    ("char(3)", ["a ", "abcd"]),
    ("varchar(9) CHARACTER SET latin1", ["漢"]),
    ("varchar(9) CHARACTER SET utf8mb3", ["😀"]),
    ("tinytext", ["x" * 256]),
    ("binary(3)", [b"ab", b"abcd"]),
    ("enum('a','b')", ["c", "A", "", "1"]),
    ("set('a','b')", [("c",)]),
    ("tinyint unsigned", [-1, 256, "1", 1.0]),
    ("year", [24, 1900, 2156]),
    ("json", ["{", "a"]),
]  # fmt: skip


UNFIT_POSTGRESQL: list[tuple[str, list[Any]]] = [
    ("numeric(12,2)", [decimal.Decimal("1.005"), decimal.Decimal(12345678901)]),
    ("numeric", [decimal.Decimal("1E+200000"), 1.5]),
    ("real", [0.1234567890123, 1e300]),
    ("timestamp(3)", [dt.datetime(2024, 1, 1, 1, 1, 1, 123456), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    ("timestamptz", [dt.datetime(2024, 1, 1)]),
    ("time(0)", [dt.time(1, 1, 1, 5)]),
    ("varchar(3)", ["abcd", "ab  ", 3, b"x", "\ud800", "\0"]),
    ("char(3)", ["a ", "abcd"]),
    ("mood", ["c", "A", ""]),
    ("small_amount", [decimal.Decimal(-1)]),
    ("smallint", [32768, True, "1"]),
    ("boolean", [1, "t"]),
    ("json", ["{"]),
    ("jsonb", ['"\\u0000"']),
]  # fmt: skip
