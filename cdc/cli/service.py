"""`datong run`, `datong capture` and `datong apply`: see `cdc.supervisor.service`."""

from __future__ import annotations

import argparse
import resource
from contextlib import closing
from typing import TYPE_CHECKING

from cdc.cli.configured import channel_of, load_for, path_of
from cdc.cli.failure import CommandError

if TYPE_CHECKING:
    from cdc.supervisor.processes import RoleForks


def run(options: argparse.Namespace) -> int:
    return _run(options)


def run_alone(options: argparse.Namespace) -> int:
    return _run(options, alone=True)


def _run(options: argparse.Namespace, *, alone: bool = False) -> int:
    from cdc.supervisor.processes import RoleForks, role_words

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold every password; children inherit this
    # First of all: it imports what roles need while this process imports and reads what it needs itself.
    with closing(RoleForks(role_words(path_of(options), debug=options.debug))) as programs:
        return _supervise(options, programs, alone=alone)


def _supervise(options: argparse.Namespace, programs: RoleForks, *, alone: bool) -> int:
    configuration = load_for(options)
    from cdc.supervisor.following import all_roles
    from cdc.supervisor.service import run_service
    from cdc.supervisor.settings import AdminSettings, is_loopback
    from config.values import split_listen

    only = None
    if alone:
        only = (options.role, channel_of(options, configuration))
        if only not in all_roles(configuration):
            verb = "captures from" if options.role == "capture" else "applies to"
            raise CommandError(
                f"no mapping {verb} channel {options.channel!r} - give a mapping of it that direction", 2
            )
    listen_on = None
    if options.listen:
        try:
            listen_on = AdminSettings(*split_listen(options.listen))
        except ValueError as error:
            raise CommandError(f"--listen {options.listen}: {error}", 2) from None
        if configuration.admin.token is None and not is_loopback(listen_on.host):
            raise CommandError(f"--listen {listen_on}: without admin.token only a loopback address is allowed", 2)
    return run_service(path_of(options), configuration, programs, only=only, listen_on=listen_on, debug=options.debug)
