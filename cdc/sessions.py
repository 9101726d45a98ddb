"""Putting a session together: from the configuration to a Capture or an Applier with its connections, and their end.

The only place that knows every part; it holds no logic of theirs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cdc.addresses import address_of, redis_address
from cdc.apply.applier import Applier, ApplyOptions, ApplyParts
from cdc.apply.encoding import Encoder
from cdc.capture.capture import Capture, CaptureOptions, CaptureParts
from cdc.capture.decoding import Decoder
from cdc.capture.release import ReleaseOptions
from cdc.change_log import ChangeLog
from cdc.compiling import Compiling
from cdc.control import Control
from cdc.errors import HaltError, TransientError
from cdc.faults import Faults
from cdc.lease import Lease
from cdc.loop_guard import LoopGuard
from cdc.model import IDENTITY_SOURCE
from cdc.people_sessions import apply_people, capture_people, prepare_people, with_keys
from cdc.preparing import prepare, require_before_images, require_logged_cascades, require_tables
from cdc.readers import Reader, ReaderOptions, Wanted
from cdc.store import Store
from config.models import Configuration
from sinks import open_sink
from sinks.connections import Address
from sinks.contract import Fenced, Halt, Rejected, SinkError, SinkOptions
from transforms.compiled import CompiledMapping
from transforms.specs import MappingSpec


class Runs(Protocol):
    def run(self) -> None: ...


class Session:
    """A Capture or an Applier with all it holds open; leaving it closes that. A sink's errors come out as the engine's."""

    def __init__(self, build: Callable[[ExitStack], Runs], where: str) -> None:
        self._build = build
        self._where = where
        self._stack = ExitStack()
        self._runs: Runs | None = None

    def __enter__(self) -> Self:
        try:
            self._runs = self._build(self._stack)
        except SinkError as error:
            self._stack.close()
            raise told(error, self._where) from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self) -> None:
        assert self._runs is not None
        try:
            self._runs.run()
        except SinkError as error:
            raise told(error, self._where) from error


def told(error: SinkError, where: str) -> Exception:
    """What a sink's error means to the role."""
    if isinstance(error, Halt):
        return HaltError(f"TARGET_{error.code or 'REFUSED'}", f"{where}: {error}", error.mend or "run `datong doctor`")
    if isinstance(error, Fenced):  # the lease says at the next start whether that one is to stay
        return TransientError(f"{where}: another writer moved the progress: {error}")
    if isinstance(error, Rejected):  # nobody was there to park it
        return HaltError("ROW_REJECTED", f"{where}: {error}", "this is a defect: report it with this line")
    return TransientError(f"{where}: {error}")


def open_capture(
    configuration: Configuration, channel: str, store: Store, lease: Lease, control: Control, faults: Faults
) -> Session:
    """A session that reads `channel`'s log."""
    settings = configuration.channels[channel]
    address = address_of(settings)

    def build(stack: ExitStack) -> Capture:
        control.opening("opening the log")
        all_mappings = with_keys(configuration.mappings_of(channel), address)
        mappings = [spec for spec in all_mappings if spec.captures]
        enabled = [spec for spec in mappings if spec.enabled]
        tables = {table_of(spec, address) for spec in mappings}
        prepare(address, configuration.deployment, channel, tables, bookkeeping=settings.bookkeeping)
        require_before_images(address, channel, before_image_needs(enabled, address))
        columns = wanted_columns(enabled, address)
        require_tables(address, channel, columns)
        require_logged_cascades(address, channel, columns)
        wanted = Wanted(
            configuration.deployment,
            channel,
            columns,
            part_rows=configuration.apply.max_transaction_rows,
            ignore_truncate=frozenset(truncates_ignored(enabled, address)),
            keys=key_columns(enabled, address),
        )
        options = ReaderOptions(
            server_id=server_id(configuration.deployment, channel),
            probe=faults.hit,
            remember=partial(store.decisions.remember, channel),
            spill_folder=folder_of(configuration),
        )
        reader = open_reader(address, wanted, options)
        stack.callback(reader.close)
        change_log = ChangeLog(redis_address(configuration), configuration.deployment)
        stack.callback(change_log.close)
        guard = LoopGuard(redis_address(configuration), configuration.deployment, channel)
        stack.callback(guard.close)
        decoder = Decoder(enabled, default_schema(address))
        people = capture_people(
            configuration, channel, all_mappings, enabled, redis_address(configuration), change_log,
            store.safe_cut(channel), stack,
        )  # fmt: skip
        return Capture(
            CaptureParts(reader, decoder, change_log, guard, store, lease, people),
            CaptureOptions(
                channel=channel,
                engine=address.engine,
                incarnation=incarnation_of(address),
                log_carries_record=settings.bookkeeping == "table" or address.engine != "mysql",
                max_bytes=configuration.change_log.max_bytes // max(1, len(captures(configuration))),
                heartbeat_seconds=configuration.heartbeat,
                release=ReleaseOptions(
                    channel,
                    wanted_by=frozenset(appliers(configuration) - {channel}),
                    max_bytes=configuration.max_behind.bytes,
                    max_seconds=configuration.max_behind.hours * 3600,
                    probe=faults.hit,
                ),
                revision=configuration.revision,
                after_ddl=partial(require_logged_cascades, address, channel, columns),
                probe=faults.hit,
            ),
            control,
        )

    return Session(build, f"{channel} ({address})")


def open_apply(
    configuration: Configuration, channel: str, store: Store, lease: Lease, control: Control, faults: Faults
) -> Session:
    """A session that writes `channel`'s tables."""
    settings = configuration.channels[channel]
    address = address_of(settings)

    def build(stack: ExitStack) -> Applier:
        control.opening("opening the target")
        mine = with_keys(configuration.mappings_of(channel), address)
        tables = {table_of(spec, address) for spec in mine if spec.captures}
        prepare(address, configuration.deployment, channel, tables, bookkeeping=settings.bookkeeping)
        written = [spec for spec in mine if spec.applies and spec.enabled]
        if any(spec.entity.identity is not None for spec in written):
            prepare_people(address, channel)
        sink = open_sink(address, SinkOptions(bookkeeping=settings.bookkeeping, probe=faults.hit, alive=control.beat))
        stack.callback(sink.close)
        server = sink.connect()

        compiling = Compiling(configuration, sink)

        def describe() -> list[CompiledMapping]:
            return [compiling.compiled(spec) for spec in written]

        change_log = ChangeLog(redis_address(configuration), configuration.deployment)
        stack.callback(change_log.close)
        guard = LoopGuard(redis_address(configuration), configuration.deployment, channel)
        stack.callback(guard.close)
        encoder = Encoder(describe())
        people, planner = apply_people(configuration, channel, written, sink, encoder, stack)
        return Applier(
            ApplyParts(sink, server, encoder, describe, change_log, guard, store, lease, people, planner),
            ApplyOptions(
                deployment=configuration.deployment,
                target=channel,
                sources=(
                    *sorted(captures(configuration) - {channel}),
                    *((IDENTITY_SOURCE,) if people is not None else ()),
                ),
                max_rows=configuration.apply.max_transaction_rows,
                held_bytes=configuration.change_log.max_bytes // max(1, len(captures(configuration))) // 2,
                engine=address.engine,
                bookkeeping=settings.bookkeeping,
                captured=channel in captures(configuration),
                probe=faults.hit,
            ),
            control,
        )

    return Session(build, f"{channel} ({address})")


def open_reader(address: Address, wanted: Wanted, options: ReaderOptions) -> Reader:
    if address.engine == "postgresql":
        from cdc.readers.postgresql_reader import PostgreSQLReader

        return PostgreSQLReader(address, wanted, options)
    from cdc.readers.mysql import MySQLReader

    return MySQLReader(address, wanted, options)


def folder_of(configuration: Configuration) -> Path | None:
    """Where a role may put what does not fit in memory: beside the hub store where that is a file, else the system's folder for it."""
    url = configuration.store.url.get_secret_value()
    return Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else None


def captures(configuration: Configuration) -> set[str]:
    """The channels that any mapping captures, enabled or not."""
    return {name for name in configuration.channels if any(spec.captures for spec in configuration.mappings_of(name))}


def appliers(configuration: Configuration) -> set[str]:
    """The channels that any mapping writes, enabled or not."""
    return {name for name in configuration.channels if any(spec.applies for spec in configuration.mappings_of(name))}


def incarnation_of(address: Address) -> str:
    """The server's start, where transaction identities begin anew with it: MySQL's thread ids. Empty elsewhere."""
    if address.engine != "mysql":
        return ""
    sink = open_sink(address, SinkOptions())
    try:
        return sink.connect().incarnation
    finally:
        sink.close()


def default_schema(address: Address) -> str:
    return "public" if address.engine == "postgresql" else address.database


def table_of(spec: MappingSpec, address: Address) -> tuple[str, str]:
    return (spec.schema or default_schema(address), spec.table)


def wanted_columns(mappings: list[MappingSpec], address: Address) -> dict[tuple[str, str], frozenset[str]]:
    columns: dict[tuple[str, str], frozenset[str]] = {}
    for spec in mappings:
        name = table_of(spec, address)
        columns[name] = columns.get(name, frozenset()) | spec.read_columns
    return columns


def key_columns(mappings: list[MappingSpec], address: Address) -> dict[tuple[str, str], frozenset[str]]:
    """The columns that find a row, of all mappings of a table."""
    columns: dict[tuple[str, str], frozenset[str]] = {}
    for spec in mappings:
        name = table_of(spec, address)
        columns[name] = columns.get(name, frozenset()) | set(spec.key)
    return columns


def before_image_needs(mappings: list[MappingSpec], address: Address) -> dict[tuple[str, str], str]:
    """The tables whose rows have to be known as they were before a change, and what of the configuration asks for it."""
    needs = {
        table_of(spec, address): ", ".join(spec.before_image_needs) for spec in mappings if spec.before_image_needs
    }
    return dict(sorted(needs.items()))


def truncates_ignored(mappings: list[MappingSpec], address: Address) -> set[tuple[str, str]]:
    """Tables of which every mapping says `on_truncate: ignore`."""
    halting = {table_of(spec, address) for spec in mappings if spec.on_truncate == "halt"}
    return {table_of(spec, address) for spec in mappings} - halting


def server_id(deployment: str, channel: str) -> int:
    """Ours as a replica: the same at every start, different for every channel, far from what people choose by hand."""
    return 0x40000000 | zlib.crc32(f"{deployment}/{channel}".encode()) >> 2
