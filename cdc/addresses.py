"""From a configured channel to the address that a driver takes: the one place where its password is unwrapped. Guards I9."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from cdc.redis_connection import RedisAddress
from config.models import Configuration
from sinks.connections import Address, Tls
from transforms.tables import Engine


class TlsSettings(Protocol):
    @property
    def ca(self) -> str | Path: ...
    @property
    def cert(self) -> str | Path | None: ...
    @property
    def key(self) -> str | Path | None: ...


class ChannelSettings(Protocol):
    """What `config.models` says of a channel, as far as a connection needs it."""

    @property
    def engine(self) -> Engine: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def password(self) -> SecretStr: ...
    @property
    def database(self) -> str: ...
    @property
    def tls(self) -> TlsSettings | None: ...


def address_of(channel: ChannelSettings) -> Address:
    """Answer where a channel's database is and how to enter it."""
    return Address(
        engine=channel.engine,
        host=channel.host,
        port=channel.port,
        user=channel.user,
        database=channel.database,
        password=channel.password.get_secret_value(),
        tls=None if channel.tls is None else tls_of(channel.tls),
    )


def tls_of(settings: TlsSettings) -> Tls:
    return Tls(ca=str(settings.ca), cert=_path(settings.cert), key=_path(settings.key))


def _path(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def redis_address(configuration: Configuration) -> RedisAddress:
    settings = configuration.redis
    url = settings.url.get_secret_value()
    if settings.tls is None:
        return RedisAddress(url)
    tls = tls_of(settings.tls)
    return RedisAddress(url, tls.ca, tls.cert, tls.key)
