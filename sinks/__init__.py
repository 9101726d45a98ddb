"""Writing rows into a channel's database. `open_sink` picks the engine's sink; nothing here imports a driver before it is asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sinks.connections import Address
    from sinks.contract import Sink, SinkOptions


def open_sink(address: Address, options: SinkOptions) -> Sink:
    """The sink of the address's engine, not connected yet. Raises ValueError for an engine that has none."""
    if address.engine in ("mysql", "mariadb"):
        from sinks.mysql import MySQLSink

        return MySQLSink(address, options)
    if address.engine == "postgresql":
        from sinks.postgresql import PostgreSQLSink

        return PostgreSQLSink(address, options)
    if address.engine == "sqlite":
        from sinks.generic import GenericSink

        return GenericSink(address, options)
    raise ValueError(f"{address}: no sink for {address.engine}")
