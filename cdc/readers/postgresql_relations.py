"""The layouts of the relations in a stream: RELATION messages and the catalog's types -> tables and row decoders. Guards I6.

A layout is of its place in the log: rows before an ALTER come with the old one. A mapped column that is gone or has a type that
cannot be read halts the channel there; any other column is passed over undecoded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from cdc.errors import HaltError
from cdc.readers import Notice
from cdc.readers.pgoutput import Relation, RelationColumn, lsn_text
from cdc.readers.pgoutput_rows import Decode, Inline, RowDecoder
from cdc.readers.postgresql_catalog import TypeFacts
from cdc.readers.postgresql_types import column_type, reading
from transforms.tables import Column, Table


@dataclass(frozen=True, slots=True)
class Layout:
    """A relation as it is at this place of the log; `index_of` its columns by name.

    `unkeyed`: columns of the mapping's key that the replica identity leaves out, so that updates and deletes do not say of which row.
    """

    oid: int
    table: Table
    rows: RowDecoder
    index_of: Mapping[str, int]
    unkeyed: frozenset[str] = frozenset()


class TypeSource(Protocol):
    """What knows of types: the catalog. It remembers; `forget_types` makes it ask again."""

    def types(self, oids: Collection[int]) -> Mapping[int, TypeFacts]: ...

    def forget_types(self) -> None: ...


class Relations:
    """Makes layouts of RELATION messages; `notices` collects which columns came or went."""

    def __init__(
        self,
        wanted: Mapping[tuple[str, str], Collection[str]],
        source: TypeSource,
        notices: list[Notice],
        keys: Mapping[tuple[str, str], frozenset[str]] | None = None,
    ) -> None:
        self._wanted = wanted
        self._keys = keys or {}
        self._source = source
        self._notices = notices
        self._tables: dict[tuple[str, str], Table] = {}  # the last seen; outlives a reconnect
        self._labels_seen: dict[int, set[bytes]] = {}  # of enums, by type: beyond what the catalog said

    @property
    def wanted(self) -> Collection[tuple[str, str]]:
        return self._wanted.keys()

    def layout(self, relation: Relation, lsn: int) -> Layout | None:
        """The layout of a wanted relation, or None. Raises HaltError SCHEMA_CHANGED, UNSUPPORTED_TYPE."""
        name = (relation.schema, relation.name)
        mapped = self._wanted.get(name)
        if mapped is None:
            return None
        facts = self._source.types({column.type_oid for column in relation.columns})
        table = Table(
            relation.schema,
            relation.name,
            tuple(
                Column(column.name, column_type(facts.get(column.type_oid), column.type_oid, column.type_modifier))
                for column in relation.columns
            ),
            primary_key=tuple(column.name for column in relation.columns if column.is_key)
            if relation.replica_identity == "d"
            else (),
        )
        self._compare(table, mapped, lsn)
        read = [
            self._reading(table, column, facts.get(column.type_oid), lsn) if column.name in mapped else (None, None)
            for column in relation.columns
        ]
        kept = self._tables.get(name)
        if kept == table:
            table = kept  # one object as long as nothing changed
        self._tables[name] = table
        index_of = {column.name: index for index, column in enumerate(table.columns)}
        decoders = RowDecoder(relation, [decode for decode, _ in read], [inline for _, inline in read])
        identity = {column.name for column in relation.columns if column.is_key}
        # Without any the server itself refuses updates and deletes of a published table.
        unkeyed = self._keys.get(name, frozenset()) - identity if identity else frozenset[str]()
        return Layout(relation.oid, table, decoders, index_of, unkeyed)

    def layout_anew(self, relation: Relation, lsn: int) -> Layout | None:
        """The same with types asked again: an enum got a label, which the server does not announce."""
        self._source.forget_types()
        return self.layout(relation, lsn)

    def _compare(self, table: Table, mapped: Collection[str], lsn: int) -> None:
        now = {column.name for column in table.columns}
        gone = sorted(set(mapped) - now)
        if gone:
            raise HaltError(
                "SCHEMA_CHANGED",
                f"table {table} has no column {', '.join(gone)} at {lsn_text(lsn)}, which is mapped",
                "edit the mapping's columns, or rename the column back, and start again",
            )
        before = self._tables.get((table.schema, table.name))
        if before is None:
            return
        known = {column.name for column in before.columns}
        for event, names in (("column_gone", known - now), ("column_new", now - known)):
            if names:
                verb = "went" if event == "column_gone" else "came"
                text = f"table {table}: unmapped column {', '.join(sorted(names))} {verb} at {lsn_text(lsn)}"
                self._notices.append(Notice(event, text, lsn))

    def _reading(
        self, table: Table, column: RelationColumn, facts: TypeFacts | None, lsn: int
    ) -> tuple[Decode, Inline | None]:
        if facts is not None:
            found = reading(facts, self._labels_seen.setdefault(column.type_oid, set()))
            if found is not None:
                return found
        shown = facts.name if facts is not None else f"oid {column.type_oid}, which does not exist any more"
        raise HaltError(
            "UNSUPPORTED_TYPE",
            f"column {table}.{column.name} is of type {shown}, which cannot be replicated (at {lsn_text(lsn)})",
            f"take {column.name} out of the mapping's columns",
        )
