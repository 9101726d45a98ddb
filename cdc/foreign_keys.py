"""Foreign keys that write rows by themselves, and whether a server's log shows what they do. Guards I1: a cascade that it does not show is lost.

MySQL and MariaDB: read from SHOW CREATE TABLE and not from information_schema, since MariaDB 10.11 shows its REFERENTIAL_CONSTRAINTS only
to who has a privilege on the whole database, and a channel's account has none. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

from cdc.quoting import quote
from transforms.tables import Engine

TableName: TypeAlias = tuple[str, str]

NAME: Final = r"`(?:[^`]|``)+`"
_RULE: Final = r"(CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION)"
_FOREIGN_KEY: Final = re.compile(
    rf"CONSTRAINT ({NAME}) FOREIGN KEY \(({NAME}(?:, ?{NAME})*)\) REFERENCES (?:({NAME})\.)?({NAME}) "
    rf"\(({NAME}(?:, ?{NAME})*)\)(?: ON DELETE {_RULE})?(?: ON UPDATE {_RULE})?"
)
_UNSAID: Final = "NO ACTION"
_PASSIVE: Final = ("RESTRICT", "NO ACTION")


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    on_delete: str  # CASCADE, SET NULL, SET DEFAULT, RESTRICT, NO ACTION
    on_update: str

    @property
    def action(self) -> str:
        """How it writes rows by itself; empty where it does not."""
        rules = [f"ON DELETE {self.on_delete}"] if self.on_delete not in _PASSIVE else []
        rules += [f"ON UPDATE {self.on_update}"] if self.on_update not in _PASSIVE else []
        return " ".join(rules)

    def changes(self, columns: Collection[str]) -> bool:
        """Whether it deletes rows of the child by itself, or writes one of these columns of it. None are wanted: no."""
        if self.on_delete == "CASCADE":
            return bool(columns)
        return bool(self.action) and not set(columns).isdisjoint(self.columns)


def foreign_keys(created: str, child: TableName) -> tuple[ForeignKey, ...]:
    found = [match for line in lines(created) if (match := _FOREIGN_KEY.match(line))]
    return tuple(
        ForeignKey(
            name=bare(match[1]),
            child=child,
            columns=_all(match[2]),
            parent=(bare(match[3]) if match[3] else child[0], bare(match[4])),
            parent_columns=_all(match[5]),
            on_delete=match[6] or _UNSAID,
            on_update=match[7] or _UNSAID,
        )
        for match in found
    )


def lines(created: str) -> list[str]:
    return [line.strip().removesuffix(",") for line in created.splitlines()[1:]]


def _all(listed: str) -> tuple[str, ...]:
    return tuple(bare(name) for name in re.findall(NAME, listed))


def bare(quoted: str) -> str:
    return quoted[1:-1].replace("``", "`")


def logs_cascades(engine: Engine, version: str, native_foreign_keys: str) -> bool:
    """PostgreSQL logs them. MySQL does from 9.6 on, unless InnoDB is told to do them by itself as before (manual, 9.6 release notes).

    `native_foreign_keys`: the variable innodb_native_foreign_keys; empty where the server has none.
    """
    if engine != "mysql":
        return engine == "postgresql"
    numbers = [int(part) for part in re.findall(r"[0-9]+", version)[:2]]
    return numbers >= [9, 6] and native_foreign_keys.upper() in ("", "OFF", "0")


def without_action(engine: Engine, key: ForeignKey) -> list[str]:
    """The statements that make it a foreign key which refuses instead of writing rows by itself."""
    child, parent = quote(engine, *key.child), quote(engine, *key.parent)
    columns = ", ".join(quote(engine, column) for column in key.columns)
    referenced = ", ".join(quote(engine, column) for column in key.parent_columns)
    drop = "CONSTRAINT" if engine == "postgresql" else "FOREIGN KEY"
    return [
        f"ALTER TABLE {child} DROP {drop} {quote(engine, key.name)};",
        f"ALTER TABLE {child} ADD CONSTRAINT {quote(engine, key.name)} FOREIGN KEY ({columns}) REFERENCES {parent} ({referenced});",
    ]
