"""Finds and loads the configuration for a command. All problems at once, exit code 2, before anything connects."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cdc.cli.failure import CommandError

if TYPE_CHECKING:
    from config.models import Configuration


def path_of(options: argparse.Namespace) -> Path:
    return Path(options.config or os.environ.get("DATONG_CONFIG") or "datong.yaml")


def load_for(options: argparse.Namespace) -> Configuration:
    """Raises CommandError with one line per problem."""
    from config.load import ConfigurationRefused, load

    path = path_of(options)
    if not path.is_file():
        raise CommandError(f"{path}: no such file - give the configuration with -c FILE or DATONG_CONFIG", 2)
    try:
        return load(path, os.environ)
    except ConfigurationRefused as error:
        raise CommandError([str(problem) for problem in error.problems], 2) from None


def channel_of(options: argparse.Namespace, configuration: Configuration) -> str:
    name: str = options.channel
    if name not in configuration.channels:
        known = ", ".join(sorted(configuration.channels))
        raise CommandError(f"no channel {name!r} in {path_of(options)} - there are: {known}", 2)
    return name


def who() -> str:
    """Who runs this command, for the audit trail."""
    import getpass

    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    return f"cli {name}"
