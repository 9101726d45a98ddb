"""What a log without full metadata leaves out of a table's layout, taken from the catalog, but only with a proof. Guards I6 (TRAPS.md P5).

The catalog says what a table is now, an event what a row was then. The two are the same table if nothing in between changed it. So:

1. the catalog is read, and after it where the log ends: a change of the table that the catalog shows is in the log before that end (both
   servers write a DDL to the log before others may see what it did);
2. every statement in the log from the event to that end is looked at: none may name the table, or drop its schema;
3. the catalog's columns must be those of the event: as many, with the same types, lengths, digits, signs, character sets and nullability, as
   far as the event has them.

Anything else - a statement that names the table, more log than is worth searching, a label that the catalog cannot show - is no proof. It holds for
the event's table id within one file of the log: a server that starts again, and gives ids anew, begins a file. Beyond it are only changes that an
administrator hides from the log (sql_log_bin = 0).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from cdc.readers import binlog_types as types
from cdc.readers.binlog_statements import Statement, classify
from cdc.readers.binlog_table_map import TableMap
from cdc.readers.binlog_types import Form, LogColumn
from sinks.mysql_catalog import MySQLTable, read_mysql_table
from sinks.mysql_literals import text_literal
from transforms.tables import GEOMETRIES, Column, Engine

Place: TypeAlias = tuple[str, int]  # a file of the log, an offset in it
Ask: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]

_SEARCHED_BYTES: Final = 64 << 20
_EVENTS_AT_ONCE: Final = 5000
_HARMLESS: Final = frozenset({
    Statement.BEGIN, Statement.COMMIT, Statement.ROLLBACK, Statement.ROLLBACK_TO_SAVEPOINT, Statement.SAVEPOINT, Statement.XA_START,
    Statement.XA_END, Statement.XA_DECISION,
})  # fmt: skip
_USE: Final = re.compile(r"use `(?:[^`]|``)*`; ")
_DROPS_SCHEMA: Final = re.compile(r"DROP\s+(?:DATABASE|SCHEMA)\b", re.IGNORECASE)
_INTEGER_CODES: Final = {
    "tinyint": types.TINY, "smallint": types.SHORT, "mediumint": types.INT24, "int": types.LONG, "bigint": types.LONGLONG,
}  # fmt: skip
_BLOB_SIZES: Final = {"tiny": 1, "": 2, "medium": 3, "long": 4}
_BLOB: Final = re.compile(r"(tiny|medium|long|)(?:text|blob)")
_BINARY_SIZES: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
_OLD_CODES: Final = {"timestamp": types.OLD_TIMESTAMP, "time": types.OLD_TIME, "datetime": types.OLD_DATETIME}


class ProofServer(Protocol):
    """What the proof asks of a server (`MySQLServer`)."""

    def log_place(self) -> Place: ...
    def log_sizes(self) -> list[Place]: ...
    def ask(self, statement: str) -> Sequence[Sequence[Any]]: ...


class NotProvenError(Exception):
    """Why the catalog is no proof of a layout; one line."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A column as the catalog has it; `form` as the log would have it."""

    column: Column
    form: Form
    fraction: int


def proven_layout(server: ProofServer, engine: Engine, made: TableMap, at: Place | None) -> TableMap:
    """The event's table map, completed from the catalog. `at` is the event's place, None where it is not known.

    Raises NotProvenError; what the server refuses comes as the server's errors.
    """
    if at is None:
        raise NotProvenError("a prepared transaction is read again")
    found = read_mysql_table(server.ask, engine, made.schema, made.name)
    sizes = _octets(server.ask, made)
    end = server.log_place()
    if found is None:
        raise NotProvenError("the catalog does not show the table")
    for text in _statements(server, at, end):
        if _may_change(text, made):
            raise NotProvenError("the table was changed since by a statement in the log")
    return _merged(engine, made, found, sizes)


def _octets(ask: Ask, made: TableMap) -> dict[str, tuple[int, str, int]]:
    """Column -> its length in bytes, its whole type, the digits of its fraction."""
    rows = ask(
        "SELECT COLUMN_NAME, CHARACTER_OCTET_LENGTH, COLUMN_TYPE, DATETIME_PRECISION FROM information_schema.COLUMNS"
        f" WHERE TABLE_SCHEMA = {text_literal(made.schema)} AND TABLE_NAME = {text_literal(made.name)}"
    )
    return {str(name): (int(size or 0), str(kind), int(fraction or 0)) for name, size, kind, fraction in rows}


def _statements(server: ProofServer, at: Place, end: Place) -> Iterator[str]:
    """The texts of Query events between two places."""
    sizes = server.log_sizes()
    names = [name for name, _ in sizes]
    if at[0] not in names or end[0] not in names:
        raise NotProvenError("the log between the event and now is not there any more")
    files = sizes[names.index(at[0]) : names.index(end[0]) + 1]
    if sum(size for _, size in files) - at[1] > _SEARCHED_BYTES or any(size >> 32 for _, size in files):
        raise NotProvenError(f"more than {_SEARCHED_BYTES >> 20} MiB of the log came after it")
    for name, _ in files:
        offset, last = at[1] if name == at[0] else 4, end[1] if name == end[0] else 1 << 32
        while offset < last:
            rows = server.ask(f"SHOW BINLOG EVENTS IN {text_literal(name)} FROM {offset} LIMIT {_EVENTS_AT_ONCE}")
            for _file, _start, kind, _server, _end, info in rows:
                if str(kind).startswith("Query"):
                    yield str(info)
            if len(rows) < _EVENTS_AT_ONCE:
                break
            offset = int(rows[-1][4])


def _may_change(text: str, made: TableMap) -> bool:
    """Whether a statement may have changed the table: it has its name anywhere in it, or drops its schema."""
    statement = _USE.sub("", text, count=1)
    if classify(statement) in _HARMLESS:
        return False
    plain = statement.replace("``", "`").replace('""', '"')
    return _has_name(plain, made.name) or (bool(_DROPS_SCHEMA.search(plain)) and _has_name(plain, made.schema))


def _has_name(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text, re.IGNORECASE) is not None


def _merged(engine: Engine, made: TableMap, found: MySQLTable, sizes: dict[str, tuple[int, str, int]]) -> TableMap:
    known = [_known(engine, column, *sizes[column.name]) for column in found.table.columns if column.name in sizes]
    if len(known) != len(made.columns) or len(known) != len(found.table.columns):
        raise NotProvenError(f"the catalog has {len(known)} columns, the event {len(made.columns)}")
    columns = tuple(
        _completed(logged, of_catalog, made) for logged, of_catalog in zip(made.columns, known, strict=True)
    )
    return replace(made, columns=columns, has_names=True, has_sizes=True, primary_key=found.table.primary_key)


def _completed(logged: LogColumn, known: _Known, made: TableMap) -> LogColumn:
    kind = known.column.type
    charset = None
    if logged.code in types.CHARACTER or logged.code in (types.ENUM, types.SET):
        charset = kind.charset or ("utf8mb4" if kind.name == "json" else "binary")
    told = Form(logged.code, logged.length, logged.precision, logged.scale, logged.size, logged.prefix)
    same = (
        told == known.form
        and logged.nullable == known.column.nullable
        and (not made.has_names or logged.name == known.column.name)
        and (not made.has_signs or logged.unsigned == kind.unsigned)
        and (logged.charset is None or logged.charset == charset)
    )
    if not same:
        raise NotProvenError(f"its column {known.column.name} is another one in the catalog")
    labels = logged.labels if made.has_names else kind.labels
    if not made.has_names and labels is not None and any("?" in label for label in labels):
        labels = None  # the catalog shows an emoji as `?`
    form = types.with_fraction(known.form, known.fraction) if logged.code in types.OLD_TIMES else known.form
    return replace(
        logged, name=known.column.name, unsigned=kind.unsigned, charset=charset, labels=labels, scale=form.scale, size=form.size
    )  # fmt: skip


def _known(engine: Engine, column: Column, octets: int, column_type: str, fraction: int) -> _Known:
    form = _form(engine, column, octets, column_type, fraction)
    if form is None:
        raise NotProvenError(f"its column {column.name} {column.type} has no known form in the log")
    return _Known(column, form, fraction)


def _form(engine: Engine, column: Column, octets: int, column_type: str, fraction: int) -> Form | None:
    """How the log describes a column of the catalog's type."""
    kind, name = column.type, column.type.name
    compressed = "COMPRESSED" in column_type
    if name == "json" and engine == "mariadb":
        name = "longtext"
    if name in _INTEGER_CODES:
        return types.form(_INTEGER_CODES[name], b"")
    if name in ("float", "double"):
        code, size = (types.FLOAT, 4) if name == "float" else (types.DOUBLE, 8)
        return types.form(code, bytes([size]))
    if name in _OLD_CODES:
        if "mariadb-5.3" in column_type:
            return types.form(_OLD_CODES[name], b"")
        return types.form(
            {"timestamp": types.TIMESTAMP, "time": types.TIME, "datetime": types.DATETIME}[name], bytes([fraction])
        )
    if name in ("decimal", "numeric"):
        return types.form(types.DECIMAL, bytes([kind.precision or 10, kind.scale or 0]))
    if name in ("year", "date"):
        return types.form(types.YEAR if name == "year" else types.DATE, b"")
    if name == "bit":
        bits = kind.length or 1
        return types.form(types.BIT, bytes([bits % 8, bits // 8]))
    if name in ("char", "binary") or name in _BINARY_SIZES:
        length = _BINARY_SIZES.get(name, octets)
        return Form(types.STRING, length=length, prefix=1 if length < 256 else 2)
    if name in ("varchar", "varbinary"):
        length = octets + compressed
        code = types.COMPRESSED_VARCHAR if compressed else types.VARCHAR
        return Form(code, length=length, prefix=1 if length < 256 else 2)
    if (blob := _BLOB.fullmatch(name)) is not None:
        return Form(types.COMPRESSED_BLOB if compressed else types.BLOB, prefix=_BLOB_SIZES[blob[1]])
    if name in GEOMETRIES or name in ("json", "vector"):
        return Form({"json": types.JSON, "vector": types.VECTOR}.get(name, types.GEOMETRY), prefix=4)
    if name == "enum" and kind.labels:
        return Form(types.ENUM, size=1 if len(kind.labels) < 256 else 2)
    if name == "set" and kind.labels:
        size = (len(kind.labels) + 7) // 8
        return Form(types.SET, size=size if size <= 4 else 8)
    return None
