"""The one door to redis-py: connections whose errors are the engine's own. Guards I9 (no password in any message)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cdc.errors import HaltError, TransientError

SOCKET_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`url` may hold a password: it never shows in a repr or a message."""

    url: str = field(repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of a deployment's keys in Redis."""

    deployment: str

    def stream(self, channel: str) -> str:
        return f"datong:{self.deployment}:stream:{channel}"

    def published(self, channel: str) -> str:
        return f"datong:{self.deployment}:published:{channel}"

    def guard(self, channel: str) -> str:
        return f"datong:{self.deployment}:guard:{channel}"

    @property
    def identities(self) -> str:
        return f"datong:{self.deployment}:identities"

    def lease(self, role: str) -> str:
        return f"datong:{self.deployment}:lease:{role}"


def connect(address: RedisAddress) -> redis.Redis:
    """A client that never retries by itself: whether a command may be repeated is ours to know."""
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "datong",
        "protocol": 2,
    }
    if address.ca:
        options |= {"ssl_ca_certs": address.ca, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if address.cert:
            options |= {"ssl_certfile": address.cert, "ssl_keyfile": address.key}
    return redis.Redis.from_url(address.url, **options)


@contextmanager
def redis_errors(address: RedisAddress, doing: str) -> Iterator[None]:
    """Turn what redis-py raises into TransientError or HaltError, one line, naming the place and what was being done."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise HaltError(
            "REDIS_REFUSED", f"Redis {address}: {_line(error)}", "check redis.url's user and password"
        ) from None
    except redis.exceptions.OutOfMemoryError:
        raise TransientError(
            f"Redis {address} is full while {doing} - raise its maxmemory above change_log.max_bytes, or wait until appliers catch up"
        ) from None
    except (redis.RedisError, OSError) as error:
        line = _line(error)
        hint = "check redis.tls and the host in redis.url" if "CERTIFICATE" in line.upper() else "is it running?"
        raise TransientError(f"Redis {address}: {line} while {doing} - {hint}") from None


def append_once(client: Any, stream: str, values: dict[str, Any], ident: str) -> None:
    """Append to a stream under an id of ours, unless it or a later one is there."""
    try:
        client.xadd(stream, values, id=ident)
    except redis.ResponseError as error:
        if "equal or smaller" not in str(error):
            raise


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
