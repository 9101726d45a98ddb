"""Whether a stored position is still this server's, and from where to read on. Guards I1 and I7: never "from now" by itself.

The same server goes on by file and offset. Another one that has all our GTIDs (a fail-over) goes on by GTID in a new era of orders. Anything
else halts with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc.errors import HaltError
from cdc.readers.binlog_stream import LARGEST_SHORT_OFFSET
from cdc.readers.mysql_errors import RESYNC
from cdc.readers.mysql_gtid import MariaDBGtids
from cdc.readers.mysql_position import LogPlace, file_number
from cdc.readers.mysql_server import LogFile, MySQLServer, ServerFacts
from sinks.connections import Address


@dataclass(frozen=True, slots=True)
class Start:
    """`by_gtid`: the server finds the place by GTIDs. `other_server`: its files are numbered anew."""

    by_gtid: bool = False
    other_server: bool = False


def plan_start(address: Address, place: LogPlace, facts: ServerFacts, server: MySQLServer) -> Start:
    """Raises HaltError POSITION_AHEAD, POSITION_PURGED, SERVER_CHANGED or OFFSET_TOO_LARGE."""
    same = place.server == facts.identity
    lacking = _lacking(address, place, facts, server)
    if lacking:
        if same:
            raise HaltError(
                "POSITION_AHEAD",
                f"{address}: the server does not have {lacking}, which we have read: it was reset or restored from a backup",
                RESYNC,
            )
        raise _server_changed(address, place, facts, f"it does not have {lacking}")
    if not same:
        if not place.gtids or not facts.has_gtids:
            raise _server_changed(address, place, facts, "without GTIDs the place cannot be found there")
        _refuse_purged_gtids(address, place, facts, server)
        return Start(by_gtid=True, other_server=True)
    _find_file(address, place, server.log_files())
    if place.offset <= LARGEST_SHORT_OFFSET:
        return Start()
    if place.gtids and facts.has_gtids:
        return Start(by_gtid=True)
    raise HaltError(
        "OFFSET_TOO_LARGE",
        f"{address}: {place} lies beyond 4 GiB, where a log without GTIDs cannot be asked for",
        f"SET GLOBAL gtid_mode = ON, lower max_binlog_size; then {RESYNC}",
    )


def _lacking(address: Address, place: LogPlace, facts: ServerFacts, server: MySQLServer) -> str:
    if not place.gtids:
        return ""
    if address.engine == "mariadb":
        return MariaDBGtids(place.gtids).missing_from(facts.state)
    return "" if server.is_subset(place.gtids, facts.state) else server.subtract(place.gtids, facts.state)


def _refuse_purged_gtids(address: Address, place: LogPlace, facts: ServerFacts, server: MySQLServer) -> None:
    if address.engine == "mysql" and not server.is_subset(facts.purged, place.gtids):
        missing = server.subtract(facts.purged, place.gtids)
        raise HaltError("POSITION_PURGED", f"{address}: the server has already purged {missing}", RESYNC)


def _find_file(address: Address, place: LogPlace, files: list[LogFile]) -> None:
    known = {file.name: file for file in files}
    if place.file not in known:
        oldest = files[0].name if files else "nothing"
        if files and file_number(files[-1].name) < file_number(place.file):
            raise HaltError(
                "POSITION_AHEAD", f"{address}: {place} lies after the server's newest log {files[-1].name}", RESYNC
            )
        raise HaltError(
            "POSITION_PURGED", f"{address}: the log from {place} up to {oldest} has been purged on the server", RESYNC
        )
    if place.offset > known[place.file].size:
        raise HaltError(
            "POSITION_AHEAD", f"{address}: {place} lies after the end of that log ({known[place.file].size})", RESYNC
        )


def _server_changed(address: Address, place: LogPlace, facts: ServerFacts, why: str) -> HaltError:
    return HaltError(
        "SERVER_CHANGED", f"{address}: this is server {facts.identity}, we have read {place.server}, and {why}", RESYNC
    )
