"""Asks the running service over its admin address. Standard library only; an answer takes three seconds at most."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
from dataclasses import dataclass
from typing import Any, Final

from cdc.supervisor.settings import AdminSettings

_PATIENCE_SECONDS: Final = 3.0


class NoServiceError(Exception):
    """Nothing of ours answers there; `str()` says what was found instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    document: Any


def ask(admin: AdminSettings, path: str) -> Reply:
    """GET a JSON document. Raises NoServiceError."""
    host = _reachable(admin.host)
    connection = http.client.HTTPConnection(host, admin.port, timeout=_PATIENCE_SECONDS)
    headers = {"authorization": f"Bearer {admin.token}"} if admin.token else {}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        document = json.loads(response.read())
    except ConnectionRefusedError:
        raise NoServiceError(f"no service answers at {admin}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = "no answer in time" if isinstance(error, socket.timeout) else type(error).__name__
        raise NoServiceError(f"what answers at {admin} is not a running Datong ({said})") from None
    finally:
        connection.close()
    if not isinstance(document, dict):
        raise NoServiceError(f"what answers at {admin} is not a running Datong")
    return Reply(response.status, document)


def is_running(admin: AdminSettings) -> bool:
    try:
        return "channels" in ask(admin, "/readyz").document
    except NoServiceError:
        return False


def _reachable(host: str) -> str:
    """A service that listens on every address is asked on loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return host
