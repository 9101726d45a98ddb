"""What a statement in a MySQL or MariaDB log does to the mapped tables: told, or a reason to halt at that very place. Pure.

Guards I1 and I6: rows that change or vanish without row events (statement format, TRUNCATE, DROP) are never passed over in silence. DDL is
never replicated.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cdc.errors import HaltError
from cdc.readers import Wanted
from cdc.readers.binlog_ddl import TableChange, TableName, table_changes
from cdc.readers.binlog_statements import Statement, may_touch, named_tables
from cdc.readers.mysql_errors import RESYNC

_VERB_SIZE: Final = 16
_GO_ON: Final = (
    "make the other channels' tables as they should be, then let it go on with `on_truncate: ignore` in the mapping"
    " (and take that out again)"
)


def notices(statement: Statement, text: str, schema: str, wanted: Wanted, where: str) -> list[tuple[str, str]]:
    """What an operator should know of it, as (event, line).

    Raises HaltError STATEMENT_LOGGED, TRUNCATED or TABLE_GONE where rows of a wanted table came or went without row events.
    """
    if statement is Statement.DATA:
        if may_touch(text, schema, wanted.tables):
            raise statement_logged(schema, where)
        return []
    if statement not in (Statement.DDL, Statement.TRUNCATE):
        return []
    changes = table_changes(text, schema)
    for name in matching(changes.emptied, wanted.tables):
        if name not in wanted.ignore_truncate:
            what = f"{name[0]}.{name[1]} was emptied by {_verb(text)} at {where}, which is not replicated"
            raise HaltError("TRUNCATED", what, _GO_ON)
    for name in _vanished(changes, wanted.tables):
        if name not in wanted.ignore_truncate:
            what = (
                f"{name[0]}.{name[1]} was dropped or renamed by {_verb(text)} at {where}: no rows come from it any more"
            )
            raise HaltError(
                "TABLE_GONE", what, f"disable or correct the mapping; or, if the table is there again: {_GO_ON}"
            )
    if changes.emptied:
        event, told = "truncate_seen", matching(changes.emptied, wanted.tables)
    else:
        event, told = "ddl_seen", named_tables(text, schema, wanted.tables)
    return [(event, f"{_verb(text)} of {owner}.{name} at {where}; it is not replicated") for owner, name in told]


def statement_logged(schema: str, where: str) -> HaltError:
    return HaltError(
        "STATEMENT_LOGGED",
        f"a change in schema {schema} was logged as a statement, not as rows, at {where}",
        f"SET GLOBAL binlog_format = 'ROW' (and no session may change it), then {RESYNC}",
    )


def matching(found: Collection[TableName], tables: Collection[TableName]) -> list[TableName]:
    """Those of `tables` that are meant. A server may fold names to lower case, so letters count as equal in either case."""
    folded = {(owner.lower(), name.lower()) for owner, name in found}
    return [
        (owner, name)
        for owner, name in tables
        if (owner.lower(), name.lower()) in folded or (owner.lower(), "") in folded
    ]


def _vanished(changes: TableChange, tables: Collection[TableName]) -> list[TableName]:
    """Wanted tables that are not there afterwards: a swap by RENAME, as online schema changes do it, puts another in place."""
    there = {(owner.lower(), name.lower()) for owner, name in tables}
    gone = set()
    for old, new in changes.moved:
        if (old[0].lower(), old[1].lower()) in there:
            gone.add((old[0].lower(), old[1].lower()))
        gone.discard((new[0].lower(), new[1].lower()))
    return [name for name in tables if name in matching({*changes.dropped, *gone}, tables)]


def _verb(text: str) -> str:
    words = text.lstrip("/* \t\r\n").split(maxsplit=1)
    return words[0].upper()[:_VERB_SIZE] if words else "DDL"
