"""`python -m cdc.admin LISTENING_DESCRIPTOR FEED_DESCRIPTOR`: only the supervisor starts this."""

from __future__ import annotations

import asyncio
import socket
import sys

from cdc import logs
from cdc.admin.server import serve
from cdc.child import bind_to_parent


def main() -> int:
    bind_to_parent()
    logs.configure(role="admin")
    listening, feed = (socket.socket(fileno=int(argument)) for argument in sys.argv[1:3])
    for one in (listening, feed):
        one.set_inheritable(False)
        one.setblocking(False)
    asyncio.run(serve(listening, feed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
