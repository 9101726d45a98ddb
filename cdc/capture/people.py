"""Resolving who the rows of a batch are about, between decoding and publishing. Guards I1, I4 (a change's key is its person).

Rows of people get their OneID as the change's key; fields that refer to people get it as their value. A row that is not known is
asked for in this channel's own database once: first among the links that our applier has just made there, then (a reference) in the
table itself. A reference that names nobody there is refused, and appliers park it. Everything is decided in the hub store before
anything is published, in the order of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec import structs

from cdc.capture.decoding import Decoded
from cdc.identity.directory import Directory, MadeLink
from cdc.identity.events import EventPublisher
from cdc.identity.identifiers import Normaliser
from cdc.identity.registry import unpack_local
from cdc.identity.resolver import Resolver
from cdc.identity.words import LocalKey, OneID, Row, Sighting
from cdc.model import Change, Layout, LogPart, Op, Order, RowChange
from sinks.contract import Sink
from transforms import compile_mapping
from transforms.compiled import ColumnCodec, CompiledMapping
from transforms.specs import MappingSpec
from transforms.tables import Table
from transforms.values import ABSENT, ChannelValue, RefusedValueError, WireValue

BEFORE_EVERYTHING: Final = (0, 0)  # the place of what was read from a table and not from the log

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OwnTables:
    """This channel's own database. `open_sink` connects when something unknown is met for the first time; `applied`: our
    applier writes people here.
    """

    open_sink: Callable[[], Sink]
    deployment: str
    channel: str
    applied: bool


@dataclass(frozen=True, slots=True)
class _PeoplePlan:
    """How one layout of a people's table names and identifies its rows."""

    entity: str
    normaliser: Normaliser
    key: tuple[tuple[int, ColumnCodec], ...]
    identifying: tuple[tuple[int, ColumnCodec] | None, ...]  # in the order of the rule's fields; None: not mapped here

    def local(self, image: tuple[ChannelValue, ...]) -> LocalKey | None:
        """The row's key; None where the image does not hold it."""
        try:
            return tuple([codec.decode(image[at]) for at, codec in self.key])
        except RefusedValueError:
            return None

    def sighting(self, row: RowChange, op: Op, local: LocalKey, place: tuple[int, int]) -> Sighting:
        """`op`: what the change is to the mapping: a row may begin or cease to be one of its rows by an update."""
        image = row.after if row.after is not None else row.before
        assert image is not None
        return Sighting(
            Row(self.entity, local),
            self.normaliser.identifiers(tuple([_value(image, column) for column in self.identifying])),
            place,
            begun=op == "insert",
            ended=op == "delete",
        )


def _value(image: tuple[ChannelValue, ...], column: tuple[int, ColumnCodec] | None) -> WireValue:
    if column is None or image[column[0]] is ABSENT:
        return None
    with suppress(RefusedValueError):
        return column[1].decode(image[column[0]])
    return None  # what has no exact form identifies nobody


@dataclass(slots=True)
class _Todo:
    """A change, which sight of its row says who it is about, and which references stand where."""

    decoded: Decoded
    at: int
    sighting: int | None
    references: tuple[tuple[int, str], ...]  # place among the layout's fields, entity
    order: Order  # of its transaction


class People:
    """One capture's. `specs` are the enabled mappings that are captured, with the columns that find a row named."""

    def __init__(
        self,
        specs: Sequence[MappingSpec],
        all_specs: Sequence[MappingSpec],
        resolver: Resolver,
        directory: Directory,
        own: OwnTables,
        events: EventPublisher,
    ) -> None:
        """`all_specs`: every mapping of the channel, for where references lead."""
        self._specs = {spec.name: spec for spec in specs}
        self._homes = {spec.entity.name: spec for spec in all_specs if spec.entity.identity is not None}
        self._resolver = resolver
        self._directory = directory
        self._own = own
        self._events = events
        self._sink: Sink | None = None
        self._plans: dict[tuple[str, int], tuple[Table, _PeoplePlan]] = {}
        self._references: dict[Layout, tuple[tuple[int, str], ...]] = {}

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def resolve(self, parts: Sequence[LogPart], decoded: Sequence[Decoded]) -> None:
        """Put OneIDs into the changes of a batch. Raises TransientError, HaltError and what the sink raises."""
        if self._events.publish_when_due():
            self._resolver.follow_generation()
        todo: list[_Todo] = []
        sightings: list[Sighting] = []
        for part, of in zip(parts, decoded, strict=True):
            if of.changes:
                self._gather(part, of, todo, sightings)
        if not todo:
            return
        self._adopt([s.row for s in sightings if not s.begun])
        people = self._resolver.resolve(sightings)
        known = self._referred(todo)
        forgotten: dict[int, tuple[Decoded, set[int]]] = {}
        for item in todo:
            change = self._translated(item, people, known)
            if change is None:
                forgotten.setdefault(id(item.decoded), (item.decoded, set()))[1].add(item.at)
            else:
                item.decoded.changes[item.at] = change
        for of, places in forgotten.values():
            of.changes = [change for at, change in enumerate(of.changes) if at not in places]
        self._tell_questions()

    # -- what is to be resolved

    def _gather(self, part: LogPart, of: Decoded, todo: list[_Todo], sightings: list[Sighting]) -> None:
        layouts = of.layouts
        rows: dict[int, RowChange] = {}
        for at, change in enumerate(of.changes):
            layout = layouts[change.layout]
            spec = self._specs[layout.mapping]
            references = self._references_of(layout, spec)
            if spec.entity.identity is None:
                if references:
                    todo.append(_Todo(of, at, None, references, part.order))
                continue
            if not change.key:
                continue  # refused, with a key that could not be read: nobody can be named
            rows = rows or {row.index: row for row in part.rows}
            row = rows[change.index]
            plan = self._plan(spec, row.table)
            sighting = plan.sighting(row, change.op, change.key, (part.order, 2 * change.index))
            if change.op == "insert":
                told = [name for name, value in zip(layout.fields, change.values, strict=False) if value is not None]
                sighting = structs.replace(sighting, told=tuple(told))
            sightings.append(sighting)
            todo.append(_Todo(of, at, len(sightings) - 1, references, part.order))
            moved = plan.local(row.after) if row.op == "update" and row.after is not None else None
            if moved is not None and moved != change.key:
                # The row goes on under another local key: the same person, by its link.
                sighting = sightings[-1]
                sightings[-1] = structs.replace(sighting, ended=True, goes_on=True)
                place = (part.order, 2 * change.index + 1)
                sightings.append(
                    structs.replace(
                        sighting, row=Row(spec.entity.name, moved), at=place, begun=True, moved_from=change.key
                    )
                )  # fmt: skip

    def _references_of(self, layout: Layout, spec: MappingSpec) -> tuple[tuple[int, str], ...]:
        known = self._references.get(layout)
        if known is None:
            found = []
            for at, name in enumerate(layout.fields):
                field = spec.entity.field(name)
                if field is not None and field.type == "reference" and field.to is not None:
                    found.append((at, field.to))
            known = self._references[layout] = tuple(found)
        return known

    def _plan(self, spec: MappingSpec, table: Table) -> _PeoplePlan:
        known = self._plans.get((spec.name, id(table)))
        if known is not None and known[0] is table:
            return known[1]
        plan = _people_plan(compile_mapping(spec, table, capture=True, apply=False))
        self._plans[spec.name, id(table)] = (table, plan)
        return plan

    # -- what is not known yet

    def _adopt(self, rows: Sequence[Row]) -> None:
        """Take over the links that our applier keeps in this database, where the hub store does not know a row."""
        if self._own.applied and rows and self._resolver.unlinked(rows):
            kept = self._opened().people().kept(self._own.deployment, self._own.channel)
            links = [MadeLink(link.entity, link.person, unpack_local(link.local_key)) for link in kept]
            self._directory.link(links)

    def _referred(self, todo: Sequence[_Todo]) -> dict[Row, OneID]:
        """The people whom references name; who is not known is looked for in the table once."""
        wanted: dict[Row, Order] = {}  # and the last change that names it
        for item in todo:
            change = item.decoded.changes[item.at]
            for at, entity in item.references:
                for values in (change.values, change.before):
                    if len(values) > at and values[at] is not None:
                        wanted[Row(entity, (values[at],))] = item.order
        if not wanted:
            return {}
        known = self._resolver.known(list(wanted))
        missing = [row for row in wanted if row not in known]
        if missing:
            self._adopt(missing)
            self._fetch({row: wanted[row] for row in missing})
            known |= self._resolver.known(missing)
        return known

    def _fetch(self, rows: Mapping[Row, Order]) -> None:
        """Read people's rows that no capture has seen from their own table; with each, the order of the change that names it."""
        by_entity: dict[str, list[LocalKey]] = {}
        for row in rows:
            by_entity.setdefault(row.entity, []).append(row.local)
        for entity, locals_ in by_entity.items():
            spec = self._homes[entity]
            sink = self._opened()
            table = sink.describe(spec.schema, spec.table)
            if table is None:
                continue
            compiled = compile_mapping(spec, table, capture=True, apply=False)
            plan = _people_plan(compiled)
            keys = [key for local in locals_ if (key := _channel_key(compiled, local)) is not None]
            columns = tuple(codec.column for codec in compiled.key)
            places = [column for column in plan.identifying if column is not None]
            names = tuple(table.columns[at].name for at, _ in places)
            sightings = []
            for values in sink.people().look_up(table, columns, keys, names):
                image: list[ChannelValue] = [None] * len(table.columns)
                for (at, _), value in zip(places, values[len(columns) :], strict=True):
                    image[at] = value
                for (at, _), value in zip(plan.key, values, strict=False):
                    image[at] = value
                local = plan.local(tuple(image))
                if local is not None:
                    found = RowChange(table, "update", 0, None, tuple(image))
                    sighting = plan.sighting(found, found.op, local, BEFORE_EVERYTHING)
                    sightings.append(structs.replace(sighting, read_for=rows.get(sighting.row, 0)))
            self._resolver.resolve(sightings)
            log.info(
                "people_fetched", channel=self._own.channel, table=str(table), asked=len(keys), found=len(sightings)
            )

    def _opened(self) -> Sink:
        if self._sink is None:
            self._sink = self._own.open_sink()
        return self._sink

    # -- putting it in

    def _translated(self, item: _Todo, people: Sequence[OneID | None], known: Mapping[Row, OneID]) -> Change | None:
        """None: it is about somebody who was forgotten after it, or tells nobody anything."""
        change = item.decoded.changes[item.at]
        key, if_new = change.key, change.if_new
        if item.sighting is not None:
            person = people[item.sighting]
            if person is None:
                log.info("forgotten_dropped", channel=self._own.channel, order=item.order)
                return None
            key = (person,)
            if change.op == "insert" and (yields := self._resolver.yields.get(item.sighting)):
                fields = item.decoded.layouts[change.layout].fields
                if_new = tuple(at for at, name in enumerate(fields) if name in yields)
            if change.op == "update" and not change.values and change.refused is None:
                return None  # its row got another key, and that concerns nobody else
        if not item.references:
            return structs.replace(change, key=key, if_new=if_new)
        values, unknown = _with_people(change.values, item.references, known)
        before, unknown_before = _with_people(change.before, item.references, known)
        if unknown is None:
            return structs.replace(
                change, key=key, values=values, before=() if unknown_before else before, if_new=if_new
            )
        layout = item.decoded.layouts[change.layout]
        number = item.decoded.number(Layout(layout.mapping, layout.entity, ()))
        refused = f"field {layout.fields[unknown[0]]}: there is no {unknown[1]} with the key that this column holds"
        return Change(number, change.op, change.index, key, (), (), refused)

    def _tell_questions(self) -> None:
        for question in self._resolver.questions:
            log.warning(
                "identity_question", kind=question.kind, entity=question.entity, one=question.one, other=question.other,
                channel=question.channel, hint="decide it: datong identity conflicts",
            )  # fmt: skip
        self._resolver.questions.clear()


def _people_plan(compiled: CompiledMapping) -> _PeoplePlan:
    identity = compiled.spec.entity.identity
    assert identity is not None
    places = {column.name: at for at, column in enumerate(compiled.table.columns)}
    by_field = {codec.field: (places[codec.column], codec) for codec in compiled.columns}
    return _PeoplePlan(
        compiled.spec.entity.name,
        Normaliser(identity),
        tuple((places[codec.column], codec) for codec in compiled.key),
        tuple(by_field.get(name) for name in identity.fields),
    )


def _channel_key(compiled: CompiledMapping, local: LocalKey) -> tuple[ChannelValue, ...] | None:
    """None for a value that no key of this table can be."""
    try:
        return tuple([codec.encode(value) for codec, value in zip(compiled.key, local, strict=True)])
    except RefusedValueError:
        return None


def _with_people(
    values: tuple[WireValue, ...], references: Sequence[tuple[int, str]], known: Mapping[Row, OneID]
) -> tuple[tuple[WireValue, ...], tuple[int, str] | None]:
    """The values with OneIDs in place of local keys, and the first reference that names nobody."""
    if not values:
        return values, None
    made = list(values)
    for at, entity in references:
        value = values[at]
        if value is not None:
            person = known.get(Row(entity, (value,)))
            if person is None:
                return values, (at, entity)
            made[at] = person
    return tuple(made), None
