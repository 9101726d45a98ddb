"""Compiling the mappings that an applier writes, against its own catalog and, where that is too little, those of the channels captured.

Guards I6: what a column can never hold halts here, with what to declare. A source that does not answer refuses nothing and holds up
nobody: the value itself is still refused when it comes. Says also where rows may be inserted on both sides (I3).
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from cdc.addresses import address_of
from cdc.errors import HaltError
from config.models import Configuration
from sinks import open_sink
from sinks.contract import Sink, SinkError, SinkOptions
from transforms import compile_mapping
from transforms.compiled import CompiledMapping, MappingRefusedError, Problem
from transforms.promises import Source, promising, unkept
from transforms.specs import MappingSpec
from transforms.tables import Table

log = structlog.get_logger()


class Compiling:
    """One session's: what the sources' catalogs say is asked once, and only where it matters."""

    def __init__(self, configuration: Configuration, sink: Sink) -> None:
        self._configuration = configuration
        self._sink = sink
        self._seen: dict[str, Table | None] = {}

    def compiled(self, spec: MappingSpec) -> CompiledMapping:
        """Raises HaltError TABLE_MISSING, MAPPING_REFUSED; a SinkError of the target's own."""
        table = self._sink.describe(spec.schema, spec.table)
        if table is None:
            raise HaltError(
                "TABLE_MISSING",
                f"mapping {spec.name}: there is no table {spec.table} (a view is none)",
                "create it, or mend the mapping's `table`",
            )
        try:
            made = compile_mapping(spec, table, capture=spec.captures, apply=True)
        except MappingRefusedError as refused:
            raise _refused(refused.problems) from None
        if promising(spec, table) and (problems := unkept(spec, table, self._sources(spec))):
            raise _refused(problems)
        return replace(made, contested=is_contested(spec, self._configuration))

    def _sources(self, spec: MappingSpec) -> list[Source]:
        return [
            (other, self._table_of(other) if other.enabled else None)
            for other in self._configuration.mappings.values()
            if other.captures and other.channel != spec.channel and other.entity.name == spec.entity.name
        ]

    def _table_of(self, spec: MappingSpec) -> Table | None:
        if spec.name not in self._seen:
            sink = open_sink(address_of(self._configuration.channels[spec.channel]), SinkOptions(bookkeeping="none"))
            try:
                sink.connect()
                self._seen[spec.name] = sink.describe(spec.schema, spec.table)
            except SinkError as error:
                log.warning("source_not_looked_at", mapping=spec.name, reason=str(error))
                self._seen[spec.name] = None
            finally:
                sink.close()
        return self._seen[spec.name]


def is_contested(spec: MappingSpec, configuration: Configuration) -> bool:
    """Whether a row that an insert finds is another one, inserted here or in a third channel.

    Not where a delete or a TRUNCATE leaves rows behind, where a batch may be written twice (bookkeeping none), or where keys are each
    channel's own.
    """
    written_once = configuration.channels[spec.channel].bookkeeping == "table"
    if spec.entity.identity is not None or spec.on_delete != "propagate" or not written_once:
        return False
    writers = [it for it in configuration.mappings.values() if it.captures and it.entity.name == spec.entity.name]
    if any(it.on_truncate == "ignore" for it in writers if it.channel != spec.channel):
        return False
    return len({it.channel for it in writers}) > 1


def _refused(problems: list[Problem]) -> HaltError:
    return HaltError(
        "MAPPING_REFUSED",
        "; ".join(map(str, problems)),
        "edit the mapping to fit the table; `datong doctor` shows all of it",
    )
