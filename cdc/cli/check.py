"""`datong check`: the configuration alone, offline; `--explain MAPPING` connects and shows what each column becomes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cdc.cli.configured import load_for, path_of
from cdc.cli.failure import CommandError
from cdc.cli.output import print_table

if TYPE_CHECKING:
    from config.models import Configuration
    from transforms.promises import Source
    from transforms.specs import MappingSpec
    from transforms.tables import Table


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    if options.explain:
        return _explain(options, configuration)
    names = list(configuration.channels)
    count = sum(len(configuration.mappings_of(name)) for name in names)
    print(f"{path_of(options)}: good - {len(names)} channels, {count} mappings")
    return 0


def _explain(options: argparse.Namespace, configuration: Configuration) -> int:
    from cdc.explaining import HEADS, explain

    spec = configuration.mappings.get(options.explain)
    if spec is None:
        known = ", ".join(sorted(configuration.mappings))
        raise CommandError(f"no mapping {options.explain!r} in {path_of(options)} - there are: {known}", 2)
    table = _table(configuration, spec)
    others: list[Source] = []
    unseen: list[str] = []
    for other in configuration.mappings.values():
        if other.entity.name == spec.entity.name and other.channel != spec.channel:
            try:
                others.append((other, _table(configuration, other)))
            except CommandError as error:
                unseen += error.lines
                others.append((other, None))
    made = explain(spec, table, others)
    print(f"{spec.name}: {spec.channel} {table} <-> entity {spec.entity.name}, direction {spec.direction}")
    print_table(HEADS, made.rows)
    for line in made.rules:
        print(line)
    for line in unseen:
        print(f"not compared with: {line}")
    if made.problems:
        raise CommandError(made.problems)
    return 0


def _table(configuration: Configuration, spec: MappingSpec) -> Table:
    """A mapping's table as its catalog describes it. Raises CommandError."""
    from cdc.addresses import address_of
    from sinks import open_sink
    from sinks.contract import SinkError, SinkOptions

    address = address_of(configuration.channels[spec.channel])
    sink = open_sink(address, SinkOptions(bookkeeping="none"))
    try:
        sink.connect()
        table = sink.describe(spec.schema, spec.table)
    except SinkError as error:
        raise CommandError(f"mapping {spec.name}: {spec.channel} ({address}): {error}") from None
    finally:
        sink.close()
    if table is None:
        raise CommandError(f"mapping {spec.name}: there is no table {spec.table} in {spec.channel} ({address})")
    return table
