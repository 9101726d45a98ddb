"""`datong demo`: see `cdc.demo.run`, which has its own options. Loaded by name: the demo stands above the command line."""

from __future__ import annotations

import argparse
from importlib import import_module


def run(options: argparse.Namespace) -> int:
    return int(import_module("cdc.demo.run").main(options.arguments))
