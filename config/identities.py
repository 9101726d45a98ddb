"""What can be wrong with people and references to them before anything is connected, and their plain form. Pure.

A reference to an entity with a key is that key's value in every channel; one to people is translated through OneID.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from config.models import Document, EntityConfig, FieldConfig, IdentityConfig, MappingConfig
from transforms.compile import did_you_mean
from transforms.compiled import Problem
from transforms.specs import IdentitySpec

_MAY_IDENTIFY = ("text", "integer", "uuid")


def identity_of(written: list[str] | IdentityConfig | None) -> IdentityConfig | None:
    """The long form."""
    return IdentityConfig(by=written) if isinstance(written, list) else written


def identity_spec(written: list[str] | IdentityConfig | None) -> IdentitySpec | None:
    identity = identity_of(written)
    if identity is None:
        return None
    return IdentitySpec(
        by=tuple(identity.by),
        block=frozenset(identity.block),
        max_rows=identity.max_rows,
        scope=dict(identity.scope),
        kinds=dict(identity.kinds),
        region=identity.region,
    )


def referred(field: FieldConfig, entities: Mapping[str, EntityConfig]) -> FieldConfig:
    """A reference to an entity with a key of one field has that field's type; others are as they are."""
    target = entities.get(field.to or "")
    if field.type != "reference" or target is None or target.identity is not None or len(target.key) != 1:
        return field
    key = target.fields.get(target.key[0])
    if key is None or key.type == "reference":
        return field
    return key.model_copy(
        update={"required": field.required, "merge": None, "owner": field.owner, "on_conflict": field.on_conflict}
    )


def identity_problems(path: str, entity: EntityConfig, fields: Collection[str]) -> Iterator[Problem]:
    identity = identity_of(entity.identity)
    assert identity is not None
    if entity.key:
        yield Problem(f"{path}.key", "has no place beside identity: what names a person is its OneID")
    if len(set(identity.by)) != len(identity.by):
        yield Problem(f"{path}.identity", "names a field twice")
    for name in identity.by:
        field = entity.fields.get(name)
        if name not in fields:
            yield Problem(f"{path}.identity", f"no field '{name}' in this entity{did_you_mean(name, fields)}")
        elif field is not None and field.type not in _MAY_IDENTIFY:
            yield Problem(
                f"{path}.identity", f"field '{name}' is of type {field.type}: text, integer or uuid may identify"
            )
    for part, named in (("scope", identity.scope), ("kinds", identity.kinds)):
        for name in named:
            if name not in identity.by:
                yield Problem(
                    f"{path}.identity.{part}",
                    f"'{name}' is none of the identifying fields{did_you_mean(name, identity.by)}",
                )
    for name, within in identity.scope.items():
        if within not in fields:
            yield Problem(
                f"{path}.identity.scope.{name}", f"no field '{within}' in this entity{did_you_mean(within, fields)}"
            )


def reference_problems(
    path: str,
    name: str,
    field: FieldConfig,
    entity: EntityConfig,
    entities: Mapping[str, EntityConfig],
    named: Collection[str],
) -> Iterator[Problem]:
    if field.to is None:
        yield Problem(path, "type reference needs `to`: the entity that it names")
        return
    if field.to not in named:
        yield Problem(f"{path}.to", f"no entity '{field.to}'{did_you_mean(field.to, named)}")
        return
    target = entities.get(field.to)
    if target is None:
        return
    if target.identity is None:
        if len(target.key) != 1:
            yield Problem(
                f"{path}.to", f"entity '{field.to}' has a key of {len(target.key)} fields: a reference is one value"
            )
        elif (key := target.fields.get(target.key[0])) is not None and key.type == "reference":
            yield Problem(f"{path}.to", f"the key of entity '{field.to}' is a reference itself")
    elif name in entity.key:
        yield Problem(path, "a key cannot be a reference to people: what names a row must be the same in every channel")


def people_problems(path: str, mapping: MappingConfig, document: Document) -> Iterator[Problem]:
    """Of one mapping: people need our table in the target, and a reference needs its people mapped in the same channel."""
    entity, channel = document.entities.get(mapping.entity), document.channels.get(mapping.channel)
    if entity is None:
        return
    if entity.identity is None and mapping.match:
        yield Problem(f"{path}.match", f"entity '{mapping.entity}' has no identity: its key finds a row")
    for column in mapping.match:
        if column not in mapping.columns:
            yield Problem(f"{path}.match", f"column '{column}' is not mapped{did_you_mean(column, mapping.columns)}")
    if (
        entity.identity is not None
        and channel is not None
        and channel.bookkeeping == "none"
        and mapping.direction != "capture"
    ):
        yield Problem(
            f"{path}.direction",
            f"people cannot be written with bookkeeping none (channel {mapping.channel}): a link to a new row would be lost in a crash - use direction capture",
        )
    is_sqlite = channel is not None and channel.engine == "sqlite"
    if is_sqlite and entity.identity is not None:
        yield Problem(f"{path}.entity", f"people are not written into an SQLite file (channel {mapping.channel})")
    mapped = {other.entity for other in document.mappings.values() if other.channel == mapping.channel}
    for column, config in mapping.columns.items():
        field = entity.fields.get(config.field)
        if field is None or field.type != "reference":
            continue
        target = document.entities.get(field.to or "")
        if target is None or target.identity is None:
            continue
        if is_sqlite:
            yield Problem(
                f"{path}.columns.{column}",
                f"refers to people, whom an SQLite file does not hold: leave it out, or map entity '{field.to}' with a key",
            )
        elif field.to not in mapped:
            yield Problem(
                f"{path}.columns.{column}",
                f"refers to entity '{field.to}', which channel '{mapping.channel}' does not map",
            )
