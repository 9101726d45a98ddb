"""The grammar of the command line. Knows commands by name only; their modules are imported when they are called."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeAlias

Command: TypeAlias = Callable[[argparse.Namespace], int]

EPILOG = """The configuration is -c FILE, else the environment variable DATONG_CONFIG, else ./datong.yaml.
Exit codes: 0 done; 1 it did not hold or did not work; 2 wrong usage or configuration."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Answer the options with `command`, a function of them. Exits with 2 on wrong usage."""
    parser = _parser()
    options, further = parser.parse_known_args(arguments)
    if options.name == "demo":  # it has a grammar of its own
        options.arguments = further
    elif further:
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    return options


def _late(module: str, function: str = "run") -> Command:
    def call(options: argparse.Namespace) -> int:
        command: Command = getattr(import_module(f"cdc.cli.{module}"), function)
        return command(options)

    return call


def _common() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-c", "--config", metavar="FILE", help="the configuration")
    common.add_argument("--debug", action="store_true", help="log more, and show tracebacks")
    return common


def _parser() -> argparse.ArgumentParser:
    common = _common()
    # Options of its own: `set_defaults` would reach into those shared with the subparsers, which then overwrite `-c` with None.
    parser = argparse.ArgumentParser(
        prog="datong",
        description="Two-way change data capture between MySQL, MariaDB and PostgreSQL.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common()],
        allow_abbrev=False,
    )
    parser.set_defaults(config=None, debug=False)
    parser.add_argument("--version", action=_Version)
    groups = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", title="commands")

    def add(name: str, help_text: str, command: Command, **more: Any) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = groups.add_parser(
            name, help=help_text, description=help_text, parents=[common], allow_abbrev=False, **more
        )
        made.set_defaults(command=command)
        return made

    check = add("check", "check the configuration alone, offline", _late("check"))
    check.add_argument("--explain", metavar="MAPPING", help="show what each column of a mapping becomes")
    doctor = add("doctor", "connect to everything and say what is missing", _late("doctor"))
    doctor.add_argument("--sql", action="store_true", help="print only the statements that mend it")
    doctor.add_argument("--fix", action="store_true", help="run those statements that it may run")
    run = add("run", "run everything on this machine, in the foreground", _late("service", "run"))
    _listen(run)
    for kind in ("capture", "apply"):
        alone = add(kind, f"run the {kind} role of one channel alone", _late("service", "run_alone"))
        alone.add_argument("channel")
        alone.set_defaults(role=kind)
        _listen(alone)
    status = add("status", "show channels, positions, lag, rates, parked changes and health", _late("status"))
    status.add_argument("--json", action="store_true")
    _mapping(add("mapping", "list mappings, turn one on or off", _late("mapping", "list_all")), common)
    for verb in ("pause", "resume"):
        pause = add(verb, f"{verb} a channel, or one role of it, where it is", _late("pause"))
        pause.add_argument("channel")
        pause.add_argument("role", nargs="?", choices=("capture", "apply"))
    _parked(add("parked", "list, show, retry or drop changes that wait or failed", _late("parked", "list_all")), common)
    skip = add("skip", "leave out one whole transaction of a source in a channel; list those", _late("skip"))
    skip.add_argument(
        "channel", nargs="?", metavar="CHANNEL", help="where it is not to be written; without it: the list"
    )
    skip.add_argument("--source", metavar="SOURCE", help="the channel whose transaction it is")
    skip.add_argument("--position", metavar="P", help="its place, as a halt's reason and `datong parked list` name it")
    skip.add_argument("--json", action="store_true", help="the list as JSON")
    _identity(
        add("identity", "who somebody is in every channel; questions about people", _late("identity", "show")), common
    )
    remove = add("remove", "take everything of ours out of a channel's database and Redis", _late("remove"))
    remove.add_argument("channel")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    for name in ("resync", "compare"):
        unbuilt = groups.add_parser(name, add_help=False, allow_abbrev=False)  # without help it is not listed
        unbuilt.add_argument("rest", nargs=argparse.REMAINDER)
        unbuilt.set_defaults(command=_late("unbuilt"))
    add("demo", "private databases with live traffic, replicated both ways", _late("demo"), add_help=False)
    return parser


def _listen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", metavar="HOST:PORT", help="instead of admin.listen")


def _mapping(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|enable|disable")
    listing = verbs.add_parser("list", parents=[common])
    listing.add_argument("--json", action="store_true")
    enable = verbs.add_parser("enable", parents=[common])
    enable.add_argument("mapping", metavar="NAME")
    enable.add_argument(
        "--no-resync", action="store_true", help="go on from now; what happened meanwhile is not copied"
    )
    enable.set_defaults(command=_late("mapping", "toggle"), enabled=True)
    disable = verbs.add_parser("disable", parents=[common])
    disable.add_argument("mapping", metavar="NAME")
    disable.set_defaults(command=_late("mapping", "toggle"), enabled=False)


def _parked(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show|retry|drop")
    listing = verbs.add_parser("list", parents=[common])
    show = verbs.add_parser("show", parents=[common])
    show.set_defaults(command=_late("parked", "show"))
    for each in (listing, show):
        each.add_argument("--json", action="store_true")
        each.add_argument("--reveal", action="store_true", help="show values; an audit line says so")
    retry = verbs.add_parser("retry", parents=[common])
    retry.set_defaults(command=_late("parked", "retry"))
    retry.add_argument(
        "--overwrite", action="store_true", help="an insert: write over the row of its key that is there"
    )
    drop = verbs.add_parser("drop", parents=[common])
    drop.set_defaults(command=_late("parked", "drop"))
    for each in (show, retry, drop):
        each.add_argument("--channel", help="where it waits, if it waits in several")
    show.add_argument("id", metavar="ID")
    retry.add_argument("id", metavar="ID", nargs="?", help="one change; all of them without it")
    drop.add_argument("id", metavar="ID")


def _identity(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|conflicts|merge|split|undo|forget")
    show = verbs.add_parser("show", parents=[common])
    show.add_argument(
        "key", type=_utf8, metavar="KEY", help="a phone, e-mail address, openid, a local key, or oneid:NUMBER"
    )
    conflicts = verbs.add_parser("conflicts", parents=[common])
    conflicts.set_defaults(command=_late("identity", "conflicts"))
    for each in (show, conflicts):
        each.add_argument("--json", action="store_true")
        each.add_argument("--reveal", action="store_true", help="show values; an audit line says so")
    merge = verbs.add_parser("merge", parents=[common])
    merge.add_argument("--keep", type=_oneid, required=True, metavar="A", help="whose OneID stays")
    split = verbs.add_parser("split", parents=[common])
    split.add_argument("--to", type=_oneid, metavar="A", help="whose the identifier is from now on")
    for name, each in (("merge", merge), ("split", split)):
        each.add_argument("one", type=_oneid, metavar="A")
        each.add_argument("other", type=_oneid, metavar="B")
        each.set_defaults(command=_late("identity", name))
    undo = verbs.add_parser("undo", parents=[common])
    undo.add_argument("event", type=_number, metavar="EVENT", help="the number that merge and split print")
    undo.set_defaults(command=_late("identity", "undo"))
    forget = verbs.add_parser("forget", parents=[common])
    forget.add_argument("key", type=_utf8, metavar="KEY")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.set_defaults(command=_late("identity", "forget"))


def _oneid(text: str) -> int:
    return _number(text.removeprefix("oneid:"))


def _utf8(text: str) -> str:
    """What somebody is known by. Raises ArgumentTypeError for bytes that are no text; they are not repeated."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the bytes given are not text in UTF-8") from None
    return text


def _number(text: str) -> int:
    """A number that the hub store gave. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number that Datong gave")
    return int(text)


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and end")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"datong {version('datong')}")
        except PackageNotFoundError:
            print("datong (not installed)")
        parser.exit()
