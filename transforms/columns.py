"""A column's own side: the kind of its values, what may come out of it, and what it can hold.

The channel's form of every type is fixed in `transforms.values`. Here each column gets a `decode` that lets only that form
through (an `Unrepresentable` is refused with its reason) and an `encode` that refuses what the server would round, cut, pad,
clamp or turn into question marks, before the server sees it (I6). A type that is not known here is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from transforms import column_limits as limits
from transforms import sqlite_columns, text_limits
from transforms.batches import gate
from transforms.kinds import PYTHON_CLASS, Kind, Step
from transforms.tables import GEOMETRIES, POSTGRESQL_TEXTS, Column, ColumnType
from transforms.values import RefusedValueError, Unrepresentable, masked


class ColumnRefusedError(ValueError):
    """A column of a type that cannot be mapped; the message names the type."""


@dataclass(frozen=True, slots=True)
class ColumnEnds:
    """Steps, none of which takes NULL: `own_form` lets only the kind's class through, `reading` comes after it, `writing` is empty
    where the column holds all of its kind.
    """

    kind: Kind
    where: str
    own_form: Step
    reading: tuple[Step, ...]
    writing: tuple[Step, ...]


_MYSQL_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year", "bit"), "integer"),
    **dict.fromkeys(("decimal", "numeric"), "decimal"),
    **dict.fromkeys(("float", "double", "real"), "float"),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum"), "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytes"),
    "set": "set",
    "date": "date",
    "time": "duration",
    "datetime": "datetime",
    "timestamp": "instant",
    "json": "json",
    **dict.fromkeys((*GEOMETRIES, "vector"), "bytes"),
    "uuid": "uuid",
    "inet4": "text",
    "inet6": "text",
}
_ONE_ENGINE_ONLY: Final = {"uuid": "mariadb", "inet4": "mariadb", "inet6": "mariadb", "vector": "mysql"}
_POSTGRESQL_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), "integer"),
    "numeric": "decimal",
    **dict.fromkeys(("float4", "float8"), "float"),
    **dict.fromkeys(("text", "varchar", "bpchar", "char", "name", "interval", *POSTGRESQL_TEXTS), "text"),
    "bytea": "bytes",
    "bool": "boolean",
    "date": "date",
    "time": "time",
    "timestamp": "datetime",
    "timestamptz": "instant",
    **dict.fromkeys(("json", "jsonb"), "json"),
    "uuid": "uuid",
}


def kind_of_column(column_type: ColumnType) -> Kind:
    """Return the kind of a column's values; `ColumnRefusedError` for a type that is not built."""
    kind: Kind | None = None
    if column_type.engine == "postgresql":
        kind = _postgresql_kind(column_type)
    elif column_type.engine == "sqlite":
        kind = sqlite_columns.KINDS.get(column_type.name)
    elif column_type.engine in ("mysql", "mariadb"):
        kind = _MYSQL_KINDS.get(column_type.name)
        if _ONE_ENGINE_ONLY.get(column_type.name, column_type.engine) != column_type.engine:
            kind = None
    if kind is None:
        what = "" if column_type.kind in ("base", "enum") else f" ({column_type.kind})"
        raise ColumnRefusedError(f"{column_type.name}{what} is not a type that can be mapped")
    return kind


def _postgresql_kind(column_type: ColumnType) -> Kind | None:
    match column_type.kind:
        case "enum" | "range":
            return "text"
        case "domain" if column_type.base is not None:
            return _postgresql_kind(column_type.base)
        case "array" if column_type.element is not None and _postgresql_kind(column_type.element) is not None:
            return "json"
        case "base":
            return _POSTGRESQL_KINDS.get(column_type.name)
    return None


def column_ends(column: Column) -> ColumnEnds:
    """Compile both ways of one column."""
    kind = kind_of_column(column.type)
    where = f"column {column.name} {column.type}"
    own_form = _own_form(where, PYTHON_CLASS[kind])
    plain = column.type.base or column.type
    return ColumnEnds(kind, where, own_form, tuple(_reading(plain, where)), tuple(_writing(plain, kind, where)))


def _own_form(where: str, python_class: type) -> Step:
    def decode(value: Any) -> Any:
        if value.__class__ is python_class:
            return value
        if isinstance(value, Unrepresentable):
            raise RefusedValueError(where, value.reason)
        raise RefusedValueError(where, f"the log gave {type(value).__name__} instead of {python_class.__name__}")

    return decode


def _refuse(where: str, value: object, why: str) -> NoReturn:
    raise RefusedValueError(where, f"{masked(value)} {why}")


def _reading(column_type: ColumnType, where: str) -> list[Step]:
    if column_type.engine == "postgresql" and (column_type.kind != "base" or column_type.name == "char"):
        return []  # whatever its name is, and whatever labels came after this column was described; "char" is one byte
    match column_type.name:
        case "char" | "bpchar":
            return [_without_padding]
        case "binary" if column_type.length is not None:
            return [_padded(column_type.length)]
        case "enum":
            return [_known_label(column_type.labels, where)]
    return []


def _without_padding(value: str) -> str:
    return value.rstrip(" ")


def _padded(length: int) -> Step:
    """Give back the zero bytes that a log leaves out at the end of a binary(n)."""
    return lambda value: value.ljust(length, b"\0")


def _known_label(labels: tuple[str, ...] | None, where: str) -> Step:
    """MySQL stores an invalid label as '', which no label needs to be."""
    may_be_empty = labels is not None and "" in labels

    def step(value: str) -> str:
        if not value and not may_be_empty:
            _refuse(where, value, "is MySQL's mark for an invalid label")
        return value

    return gate(step, all)


def _writing(column_type: ColumnType, kind: Kind, where: str) -> list[Step]:
    """Return what must hold before a value may be written, in an order that refuses early."""
    if column_type.engine == "sqlite":
        return sqlite_columns.limits(column_type, kind, where)
    makers: dict[Kind, Callable[[ColumnType, str], list[Step]]] = {
        "integer": limits.integer,
        "decimal": limits.exact_decimal,
        "float": limits.floating,
        "text": text_limits.text,
        "bytes": limits.binary,
        "json": limits.json,
        "set": limits.labels,
        "duration": limits.duration,
        "time": limits.clock,
        "datetime": limits.clock,
        "instant": limits.instant,
    }
    make = makers.get(kind)
    return [] if make is None else make(column_type, where)


__all__ = ["ColumnEnds", "ColumnRefusedError", "column_ends", "kind_of_column"]
