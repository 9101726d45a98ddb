"""`datong skip CHANNEL --source SOURCE --position P`: one whole transaction of a source is not written in a channel. `datong skip` lists them.

The applier does it, at most once; here it is only asked for, with an audit line. Nothing of its rows is shown or kept.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cdc.cli.configured import channel_of, load_for, who
from cdc.cli.failure import CommandError
from cdc.cli.output import print_table
from cdc.cli.running import is_running
from cdc.cli.stored import opened_store
from cdc.supervisor.following import settings_of

if TYPE_CHECKING:
    from cdc.model import Entry
    from cdc.skip_records import SkipRecord
    from cdc.store import Store
    from config.models import Configuration

_POSITION: Final = re.compile(r"([0-9]{1,19})(?:-[0-9]{1,10})?", re.ASCII)


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    if options.channel is None:
        if options.source or options.position:
            raise CommandError("datong skip: name the channel that is not to write the transaction", 2)
        return _list(options, configuration)
    return _ask(options, configuration)


def _ask(options: argparse.Namespace, configuration: Configuration) -> int:
    target = channel_of(options, configuration)
    source, order = _place(options, configuration, target)
    settings = settings_of(configuration)
    with opened_store(configuration) as store:
        _not_applied(store, target, source, order)
        found = _in_change_log(configuration, source, order)
        if found is None:
            raise CommandError(
                f"{source} has published no transaction at {order} - take the position from the reason in `datong status`, or from `datong parked list`"
            )
        record = store.skips.request(target, source, order, who(), found.transaction)
        if record.state != "requested":
            print(f"skip: {target} leaves out {source} at {order} already ({record.state})")
            return 0
        store.audit(who(), "skip", f"{target} {source} {order}", "", f"transaction {found.transaction}")
        store.command(target, "apply", "skip", f"{source} {order}")
    later = "" if is_running(settings.admin) else " - no service is running: it is done when one starts"
    print(f"skip: transaction {found.transaction} of {source} at {order} is not written in {target}{later}")
    return 0


def _place(options: argparse.Namespace, configuration: Configuration, target: str) -> tuple[str, int]:
    if not options.source or not options.position:
        raise CommandError("datong skip CHANNEL needs --source SOURCE and --position P", 2)
    roles = settings_of(configuration).roles
    if ("apply", target) not in roles:
        raise CommandError(f"no mapping applies to {target}: there is nothing to skip", 2)
    sources = sorted(name for kind, name in roles if kind == "capture" and name != target)
    if options.source not in sources:
        raise CommandError(f"{target} takes nothing from {options.source!r} - its sources are: {', '.join(sources)}", 2)
    found = _POSITION.fullmatch(options.position)
    if found is None or int(found[1]) >= 2**63:
        raise CommandError(
            "a position is a number, as `datong status` and `datong parked list` print it: 42 or 42-7", 2
        )
    return options.source, int(found[1])


def _not_applied(store: Store, target: str, source: str, order: int) -> None:
    """What the hub store knows may be a second old: the applier looks again."""
    at = store.applied(target).get(source)
    if at is None:
        return
    if at.passed.seen >= order:
        raise CommandError(
            f"{target} has passed {source} at {order} already (it is at {at.passed.order}-{at.passed.end}) - a change that waits there is dropped with `datong parked drop`"
        )
    if at.passed.order == order and at.passed.end:
        raise CommandError(
            f"{target} has applied a part of {source} at {order}: it cannot be left out whole - set on_error: park, and drop what is parked"
        )


def _in_change_log(configuration: Configuration, source: str, order: int) -> Entry | None:
    from cdc.addresses import redis_address
    from cdc.change_log import ChangeLog

    change_log = ChangeLog(redis_address(configuration), configuration.deployment)
    try:
        return change_log.find(source, order)
    finally:
        change_log.close()


def _list(options: argparse.Namespace, configuration: Configuration) -> int:
    with opened_store(configuration) as store:
        records = store.skips.all()
    if options.json:
        print(json.dumps([_document(record) for record in records], ensure_ascii=False, indent=2))
        return 0
    if not records:
        print("no transaction was skipped")
        return 0
    heads = ("CHANNEL", "SOURCE", "POSITION", "STATE", "TRANSACTION", "CHANGES", "MAPPINGS", "WHO", "SINCE", "OUTCOME")
    print_table(heads, [[_cell(value) for value in _document(record).values()] for record in records])
    return 0


def _document(record: SkipRecord) -> dict[str, Any]:
    at = record.done_at or record.requested_at
    return {
        "channel": record.target,
        "source": record.source,
        "position": record.order,
        "state": record.state,
        "transaction": record.transaction,
        "changes": record.changes,
        "mappings": list(record.mappings),
        "who": record.who,
        "since": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "outcome": record.outcome,
    }


def _cell(value: object) -> str:
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)) or "-"
