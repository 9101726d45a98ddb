"""`datong status`: what the running service says; without one, the channels as the hub store knows them, and exit code 1."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cdc.cli.configured import load_for
from cdc.cli.failure import CommandError
from cdc.cli.output import print_table
from cdc.cli.running import NoServiceError, ask
from cdc.cli.stored import opened_store
from cdc.errors import DatongError
from cdc.facts import RoleKind
from cdc.health import Health, RoleKey, RoleView, health
from cdc.supervisor.following import settings_of
from cdc.supervisor.settings import ServiceSettings
from cdc.supervisor.snapshot import readable_position, status_document

if TYPE_CHECKING:
    from config.models import Configuration


def run(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    settings = settings_of(configuration)
    try:
        reply = ask(settings.admin, "/api/status")
    except NoServiceError as error:
        document = _without_service(configuration, settings, str(error))
    else:
        if reply.code == 401:
            raise CommandError(f"the service at {settings.admin} has another token - check admin.token")
        if reply.code != 200 or "channels" not in reply.document:
            raise CommandError(f"what answers at {settings.admin} is not this Datong (HTTP {reply.code})")
        document = reply.document
    if options.json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _show(document)
    return 1 if document["status"] == "down" else 0


def _without_service(configuration: Configuration, settings: ServiceSettings, why: str) -> dict[str, Any]:
    """Every role is dead; counters and pauses are what the hub store last heard."""
    print(f"status: {why} - start it with `datong run`", file=sys.stderr)
    views: dict[RoleKey, RoleView] = {}
    problem = ""
    try:
        with opened_store(configuration) as store:
            paused = store.paused()
            for kind, channel in sorted(settings.roles):
                counters = store.counters(f"{kind}.{channel}")
                views[kind, channel] = _stopped(kind, channel, counters, (channel, kind) in paused)
    except DatongError as error:
        problem = str(error)
        views = {(kind, channel): _stopped(kind, channel, {}, False) for kind, channel in sorted(settings.roles)}
    judged = health(views, (), 0.0, settings.max_lag_seconds)
    reasons = (why, problem) if problem else (why,)
    return status_document(
        Health("down", judged.channels, reasons), views, {}, settings.mappings, loaded_at=0.0, reload_error=""
    )


def _stopped(kind: RoleKind, channel: str, counters: Mapping[str, int], paused: bool) -> RoleView:
    from cdc.facts import RoleFacts

    facts = RoleFacts(kind=kind, channel=channel, pid=0, state="dead")
    facts.rows, facts.transactions = counters.get("rows", 0), counters.get("transactions", 0)
    facts.echoes, facts.skipped = counters.get("echoes", 0), counters.get("skipped", 0)
    reason = "no service is running (and it is paused)" if paused else "no service is running"
    return RoleView(facts=facts, alive=False, exit_reason=reason)


def _show(document: dict[str, Any]) -> None:
    print(f"status: {document['status']}")
    for reason in document["reasons"]:
        print(f"  {reason}")
    heads = ("CHANNEL", "ROLE", "STATE", "LAG", "ROWS", "NOW", "PARKED", "POSITION", "REASON")
    rows = []
    for name, roles in document["channels"].items():
        for kind in ("capture", "apply"):
            role = roles[kind]
            if role is not None:
                rows.append((name, kind, *_cells(role)))
    print_table(heads, rows)
    skipped = {name: roles["apply"]["skipped"] for name, roles in document["channels"].items() if roles["apply"]}
    if any(skipped.values()):
        told = ", ".join(f"{count} in {name}" for name, count in skipped.items() if count)
        print(f"transactions left out by an operator: {told} - `datong skip` lists them")
    off = [name for name, mapping in document["mappings"].items() if not mapping["enabled"]]
    if off:
        print(f"disabled mappings: {', '.join(sorted(off))}")
    if document["configuration"]["reload_error"]:
        print(f"configuration: {document['configuration']['reload_error']}")


def _cells(role: dict[str, Any]) -> tuple[str, ...]:
    position = readable_position(role.get("position", "")) or ", ".join(
        f"{name} {at}" for name, at in sorted(role.get("positions", {}).items())
    )
    return (
        role["state"],
        f"{role['lag_seconds']:.1f} s",
        str(role["rows"]),
        f"{role['rows_per_second']:.0f}/s",
        str(role.get("parked", "-")),
        position if len(position) <= 40 else f"{position[:39]}…",
        role["reason"],
    )
