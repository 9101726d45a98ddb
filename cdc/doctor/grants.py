"""What an account of MySQL or MariaDB may do, read from the lines of SHOW GRANTS. Pure.

Manuals: "SHOW GRANTS Statement"; wildcards in a database's name as in "GRANT Statement". Password hashes in the lines are dropped (I9).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NAME: Final = r"\*|`(?:[^`]|``)*`"
_LINE: Final = re.compile(
    rf"(?P<verb>GRANT|REVOKE) (?P<privileges>.+?) ON (?:TABLE )?(?P<schema>{_NAME})\.(?P<table>{_NAME}) (?:TO|FROM) "
)
_PRIVILEGE: Final = re.compile(r"(?P<name>[A-Z_ ]+?)\s*(?:\((?P<columns>[^)]*)\))?(?:,\s*|$)")
_OF_TABLES: Final = frozenset({
    "ALL PRIVILEGES", "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "TRIGGER", "SHOW VIEW",
})  # fmt: skip
# One name per privilege: MariaDB renamed these (manual, "GRANT: BINLOG MONITOR, REPLICATION SLAVE").
_SYNONYMS: Final = {
    "BINLOG MONITOR": "REPLICATION CLIENT",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "ALL": "ALL PRIVILEGES",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """`schema` and `table` are None for `*`; `columns` is empty for the whole table; `revoked` takes away (partial revokes)."""

    privilege: str
    schema: str | None
    table: str | None
    columns: frozenset[str] = frozenset()
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Grants:
    all: tuple[Grant, ...]

    def everywhere(self, privilege: str) -> bool:
        return any(_gives(grant, privilege) and grant.schema is None for grant in self.all)

    def on_table(self, privilege: str, schema: str, table: str, columns: Iterable[str] = ()) -> bool:
        """Whether the whole table is granted, or at least every one of `columns`."""
        if any(self._covers(grant, privilege, schema, table) and not grant.columns for grant in self.all):
            return True
        granted = {
            column for grant in self.all if self._covers(grant, privilege, schema, table) for column in grant.columns
        }
        wanted = set(columns)
        return bool(wanted) and wanted <= granted

    def any_on_table(self, schema: str, table: str) -> bool:
        """Whether the catalog shows this table to the account at all."""
        return any(
            grant.privilege in _OF_TABLES and self._covers(grant, grant.privilege, schema, table) for grant in self.all
        )

    def _covers(self, grant: Grant, privilege: str, schema: str, table: str) -> bool:
        if grant.revoked or not _gives(grant, privilege):
            return False
        if grant.schema is None:
            return not any(other.revoked and _gives(other, privilege) and other.schema == schema for other in self.all)
        if grant.table is not None:
            return (grant.schema, grant.table) == (schema, table)
        return bool(re.fullmatch(_wildcards(grant.schema), schema, re.DOTALL))


def read_grants(lines: Iterable[str]) -> Grants:
    """Read SHOW GRANTS; lines that grant roles, routines or proxies say nothing about tables and are passed over."""
    found: list[Grant] = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        schema, table = _name(match["schema"]), _name(match["table"])
        for privilege in _PRIVILEGE.finditer(match["privileges"]):
            name = privilege["name"].strip()
            columns = frozenset(_columns(privilege["columns"] or ""))
            found.append(Grant(_SYNONYMS.get(name, name), schema, table, columns, match["verb"] == "REVOKE"))
    return Grants(tuple(found))


def _gives(grant: Grant, privilege: str) -> bool:
    return grant.privilege in (privilege, "ALL PRIVILEGES")


def _name(quoted: str) -> str | None:
    return None if quoted == "*" else quoted[1:-1].replace("``", "`")


def _columns(listed: str) -> list[str]:
    return [name.strip().strip("`").replace("``", "`") for name in listed.split(",") if name.strip()]


def _wildcards(pattern: str) -> str:
    """MySQL's `_`, `%` and backslash of a database name as a regular expression."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"_": ".", "%": ".*"}.get(part, re.escape(part[-1])) for part in parts)
