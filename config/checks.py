"""What no schema can say: references between sections, keys, one mapping per entity and channel, ways back - and what is not
built yet, refused with one sentence each instead of being ignored. Pure; each problem with its path.
"""

from __future__ import annotations

import decimal
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.identities import identity_problems, identity_spec, people_problems, reference_problems, referred
from config.models import ChannelConfig, ColumnConfig, Document, EntityConfig, FieldConfig, MappingConfig
from config.rules import check_rules, deleted, routed_fields
from config.values import is_loopback
from transforms import check_mapping
from transforms.compile import did_you_mean
from transforms.compiled import Problem
from transforms.fields import field_problems
from transforms.fixed_point import check_offline
from transforms.specs import ColumnSpec, EntitySpec, FieldSpec, MappingSpec, TransformSpec

_CONFLICTS: Final = "it comes with conflict rules"
SHORTEST_KEY: Final = 16


def not_built(what: str, comes_with: str) -> str:
    return f"{what} is not built yet: remove it; {comes_with}"


@dataclass(frozen=True, slots=True)
class Names:
    """What the file names, even where it is wrong, so that one mistake is not reported as two."""

    channels: frozenset[str]
    entities: frozenset[str]
    fields: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Names:
        entities = _section(raw, "entities")
        return cls(
            frozenset(map(str, _section(raw, "channels"))),
            frozenset(map(str, entities)),
            {
                str(name): frozenset(map(str, _section(entity, "fields"))) if isinstance(entity, dict) else frozenset()
                for name, entity in entities.items()
            },
        )


def _section(raw: Any, name: str) -> Mapping[Any, Any]:
    section = raw.get(name) if isinstance(raw, dict) else None
    return section if isinstance(section, dict) else {}


def check(document: Document, names: Names) -> list[Problem]:
    """Return every problem of a document that fits the schema."""
    found = [
        *_service(document),
        *_channels(document.channels),
        *(p for name, entity in document.entities.items() for p in _entity(name, entity, names, document.entities)),
        *_conflicts(document, names),
        *_mappings(document, names),
        *check_rules(document),
    ]
    return found + _come_to_rest(document, found)


def _service(document: Document) -> Iterator[Problem]:
    if document.change_log.kind == "kafka":
        yield Problem("change_log.kind", "kafka is not built yet: use redis")
    if document.store.key is not None and len(document.store.key.get_secret_value()) < SHORTEST_KEY:
        yield Problem("store.key", f"has fewer than {SHORTEST_KEY} characters")
    if document.admin.token is None and not is_loopback(document.admin.host):
        yield Problem(
            "admin.token", f"is needed: admin.listen {document.admin.listen} is reachable from other machines"
        )


def _channels(channels: Mapping[str, ChannelConfig]) -> Iterator[Problem]:
    places: dict[tuple[str, int, str], str] = {}
    for name, channel in channels.items():
        host = "127.0.0.1" if is_loopback(channel.host) else channel.host.lower()
        first = places.setdefault((host, channel.port, channel.database), name)
        if first != name:
            yield Problem(f"channels.{name}.url", f"is the same database as channel {first}")
        if channel.engine == "sqlite":
            yield from _sqlite_channel(f"channels.{name}", channel)
        if not known_zone(channel.time_zone):
            yield Problem(f"channels.{name}.time_zone", f"there is no time zone '{channel.time_zone}'")


def _sqlite_channel(path: str, channel: ChannelConfig) -> Iterator[Problem]:
    if channel.bookkeeping != "table":
        yield Problem(f"{path}.bookkeeping", "must be table: an SQLite file has no log that could carry our record")
    if channel.tls is not None:
        yield Problem(f"{path}.tls", "an SQLite file is opened, not connected to: there is nothing to encrypt")


def _sqlite_mapping(path: str, mapping: MappingConfig) -> Iterator[Problem]:
    if mapping.direction != "apply":
        yield Problem(
            f"{path}.direction",
            f"must be apply: channel '{mapping.channel}' is an SQLite file, which has no log to capture from",
        )
    if "." in mapping.table:
        yield Problem(f"{path}.table", f"'{mapping.table}': an SQLite file has no schemas")


def known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _entity(name: str, entity: EntityConfig, names: Names, entities: Mapping[str, EntityConfig]) -> Iterator[Problem]:
    path = f"entities.{name}"
    if entity.identity is not None:
        yield from identity_problems(path, entity, names.fields.get(name, frozenset()))
    elif not entity.key:
        yield Problem(f"{path}.key", "is missing: name the fields that identify one of them")
    if len(set(entity.key)) != len(entity.key):
        yield Problem(f"{path}.key", "names a field twice")
    for key in entity.key:
        if key not in names.fields.get(name, ()):
            yield Problem(f"{path}.key", f"no field '{key}' in entity '{name}'{did_you_mean(key, entity.fields)}")
    for field_name, field in entity.fields.items():
        if field.merge is not None and field_name in entity.key:
            yield Problem(f"{path}.fields.{field_name}.merge", "is part of the entity's key, which is never added up")
        yield from _field(f"{path}.fields.{field_name}", field_name, field)
        if field.type == "reference":
            yield from reference_problems(
                f"{path}.fields.{field_name}", field_name, field, entity, entities, names.entities
            )


def _field(path: str, name: str, field: FieldConfig) -> Iterator[Problem]:
    if field.owner is not None:
        yield Problem(f"{path}.owner", not_built("owner", _CONFLICTS))
    if field.on_conflict not in (None, "latest"):
        yield Problem(f"{path}.on_conflict", not_built(f"policy {field.on_conflict}", _CONFLICTS))
    yield from (Problem(path, message) for message in field_problems(field_spec(name, field)))


def _conflicts(document: Document, names: Names) -> Iterator[Problem]:
    if document.conflicts.policy != "latest":
        yield Problem("conflicts.policy", not_built(f"policy {document.conflicts.policy}", _CONFLICTS))
    priority = document.conflicts.priority
    for channel in priority:
        if channel not in names.channels:
            yield Problem("conflicts.priority", f"no channel '{channel}'{did_you_mean(channel, names.channels)}")
    if len(set(priority)) != len(priority):
        yield Problem("conflicts.priority", "names a channel twice")


def _mappings(document: Document, names: Names) -> Iterator[Problem]:
    for name, mapping in document.mappings.items():
        path = f"mappings.{name}"
        yield from _references(path, mapping, names)
        yield from _table(path, mapping)
        channel = document.channels.get(mapping.channel)
        if channel is not None and channel.engine == "sqlite":
            yield from _sqlite_mapping(path, mapping)
        yield from _columns(path, mapping, document.entities.get(mapping.entity), names)
        yield from people_problems(path, mapping, document)
        spec = mapping_spec(name, mapping, document)
        if spec is not None:
            yield from check_mapping(spec)


def _come_to_rest(document: Document, found: Sequence[Problem]) -> list[Problem]:
    """Whether two-way mappings reach a fixed point; asked once all mappings are good in themselves."""
    if any(problem.path.startswith(("mappings.", "entities.", "channels.")) for problem in found):
        return []
    specs = [mapping_spec(name, mapping, document) for name, mapping in document.mappings.items()]
    return check_offline(spec for spec in specs if spec is not None)


def _references(path: str, mapping: MappingConfig, names: Names) -> Iterator[Problem]:
    if mapping.channel not in names.channels:
        yield Problem(
            f"{path}.channel", f"no channel '{mapping.channel}'{did_you_mean(mapping.channel, names.channels)}"
        )
    if mapping.entity not in names.entities:
        yield Problem(f"{path}.entity", f"no entity '{mapping.entity}'{did_you_mean(mapping.entity, names.entities)}")


def _table(path: str, mapping: MappingConfig) -> Iterator[Problem]:
    parts = mapping.table.split(".")
    if len(parts) > 2 or not all(parts):
        yield Problem(f"{path}.table", f"'{mapping.table}' is not a table's name, or schema.table")


def _columns(path: str, mapping: MappingConfig, entity: EntityConfig | None, names: Names) -> Iterator[Problem]:
    fields = names.fields.get(mapping.entity, frozenset())
    column_of: dict[str, str] = {}
    for column, config in mapping.columns.items():
        at = f"{path}.columns.{column}"
        if mapping.entity in names.entities and config.field not in fields:
            yield Problem(
                at, f"no field '{config.field}' in entity '{mapping.entity}'{did_you_mean(config.field, fields)}"
            )
        first = column_of.setdefault(config.field, column)
        if first != column:
            yield Problem(at, f"field '{config.field}' is mapped by column {first} already")
    if entity is None or entity.identity is not None:
        return
    unmapped = [key for key in entity.key if key in fields and key not in column_of]
    for key in unmapped:
        yield Problem(
            f"{path}.columns", f"no column is mapped to '{key}', which is in the key of entity '{mapping.entity}'"
        )
    if mapping.key is not None and not unmapped and set(mapping.key) != {column_of.get(key) for key in entity.key}:
        expected = ", ".join(column_of.get(key, key) for key in entity.key)
        yield Problem(f"{path}.key", f"must be the columns that are mapped to the entity's key: [{expected}]")


def field_spec(name: str, field: FieldConfig, *, key: Iterable[str] = ()) -> FieldSpec:
    """A key field is required, whatever it says."""
    return FieldSpec(
        name=name,
        type=field.type,
        required=field.required or name in key,
        max_length=field.max_length,
        minimum=field.minimum if isinstance(field.minimum, decimal.Decimal) else None,
        maximum=field.maximum if isinstance(field.maximum, decimal.Decimal) else None,
        earliest=None if isinstance(field.minimum, decimal.Decimal) else field.minimum,
        latest=None if isinstance(field.maximum, decimal.Decimal) else field.maximum,
        pattern=field.pattern,
        values=None if field.values is None else tuple(field.values),
        precision=field.precision,
        scale=field.scale,
        to=field.to,
        merge=field.merge,
        on_conflict=field.on_conflict,
        owner=field.owner,
    )


def entity_spec(name: str, entity: EntityConfig, entities: Mapping[str, EntityConfig]) -> EntitySpec:
    fields = tuple(
        field_spec(field_name, referred(field, entities), key=entity.key) for field_name, field in entity.fields.items()
    )
    return EntitySpec(name, tuple(entity.key), fields, identity_spec(entity.identity))


def mapping_spec(name: str, mapping: MappingConfig, document: Document) -> MappingSpec | None:
    """Build the plain form of a mapping; None where its channel, zone or entity is not usable."""
    channel = document.channels.get(mapping.channel)
    entity = document.entities.get(mapping.entity)
    if channel is None or entity is None or not known_zone(channel.time_zone):
        return None
    schema, _, table = mapping.table.rpartition(".")
    column_of = {config.field: column for column, config in reversed(mapping.columns.items())}
    return MappingSpec(
        name=name,
        channel=mapping.channel,
        engine=channel.engine,
        schema=schema or None,
        table=table,
        entity=entity_spec(mapping.entity, entity, document.entities),
        direction=mapping.direction,
        columns=tuple(_column_spec(column, config) for column, config in mapping.columns.items()),
        key=tuple(column_of[key] for key in entity.key if key in column_of)
        if entity.identity is None
        else tuple(mapping.key or ()),
        match=tuple(mapping.match),
        time_zone=channel.time_zone,
        enabled=mapping.enabled,
        on_error=mapping.on_error,
        on_truncate=mapping.on_truncate,
        on_insert=dict(mapping.on_insert),
        where=dict(mapping.where),
        on_delete=mapping.on_delete if isinstance(mapping.on_delete, str) else "set",
        deleted=dict(deleted(mapping)),
        routed=routed_fields(document, mapping.entity),
    )


def _column_spec(column: str, config: ColumnConfig) -> ColumnSpec:
    steps = tuple(
        TransformSpec(step) if isinstance(step, str) else TransformSpec(*next(iter(step.items())))
        for step in config.transforms
    )
    return ColumnSpec(column, config.field, steps)
