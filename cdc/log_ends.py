"""Where every captured channel's log ends at this moment, as an order: what a forgetting covers. Reads, and holds nothing open."""

from __future__ import annotations

import psycopg

from cdc.addresses import address_of, redis_address
from cdc.change_log import ChangeLog
from cdc.errors import HaltError
from cdc.model import Order
from cdc.readers.mysql_position import read_place
from cdc.readers.mysql_server import MySQLServer
from cdc.readers.postgresql_errors import translated
from config.models import Configuration
from sinks.connections import Address, connect_postgresql


def log_ends(configuration: Configuration) -> dict[str, Order]:
    """The last order before each log's end: the next transaction's may be where the log ends.

    Raises TransientError and HaltError. A channel that was never captured is left out: nothing of it is known.
    """
    change_log = ChangeLog(redis_address(configuration), configuration.deployment)
    try:
        ends = {}
        for channel, settings in configuration.channels.items():
            published = change_log.published(channel)
            if published is None:
                continue
            address = address_of(settings)
            if address.engine == "postgresql":
                ends[channel] = _postgresql_end(address) - 1
            else:
                place = read_place(published.state.position)
                server = MySQLServer(address)
                try:
                    end = server.log_end()
                finally:
                    server.close()
                ends[channel] = place.era.order(end.file, end.offset) - 1
        return ends
    finally:
        change_log.close()


def _postgresql_end(address: Address) -> Order:
    try:
        with connect_postgresql(address) as connection:
            row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8").fetchone()
    except psycopg.Error as error:
        raise translated(error, address, "reading the log's end", "check the account") from None
    if row is None:
        raise HaltError("LOG_UNREADABLE", f"{address}: the server does not tell its log's end", "is it PostgreSQL?")
    return int(row[0])
