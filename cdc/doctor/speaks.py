"""Which protocol a port speaks, by its first bytes: to name the engine behind a wrong URL. Sends no credentials.

MySQL, "Protocol::HandshakeV10": the server speaks first. PostgreSQL manual, "Message Formats", SSLRequest: one byte S or N.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_PATIENCE_SECONDS: Final = 1.0


def speaks(host: str, port: int) -> str | None:
    """mysql, mariadb, postgresql or redis; None: nothing known, or nothing there."""
    greeting = _exchange(host, port, b"")
    if len(greeting) > 5 and greeting[4] == 10:
        return "mariadb" if b"mariadb" in greeting.lower() else "mysql"
    if _exchange(host, port, _SSL_REQUEST)[:1] in (b"S", b"N"):
        return "postgresql"
    if _exchange(host, port, b"PING\r\n")[:1] in (b"+", b"-"):
        return "redis"
    return None


def _exchange(host: str, port: int, request: bytes) -> bytes:
    """What the server says to `request` (or by itself); empty where it says nothing in time."""
    try:
        with socket.create_connection((host, port), _PATIENCE_SECONDS) as connection:
            connection.settimeout(_PATIENCE_SECONDS)
            if request:
                connection.sendall(request)
            return connection.recv(256)
    except OSError:
        return b""
