"""Columns and foreign keys as SHOW CREATE TABLE of MySQL and MariaDB writes them. Pure.

Read from there and not from information_schema: MariaDB 10.11 shows its REFERENTIAL_CONSTRAINTS only to who has a privilege on the whole
database, and a channel's account has none.
"""

from __future__ import annotations

import re
from typing import Final

from cdc.doctor.facts import ForeignKey, TableName

_NAME: Final = r"`(?:[^`]|``)+`"
_RULE: Final = r"(CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION)"
_FOREIGN_KEY: Final = re.compile(
    rf"CONSTRAINT ({_NAME}) FOREIGN KEY \(({_NAME}(?:, ?{_NAME})*)\) REFERENCES (?:({_NAME})\.)?({_NAME}) "
    rf"\(({_NAME}(?:, ?{_NAME})*)\)(?: ON DELETE {_RULE})?(?: ON UPDATE {_RULE})?"
)
_UNSAID: Final = "NO ACTION"


def column_lines(created: str) -> dict[str, str]:
    """Column -> its whole definition: what MODIFY has to repeat."""
    return {_bare(line.split("` ")[0] + "`"): line for line in _lines(created) if line.startswith("`")}


def foreign_keys(created: str, child: TableName) -> tuple[ForeignKey, ...]:
    found = [match for line in _lines(created) if (match := _FOREIGN_KEY.match(line))]
    return tuple(
        ForeignKey(
            name=_bare(match[1]),
            child=child,
            columns=_all(match[2]),
            parent=(_bare(match[3]) if match[3] else child[0], _bare(match[4])),
            parent_columns=_all(match[5]),
            on_delete=match[6] or _UNSAID,
            on_update=match[7] or _UNSAID,
        )
        for match in found
    )


def _lines(created: str) -> list[str]:
    return [line.strip().removesuffix(",") for line in created.splitlines()[1:]]


def _all(listed: str) -> tuple[str, ...]:
    return tuple(_bare(name) for name in re.findall(_NAME, listed))


def _bare(quoted: str) -> str:
    return quoted[1:-1].replace("``", "`")
