"""How one mapping writes the changes of one layout: its columns, and what its conditions make of a change. Pure. Guards I6.

A plain mapping writes what the change says. `where`, `on_insert`, `on_delete` and counters (`merge: sum`) bend the shape of a write,
never a value: a row that comes to belong here is an insert, one that no longer does a delete, a counter's change is a difference.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cdc.model import Change, Layout, Op
from sinks.contract import RowWrite
from transforms.compiled import ColumnCodec, CompiledMapping
from transforms.constants import Constant
from transforms.values import ChannelValue, RefusedValueError

Values: TypeAlias = tuple[ChannelValue, ...]
_EXACT = decimal.Context(prec=200, traps=[decimal.Inexact, decimal.InvalidOperation])


@dataclass(frozen=True, slots=True)
class _Route:
    """A mapped column of `where`: its place among the chosen columns, None where the change does not carry its field."""

    at: int | None
    constant: Constant


class WritePlan:
    """Makes the writes of changes that have one layout."""

    def __init__(self, compiled: CompiledMapping, layout: Layout, *, contested: bool = False) -> None:
        """`contested`: a user's insert is to make its row (`sinks.contract.RowWrite.anew`)."""
        by_field = {codec.field: codec for codec in compiled.columns}
        chosen = [(at, by_field[name]) for at, name in enumerate(layout.fields) if name in by_field]
        self.mapping = compiled.spec
        self._table = compiled.table
        self._key = compiled.key
        self._key_columns = tuple(codec.column for codec in compiled.key)
        self._values: tuple[tuple[int, ColumnCodec], ...] = tuple(chosen)
        self._columns = tuple(codec.column for _, codec in chosen)
        self._is_whole = len(chosen) == len(compiled.columns)
        # A row that counts as deleted is still the one that is meant, whatever where says of it.
        dead = {constant.column for constant in compiled.deleted}
        self._only = tuple((c.column, c.value) for c in compiled.where if c.column not in dead)
        self._fresh = tuple((constant.column, constant.value) for constant in compiled.on_insert)
        self._deleted = compiled.deleted
        mapped = {codec.column for codec in compiled.columns}
        places = {column: at for at, column in enumerate(self._columns)}
        self._routes = [_Route(places.get(c.column), c) for c in compiled.where if c.column in mapped]
        given = [
            c for c in {c.column: c for c in (*compiled.where, *compiled.alive)}.values() if c.column not in places
        ]
        self._given_columns = tuple(constant.column for constant in given)
        self._given_values = tuple(constant.value for constant in given)
        self._counters = [
            (at, place, codec)
            for place, (at, codec) in enumerate(chosen)
            if layout.fields[at] in compiled.spec.counters
        ]
        self._contested = contested
        self._is_plain = not (self._only or self._fresh or self._deleted or self._counters or compiled.alive)

    def together(self, op: Op, changes: Sequence[Change], refs: Sequence[int]) -> list[RowWrite | None] | None:
        """The writes of changes of one operation; None where one of them is refused: they go one by one then."""
        if (op == "update" and not self._columns) or (op == "delete" and self.mapping.on_delete == "ignore"):
            return [None] * len(changes)
        try:
            keys = zip(
                *[codec.encode_many([c.key[at] for c in changes]) for at, codec in enumerate(self._key)], strict=True
            )
            if op == "delete":
                return [self._delete(key, ref) for key, ref in zip(keys, refs, strict=True)]
            values = zip(
                *[codec.encode_many([c.values[at] for c in changes]) for at, codec in self._values], strict=True
            )
            if self._is_plain:
                table, key_columns, columns = self._table, self._key_columns, self._columns
                if op == "insert" and self._contested:
                    return [
                        RowWrite(table, op, key_columns, key, columns, row, ref, anew=True)
                        for key, row, ref in zip(keys, values, refs, strict=True)
                    ]
                return [
                    RowWrite(table, op, key_columns, key, columns, row, ref)
                    for key, row, ref in zip(keys, values, refs, strict=True)
                ]
            return [
                self._insert(key, row, ref, anew=self._contested)
                if op == "insert"
                else self._update(change, key, row, ref)
                for change, key, row, ref in zip(changes, keys, values, refs, strict=True)
            ]
        except RefusedValueError:
            return None

    def one(self, change: Change, ref: int) -> RowWrite | RefusedValueError | None:
        """The write of one change, or why it cannot be written."""
        if change.op == "update" and not self._columns:
            return None
        try:
            key = tuple([codec.encode(value) for codec, value in zip(self._key, change.key, strict=True)])
            if change.op == "delete":
                return None if self.mapping.on_delete == "ignore" else self._delete(key, ref)
            row = tuple([codec.encode(change.values[at]) for at, codec in self._values])
            if change.op == "insert":
                return self._insert(key, row, ref, anew=self._contested)
            return self._update(change, key, row, ref)
        except RefusedValueError as error:
            return error

    def new(self, change: Change, ref: int) -> RowWrite:
        """The insert of a row whose key the server gives. Raises RefusedValueError."""
        row = tuple([codec.encode(change.values[at]) for at, codec in self._values])
        columns, values = self._columns + self._given_columns, row + self._given_values
        return RowWrite(self._table, "insert", (), (), columns, values, ref, only=self._only, fresh=self._fresh)

    def _insert(self, key: Values, row: Values, ref: int, *, anew: bool = False) -> RowWrite | None:
        if not self._belongs(row):
            return None
        columns, values = self._columns + self._given_columns, row + self._given_values
        return RowWrite(
            self._table,
            "insert",
            self._key_columns,
            key,
            columns,
            values,
            ref,
            only=self._only,
            fresh=self._fresh,
            anew=anew,
        )

    def _delete(self, key: Values, ref: int) -> RowWrite:
        if not self._deleted:
            return RowWrite(self._table, "delete", self._key_columns, key, (), (), ref, only=self._only)
        columns = tuple(constant.column for constant in self._deleted)
        values = tuple(constant.value for constant in self._deleted)
        return RowWrite(
            self._table, "update", self._key_columns, key, columns, values, ref, only=self._only, lenient=True
        )

    def _update(self, change: Change, key: Values, row: Values, ref: int) -> RowWrite | None:
        routed = [route for route in self._routes if route.at is not None]
        if routed:
            if not self._belongs(row):
                return self._delete(key, ref) if self._belonged(change) else None
            if self._is_whole and not self._belonged(change):
                return self._insert(self._moved(key, row), row, ref, anew=self._contested)
        values, deltas = self._differences(change, row) if self._counters else (row, ())
        # Whether a row without the field that decides is here, only the table knows.
        lenient = any(route.at is None for route in self._routes)
        return RowWrite(
            self._table, "update", self._key_columns, key, self._columns, values, ref, deltas, self._only, (), lenient
        )

    def _moved(self, key: Values, row: Values) -> Values:
        """The key of a row that comes to be here: as it is after the change."""
        now = dict(zip(self._columns, row, strict=True))
        return tuple(now.get(column, value) for column, value in zip(self._key_columns, key, strict=True))

    def _belongs(self, row: Values) -> bool:
        return all(route.at is None or route.constant.matches(row[route.at]) for route in self._routes)

    def _belonged(self, change: Change) -> bool:
        """Whether the row was here before the change; where the log does not say, it may have been."""
        if not change.before:
            return True
        for route in self._routes:
            if route.at is not None:
                at, codec = self._values[route.at]
                try:
                    before = codec.encode(change.before[at])
                except RefusedValueError:
                    return False  # what the column cannot hold was never here
                if not route.constant.matches(before):
                    return False
        return True

    def _differences(self, change: Change, row: Values) -> tuple[Values, tuple[int, ...]]:
        """The values with each counter's difference in its place, and these places. NULL before counts as 0; NULL now is set."""
        values: list[Any] = list(row)
        deltas: list[int] = []
        for at, place, codec in self._counters:
            now = row[place]
            if now is None:
                continue
            if not change.before:
                raise RefusedValueError(
                    f"field {codec.field}", "is a counter, and the change does not say what it was before"
                )
            before = None if change.before[at] is None else codec.encode(change.before[at])
            values[place] = now if before is None else _difference(now, before)
            deltas.append(place)
        return tuple(values), tuple(deltas)


def _difference(now: Any, before: Any) -> Any:
    return _EXACT.subtract(now, before) if isinstance(now, decimal.Decimal) else now - before
