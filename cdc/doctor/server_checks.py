"""Checks that every engine shares: the right engine behind the URL, its version, a proxy in front of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cdc.doctor.facts import MySQLFacts, PostgreSQLFacts, ServerFacts, Wish
from cdc.doctor.finding import Finding
from transforms.tables import Engine

_LEAST: Final[dict[Engine, tuple[int, int]]] = {"mysql": (8, 0), "mariadb": (10, 5), "postgresql": (13, 0)}
_NAMES: Final[dict[Engine, str]] = {"mysql": "MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL"}


def engine_of(facts: ServerFacts) -> Engine:
    if isinstance(facts, MySQLFacts):
        return "mariadb" if facts.is_mariadb else "mysql"
    return "postgresql"


def version_of(text: str) -> tuple[int, int]:
    match = re.search(r"(\d+)\.(\d+)", text) or re.search(r"(\d+)()", text)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def check_engine(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    actual = engine_of(facts)
    if actual != wish.address.engine:
        yield wrong_engine(wish, actual)


def wrong_engine(wish: Wish, actual: str) -> Finding:
    """The server speaks another language than the URL says."""
    engine = wish.address.engine
    names: dict[str, str] = {str(name): text for name, text in _NAMES.items()} | {"redis": "Redis"}
    place = f"{wish.address.host}:{wish.address.port}"
    mend = (
        f"{wish.path}: {actual}://... instead of {engine}://..."
        if actual in _NAMES
        else f"{wish.path}: the database's own port"
    )
    return wish.finding("WRONG_ENGINE", "error", f"{place} is {names[actual]}, not {names[engine]}", [mend])


def check_version(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    engine = engine_of(facts)
    least = _LEAST[engine]
    if version_of(facts.version) < least:
        wanted = f"{least[0]}.{least[1]}" if engine != "postgresql" else str(least[0])
        yield wish.finding(
            "VERSION",
            "error",
            f"{_NAMES[engine]} {facts.version} is older than {wanted}, the first that can be replicated",
            [f"upgrade the server to {_NAMES[engine]} {wanted} or later"],
        )
    elif isinstance(facts, PostgreSQLFacts) and wish.bookkeeping == "none" and facts.version_number < 140_000:
        yield wish.finding(
            "VERSION",
            "error",
            f"PostgreSQL {facts.version} does not log messages, which bookkeeping: none needs (14 or later)",
            [f"channels.{wish.channel}.bookkeeping: table"],
            path=f"channels.{wish.channel}.bookkeeping",
        )


def check_proxy(wish: Wish, facts: ServerFacts) -> Iterator[Finding]:
    """A proxy that shares sessions breaks what a transaction is recognised by."""
    if facts.proxied:
        bare = wish.bookkeeping == "none"
        yield wish.finding(
            "PROXY",
            "error" if bare else "warning",
            "a connection proxy stands in front of this server"
            + (": with bookkeeping none our own writes could not be told from others" if bare else ""),
            [f"{wish.path}: the server's own address"],
        )
