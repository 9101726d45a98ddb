"""`datong check`: the configuration alone, offline."""

from __future__ import annotations

import argparse

from cdc.cli.configured import load_for, path_of
from cdc.cli.failure import CommandError


def run(options: argparse.Namespace) -> int:
    if options.explain:
        raise CommandError("check --explain is not built yet: it comes with a later version", 2)
    configuration = load_for(options)
    names = list(configuration.channels)
    count = sum(len(configuration.mappings_of(name)) for name in names)
    print(f"{path_of(options)}: good - {len(names)} channels, {count} mappings")
    return 0
