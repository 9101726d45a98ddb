"""`datong mapping list|enable|disable`: edits the file in place; a running service follows within a second."""

from __future__ import annotations

import argparse
import json
import sys

from cdc.cli.configured import load_for, path_of, who
from cdc.cli.failure import CommandError
from cdc.cli.output import print_table
from cdc.cli.stored import opened_store


def list_all(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    from cdc.supervisor.following import settings_of

    lines = settings_of(configuration).mappings
    if options.json:
        import msgspec

        print(
            json.dumps({name: msgspec.to_builtins(line) for name, line in lines.items()}, ensure_ascii=False, indent=2)
        )
        return 0
    heads = ("MAPPING", "ENABLED", "CHANNEL", "TABLE", "ENTITY", "DIRECTION")
    rows = [
        (name, "yes" if line.enabled else "no", line.channel, line.table, line.entity, line.direction)
        for name, line in lines.items()
    ]
    print_table(heads, rows)
    return 0


def toggle(options: argparse.Namespace) -> int:
    from config.edit import EditRefused, UnknownMapping, set_mapping_enabled
    from config.load import ConfigurationRefused

    configuration = load_for(options)
    path, name, enabled = path_of(options), options.mapping, options.enabled
    with opened_store(configuration) as store:
        try:
            changed = set_mapping_enabled(path, name, enabled)
        except UnknownMapping as error:
            raise CommandError(f"{path}: {error}", 2) from None
        except ConfigurationRefused as error:
            raise CommandError([str(problem) for problem in error.problems], 2) from None
        except EditRefused as error:
            raise CommandError(str(error)) from None
        store.audit(who(), "mapping", name, str(enabled is not changed).lower(), str(enabled).lower())
    word = "enabled" if enabled else "disabled"
    print(f"{name}: {word}" if changed else f"{name}: {word} already")
    if changed and enabled:
        warning = "what happened in it while it was disabled is not copied: it goes on from now"
        print(f"warning: {name}: {warning}", file=sys.stderr)
    return 0
