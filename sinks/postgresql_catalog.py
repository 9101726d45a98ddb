"""What PostgreSQL's catalog says of a table, as a `Table`, and how its columns' types are written in a cast. Read-only. Guards I6."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from sinks.arranging import TableFacts
from sinks.taken_keys import UniqueIndex
from transforms.tables import Column, ColumnType, Table

Ask: TypeAlias = Callable[..., Sequence[Sequence[Any]]]

_TABLE: Final = """SELECT c.oid::int8, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')"""

# A domain is followed down to its base type; its modifier is that of the domain. `i`: the type of an array's elements.
_COLUMNS: Final = """SELECT a.attname, t.typname, t.typtype::text, t.typcategory::text, b.typname, b.typtype::text, b.modifier,
  format_type(a.atttypid, -1), format_type(a.atttypid, a.atttypmod),
  NOT (a.attnotnull OR t.typnotnull), a.attidentity::text, a.attgenerated::text, a.atthasdef,
  (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid IN (b.oid, i.oid)),
  i.typname, i.typtype::text, i.modifier,
  b.typname = 'citext' OR EXISTS (SELECT 1 FROM pg_collation WHERE oid = a.attcollation AND NOT collisdeterministic)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
  WITH RECURSIVE down AS (
    SELECT t.oid, t.typname, t.typtype, t.typbasetype, t.typtypmod, a.atttypmod AS modifier, 0 AS depth
    UNION ALL
    SELECT u.oid, u.typname, u.typtype, u.typbasetype, u.typtypmod, down.typtypmod, down.depth + 1
    FROM down JOIN pg_type u ON u.oid = down.typbasetype WHERE down.typtype = 'd')
  SELECT * FROM down ORDER BY depth DESC LIMIT 1) b
LEFT JOIN LATERAL (
  WITH RECURSIVE inside AS (
    SELECT e.oid, e.typname, e.typtype, e.typbasetype, e.typtypmod, b.modifier FROM pg_type e WHERE e.typarray = b.oid
    UNION ALL
    SELECT u.oid, u.typname, u.typtype, u.typbasetype, u.typtypmod, inside.typtypmod
    FROM inside JOIN pg_type u ON u.oid = inside.typbasetype WHERE inside.typtype = 'd')
  SELECT * FROM inside WHERE typtype <> 'd') i ON true
WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

# An arbiter of ON CONFLICT, and the key of a mapping, can only be a whole, immediate, valid index on columns.
_KEYS: Final = """SELECT i.indisprimary, (
  SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY AS k(number, n)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.n <= i.indnkeyatts)
FROM pg_index i WHERE i.indrelid = $1::int8::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL ORDER BY i.indexrelid"""

# Every unique index as it is, for the order of writes: an expression or a condition may look at any column. Then, with its name, whether
# rows may be found by it: it holds for equal what the columns' own `=` does. The column of NULLS NOT DISTINCT came with PostgreSQL 15.
_UNIQUE: Final = """SELECT k.names, c.relname::text, k.own_words AND i.indisunique AND NOT i.indisexclusion AND i.indisvalid,
  k.ordered, COALESCE((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid CROSS JOIN LATERAL (
  SELECT CASE WHEN i.indpred IS NULL AND i.indexprs IS NULL
    THEN array_agg(CASE WHEN a.attgenerated = '' THEN a.attname::text ELSE '' END) ELSE ARRAY[''] END AS names,
    array_agg(a.attname::text ORDER BY k.n) AS ordered,
    i.indpred IS NULL AND i.indexprs IS NULL AND bool_and(a.attgenerated = '' AND k.collated = a.attcollation) AS own_words
  FROM unnest(i.indkey[0:i.indnkeyatts-1], i.indcollation[0:i.indnkeyatts-1]) WITH ORDINALITY AS k(number, collated, n)
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number) k
WHERE i.indrelid = $1::int8::oid AND (i.indisunique OR i.indisexclusion) ORDER BY NOT i.indisprimary, c.relname"""

# Foreign keys to other tables; whether any constraint on the table, or on one that refers to it, may be checked late.
_FOREIGN: Final = """SELECT n.nspname, p.relname, (
  SELECT array_agg(a.attname::text) FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey))
FROM pg_constraint c JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE c.conrelid = $1::int8::oid AND c.contype = 'f'"""
_DEFERRABLE: Final = """SELECT 1 FROM pg_constraint WHERE (conrelid = $1::int8::oid OR confrelid = $1::int8::oid) AND condeferrable LIMIT 1"""

_Kind: TypeAlias = Literal["base", "enum", "array", "domain", "composite", "range"]
_KINDS: Final[dict[str, _Kind]] = {
    "e": "enum", "d": "domain", "c": "composite", "r": "range", "m": "range",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PostgreSQLColumn:
    """`base` is the column with its domain resolved: what an encoder needs. `bare_type` and `full_type` are for casts.

    `loose`: texts that differ may be equal to it (citext, a collation that is not deterministic).
    """

    column: Column
    base: Column
    bare_type: str
    full_type: str
    loose: bool


@dataclass(frozen=True, slots=True)
class PostgreSQLTable:
    table: Table
    columns: dict[str, PostgreSQLColumn]
    facts: TableFacts
    deferrable: bool
    indexes: tuple[UniqueIndex, ...]
    partitioned: bool


def read_postgresql_table(ask: Ask, schema: str | None, name: str) -> PostgreSQLTable | None:
    """Read one table; None if it does not exist. `schema` None: public. `ask(query, *parameters)` takes $1, $2."""
    schema = schema or "public"
    found = ask(_TABLE, schema, name)
    if not found:
        return None
    ((oid, partitioned),) = found
    columns = [_column(row) for row in ask(_COLUMNS, oid)]
    keys = [(primary, tuple(names)) for primary, names in ask(_KEYS, oid)]
    table = Table(
        schema=schema,
        name=name,
        columns=tuple(column.column for column in columns),
        primary_key=next((names for primary, names in keys if primary), ()),
        unique_keys=tuple(names for primary, names in keys if not primary),
    )
    foreign = ask(_FOREIGN, oid)
    unique = ask(_UNIQUE, oid)
    facts = TableFacts(
        frozenset(tuple(names) for names, *_ in unique),
        frozenset((str(schema), str(name)) for schema, name, _ in foreign),
        frozenset(column for *_, names in foreign for column in names),
    )
    by_name = {column.column.name: column for column in columns}
    indexes = tuple(
        UniqueIndex(index, tuple(ordered), nulls_equal=nulls_equal)
        for _, index, finds, ordered, nulls_equal in unique
        if finds
    )
    deferrable = bool(ask(_DEFERRABLE, oid))
    return PostgreSQLTable(table, by_name, facts, deferrable=deferrable, indexes=indexes, partitioned=partitioned)


def _column(row: Sequence[Any]) -> PostgreSQLColumn:
    (name, type_name, type_kind, _category, base_name, base_kind, modifier, bare, full, nullable, identity, generated,
     default, labels, element_name, element_kind, element_modifier, loose) = row  # fmt: skip
    labels = tuple(labels) if labels else None
    if element_name is not None:
        element = _type(element_name, _KINDS.get(element_kind, "base"), element_modifier, labels)
        plain = ColumnType("postgresql", base_name, kind="array", element=element)
    else:
        plain = _type(base_name, _KINDS.get(base_kind, "base"), modifier, labels)
    shown = plain
    if type_kind == "d":
        shown = replace(plain, name=type_name, kind="domain", base=plain, element=None)

    def column(of_type: ColumnType) -> Column:
        return Column(
            name=name,
            type=of_type,
            nullable=nullable,
            generated=bool(generated) or identity == "a",
            has_default=(default and not generated) or identity == "d",
        )

    return PostgreSQLColumn(column(shown), column(plain), bare, full, bool(loose))


def _type(name: str, kind: _Kind, modifier: int, labels: tuple[str, ...] | None) -> ColumnType:
    length, precision, scale = _modifier(name, modifier)
    return ColumnType(
        "postgresql",
        name,
        length=length,
        precision=precision,
        scale=scale,
        labels=labels if kind == "enum" else None,
        kind=kind,
    )


def _modifier(base: str, modifier: int) -> tuple[int | None, int | None, int | None]:
    """Length, precision and scale out of a type modifier (-1: none)."""
    if modifier < 0:
        return None, None, None
    if base in ("varchar", "bpchar"):
        return modifier - 4, None, None
    if base in ("bit", "varbit"):
        return modifier, None, None
    if base == "numeric":
        packed = modifier - 4  # the scale has 11 bits and a sign since PostgreSQL 15
        return None, packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
    if base in ("time", "timetz", "timestamp", "timestamptz"):
        return None, None, modifier
    return None, None, None
