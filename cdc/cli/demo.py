"""`datong demo`: see `cdc.demo.run`."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    from cdc.demo.run import main

    return int(main(options))
