"""Which tables the log speaks of, and the decoders of their layouts, kept from event to event. Guards I6 and I8.

A layout is made again whenever a table map differs from the last one of its table id. The catalog is asked only for what the log lacks: MariaDB's
types that look like binary strings there; and, with a proof (`cdc.readers.mysql_proven_layout`), names, signs and labels in a log without full
metadata, and the fractions of times in MariaDB's old format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Final, TypeAlias

from cdc.errors import HaltError
from cdc.readers import Wanted
from cdc.readers import binlog_events as events
from cdc.readers import binlog_types as types
from cdc.readers.binlog_events import MALFORMED, RowsHeader
from cdc.readers.binlog_rows import row_counter, row_decoder, update_decoder
from cdc.readers.binlog_table_map import TableMap, TableName, table_map, table_name
from cdc.readers.binlog_types import LogColumn
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_proven_layout import NotProvenError, Place
from sinks.bookkeeping import PARKED_TABLE, PROGRESS_COLUMNS, PROGRESS_TABLE
from transforms.tables import Engine, Table

Prove: TypeAlias = Callable[[TableMap, Place | None], TableMap]  # raises NotProvenError
Decode: TypeAlias = Callable[[bytes, int], Any]

_KEPT: Final = 2048
_PARKED_NEEDED: Final = frozenset(("deployment", "target", "id", "entity", "key_text"))
_MARIADB_BINARY_TYPES: Final = (4, 16)  # lengths of inet4; uuid and inet6


class Role(Enum):
    WANTED = "wanted"
    PROGRESS = "progress"
    PARKED = "parked"
    OTHER = "other"


def _nothing(_body: bytes, _at: int) -> Any:
    raise ValueError("no decoder")


class Layout:
    """One table's layout and its decoders. `columns` is None where an unwanted table's map could not be understood."""

    def __init__(self, name: TableName, role: Role, raw: bytes, made: TableMap | None, table: Table | None) -> None:
        self.schema = name.schema
        self.name = name.table
        self.role = role
        self.raw = raw
        self._map = made
        self._table = table
        self._wanted: frozenset[int] = frozenset()
        self._decoders: dict[tuple[object, ...], Callable[[bytes, int], Any]] = {}
        self._refusal: HaltError | None = None
        self.proven_in: str | None = None  # the log's file within which a proof by the catalog holds
        # Of the last header: the same object comes again for events that begin alike.
        self._found: tuple[RowsHeader | None, Decode, Callable[[], Decode]] = (None, _nothing, lambda: _nothing)

    def want(self, indexes: frozenset[int]) -> None:
        self._wanted = indexes

    def refuse(self, error: HaltError) -> None:
        """The layout cannot be decoded; raised when a row of it comes, so that the halt is at exactly that place."""
        self._refusal = error

    @property
    def table(self) -> Table:
        if self._refusal is not None:
            raise self._refusal
        if self._table is None:
            raise ValueError("a table without a layout")
        return self._table

    def rows(self, kind: int, header: RowsHeader, body: bytes, before: int = 0) -> list[Any]:
        """The rows of an event: tuples, of updates pairs of tuples. `before`: bytes before its body. Raises HaltError or one of MALFORMED."""
        known, decode, careful = self._found
        if known is not header:
            decode, careful = self._decoders_of(kind, header)
            self._found = header, decode, careful
        try:
            return decode(body, before + header.start)  # type: ignore[no-any-return]
        except MALFORMED:
            return careful()(body, before + header.start)  # type: ignore[no-any-return]

    def _decoders_of(self, kind: int, header: RowsHeader) -> tuple[Decode, Callable[[], Decode]]:
        """The fast decoder, and what makes the careful one."""
        columns = self._columns_of(header)
        if self._refusal is not None:
            raise self._refusal
        if columns is None:
            raise ValueError("a table without a layout")
        fast = self._decoder(kind, header, columns, careful=False)
        return fast, lambda: self._decoder(kind, header, columns, careful=True)

    def count(self, kind: int, header: RowsHeader, body: bytes) -> int:
        """The number of rows of an event; 1 where the layout is not understood, whatever it holds."""
        columns = self._columns_of(header)
        if columns is None:
            return 1
        images = (header.present, header.present_after) if kind in events.UPDATES else (header.present,)
        counter = self._decoders.get(images)
        if counter is None:
            counter = self._decoders[images] = row_counter(columns, images)
        try:
            return int(counter(body, header.start))
        except MALFORMED:
            if self._map is None or self._map.has_sizes:
                raise
            return 1

    def _columns_of(self, header: RowsHeader) -> tuple[LogColumn, ...] | None:
        if self._map is None:
            return None
        if header.columns != len(self._map.columns):
            raise ValueError(f"rows of {header.columns} columns for a table of {len(self._map.columns)}")
        return self._map.columns

    def _decoder(
        self, kind: int, header: RowsHeader, columns: tuple[LogColumn, ...], *, careful: bool
    ) -> Callable[[bytes, int], Any]:
        is_update = kind in events.UPDATES
        key = (careful, is_update, header.present, header.present_after)
        decoder = self._decoders.get(key)
        if decoder is None:
            if is_update:
                decoder = update_decoder(columns, header.present, header.present_after, self._wanted, careful=careful)
            else:
                decoder = row_decoder(columns, header.present, self._wanted, careful=careful)
            self._decoders[key] = decoder
        return decoder


class Layouts:
    """Table ids to layouts. `catalog` asks the server for DATA_TYPEs by column, where the log cannot tell; `prove` completes a map."""

    def __init__(
        self,
        engine: Engine,
        database: str,
        wanted: Wanted,
        collations: Mapping[int, str],
        catalog: Callable[[str, str], dict[str, str]],
        prove: Prove,
    ) -> None:
        self._engine = engine
        self._wanted = wanted
        self._collations = collations
        self._catalog = catalog
        self._prove = prove
        self._by_id: dict[int, Layout] = {}
        self._roles = dict.fromkeys(wanted.tables, Role.WANTED)
        self._roles[database, PROGRESS_TABLE] = Role.PROGRESS
        self._roles[database, PARKED_TABLE] = Role.PARKED

    def layout(self, body: bytes, at: Place | None) -> tuple[int, Layout]:
        """The layout that a TABLE_MAP body describes; `at` is where it stands in the log, if that is known. Raises one of MALFORMED."""
        table_id = int.from_bytes(body[:6], "little")
        known = self._by_id.get(table_id)
        if known is None or known.raw != body or (known.proven_in and (at is None or at[0] != known.proven_in)):
            if len(self._by_id) >= _KEPT:
                self._by_id.clear()
            known = self._by_id[table_id] = self._make(body, at)
        return table_id, known

    def known(self, table_id: int) -> Layout | None:
        """What the last TABLE_MAP of this id described."""
        return self._by_id.get(table_id)

    def _make(self, body: bytes, at: Place | None) -> Layout:
        name = table_name(body)
        role = self._roles.get((name.schema, name.table), Role.OTHER)
        if role is Role.OTHER:
            try:
                return Layout(name, role, body, table_map(body, self._collations, self._engine), None)
            except MALFORMED:
                return Layout(name, role, body, None, None)
        try:
            logged = table_map(body, self._collations, self._engine)
        except types.UnknownTypeError as error:
            layout = Layout(name, role, body, None, None)
            layout.refuse(_unknown_type(name, error))
            return layout
        made, refusal = self._completed(logged, at)
        if refusal is None:
            made, refusal = self._checked(made, role)
        layout = Layout(name, role, body, made, made.table(self._engine))
        if not logged.is_whole:
            layout.proven_in = at[0] if at is not None else "nowhere"
        if refusal is not None:
            layout.refuse(refusal)
        layout.want(self._indexes(made, role))
        return layout

    def _indexes(self, made: TableMap, role: Role) -> frozenset[int]:
        needed = self._needed(made, role)
        return frozenset(i for i, c in enumerate(made.columns) if c.name in needed)

    def _needed(self, made: TableMap, role: Role) -> frozenset[str]:
        """The columns without which the table's rows cannot be read: the mapped ones, and of ours those that capture looks at."""
        if role is Role.WANTED:
            return self._wanted.tables[made.schema, made.name]
        return frozenset(PROGRESS_COLUMNS) if role is Role.PROGRESS else _PARKED_NEEDED

    def _completed(self, made: TableMap, at: Place | None) -> tuple[TableMap, HaltError | None]:
        """The map with what the log left out, or why the catalog does not prove it."""
        if made.is_whole:
            return made, None
        try:
            return self._prove(made, at), None
        except NotProvenError as error:
            why = str(error)
        table = f"{made.schema}.{made.name}"
        if made.has_names:
            old = next(column for column in made.columns if column.code in types.OLD_TIMES)
            return made, HaltError(
                "UNSUPPORTED_TYPE",
                f"{table}.{old.name}: a {old.type_name} in MariaDB's format before MySQL 5.6 cannot be read: the log does not have its"
                f" fraction's size, and the catalog does not prove it ({why})",
                f"ALTER TABLE `{made.schema}`.`{made.name}` FORCE (with mysql56_temporal_format = ON), then {RESYNC}",
            )
        return made, HaltError(
            "LOG_METADATA",
            f"{table}: the log holds no column names here (binlog_row_metadata was not FULL), and the catalog does not prove them: {why}",
            f"SET GLOBAL binlog_row_metadata = 'FULL', then {RESYNC}",
        )

    def _checked(self, made: TableMap, role: Role) -> tuple[TableMap, HaltError | None]:
        """The map with what only the catalog knows, and why its rows cannot be decoded, if so."""
        table = f"{made.schema}.{made.name}"
        mapped = self._needed(made, role)
        missing = sorted(mapped - {column.name for column in made.columns})
        if missing:
            return made, HaltError(
                "SCHEMA_CHANGED",
                f"{table}: the mapped column {', '.join(missing)} is no longer in the table",
                "correct the mapping's columns, or add the column again; nothing is skipped meanwhile",
            )
        made = self._with_catalog(made, mapped)
        for column in made.columns:
            if column.name in mapped and column.refusal is not None:
                return made, HaltError(
                    "UNSUPPORTED_TYPE",
                    f"{table}.{column.name}: {column.refusal} cannot be read yet",
                    "take the column out of the mapping, or change its type",
                )
        return made, None

    def _with_catalog(self, made: TableMap, mapped: frozenset[str]) -> TableMap:
        """MariaDB's uuid, inet4 and inet6 come as fixed strings of 16 or 4 bytes, and nothing in the log tells them apart."""
        if self._engine != "mariadb":
            return made
        doubtful = [
            column.name
            for column in made.columns
            if column.name in mapped
            and column.code == types.STRING
            and column.length in _MARIADB_BINARY_TYPES
            and column.charset in ("binary", None)
        ]
        if not doubtful:
            return made
        known = self._catalog(made.schema, made.name)
        lacking = [name for name in doubtful if name not in known]
        if lacking:
            raise HaltError(
                "CATALOG_HIDDEN",
                f"{made.schema}.{made.name}.{lacking[0]}: the catalog does not show the column's type, and the log cannot tell it",
                f"GRANT SELECT ON `{made.schema}`.`{made.name}` to Datong's user; or the column is gone: correct the mapping",
            )
        columns = tuple(replace(c, catalog_name=known[c.name]) if c.name in doubtful else c for c in made.columns)
        return replace(made, columns=columns)


def _unknown_type(name: TableName, error: types.UnknownTypeError) -> HaltError:
    return HaltError(
        "UNSUPPORTED_TYPE",
        f"{name.schema}.{name.table}: {error}, and the columns after it cannot be found in a row",
        "take the table out of the mappings, or change the column's type",
    )
