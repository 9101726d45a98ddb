"""Checks of what bends a mapping: `where`, `on_insert`, `on_delete`, several mappings of one entity, counters. Pure; no table is seen.

Guards I1 (a change that arrives has one place to go) and I6 (no addition is made twice or lost).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from config.models import Document, EntityConfig, MappingConfig, SetValues
from transforms.compiled import Problem


def check_rules(document: Document) -> Iterator[Problem]:
    for name, mapping in document.mappings.items():
        yield from _constants(f"mappings.{name}", mapping, document.entities.get(mapping.entity))
        yield from _counters(f"mappings.{name}", mapping, document)
    yield from _shared(document)


def deleted(mapping: MappingConfig) -> Mapping[str, object]:
    """The values of `on_delete: {set: ...}`."""
    return mapping.on_delete.set if isinstance(mapping.on_delete, SetValues) else {}


def routed_fields(document: Document, entity: str) -> frozenset[str]:
    """The fields that decide in some channel whether a row of the entity belongs there: those of mapped columns of `where`."""
    return frozenset(
        mapping.columns[column].field
        for mapping in document.mappings.values()
        if mapping.entity == entity and mapping.direction != "capture"
        for column in mapping.where
        if column in mapping.columns
    )


def _constants(path: str, mapping: MappingConfig, entity: EntityConfig | None) -> Iterator[Problem]:
    keys = {*(mapping.key or ()), *(c for c, to in mapping.columns.items() if entity and to.field in entity.key)}
    for column in mapping.on_insert:
        if column in mapping.columns:
            field = mapping.columns[column].field
            yield Problem(f"{path}.on_insert.{column}", f"is mapped: its value comes from field '{field}'")
        elif column in mapping.where:
            yield Problem(f"{path}.on_insert.{column}", "is in where, whose value is written already")
    for column in deleted(mapping):
        if column in keys:
            yield Problem(f"{path}.on_delete.set.{column}", "is a column of the key, which names the row")
    overlap = [c for c, value in deleted(mapping).items() if c in mapping.where and _same(mapping.where[c], value)]
    if overlap and len(overlap) == len(deleted(mapping)):
        yield Problem(
            f"{path}.on_delete.set", "is what where asks for: every row of this mapping would count as deleted"
        )


def _counters(path: str, mapping: MappingConfig, document: Document) -> Iterator[Problem]:
    entity, channel = document.entities.get(mapping.entity), document.channels.get(mapping.channel)
    if entity is None or channel is None or channel.bookkeeping == "table" or mapping.direction == "capture":
        return
    for column, config in mapping.columns.items():
        field = entity.fields.get(config.field)
        if field is not None and field.merge == "sum":
            yield Problem(
                f"{path}.columns.{column}",
                f"field '{config.field}' is a counter (merge: sum), and with bookkeeping: none a change may be applied twice:"
                " use bookkeeping: table, or direction capture",
            )


def _shared(document: Document) -> Iterator[Problem]:
    """Mappings of one entity in one channel: no row may be two of them, and a change that arrives must tell whose it is."""
    groups: dict[tuple[str, str], list[tuple[str, MappingConfig]]] = {}
    for name, mapping in document.mappings.items():
        if mapping.entity not in document.entities:
            continue
        for other_name, other in groups.setdefault((mapping.channel, mapping.entity), []):
            if document.entities[mapping.entity].identity is not None:
                yield Problem(
                    f"mappings.{name}",
                    f"entity '{mapping.entity}' is mapped in channel '{mapping.channel}' by {other_name} already: people have one"
                    " mapping each",
                )
                continue
            apart = [c for c in mapping.where if c in other.where and not _same(mapping.where[c], other.where[c])]
            path = f"mappings.{name}"
            what = f"entity '{mapping.entity}' is mapped in channel '{mapping.channel}' by {other_name} already"
            if not apart:
                yield Problem(path, f"{what}: two mappings of one entity need where conditions that cannot both hold")
            elif "capture" not in (mapping.direction, other.direction) and not any(
                _field(mapping, c) is not None and _field(mapping, c) == _field(other, c) for c in apart
            ):
                yield Problem(
                    f"{path}.where",
                    f"{what}, and a change that arrives does not tell which of them it is for: map column {apart[0]} to one field"
                    " in both, or give one of them direction capture",
                )
        groups[mapping.channel, mapping.entity].append((name, mapping))


def _field(mapping: MappingConfig, column: str) -> str | None:
    return mapping.columns[column].field if column in mapping.columns else None


def _same(one: object, other: object) -> bool:
    """Whether two constants may be one value of a column: `1`, `true` and "1" may."""
    spelled = [{True: "1", False: "0"}.get(v, str(v)) if isinstance(v, bool) else str(v) for v in (one, other)]
    if spelled[0].casefold().strip() == spelled[1].casefold().strip():
        return True
    try:
        return float(spelled[0]) == float(spelled[1])
    except ValueError:
        return False
