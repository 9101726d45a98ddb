"""What only shows when all channels are seen together: one database in two channels, clocks that differ, columns that do not agree.

Pure. Guards I2, I3 and I6.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cdc.doctor.facts import ServerFacts, Wish
from cdc.doctor.finding import Finding
from transforms import compile_mapping
from transforms.compiled import CompiledMapping, MappingRefusedError
from transforms.fixed_point import check_compiled
from transforms.narrowing import narrower
from transforms.promises import Source, unkept
from transforms.specs import MappingSpec

_NOTABLE_SKEW_SECONDS: Final = 1.0


def check_distinct_databases(servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for channel, facts in servers.items():
        other = first.setdefault(facts.identity, channel)
        if other != channel:
            yield Finding(
                "SAME_DATABASE",
                "error",
                channel,
                f"channels.{channel}.url",
                f"channel {channel} is the same database as channel {other}: every change would go round in it",
                [f"channels.{channel}: remove it, and put its mappings under {other}"],
            )


def check_mappings_together(wishes: Sequence[Wish], servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    """Two-way mappings come to rest with the real columns, and which columns are too narrow for what others hold."""
    compiled = []
    for wish in wishes:
        facts = servers.get(wish.channel)
        for mapping in wish.mappings if facts is not None else ():
            table = facts.tables.get(wish.name_of(mapping)) if facts is not None else None
            if table is not None and table.catalog.columns:
                with contextlib.suppress(MappingRefusedError):  # check_mappings_compile names it
                    compiled.append(
                        compile_mapping(mapping, table.catalog, capture=mapping.captures, apply=mapping.applies)
                    )
    for problem in check_compiled(compiled):
        yield Finding(
            "NO_REST", "error", None, problem.path, problem.message, [f"{problem.path}: correct its transforms"]
        )
    refused: set[str] = set()
    for target in compiled:
        for problem in unkept(target.spec, target.table, _sources(target.spec, wishes, servers)):
            refused.add(problem.path)
            yield Finding(
                "MAPPING_REFUSED", "error", target.spec.channel, problem.path, problem.message,
                [f"{problem.path}: {problem.message.partition(' - ')[2]}"],
            )  # fmt: skip
    for target in compiled:
        for source in compiled:
            if target.spec.entity == source.spec.entity and target.spec.channel != source.spec.channel:
                yield from (found for found in _narrower(source, target) if found.path not in refused)


def _sources(spec: MappingSpec, wishes: Sequence[Wish], servers: Mapping[str, ServerFacts]) -> list[Source]:
    """Who captures the entity elsewhere, with the table where that could be seen."""
    sources: list[Source] = []
    for wish in wishes:
        facts = servers.get(wish.channel)
        for mapping in (*wish.mappings, *wish.disabled):
            if mapping.captures and wish.channel != spec.channel and mapping.entity.name == spec.entity.name:
                table = facts.tables.get(wish.name_of(mapping)) if facts is not None and mapping.enabled else None
                sources.append((mapping, table.catalog if table is not None and table.catalog.columns else None))
    return sources


def _narrower(source: CompiledMapping, target: CompiledMapping) -> Iterator[Finding]:
    if not (source.spec.captures and target.spec.applies):
        return
    theirs = {column.field: column for column in source.spec.columns if not column.transforms}
    for column in target.spec.columns:
        field, of_source = target.spec.entity.field(column.field), theirs.get(column.field)
        if column.transforms or field is None or of_source is None:
            continue
        there, here = source.table.column(of_source.column), target.table.column(column.column)
        misfit = narrower(field, there.type, here.type) if there is not None and here is not None else None
        if misfit is not None and here is not None:
            path = f"mappings.{target.spec.name}.columns.{column.column}"
            text = f"{misfit.told(column.column, here.type, field)} ({source.spec.name} holds such values; here they are parked)"
            yield Finding("NARROWER", "warning", None, path, text, [f"{path}: {misfit.mend} or widen the column"])


def check_clocks(servers: Mapping[str, ServerFacts]) -> Iterator[Finding]:
    """Clocks decide nothing about causality, but `latest` and every lag shown go by them."""
    if len(servers) < 2:
        return
    ordered = sorted(servers, key=lambda channel: servers[channel].skew_seconds)
    behind, ahead = servers[ordered[0]], servers[ordered[-1]]
    apart = ahead.skew_seconds - behind.skew_seconds
    sure = apart - ahead.skew_error_seconds - behind.skew_error_seconds
    if sure > _NOTABLE_SKEW_SECONDS:
        text = f"the clock of {ordered[-1]} is {apart:.1f} s ahead of {ordered[0]}: `latest` and the lag shown go by these clocks"
        yield Finding("CLOCK_SKEW", "warning", None, "channels", text, ["timedatectl set-ntp true (on both servers)"])
    else:
        text = f"the servers' clocks are at most {max(apart, 0) * 1000:.0f} ms apart"
        yield Finding("CLOCKS", "info", None, "channels", text)
