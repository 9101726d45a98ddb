"""What a session needs besides where rows are people, or refer to them: the registry, the caches, a way into the channel's own tables.

A configuration without identity opens none of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from cdc.addresses import address_of
from cdc.apply.encoding import Encoder
from cdc.apply.moving import Moving
from cdc.apply.people import People as ApplyPeople
from cdc.apply.people_plan import Planner
from cdc.capture.people import OwnTables
from cdc.capture.people import People as CapturePeople
from cdc.change_log import ChangeLog
from cdc.errors import HaltError, TransientError
from cdc.identity.caches import RedisCache
from cdc.identity.directory import Directory
from cdc.identity.events import EventPublisher
from cdc.identity.registry import Registry
from cdc.identity.resolver import Resolver
from cdc.model import Checkpoint
from cdc.redis_connection import RedisAddress
from config.models import Configuration
from sinks import open_sink
from sinks.connections import Address
from sinks.contract import Halt, Sink, SinkError, SinkOptions
from transforms.specs import MappingSpec


def open_registry(configuration: Configuration) -> Registry:
    """Raises StoreRefusedError, HaltError (another store.key), TransientError."""
    settings = configuration.store
    key = None if settings.key is None else settings.key.get_secret_value()
    registry = Registry(settings.url.get_secret_value(), configuration.deployment, key)
    try:
        registry.open()
    except BaseException:
        registry.close()
        raise
    return registry


def concerns_people(spec: MappingSpec) -> bool:
    """Whether its rows are people or refer to some."""
    return spec.entity.identity is not None or any(
        field.type == "reference" and any(column.field == field.name for column in spec.columns)
        for field in spec.entity.fields
    )


def with_keys(specs: list[MappingSpec], address: Address) -> list[MappingSpec]:
    """The mappings with the columns that find a person's row named: where none are, the table's primary key.

    The log does not tell it on every server. Raises HaltError, TransientError.
    """
    if not any(spec.entity.identity is not None and not spec.key for spec in specs):
        return specs
    sink = open_sink(address, SinkOptions())
    try:
        sink.connect()
        return [_with_key(spec, sink) for spec in specs]
    except SinkError as error:
        raise _told(error, address) from None
    finally:
        sink.close()


def _with_key(spec: MappingSpec, sink: Sink) -> MappingSpec:
    if spec.entity.identity is None or spec.key:
        return spec
    table = sink.describe(spec.schema, spec.table)
    if table is None:
        raise HaltError(
            "TABLE_MISSING",
            f"mapping {spec.name}: there is no table {spec.table}",
            "create it, or mend the mapping's `table`",
        )
    if not table.primary_key:
        raise HaltError(
            "MAPPING_REFUSED",
            f"mappings.{spec.name}.key: {table} has no primary key",
            "name unique columns that are not null in `key`",
        )
    return replace(spec, key=table.primary_key)


def _refuse_wide_references(specs: list[MappingSpec]) -> None:
    """A reference is one column: it cannot name rows of a table whose key here is several. Raises HaltError."""
    keys = {spec.entity.name: spec.key for spec in specs if spec.entity.identity is not None}
    for spec in specs:
        for column in spec.columns:
            field = spec.entity.field(column.field)
            if field is None or field.type != "reference" or len(keys.get(field.to or "", ("",))) == 1:
                continue
            raise HaltError(
                "MAPPING_REFUSED",
                f"mappings.{spec.name}.columns.{column.column}: refers to entity '{field.to}', whose rows have a key of several columns here",
                "leave the column out, or name one unique column that is not null in the `key` of that entity's mapping",
            )


def capture_people(
    configuration: Configuration,
    channel: str,
    specs: list[MappingSpec],
    enabled: list[MappingSpec],
    redis: RedisAddress,
    change_log: ChangeLog,
    safe_cut: Checkpoint | None,
    stack: ExitStack,
) -> CapturePeople | None:
    """`specs`: all mappings of the channel, `enabled`: those whose rows are captured; both `with_keys`."""
    if not any(map(concerns_people, enabled)):
        return None
    _refuse_wide_references(specs)
    registry = open_registry(configuration)
    stack.callback(registry.close)
    if safe_cut is not None:
        registry.drop_tombstones(channel, safe_cut.position.order)
    size = configuration.store.cache
    cache = RedisCache(redis, configuration.deployment, size)
    stack.callback(cache.close)
    limits = {e.name: e.identity.max_rows for e in configuration.entities().values() if e.identity is not None}
    resolver = Resolver(registry, channel, cache_size=size, redis=cache, max_rows=limits)
    settings = configuration.channels[channel]
    address = address_of(settings)

    def open_own() -> Sink:
        sink = open_sink(address, SinkOptions(bookkeeping=settings.bookkeeping))
        sink.connect()
        return sink

    applied = any(spec.applies and spec.entity.identity is not None for spec in specs)
    own = OwnTables(open_own, configuration.deployment, channel, applied)
    directory = Directory(registry, channel, cache_size=1)
    people = CapturePeople(enabled, specs, resolver, directory, own, EventPublisher(registry, change_log))
    stack.callback(people.close)
    return people


def apply_people(
    configuration: Configuration, channel: str, specs: list[MappingSpec], sink: Sink, encoder: Encoder, stack: ExitStack
) -> tuple[ApplyPeople, Planner] | tuple[None, None]:
    """`specs`: the enabled mappings that are written, `with_keys`."""
    if not any(map(concerns_people, specs)):
        return None, None
    _refuse_wide_references(specs)
    registry = open_registry(configuration)
    stack.callback(registry.close)
    directory = Directory(registry, channel, cache_size=configuration.store.cache)
    planner = Planner(lambda: encoder.mappings, directory)
    moving = Moving(registry, channel, directory, sink.people(), lambda: encoder.mappings)
    return ApplyPeople(sink, encoder, planner, directory, moving, lambda: encoder.mappings), planner


def prepare_people(address: Address, channel: str) -> None:
    """Create datong_identity where people are written. Raises HaltError with the statement that mends it."""
    sink = open_sink(address, SinkOptions())
    try:
        sink.connect()
        sink.people().prepare()
    except Halt as error:
        raise HaltError("NOT_PREPARED", f"{channel}: {error}", error.mend or "run `datong doctor`") from None
    except SinkError as error:
        raise _told(error, address) from None
    finally:
        sink.close()


def _told(error: SinkError, address: Address) -> Exception:
    if isinstance(error, Halt):
        return HaltError(
            f"TARGET_{error.code or 'REFUSED'}", f"{address}: {error}", error.mend or "run `datong doctor`"
        )
    return TransientError(f"{address}: {error}")
