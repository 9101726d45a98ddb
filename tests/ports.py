"""Ports for what is started later: below Linux's range for outgoing connections, and each pytest worker has its own.

A port that the kernel picks (port 0) is free only now: until somebody listens there, any connection of anybody may get it.
`cdc.demo.servers` takes its own from 20,000 on.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

_FIRST, _EACH = 10_000, 1_000


def _ports() -> list[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    mine = list(range(_FIRST + worker * _EACH, _FIRST + (worker + 1) * _EACH))
    random.SystemRandom().shuffle(mine)  # two sessions on one machine seldom meet
    return mine


_next = itertools.cycle(_ports())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; the next 999 answers are others."""
    for port in itertools.islice(_next, _EACH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
