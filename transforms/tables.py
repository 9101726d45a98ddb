"""What a channel's catalog or log says of a table: columns with their types, keys. Pure data, no I/O.

A reader builds one from the log's own metadata (a new object whenever the layout changes, so that events before an ALTER
decode with the old layout); a sink builds one from the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# As people write the types that pg_type names differently.
_POSTGRESQL_NAMES: Final = {"int2": "smallint", "int4": "integer", "int8": "bigint"}

Engine: TypeAlias = Literal["mysql", "mariadb", "postgresql", "sqlite"]
# What MySQL and MariaDB call their spatial types in the catalog; in the log all of them are `geometry`.
GEOMETRIES: Final = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection", "geometrycollection",
})  # fmt: skip
# PostgreSQL's types whose values are their own canonical text, by pg_type.typname; ranges and enums are such too.
POSTGRESQL_TEXTS: Final = frozenset({
    "bit", "varbit", "timetz", "inet", "cidr", "macaddr", "macaddr8", "xml", "citext", "ltree", "hstore", "tsvector", "tsquery",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type in its channel.

    `name` is the engine's own lower-case base name: MySQL/MariaDB as in information_schema.DATA_TYPE (int, bigint,
    decimal, varchar, datetime, timestamp, enum, json, ...; MariaDB's json is an alias of longtext and shows as such in the
    log: `json` where a catalog proves it), PostgreSQL as in pg_type.typname (int4, int8, numeric, text, varchar, bpchar,
    timestamp, timestamptz, jsonb, uuid, bool, bytea, an enum's or domain's own name with `kind`).
    `length` counts characters for text and bytes for binary; `precision`/`scale` are those of decimals, and `scale` of
    time types the digits of their fraction. None: not declared, or not known from the log. PostgreSQL: `base` is the type under a
    domain, `element` that of an array's elements.
    """

    engine: Engine
    name: str
    unsigned: bool = False
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    charset: str | None = None
    labels: tuple[str, ...] | None = None
    kind: Literal["base", "enum", "array", "domain", "composite", "range"] = "base"
    base: ColumnType | None = None
    element: ColumnType | None = None

    def __str__(self) -> str:
        size = ""
        if self.precision is not None:
            size = f"({self.precision},{self.scale or 0})"
        elif self.length is not None:
            size = f"({self.length})"
        elif self.scale:
            size = f"({self.scale})"
        name = _POSTGRESQL_NAMES.get(self.name, self.name) if self.engine == "postgresql" else self.name
        return f"{name}{size}{' unsigned' if self.unsigned else ''}"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: ColumnType
    nullable: bool = True
    generated: bool = False  # the server computes it: generated always, identity always
    has_default: bool = False
    auto_increment: bool = False  # MySQL and MariaDB: the server numbers new rows
    value_of_null: bool = False  # MySQL and MariaDB: given NULL, the server puts in a value of its own


@dataclass(frozen=True, slots=True)
class Table:
    """`schema` is the database's name on MySQL and MariaDB, the schema's on PostgreSQL.

    `primary_key` and `unique_keys` are empty where the source of this object does not know them (a binlog table map).
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()  # without the primary key

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"
