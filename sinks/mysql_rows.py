"""Whole columns of values as MySQL and MariaDB rows: `(1,'a'),(2,'b')`. Guards I6 and the target's speed.

Where all values of a column are of the usual form, they are checked together and put between quotes by one format of the whole row,
so that a value costs no call of its own; else value by value by `sinks.mysql_literals`, which knows what to refuse and
why. Both ways write the same SQL (a test compares them). The rule of that module holds here: a text goes between quotes only if it holds
no quote, backslash or control character.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from sinks.mysql_literals import Encoder, is_plain, text_literal
from sinks.value_checks import decimal_form
from transforms.tables import Column

# How a column's values stand in a row's format, and the values for it.
Cells: TypeAlias = tuple[str, Sequence[Any]]
_Fast: TypeAlias = Callable[[Sequence[Any]], Cells | None]  # of values without NULL; None: not all of the usual form

_BARE: Final = "%s"
_IN_QUOTES: Final = "'%s'"
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "bit"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json"})
_BINARIES: Final = frozenset({"varbinary", "tinyblob", "blob", "mediumblob", "longblob"})


class ColumnWriter:
    """Writes the values of one column. `encode` is the column's own encoder, which refuses what it cannot hold."""

    def __init__(self, column: Column, encode: Encoder) -> None:
        self.encode = encode
        self._fast = _fast(column)

    def cells(self, values: Sequence[Any]) -> Cells:
        """Raises `RefusedValueError` for the first value that the column cannot hold."""
        if self._fast is not None and values and None not in values:
            cells = self._fast(values)
            if cells is not None:
                return cells
        return _BARE, list(map(self.encode, values))


def rows(writers: Sequence[ColumnWriter], values: Sequence[Sequence[Any]]) -> list[str]:
    """Each row as `(1,'a')`. `values` are rows of as many values as there are writers; at least one of each."""
    columns = [writer.cells(column) for writer, column in zip(writers, zip(*values, strict=True), strict=True)]
    form = f"({','.join([placeholder for placeholder, _ in columns])})"
    return list(map(form.__mod__, zip(*[column for _, column in columns], strict=True)))


def _fast(column: Column) -> _Fast | None:
    kind = column.type
    if kind.name in _INTEGERS:
        return _integers
    if kind.name in _TEXTS:
        return _texts(kind.length if kind.name in ("char", "varchar") else None, padded=kind.name == "char")
    if kind.name in _BINARIES:
        return _bytes(kind.length)
    if kind.name in ("decimal", "numeric"):
        return _decimals(kind.precision, kind.scale or 0)
    if kind.name in ("datetime", "timestamp"):
        return _datetimes(dt.UTC if kind.name == "timestamp" else None, kind.scale or 0)
    if kind.name == "enum":
        return _labels({label: text_literal(label) for label in kind.labels or ()})
    return _dates if kind.name == "date" else None


def _only(values: Sequence[Any], python_class: type) -> bool:
    return set(map(type, values)) == {python_class}


def _integers(values: Sequence[Any]) -> Cells | None:
    return (_BARE, values) if _only(values, int) else None


def _texts(limit: int | None, *, padded: bool) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        if not _only(values, str) or (limit is not None and max(map(len, values)) > limit):
            return None
        if padded and any(value.endswith(" ") for value in values):
            return None
        return (_IN_QUOTES, values) if is_plain("".join(values)) else None

    return fast


def _bytes(limit: int | None) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        if not _only(values, bytes) or (limit is not None and max(map(len, values)) > limit):
            return None
        return "X'%s'", [value.hex() for value in values]

    return fast


def _decimals(precision: int | None, scale: int) -> _Fast:
    form = decimal_form(precision, scale)

    def fast(values: Sequence[Any]) -> Cells | None:
        if not _only(values, decimal.Decimal):
            return None
        texts = list(map(str, values))
        return (_BARE, texts) if all(map(form, texts)) else None

    return fast


def _datetimes(zone: dt.tzinfo | None, digits: int) -> _Fast:
    unit = 10 ** (6 - digits)

    def fast(values: Sequence[Any]) -> Cells | None:
        if not _only(values, dt.datetime) or {value.tzinfo for value in values} != {zone}:
            return None
        if unit > 1 and any(value.microsecond % unit for value in values):
            return None
        return _IN_QUOTES, (values if zone is None else [value.replace(tzinfo=None) for value in values])

    return fast


def _dates(values: Sequence[Any]) -> Cells | None:
    return (_IN_QUOTES, values) if _only(values, dt.date) else None


def _labels(literals: dict[str, str]) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        return (_BARE, [literals[value] for value in values]) if literals.keys() >= set(values) else None

    return fast
