"""What a MySQL or MariaDB server's refusal means for a reader: try again, or a person is needed. Guards I6, I9, I10.

One table by error code. Messages hold the server's own words only where those never hold a value or a password.
"""

from __future__ import annotations

from typing import Final

from cdc.errors import DatongError, HaltError, TransientError
from sinks.connections import Address

_PRIVILEGE: Final = frozenset({1044, 1142, 1227, 1045, 1698, 3118, 3955})
_LOGIN: Final = frozenset({1045, 1698})
_FATAL_DUMP: Final = 1236
_LOST_OR_BUSY: Final = frozenset({
    1040, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1226, 1290, 1317, 1927, 2002, 2003, 2006, 2013,
    2014, 2055, 3024, 3032, 4031,
})  # fmt: skip
RESYNC: Final = "run `datong resync` for this channel"


def read_error(error: Exception, address: Address, doing: str, *, login: bool = False) -> DatongError:
    """Classify a driver error (its arguments: code, message) or an OSError that came while `doing` something.

    Servers answer 1045 to a wrong password and, once logged in, to a missing privilege: `login` tells which.
    """
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    if isinstance(error, OSError):
        return TransientError(f"{address}: {doing}: connection lost ({type(error).__name__})")
    if login and code in _LOGIN:
        return HaltError(
            "ACCESS_DENIED",
            f"{address}: {doing}: the server refused this user or its password",
            "correct the channel's user and password",
        )
    return server_error(code, " ".join(said.split()), address, doing)


def server_error(code: int, said: str, address: Address, doing: str) -> DatongError:
    where = f"{address}: {doing}"
    if code in _PRIVILEGE:
        return HaltError("PRIVILEGE_MISSING", f"{where}: error {code}", grant(address))
    if code == _FATAL_DUMP:
        return _dump_error(said, where)
    if code == 1049:
        return HaltError("DATABASE_MISSING", f"{where}: error {code}", f"create database {address.database}")
    if code == 1146:
        return HaltError("TABLE_MISSING", f"{where}: error {code}", "create it, or mend the mapping's `table`")
    if code in _LOST_OR_BUSY or code == 0:
        return TransientError(f"{where}: error {code}: {said[:200]}")
    return HaltError("SERVER_ERROR", f"{where}: error {code}: {said[:200]}", "see the server's own log")


def grant(address: Address) -> str:
    """The statement that gives a reader what it needs. SELECT: so that the catalog shows the tables."""
    rights = "REPLICATION SLAVE, REPLICATION CLIENT"
    if address.engine == "mariadb":
        rights = "REPLICATION SLAVE, BINLOG MONITOR"
    return (
        f"GRANT {rights} ON *.* TO '{address.user}'@'%'; GRANT SELECT ON `{address.database}`.* TO '{address.user}'@'%'"
    )


def _dump_error(said: str, where: str) -> DatongError:
    """Error 1236 is one code for all that ends a dump; only its words tell."""
    words = said.lower()
    if "same server_uuid" in words or "same server_id" in words or "server_id/server_uuid" in words:
        return HaltError(
            "DUPLICATE_SERVER_ID",
            f"{where}: another replica with our server id has connected",
            "give each channel of each deployment a server id of its own, or stop the other instance",
        )
    if "could not find first log" in words or "purged" in words or "not find gtid" in words or "has purged" in words:
        return HaltError("POSITION_PURGED", f"{where}: {said[:300]}", RESYNC)
    if "more transactions than" in words or "which is not in the master" in words or "not in the source" in words:
        return HaltError("POSITION_AHEAD", f"{where}: {said[:300]}", RESYNC)
    if "position > file size" in words or "impossible position" in words:
        return HaltError("POSITION_AHEAD", f"{where}: {said[:300]}", RESYNC)
    if "max_allowed_packet" in words:
        return HaltError("PACKET_TOO_LARGE", f"{where}: {said[:300]}", "SET GLOBAL max_allowed_packet = 1073741824")
    if "binary log is not open" in words:
        return HaltError("LOG_OFF", f"{where}: {said[:300]}", "start the server with log_bin")
    return HaltError("LOG_UNREADABLE", f"{where}: {said[:300]}", f"look into the server's own log; then {RESYNC}")
