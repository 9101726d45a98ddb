"""The command line (INTERFACE.md section 2). Exit codes: 0 done, 1 it did not hold or did not work, 2 wrong usage or configuration.

Errors are one line on standard error; a traceback only with `--debug`. Each command is a module that is imported when it
is called: `datong check` must not pay for drivers and servers.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from cdc.cli.arguments import parse
from cdc.cli.failure import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except CommandError as error:
        return _fail(error.lines, error.code)
    except Exception as error:
        if options.debug:
            raise
        if not _is_ours(error):
            name = type(error).__name__
            return _fail([f"datong {options.name}: unexpected {name} - run it again with --debug and report it"], 1)
        return _fail([str(error)], 1)
    return int(code)


def _fail(lines: Sequence[str], code: int) -> int:
    with suppress(BrokenPipeError):
        for line in lines:
            print(line, file=sys.stderr)
    return code


def _is_ours(error: Exception) -> bool:
    """Errors whose text is made for an operator and holds no value (I9); checked by module, so that nothing is imported for it."""
    return any(kind.__module__ in {"cdc.errors", "sinks.contract"} for kind in type(error).__mro__)


def _silence_stdout() -> None:
    """Whoever read us has gone; the interpreter's own flush at exit must not complain about it."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
