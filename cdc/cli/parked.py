"""`datong parked list|show|retry|drop`: changes that wait in their target. Values only with `--reveal`, which the audit trail records.

Retry and drop are orders to the applier, which owns the rows: they are queued in the hub store and obeyed within a second.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cdc.cli.configured import load_for, who
from cdc.cli.failure import CommandError
from cdc.cli.output import print_table
from cdc.cli.running import is_running
from cdc.cli.stored import opened_store
from cdc.supervisor.following import settings_of

if TYPE_CHECKING:
    from cdc.store import Store
    from config.models import Configuration
    from sinks.contract import ParkedRow

_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A parked row and the channel whose database it waits for."""

    channel: str
    row: ParkedRow

    def document(self, *, reveal: bool) -> dict[str, Any]:
        from sinks.taken_keys import told

        row = self.row
        return {
            "id": row.id,
            "channel": self.channel,
            "mapping": row.mapping,
            "key": " -> ".join(row.keys) if reveal else f"{row.entity}/{_MASK}",
            "reason": row.reason,
            "error": told(row.error, row.taken, reveal=reveal),
            "since": datetime.fromtimestamp(row.since / 1e6, UTC).isoformat(timespec="milliseconds"),
            "changes": 1,
            "position": f"{row.source} {row.order}-{row.index}",
        }


def list_all(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    with opened_store(configuration) as store:
        waiting = _gather(configuration, store)
        if options.reveal and waiting:
            store.audit(who(), "parked reveal", "all", "", str(len(waiting)))
        skipped = sum(record.state == "done" for record in store.skips.all())
    documents = [one.document(reveal=options.reveal) for one in waiting]
    if options.json:
        print(json.dumps(documents, ensure_ascii=False, indent=2))
    elif documents:
        fields = ("id", "channel", "mapping", "key", "reason", "since", "error")
        print_table([field.upper() for field in fields], [[one[field] for field in fields] for one in documents])
    else:
        print("nothing is parked")
    if skipped and not options.json:
        print(f"transactions left out by an operator: {skipped} - `datong skip` lists them")
    return 0


def show(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    with opened_store(configuration) as store:
        one = _find(_gather(configuration, store), options)
        if options.reveal:
            store.audit(who(), "parked reveal", options.id)
    document = one.document(reveal=options.reveal) | _change(one.row, reveal=options.reveal)
    if options.json:
        print(json.dumps(document, ensure_ascii=False, indent=2, default=str))
        return 0
    for name, value in document.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for field, inner in value.items():
                print(f"  {field}: {inner}")
        else:
            print(f"{name}: {value}")
    return 0


def retry(options: argparse.Namespace) -> int:
    return _order(options, "overwrite" if options.overwrite else "retry")


def drop(options: argparse.Namespace) -> int:
    return _order(options, "drop")


def _order(options: argparse.Namespace, verb: str) -> int:
    if verb == "overwrite" and options.id is None:
        raise CommandError("--overwrite is for one change: name its ID - `datong parked list` shows them", 2)
    configuration = load_for(options)
    with opened_store(configuration) as store:
        waiting = _gather(configuration, store)
        chosen = (
            [one for one in waiting if options.channel in {None, one.channel}]
            if options.id is None
            else [_find(waiting, options)]
        )
        if verb == "overwrite":
            _check_overwrites(chosen[0])
        for one in chosen:
            store.audit(who(), f"parked {verb}", f"{one.channel} {one.row.id}", one.row.reason, verb)
        # All of a channel are one order: each order looks at everything that waits there.
        orders = {(one.channel, one.row.id if options.id is not None else "") for one in chosen}
        for channel, ident in sorted(orders):
            store.command(channel, "apply", verb, ident)
    if not chosen:
        print("nothing is parked")
        return 0
    when = (
        "" if is_running(settings_of(configuration).admin) else " - no service is running: it is done when one starts"
    )
    print(f"{verb}: {len(chosen)} {'change' if len(chosen) == 1 else 'changes'} queued{when}")
    return 0


def _check_overwrites(one: Waiting) -> None:
    from cdc.apply.parking import parked_change

    operation = parked_change(one.row).change.op
    if operation != "insert":
        raise CommandError(
            f"{one.row.id} is an {operation}: --overwrite is for the insert of a row whose key is taken", 2
        )


def _find(waiting: list[Waiting], options: argparse.Namespace) -> Waiting:
    """The one that is meant. The same change may wait in several channels: then `--channel` has to say which."""
    if not _ID.fullmatch(options.id):
        raise CommandError("that is not the id of a parked change - `datong parked list` shows them", 2)
    found = [one for one in waiting if one.row.id == options.id and options.channel in {None, one.channel}]
    if not found:
        raise CommandError(f"no parked change {options.id} - `datong parked list` shows them")
    if len(found) > 1:
        places = ", ".join(one.channel for one in found)
        raise CommandError(f"{options.id} waits in several channels ({places}) - say which with --channel", 2)
    return found[0]


def _gather(configuration: Configuration, store: Store) -> list[Waiting]:
    """Raises CommandError where a channel's database cannot be read: half a list would look like a whole one."""
    waiting = []
    for channel in sorted(channel for kind, channel in settings_of(configuration).roles if kind == "apply"):
        with _sink_errors(channel):
            waiting += [Waiting(channel, row) for row in _rows(configuration, store, channel)]
    return waiting


def _rows(configuration: Configuration, store: Store, channel: str) -> list[ParkedRow]:
    from cdc.addresses import address_of
    from cdc.apply.parking import unpack_row
    from sinks import open_sink
    from sinks.bookkeeping import PARKED_TABLE
    from sinks.contract import SinkOptions

    settings = configuration.channels[channel]
    if settings.bookkeeping == "none":
        return [unpack_row(packed) for packed in store.parked(channel).values()]
    sink = open_sink(address_of(settings), SinkOptions())
    try:
        sink.connect()
        schema = "public" if settings.engine == "postgresql" else None
        if sink.describe(schema, PARKED_TABLE) is None:
            return []  # never started: nothing can wait there
        return sink.parked(configuration.deployment)
    finally:
        sink.close()


@contextmanager
def _sink_errors(channel: str) -> Iterator[None]:
    from sinks.contract import SinkError

    try:
        yield
    except SinkError as error:
        raise CommandError(f"channel {channel}: {error}") from None


def _change(row: ParkedRow, *, reveal: bool) -> dict[str, Any]:
    """What the change is; fields by name, values masked unless they are to be shown."""
    from cdc.apply.parking import parked_change

    kept = parked_change(row)
    change, fields = kept.change, kept.layout.fields
    values = dict(zip(fields, change.values, strict=False))
    before = dict(zip(fields, change.before, strict=False))
    return {
        "entity": kept.layout.entity,
        "operation": change.op,
        "transaction": kept.transaction,
        "values": {name: value if reveal else _MASK for name, value in values.items()},
        "before": {name: value if reveal else _MASK for name, value in before.items()},
    }
