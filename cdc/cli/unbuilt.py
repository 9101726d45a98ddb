"""Commands that halts and documents name and that this version does not have yet: each says what to do until then."""

from __future__ import annotations

import argparse

from cdc.cli.failure import CommandError

_UNTIL_THEN = {
    "resync": "make the tables equal by hand, then `datong remove CHANNEL` and `datong run`: it goes on from the log's end",
    "compare": "compare with SELECTs on both sides",
}


def run(options: argparse.Namespace) -> int:
    raise CommandError(f"datong {options.name} is not built yet: {_UNTIL_THEN[options.name]}", 2)
