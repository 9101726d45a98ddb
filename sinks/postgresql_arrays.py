"""A whole column of values as one PostgreSQL array literal. Guards I6 and the target's speed: a value costs no call of its own.

Where all values of a column are of the usual form, they are checked and written together by C code; where one is not, value by
value by `sinks.postgresql_texts`, which knows what to refuse and why. Both ways write the same text (a test compares them).
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from sinks.postgresql_texts import Encoder, array_text, text_encoder
from sinks.value_checks import decimals_form
from sinks.value_texts import are_without_escapes, json_array, number_texts, texts_in_quotes
from transforms.tables import Column

ArrayEncoder: TypeAlias = Callable[[Sequence[Any]], str]
ElementsEncoder: TypeAlias = Callable[[Sequence[Any]], list[str]]
# A column with NULLs and without, both of the usual class, as a JSON array; None: not all values are of the usual form. JSON's null is
# an array literal's NULL.
_Whole: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], bytes | None]
# The elements' texts; None: not all values are of the usual form. NULL is not among them.
_Fast: TypeAlias = Callable[[Sequence[Any]], list[str] | None]


def array_encoder(column: Column) -> ArrayEncoder:
    """Compile the encoder of one column's values. It raises `RefusedValueError` for the first that the column cannot hold.

    Raises LookupError for a column of a type that no encoder knows.
    """
    elements = elements_encoder(column)
    found = _whole(column)
    if found is None:
        return lambda values: array_text(elements(values))
    usual, write = {found[0]}, found[1]

    def encode(values: Sequence[Any]) -> str:
        classes = set(map(type, values))
        present = values
        if type(None) in classes:
            present = [value for value in values if value is not None]
            classes.discard(type(None))
        written = write(values, present) if classes == usual else None
        return array_text(elements(values)) if written is None else f"{{{written[1:-1].decode()}}}"

    return encode


def _whole(column: Column) -> tuple[type, _Whole] | None:
    """For columns whose values JSON writes as an array literal wants them: their usual class, and what writes a column of it."""
    kind = column.type
    if kind.kind != "base":
        return None
    if kind.name in ("int2", "int4", "int8", "oid"):
        return int, _json
    if kind.name in ("varchar", "bpchar", "text", "json", "jsonb"):
        return str, _whole_texts(kind.length, padded=kind.name == "bpchar")
    if kind.name == "numeric":
        return decimal.Decimal, _whole_decimals(kind.precision, kind.scale or 0)
    if kind.name in ("timestamp", "timestamptz"):
        fits = _moments_fit(dt.UTC if kind.name == "timestamptz" else None, 6 if kind.scale is None else kind.scale)
        return dt.datetime, lambda values, present: json_array(values) if fits(present) else None
    if kind.name == "date":
        return dt.date, _json
    return (uuid.UUID, _json) if kind.name == "uuid" else None


def _json(values: Sequence[Any], _present: Sequence[Any]) -> bytes | None:
    return json_array(values)


def _whole_texts(limit: int | None, *, padded: bool) -> _Whole:
    def whole(values: Sequence[Any], present: Sequence[Any]) -> bytes | None:
        if limit is not None and max(map(len, present)) > limit:
            return None
        if padded and any(value.endswith(" ") for value in present):
            return None
        return are_without_escapes(values)

    return whole


def _whole_decimals(precision: int | None, scale: int) -> _Whole:
    form = decimals_form(precision, scale)

    def whole(values: Sequence[Any], present: Sequence[Any]) -> bytes | None:
        written = json_array(present)
        if not form(written[1:-1].decode()):
            return None
        return written if present is values else json_array(values)

    return whole


def elements_encoder(column: Column) -> ElementsEncoder:
    """The same, but the elements one by one, as `sinks.postgresql_binary` needs them."""
    encode = text_encoder(column)
    fast = _fast(column, encode)
    if fast is None:
        return lambda values: list(map(encode, values))

    def encode_elements(values: Sequence[Any]) -> list[str]:
        # `None in values` would compare decimals with None, which is slow.
        nulls = type(None) in set(map(type, values))
        present = [value for value in values if value is not None] if nulls else values
        elements = fast(present) if present else []
        if elements is None:
            return list(map(encode, values))
        if present is not values:
            following = iter(elements)
            elements = ["NULL" if value is None else next(following) for value in values]
        return elements

    return encode_elements


def _fast(column: Column, encode: Encoder) -> _Fast | None:
    kind = column.type
    if kind.kind == "enum":
        return _labels(kind.labels or (), encode)
    if kind.kind != "base":
        return None
    if kind.name in ("varchar", "bpchar", "text", "json", "jsonb"):
        return _texts(kind.length, padded=kind.name == "bpchar")
    if kind.name == "numeric":
        return _decimals(kind.precision, kind.scale or 0)
    if kind.name in ("timestamp", "timestamptz"):
        return _timestamps(dt.UTC if kind.name == "timestamptz" else None, 6 if kind.scale is None else kind.scale)
    return _FAST.get(kind.name)


def _only(values: Sequence[Any], python_class: type) -> bool:
    return set(map(type, values)) == {python_class}


def _labels(labels: Sequence[str], encode: Encoder) -> _Fast:
    texts = {label: encode(label) for label in labels}

    def fast(values: Sequence[Any]) -> list[str] | None:
        return [texts[value] for value in values] if texts.keys() >= set(values) else None

    return fast


def _texts(limit: int | None, *, padded: bool) -> _Fast:
    def fast(values: Sequence[Any]) -> list[str] | None:
        if not _only(values, str) or (limit is not None and max(map(len, values)) > limit):
            return None
        if padded and any(value.endswith(" ") for value in values):
            return None
        if are_without_escapes(values) is None:
            joined = "".join(values)
            if '"' in joined or "\\" in joined or "\0" in joined or not is_encodable(joined):
                return None
        return [f'"{value}"' for value in values]

    return fast


def is_encodable(text: str) -> bool:
    """Whether it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integers(values: Sequence[Any]) -> list[str] | None:
    return number_texts(values) if _only(values, int) else None


def _decimals(precision: int | None, scale: int) -> _Fast:
    form = decimals_form(precision, scale)

    def fast(values: Sequence[Any]) -> list[str] | None:
        if not _only(values, decimal.Decimal):
            return None
        texts = json_array(values)[1:-1].decode()
        return texts.split(",") if form(texts) else None

    return fast


def _timestamps(zone: dt.tzinfo | None, digits: int) -> _Fast:
    fits = _moments_fit(zone, digits)

    def fast(values: Sequence[Any]) -> list[str] | None:
        return texts_in_quotes(values) if _only(values, dt.datetime) and fits(values) else None

    return fast


def _moments_fit(zone: dt.tzinfo | None, digits: int) -> Callable[[Sequence[dt.datetime]], bool]:
    unit = 10 ** (6 - digits)

    def fit(values: Sequence[dt.datetime]) -> bool:
        if {value.tzinfo for value in values} != {zone}:
            return False
        return unit == 1 or not any(value.microsecond % unit for value in values)

    return fit


def _floats(values: Sequence[Any]) -> list[str] | None:
    return list(map(repr, values)) if _only(values, float) else None


def _booleans(values: Sequence[Any]) -> list[str] | None:
    return ["t" if value else "f" for value in values] if _only(values, bool) else None


def _bytes(values: Sequence[Any]) -> list[str] | None:
    return [f'"\\\\x{value.hex()}"' for value in values] if _only(values, bytes) else None


def _dates(values: Sequence[Any]) -> list[str] | None:
    return texts_in_quotes(values) if _only(values, dt.date) else None


def _uuids(values: Sequence[Any]) -> list[str] | None:
    return texts_in_quotes(values) if _only(values, uuid.UUID) else None


_FAST: Final[dict[str, _Fast]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _integers),
    "float8": _floats,
    "bool": _booleans,
    "bytea": _bytes,
    "date": _dates,
    "uuid": _uuids,
}
