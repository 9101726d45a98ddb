"""`datong identity`: who somebody is, the questions about people, and their answers. Identifiers are masked without `--reveal`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdc.cli.configured import load_for, who
from cdc.cli.failure import CommandError
from cdc.cli.stored import opened_store

if TYPE_CHECKING:
    from cdc.identity.merging import Event
    from cdc.identity.portraits import Portraits
    from cdc.identity.registry import Registry
    from config.models import Configuration


def show(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    with _opened(configuration) as (registry, portraits):
        people = portraits.find(options.key)
        documents = [portraits.portrait(person, reveal=options.reveal) for person in people]
        del registry
    if not documents:
        raise CommandError(
            "nobody is known by that: a phone, an e-mail address, an openid, a local key, or oneid:NUMBER"
        )
    if options.reveal:
        with opened_store(configuration) as store:
            store.audit(who(), "identity reveal", " ".join(f"oneid:{d['oneid']}" for d in documents))
    if options.json:
        print(json.dumps(documents, ensure_ascii=False, indent=2))
    else:
        for document in documents:
            _print_person(document)
    return 0


def conflicts(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    with _opened(configuration) as (_, portraits):
        questions = portraits.conflicts(reveal=options.reveal)
    if options.reveal and questions:
        with opened_store(configuration) as store:
            store.audit(who(), "identity reveal", "conflicts", "", str(len(questions)))
    if options.json:
        print(json.dumps(questions, ensure_ascii=False, indent=2))
        return 0
    for question in questions:
        one, other = question["one"], question["other"]
        print(f"question {question['id']} ({question['kind']}, seen in {question['channel']}):")
        for side in (one, other):
            _print_person(side, "  ")
        print(f"  decide: datong identity merge {one['oneid']} {other['oneid']} --keep {other['oneid']}")
        print(f"      or: datong identity split {one['oneid']} {other['oneid']} [--to {one['oneid']}]")
    if not questions:
        print("there are no questions")
    return 0


def merge(options: argparse.Namespace) -> int:
    return _decided(options, "identity merge", "merge", options.one, options.other, options.keep)


def split(options: argparse.Namespace) -> int:
    return _decided(options, "identity split", "split", options.one, options.other, options.to)


def undo(options: argparse.Namespace) -> int:
    return _decided(options, "identity undo", "undo", options.event)


def forget(options: argparse.Namespace) -> int:
    configuration = load_for(options)
    with _opened(configuration) as (_, portraits):
        people = portraits.find(options.key)
    if not people:
        raise CommandError("nobody is known by that")
    if len(people) > 1:
        names = ", ".join(f"oneid:{person}" for person in people)
        raise CommandError(f"that is several people: name one of {names}", 2)
    if not options.yes:
        if not sys.stdin.isatty():
            raise CommandError(f"this forgets oneid:{people[0]} for ever, and nobody can be asked here: say --yes", 2)
        answer = input(
            f"forget oneid:{people[0]}: all identifiers and links go, and it cannot be undone. Rows of the channels stay. [y/N] "
        )
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("nobody was forgotten")
    from cdc.addresses import redis_address
    from cdc.identity.caches import RedisCache
    from cdc.log_ends import log_ends

    answered = _decided(options, "identity forget", "forget", people[0], log_ends(configuration))
    cache = RedisCache(redis_address(configuration), configuration.deployment, 1)
    try:
        cache.drop_all()
    finally:
        cache.close()
    return answered


def _decided(options: argparse.Namespace, what: str, method: str, *arguments: Any) -> int:
    """Run one of `Merging`'s operations, with an audit line."""
    from cdc.identity.merging import IdentityRefusedError, Merging

    configuration = load_for(options)
    with opened_store(configuration) as store, _opened(configuration) as (registry, _):
        try:
            with registry.deciding() as deciding:
                event: Event = getattr(Merging(deciding, configuration.deployment, who()), method)(*arguments)
        except IdentityRefusedError as error:
            raise CommandError(str(error)) from None
        store.audit(who(), what, f"oneid:{event.kept} oneid:{event.gone}", "", str(event.seq))
    if event.kind == "forget":
        print(f"oneid:{event.kept} is forgotten")
    else:
        print(f"{event.kind} {event.seq}: kept {event.kept}, other {event.gone}")
        if event.kind != "undo":
            print(f"undo it with: datong identity undo {event.seq}")
    return 0


@contextmanager
def _opened(configuration: Configuration) -> Iterator[tuple[Registry, Portraits]]:
    from cdc.identity.portraits import Portraits
    from cdc.people_sessions import open_registry

    entities = [entity for entity in configuration.entities().values() if entity.identity is not None]
    if not entities:
        raise CommandError("no entity of this configuration has identity")
    registry = open_registry(configuration)
    try:
        yield registry, Portraits(registry, entities, configuration.channels)
    finally:
        registry.close()


def _print_person(document: dict[str, Any], indent: str = "") -> None:
    print(f"{indent}oneid:{document['oneid']} ({document['entity']})")
    for identifier in document["identifiers"]:
        scope = f" in {identifier['scope']}" if "scope" in identifier else ""
        print(f"{indent}  {identifier['field']}{scope}: {identifier['value']}")
    for row in document["rows"]:
        gone = "" if row["there"] else " (gone)"
        of = "" if row["oneid"] == document["oneid"] else f" as oneid:{row['oneid']}"
        print(f"{indent}  {row['channel']}: {row['key']}{of}{gone}")
