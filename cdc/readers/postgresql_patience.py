"""A bound on waiting for one answer of a server: libpq's blocking calls have none. Guards I10 (nothing hangs unseen)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def cut_off_after(seconds: float, fileno: int) -> Iterator[None]:
    """Shut the connection behind `fileno` down if the block takes longer, so that what waits on it fails.

    On a duplicate of the descriptor: the number itself may belong to another file by then.
    """
    line = socket.socket(fileno=os.dup(fileno))
    timer = threading.Timer(seconds, _shut, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        line.close()


def _shut(line: socket.socket) -> None:
    with suppress(OSError):  # closed by the other side already
        line.shutdown(socket.SHUT_RDWR)
