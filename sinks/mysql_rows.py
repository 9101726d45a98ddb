"""Whole columns of values as MySQL and MariaDB rows: `(1,'a'),(2,'b')`. Guards I6 and the target's speed.

Where all values of a column are of the usual form, they are checked together and put between quotes by one join of the whole statement,
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
from sinks.value_checks import decimals_form
from sinks.value_texts import are_without_escapes, integers_text, json_array, number_texts, texts_in_quotes
from transforms.tables import Column

# What stands before and after each of a column's values, and their texts.
Cells: TypeAlias = tuple[str, str, Sequence[str]]
# Of values of the usual class; None: not all of the usual form.
_Fast: TypeAlias = Callable[[Sequence[Any]], Cells | None]

_QUOTE: Final = "'"
_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "bit"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json"})
_BINARIES: Final = frozenset({"varbinary", "tinyblob", "blob", "mediumblob", "longblob"})


class ColumnWriter:
    """Writes the values of one column. `encode` is the column's own encoder, which refuses what it cannot hold."""

    def __init__(self, column: Column, encode: Encoder) -> None:
        self.encode = encode
        self.is_integer: Final = column.type.name in _INTEGERS
        self._refuses_null = column.value_of_null
        usual = _fast(column)
        self._usual, self._fast = ({usual[0]}, usual[1]) if usual else (set[type](), _nothing)

    def cells(self, values: Sequence[Any]) -> Cells:
        """Raises `RefusedValueError` for the first value that the column cannot hold."""
        classes = set(map(type, values))
        if classes == self._usual:
            return self._fast(values) or ("", "", list(map(self.encode, values)))
        if type(None) not in classes or classes - {type(None)} != self._usual or self._refuses_null:
            return "", "", list(map(self.encode, values))
        found = self._fast([value for value in values if value is not None])
        if found is None:
            return "", "", list(map(self.encode, values))
        before, after, texts = found
        following = iter(texts)
        return "", "", ["NULL" if value is None else f"{before}{next(following)}{after}" for value in values]


def list_text(writer: ColumnWriter, values: Sequence[Any]) -> str:
    """The values of one column as `1,2`; at least one."""
    if writer.is_integer and set(map(type, values)) == {int}:
        return integers_text(values)
    before, after, texts = writer.cells(values)
    return f"{before}{f'{after},{before}'.join(texts)}{after}"


def rows_text(writers: Sequence[ColumnWriter], values: Sequence[Sequence[Any]], opening: str = "(") -> str:
    """Rows as `(1,'a'),(2,'b')`. `values` are rows of as many values as there are writers; at least one of each."""
    columns = [writer.cells(column) for writer, column in zip(writers, zip(*values, strict=True), strict=True)]
    count, width = len(values), 2 * len(columns)
    parts = [""] * (count * width)
    ending = f"{columns[-1][1]})"
    between = f"{ending},{opening}"  # of a row's first value, and what ends the row before
    for number, (before, after, texts) in enumerate(columns):
        parts[2 * number :: width] = [between + before] * count
        parts[2 * number + 1 :: width] = texts
        between = f"{after},"
    parts[0] = opening + columns[0][0]
    return "".join(parts) + ending


def _fast(column: Column) -> tuple[type, _Fast] | None:
    """The usual class of a column's values, and what writes many of that class."""
    kind = column.type
    if kind.name in _INTEGERS:
        return int, lambda values: ("", "", number_texts(values))
    if kind.name in _TEXTS:
        return str, _texts(kind.length if kind.name in ("char", "varchar") else None, padded=kind.name == "char")
    if kind.name in _BINARIES:
        return bytes, _bytes(kind.length)
    if kind.name in ("decimal", "numeric"):
        return decimal.Decimal, _decimals(kind.precision, kind.scale or 0)
    if kind.name in ("datetime", "timestamp"):
        return dt.datetime, _datetimes(dt.UTC if kind.name == "timestamp" else None, kind.scale or 0)
    if kind.name == "enum":
        return str, _labels({label: text_literal(label) for label in kind.labels or ()})
    if kind.name == "date":
        return dt.date, lambda values: (_QUOTE, _QUOTE, texts_in_quotes(values))
    return None


def _nothing(_values: Sequence[Any]) -> Cells | None:
    return None


def _texts(limit: int | None, *, padded: bool) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        if limit is not None and max(map(len, values)) > limit:
            return None
        if padded and any(value.endswith(" ") for value in values):
            return None
        written = are_without_escapes(values)
        if written is not None and b"'" not in written and b"\x7f" not in written:
            return _QUOTE, _QUOTE, values
        return (_QUOTE, _QUOTE, values) if is_plain("".join(values)) else None  # there are double quotes in them

    return fast


def _bytes(limit: int | None) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        if limit is not None and max(map(len, values)) > limit:
            return None
        return "X'", _QUOTE, [value.hex() for value in values]

    return fast


def _decimals(precision: int | None, scale: int) -> _Fast:
    form = decimals_form(precision, scale)

    def fast(values: Sequence[Any]) -> Cells | None:
        texts = json_array(values)[1:-1].decode()
        return ("", "", texts.split(",")) if form(texts) else None

    return fast


def _datetimes(zone: dt.tzinfo | None, digits: int) -> _Fast:
    unit = 10 ** (6 - digits)
    between, end = ('","', -2) if zone is None else ('Z","', -3)

    def fast(values: Sequence[Any]) -> Cells | None:
        if {value.tzinfo for value in values} != {zone}:
            return None
        if unit > 1 and any(value.microsecond % unit for value in values):
            return None
        texts = json_array(values)[2:end].decode().replace("T", " ")
        return _QUOTE, _QUOTE, texts.split(between)

    return fast


def _labels(literals: dict[str, str]) -> _Fast:
    def fast(values: Sequence[Any]) -> Cells | None:
        return ("", "", [literals[value] for value in values]) if literals.keys() >= set(values) else None

    return fast
