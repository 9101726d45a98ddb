"""`python -m bench COMMAND [--quick] [--json]`: each module directly in bench/ is a command. See bench/README.md.

A command module has `run(report, options)`, which adds its rows to the report, and its docstring's first line says what it measures. It may
have `arguments(parser)` for options of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Protocol, cast

import bench
from bench.harness.report import Options, Report
from cdc.demo.servers import ServerFailed


class Command(Protocol):
    __doc__: str | None

    def run(self, report: Report, options: Options) -> None: ...


def names() -> list[str]:
    """The commands: modules directly in this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if not m.ispkg and not m.name.startswith("_"))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks beside peers: bench/README.md.")
    commands = made.add_subparsers(dest="command", required=True)
    for name in names():
        module = importlib.import_module(f"bench.{name}")
        command = commands.add_parser(name, help=(module.__doc__ or "").strip().splitlines()[0])
        command.add_argument("--quick", action="store_true", help="small sizes: minutes, and less exact")
        command.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
        command.add_argument("--rows", type=float, default=1.0, help="factor on the sizes")
        command.add_argument("--folder", type=Path, help="where servers keep their data (default: a temporary one)")
        if hasattr(module, "arguments"):
            module.arguments(command)
    return made


def main(arguments: list[str] | None = None) -> int:
    """0: every row was measured or says why it cannot run here; 1: a row went wrong; 2: wrong usage."""
    chosen = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go
    module = cast("Command", importlib.import_module(f"bench.{chosen.command}"))
    report = Report()
    # PostgreSQL's account has to enter it, so it is below /tmp and may be passed through.
    with tempfile.TemporaryDirectory(prefix="datong-bench-", dir=chosen.folder, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        try:
            module.run(report, Options(Path(folder), chosen.quick, chosen.rows, vars(chosen)))
        except ServerFailed as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    print(report.text())
    if chosen.json:
        print(report.json(), flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
