"""`datong pause` and `datong resume`: one role, or both, stop where they are; the logs hold what comes meanwhile."""

from __future__ import annotations

import argparse

from cdc.cli.configured import channel_of, load_for, who
from cdc.cli.running import is_running
from cdc.cli.stored import opened_store
from cdc.supervisor.following import settings_of


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    channel = channel_of(options, configuration)
    settings = settings_of(configuration)
    roles = (
        [options.role] if options.role else [kind for kind in ("capture", "apply") if (kind, channel) in settings.roles]
    )
    paused = options.name == "pause"
    with opened_store(configuration) as store:
        before = store.paused()
        for role in roles:
            store.set_paused(channel, role, paused)
            store.audit(who(), options.name, f"{channel} {role}", str((channel, role) in before), str(paused))
    verb = "paused" if paused else "resumed"
    later = "" if is_running(settings.admin) else " (no service is running: it takes effect when one starts)"
    print(f"{channel}: {' and '.join(roles)} {verb}{later}")
    return 0
