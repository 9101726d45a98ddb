"""How one mapping reads the rows of one table layout: column by column over a group of rows, row by row where one is unusual.

Pure. Guards I6: a group in which anything is refused is read again row by row, and only the row in question is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, ne
from typing import Any, TypeAlias

from cdc.model import Layout, Op, RowChange
from transforms import compile_mapping
from transforms.compiled import ColumnCodec
from transforms.constants import Constant
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import ABSENT, Absent, ChannelValue, RefusedValueError, WireValue

Image: TypeAlias = tuple[ChannelValue, ...]
Wire: TypeAlias = tuple[WireValue, ...]
# A row's place in its group, and what a change is made of.
Row: TypeAlias = tuple[int, Op, Wire, Wire, Wire]
_Test: TypeAlias = tuple[int, Callable[[ChannelValue], bool]]  # a column's place, and whether its value is the constant

_before = attrgetter("before")
_after = attrgetter("after")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that have one layout."""

    layout: Layout
    rows: Sequence[Row]
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Column:
    at: int  # its place in the row
    codec: ColumnCodec
    differs: Callable[[Any, Any], bool]


def row_plan(spec: MappingSpec, table: Table) -> RowPlan:
    """Compile a mapping for a layout of its table. Raises transforms.MappingRefusedError."""
    compiled = compile_mapping(spec, table, capture=True, apply=False)
    places = {column.name: at for at, column in enumerate(table.columns)}

    def columns(codecs: Sequence[ColumnCodec]) -> tuple[_Column, ...]:
        found = []
        for codec in codecs:
            at = places[codec.column]
            has_floats = table.columns[at].type.name in ("float", "double", "real", "float4", "float8")
            found.append(_Column(at, codec, _float_differs if has_floats else ne))
        return tuple(found)

    def tests(constants: Sequence[Constant]) -> tuple[_Test, ...]:
        return tuple((places[constant.column], constant.matches) for constant in constants)

    lives = Lives(tests(compiled.where), tests(compiled.deleted), table) if compiled.where or compiled.deleted else None
    mapped = columns(compiled.columns)
    return RowPlan(spec, mapped, columns(compiled.key), lives)


def _float_differs(one: ChannelValue, other: ChannelValue) -> bool:
    """0.0 and -0.0 are two values, NaN is one."""
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() != other.hex()
    return one is not other and one != other


class Lives:
    """Whether a row is one of the mapping's: it has all values of `where`, and not all that mean that it is deleted."""

    def __init__(self, where: tuple[_Test, ...], deleted: tuple[_Test, ...], table: Table) -> None:
        self._where = where
        self._deleted = deleted
        self._table = table

    def __call__(self, image: Image | None) -> bool:
        if image is None:
            raise RefusedValueError(
                f"table {self._table}",
                "the log does not say what the row was before, so that it is not known whether it belonged to this mapping:"
                f" ALTER TABLE {self._table} REPLICA IDENTITY FULL",
            )
        if not all(matches(image[at]) for at, matches in self._where):
            return False
        return not self._deleted or not all(matches(image[at]) for at, matches in self._deleted)


class RowPlan:
    """Decodes groups of rows of one table and one operation."""

    def __init__(
        self, spec: MappingSpec, columns: tuple[_Column, ...], key: tuple[_Column, ...], lives: Lives | None
    ) -> None:
        self._mapping = spec.name
        self.entity = spec.entity.name
        self._columns = columns
        self._key = key
        self._lives = lives
        self.counters = spec.counters
        # A person whose row gets another key of its own goes on under it, even where no field tells.
        mapped = {column.at for column in columns}
        self._own_key = [c for c in key if c.at not in mapped] if spec.entity.identity is not None else []
        self._routed = [column.codec.field in spec.routed for column in columns] if spec.routed else []
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._all = self._layout(columns)
        self._nothing = self._layout(())

    def decode(self, rows: Sequence[RowChange]) -> list[Stretch]:
        """The stretches that the rows make; a row that changes nothing mapped is in none."""
        places = range(len(rows))
        if self._lives is not None:
            return self._of_ours(self._lives, rows)
        match rows[0].op:
            case "insert":
                return self._written("insert", places, [None] * len(rows), list(map(_after, rows)))
            case "delete":
                return self._deleted(places, list(map(_before, rows)))
            case "update":
                return self._updated(places, list(map(_before, rows)), list(map(_after, rows)))

    def values_of(self, image: Image, fields: Sequence[str]) -> Wire:
        """A row's values of these fields; empty where not all of them are mapped, or one has no exact form."""
        columns = {column.codec.field: column for column in self._columns}
        chosen = [columns[name] for name in fields if name in columns]
        return _before_values(chosen, image) if len(chosen) == len(fields) else ()

    def _of_ours(self, lives: Lives, rows: Sequence[RowChange]) -> list[Stretch]:
        """Rows that begin to be the mapping's are inserts, those that cease to be are deletes, others are not told at all."""
        stretches: list[Stretch] = []
        moves: dict[tuple[bool, bool], list[int]] = {}
        op = rows[0].op
        for at, row in enumerate(rows):
            try:
                was = op != "insert" and lives(row.before)
                moves.setdefault((was, op != "delete" and lives(row.after)), []).append(at)
            except RefusedValueError as error:
                stretches += self._refused(op, at, row.before, row.after, error)
        ours = [rows[at] for at in moves.get((True, True), ())]
        stays = (moves.get((True, True), []), list(map(_before, ours)), list(map(_after, ours)))
        if ours:
            stretches += self._updated(*stays)
        if begun := moves.get((False, True)):
            stretches += self._written("insert", begun, [None] * len(begun), [rows[at].after for at in begun])  # type: ignore[misc]
        if ended := moves.get((True, False)):
            stretches += self._deleted(ended, [rows[at].before for at in ended])  # type: ignore[misc]
        return stretches

    def _layout(self, columns: Sequence[_Column]) -> Layout:
        """One object for equal layouts."""
        fields = tuple(column.codec.field for column in columns)
        return self._layouts.setdefault(fields, Layout(self._mapping, self.entity, fields))

    # -- many rows

    def _written(
        self, op: Op, places: Sequence[int], befores: Sequence[Image | None], afters: Sequence[Image]
    ) -> list[Stretch]:
        """Rows of which every mapped field is told: inserts, and updates of which the log does not know what was before."""
        if op == "update" and self.counters:
            return self._singly(op, places, befores, afters)
        try:
            decoded = {
                id(column.codec): column.codec.decode_many([row[column.at] for row in afters])
                for column in self._columns
            }
            keys = list(zip(*[self._decoded_once(column, decoded, afters) for column in self._key], strict=True))
        except RefusedValueError:
            return self._singly(op, places, befores, afters)
        values = zip(*[decoded[id(column.codec)] for column in self._columns], strict=True)
        return [
            Stretch(self._all, [(at, op, key, value, ()) for at, key, value in zip(places, keys, values, strict=True)])
        ]

    @staticmethod
    def _decoded_once(column: _Column, decoded: dict[int, list[WireValue]], images: Sequence[Image]) -> list[WireValue]:
        known = decoded.get(id(column.codec))
        return column.codec.decode_many([row[column.at] for row in images]) if known is None else known

    def _deleted(self, places: Sequence[int], befores: Sequence[Image]) -> list[Stretch]:
        try:
            keys = zip(*[c.codec.decode_many([row[c.at] for row in befores]) for c in self._key], strict=True)
            return [Stretch(self._nothing, [(at, "delete", key, (), ()) for at, key in zip(places, keys, strict=True)])]
        except RefusedValueError:
            return self._singly("delete", places, befores, [None] * len(befores))

    def _updated(
        self, places: Sequence[int], befores: Sequence[Image | None], afters: Sequence[Image]
    ) -> list[Stretch]:
        """Rows with both images go by which columns differ; the others tell every field."""
        if None in befores:
            blind = [at for at, before in enumerate(befores) if before is None]
            seeing = [at for at, before in enumerate(befores) if before is not None]
            told = self._written(
                "update", [places[at] for at in blind], [None] * len(blind), [afters[at] for at in blind]
            )
            return told + self._compared(
                [places[at] for at in seeing], [b for b in befores if b is not None], [afters[at] for at in seeing]
            )
        return self._compared(places, [before for before in befores if before is not None], afters)

    def _compared(self, places: Sequence[int], befores: Sequence[Image], afters: Sequence[Image]) -> list[Stretch]:
        if not places:
            return []
        olds = list(zip(*befores, strict=True))
        news = list(zip(*afters, strict=True))
        differing = []
        for column in self._columns:
            old, new = olds[column.at], news[column.at]
            if Absent in set(map(type, new)):
                return self._singly("update", places, befores, afters)
            differing.append(list(map(column.differs, old, new)))
        moved = {
            at for column in self._own_key
            for at, (old, new) in enumerate(zip(olds[column.at], news[column.at], strict=True)) if old != new
        }  # fmt: skip
        groups: dict[tuple[bool, ...], list[int]] = {}
        for at, mask in enumerate(zip(*differing, strict=True)):
            if True in mask or at in moved:
                groups.setdefault(mask, []).append(at)
        if self._routed:
            groups = self._whole_where_routed(groups)
        stretches = []
        for mask, members in groups.items():
            chosen = [column for column, differs in zip(self._columns, mask, strict=True) if differs]
            stretches += self._changed(chosen, members, places, befores, afters)
        return stretches

    def _whole_where_routed(self, groups: dict[tuple[bool, ...], list[int]]) -> dict[tuple[bool, ...], list[int]]:
        """A change of what decides where a row belongs tells the whole row: somewhere it may be new."""
        whole = (True,) * len(self._columns)
        found: dict[tuple[bool, ...], list[int]] = {}
        for mask, members in groups.items():
            routed = any(changed and routes for changed, routes in zip(mask, self._routed, strict=True))
            found.setdefault(whole if routed else mask, []).extend(members)
        return found

    def _changed(
        self, chosen: Sequence[_Column], members: Sequence[int], places: Sequence[int],
        befores: Sequence[Image], afters: Sequence[Image],
    ) -> list[Stretch]:  # fmt: skip
        """Rows in which the same columns differ."""
        whole = len(members) == len(befores)
        old = befores if whole else [befores[at] for at in members]
        new = afters if whole else [afters[at] for at in members]
        at_places = places if whole else [places[at] for at in members]
        try:
            values: Iterable[Wire] = [()] * len(new)
            before: Iterable[Wire] = values
            if chosen:
                values = zip(*[c.codec.decode_many([row[c.at] for row in new]) for c in chosen], strict=True)
                before = zip(*[c.codec.decode_many([row[c.at] for row in old]) for c in chosen], strict=True)
            keys = zip(*[c.codec.decode_many([row[c.at] for row in old]) for c in self._key], strict=True)
        except RefusedValueError:
            return self._singly("update", at_places, old, new)
        rows = zip(at_places, keys, values, before, strict=True)
        return [Stretch(self._layout(chosen), [(at, "update", key, value, was) for at, key, value, was in rows])]

    # -- one row

    def _singly(
        self, op: Op, places: Sequence[int], befores: Sequence[Image | None], afters: Sequence[Image | None]
    ) -> list[Stretch]:
        """Row by row: what cannot be decoded is refused by itself, what the log does not carry is left out."""
        found = (self._one(op, at, before, after) for at, before, after in zip(places, befores, afters, strict=True))
        return [stretch for stretch in found if stretch is not None]

    def _one(self, op: Op, at: int, before: Image | None, after: Image | None) -> Stretch | None:
        chosen = self._chosen(op, before, after)
        if op == "update" and not chosen and not self._moves(before, after):
            return None
        key: Wire = ()
        try:
            key = tuple(column.codec.decode(_key_value(column, before, after)) for column in self._key)
            values = tuple(column.codec.decode(after[column.at]) for column in chosen) if after is not None else ()
        except RefusedValueError as error:
            return Stretch(self._nothing, [(at, op, key, (), ())], str(error))
        was = _before_values(chosen, before) if op == "update" else ()
        if op == "update" and not was and (counters := self.counters.intersection(c.codec.field for c in chosen)):
            why = (
                f"field {', '.join(sorted(counters))}: a counter needs its value from before the change, which the log does not"
                " have: REPLICA IDENTITY FULL (PostgreSQL)"
            )
            return Stretch(self._nothing, [(at, op, key, (), ())], why)
        return Stretch(self._layout(chosen), [(at, op, key, values, was)])

    def _moves(self, before: Image | None, after: Image | None) -> bool:
        """Whether a person's row gets another key of its own that no field tells."""
        if before is None or after is None:
            return False
        return any(before[c.at] is not ABSENT and before[c.at] != after[c.at] for c in self._own_key)

    def _refused(
        self, op: Op, at: int, before: Image | None, after: Image | None, error: RefusedValueError
    ) -> list[Stretch]:
        try:
            key = tuple(column.codec.decode(_key_value(column, before, after)) for column in self._key)
        except RefusedValueError:
            key = ()
        return [Stretch(self._nothing, [(at, op, key, (), ())], str(error))]

    def _chosen(self, op: Op, before: Image | None, after: Image | None) -> Sequence[_Column]:
        """The columns whose values the change carries."""
        if after is None:
            return ()
        there = [column for column in self._columns if after[column.at] is not ABSENT]
        if op == "insert" or before is None:
            return there
        return [c for c in there if before[c.at] is ABSENT or c.differs(before[c.at], after[c.at])]


def _key_value(column: _Column, before: Image | None, after: Image | None) -> ChannelValue:
    """A key column's value before the change; the log leaves it out of the old tuple only where it did not change."""
    for image in (before, after):
        if image is not None and image[column.at] is not ABSENT:
            return image[column.at]
    raise RefusedValueError(column.codec.field, "the log does not carry this key column")


def _before_values(chosen: Sequence[_Column], before: Image | None) -> Wire:
    """The values before, of the same fields; empty where the log does not have all of them or one has no exact form."""
    if before is None or any(before[column.at] is ABSENT for column in chosen):
        return ()
    try:
        return tuple(column.codec.decode(before[column.at]) for column in chosen)
    except RefusedValueError:
        return ()  # what was there before could not be represented; what is there now can


__all__ = ["RowPlan", "Stretch", "row_plan"]
