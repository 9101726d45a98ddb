"""Which server a session is on, and which start of it: apply transactions' identities compare only within one start. Guards I2.

PostgreSQL: the system identifier (kept by replicas and restores) and the postmaster's start time.
MySQL: server_uuid; MariaDB, which has none: server_id. The start is `UNIX_TIMESTAMP() - Uptime`: the server computes Uptime as this
statement's own start second minus its start second, so the difference is exact, not rounded. A clock that is stepped
looks like another start: then the loop guard's entries from before it are not trusted, and the log alone decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sinks.contract import ServerIdentity, Transient
from transforms.tables import Engine

_POSTGRESQL: Final = """SELECT (SELECT system_identifier::text FROM pg_control_system()),
 (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8::text, current_setting('server_version')"""


def mysql_identity(ask: Callable[[str], Sequence[Sequence[Any]]], engine: Engine) -> ServerIdentity:
    """Read it on an open session; `ask` answers one statement's rows."""
    own = "server_uuid" if engine == "mysql" else "server_id"
    server, version = ask(f"SELECT @@global.{own}, @@version")[0]
    for _ in range(10):
        before = ask("SELECT UNIX_TIMESTAMP()")[0][0]
        uptime = ask("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1]
        after = ask("SELECT UNIX_TIMESTAMP()")[0][0]
        if before == after:
            return ServerIdentity(str(server), str(int(before) - int(uptime)), str(version))
    raise Transient("the server's clock does not stand still for one statement: its start cannot be read")


def postgresql_identity(ask: Callable[[str], Sequence[Sequence[Any]]]) -> ServerIdentity:
    """Read it on an open session; needs no privilege."""
    server, start, version = ask(_POSTGRESQL)[0]
    return ServerIdentity(server, start, version)
