"""What MySQL's and MariaDB's catalog says of a table, as a `Table`. Read-only. Guards I6: types are taken from the catalog, not guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sinks.arranging import Name, TableFacts
from sinks.mysql_literals import text_literal
from sinks.taken_keys import UniqueIndex
from transforms.tables import Column, ColumnType, Engine, Table

Ask: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]

_GENERATED: Final = re.compile(r"\b(VIRTUAL|STORED|PERSISTENT)( GENERATED)?\b", re.IGNORECASE)
_LABEL: Final = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_LABEL_ESCAPE: Final = re.compile(r"''|\\(.)", re.DOTALL)
_LABEL_ESCAPES: Final = {"0": "\0", "n": "\n", "r": "\r"}


TRANSACTIONAL: Final = frozenset({"innodb", "ndbcluster", "rocksdb", "tokudb"})  # storage engines
TABLE_KINDS: Final = ("BASE TABLE", "SYSTEM VERSIONED")


@dataclass(frozen=True, slots=True)
class MySQLTable:
    """A table; its facts tell all its unique indexes as they are, those on prefixes and expressions too (TRAPS.md W1).

    `collations`: of its text columns, by name. `indexes`: by which rows can be found. `storage`: its engine.
    """

    table: Table
    facts: TableFacts
    collations: Mapping[str, str]
    indexes: tuple[UniqueIndex, ...]
    storage: str

    @property
    def is_transactional(self) -> bool:
        return self.storage.lower() in TRANSACTIONAL


def read_mysql_table(ask: Ask, engine: Engine, schema: str | None, name: str) -> MySQLTable | None:
    """Read one table; None if it does not exist, or is a view. `schema` None: the connection's database."""
    in_schema = "DATABASE()" if schema is None else text_literal(schema)
    where = f"TABLE_SCHEMA = {in_schema} AND TABLE_NAME = {text_literal(name)}"
    # MariaDB puts the present time into a TIMESTAMP in place of NULL whatever that variable says.
    implicit = "1" if engine == "mariadb" else "NOT @@explicit_defaults_for_timestamp"
    kinds = ask(f"SELECT TABLE_TYPE, ENGINE, {implicit} FROM information_schema.TABLES WHERE {where}")
    if not kinds or kinds[0][0] not in TABLE_KINDS:
        return None
    rows = ask(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA,"
        " CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, CHARACTER_SET_NAME, COLLATION_NAME"
        f" FROM information_schema.COLUMNS WHERE {where} ORDER BY ORDINAL_POSITION"
    )
    if not rows:
        return None
    json_columns: set[str] = set()
    if engine == "mariadb":
        checks = ask(
            "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS"
            f" WHERE CONSTRAINT_SCHEMA = {in_schema} AND TABLE_NAME = {text_literal(name)}"
        )
        json_columns = {found[1] for (clause,) in checks if (found := _JSON_CHECK.fullmatch(str(clause)))}
    fills_timestamps = bool(int(kinds[0][2]))
    columns = tuple(_column(engine, row, json_columns, fills_timestamps=fills_timestamps) for row in rows)
    keys, hashed = _unique_indexes(ask, where)
    whole = {index: tuple(map(str, parts)) for index, parts in keys.items() if None not in parts}
    table = Table(
        schema=str(rows[0][0]),
        name=str(rows[0][1]),
        columns=columns,
        primary_key=whole.get("PRIMARY", ()),
        unique_keys=tuple(parts for index, parts in whole.items() if index != "PRIMARY"),
    )
    generated = {column.name for column in columns if column.generated}
    unique = frozenset(
        tuple("" if part is None or part in generated else part for part in parts) for parts in keys.values()
    )
    foreign = _foreign_keys(ask, where)
    facts = TableFacts(unique, frozenset(parent for _, parent in foreign), frozenset(column for column, _ in foreign))
    # MariaDB makes a unique key on long columns a hash, by which it finds no rows: it would read the whole table (MDEV-13445).
    indexes = tuple(
        UniqueIndex(index, parts)
        for index, parts in whole.items()
        if index not in hashed and generated.isdisjoint(parts)
    )
    collations = {str(row[2]): str(row[-1]) for row in rows if row[-1] is not None}
    return MySQLTable(table, facts, collations, indexes, str(kinds[0][1]))


def _foreign_keys(ask: Ask, where: str) -> list[tuple[str, Name]]:
    """Each column of a foreign key, and the table that it refers to."""
    rows = ask(
        "SELECT COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE"
        f" WHERE {where} AND REFERENCED_TABLE_NAME IS NOT NULL"
    )
    return [(str(column), (str(schema), str(table))) for column, schema, table in rows]


_JSON_CHECK: Final = re.compile(r"json_valid\(`((?:[^`]|``)+)`\)", re.IGNORECASE)


def _unique_indexes(ask: Ask, where: str) -> tuple[dict[str, list[str | None]], set[str]]:
    """Index name -> its columns; None for a part that is a prefix or an expression. And the names of those that are hashes."""
    indexes: dict[str, list[str | None]] = {}
    hashed: set[str] = set()
    for index, column, part, kind in ask(
        "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, INDEX_TYPE FROM information_schema.STATISTICS"
        f" WHERE {where} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    ):
        indexes.setdefault(str(index), []).append(None if column is None or part is not None else str(column))
        if str(kind) == "HASH":
            hashed.add(str(index))
    return indexes, hashed


def _column(engine: Engine, row: Sequence[Any], json_columns: set[str], *, fills_timestamps: bool) -> Column:
    _, _, name, data_type, column_type, nullable, default, extra, length, precision, scale, fraction, charset, _ = row
    name, extra, column_type = str(name), str(extra), str(column_type)
    base = "json" if name in json_columns else str(data_type).lower()
    decimal = base in ("decimal", "numeric")
    declared = decimal or (base in ("float", "double") and scale is not None)
    auto_increment = "auto_increment" in extra.lower()
    may_be_null = str(nullable).upper() == "YES"
    return Column(
        name=name,
        type=ColumnType(
            engine=engine,
            name=base,
            unsigned="unsigned" in column_type.lower().split("'")[0],
            length=_length(base, length, precision),
            precision=int(precision) if declared else None,
            scale=int(scale) if declared else int(fraction) if fraction is not None else None,
            charset=None if charset is None or base == "json" else str(charset),
            labels=_labels(column_type) if base in ("enum", "set") else None,
            kind="enum" if base == "enum" else "base",
        ),
        nullable=may_be_null,
        generated=bool(_GENERATED.search(extra)),
        has_default=(default is not None and str(default).upper() != "NULL") or auto_increment,
        auto_increment=auto_increment,
        value_of_null=not may_be_null and (auto_increment or (base == "timestamp" and fills_timestamps)),
    )


def _length(base: str, length: Any, precision: Any) -> int | None:
    if base in ("json", "enum", "set"):
        return None
    if base == "bit":
        return int(precision)
    return int(length) if length is not None else None


def _labels(column_type: str) -> tuple[str, ...]:
    """The labels in `enum('a','it''s')`; the server writes backslash, NUL and line ends as escapes."""
    inside = column_type[column_type.index("(") :]
    return tuple(_LABEL_ESCAPE.sub(_unescaped, found) for found in _LABEL.findall(inside))


def _unescaped(match: re.Match[str]) -> str:
    escaped = match[1]
    return "'" if escaped is None else _LABEL_ESCAPES.get(escaped, escaped)
