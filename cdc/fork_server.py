"""A process that has imported what roles need, and forks one of them on request. Guards "never an orphan".

    python -m cdc.fork_server SOCKET_DESCRIPTOR

Importing costs a role most of a second of CPU; a fork of what is imported already costs a few milliseconds. Nothing is opened, connected
or configured here and no thread runs: a child starts from the same state as a process of its own would. A request is one packet:
the role's words as JSON, with the descriptor that it reports on; the answer is its process id. The child becomes the
supervisor's own (`PR_SET_CHILD_SUBREAPER`, prctl(2)): the supervisor reaps it, and the kernel ends it with the supervisor.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from setproctitle import setproctitle, setthreadtitle

from cdc import roles
from cdc.child import bind_to_parent

READY: Final = b"ready"
MOST_BYTES: Final = 1 << 16
_ADOPTION_SECONDS: Final = 5.0

decode_words = msgspec.json.Decoder(list[str]).decode


def serve(requests: socket.socket) -> None:
    """Fork a role for each request, until the supervisor closes the socket."""
    requests.send(READY)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 1)
        if not packet:
            return
        (report,) = descriptors
        pid = _fork_twice([*decode_words(packet), "--report-fd", str(report)], requests)
        os.close(report)
        requests.send(str(pid).encode())


def _fork_twice(words: Sequence[str], requests: socket.socket) -> int:
    """The process id of a role whose parent has ended: it is the supervisor's child then."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            requests.close()
            os.close(reading)
            os.close(writing)
            _become_role(words, parent)
        os.write(writing, str(pid).encode())
        os._exit(0)
    os.close(writing)
    pid = int(os.read(reading, 32))
    os.close(reading)
    os.waitpid(between, 0)
    return pid


def _become_role(words: Sequence[str], parent: int) -> None:
    """What `python -m cdc.roles` does, in this process, once its parent for a moment has ended. Never returns."""
    os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the supervisor alone
    setproctitle(" ".join([sys.executable, "-m", "cdc.roles", *words]))
    setthreadtitle(".".join(words[:2]))  # what top and ps -o comm show: capture.website
    deadline = time.monotonic() + _ADOPTION_SECONDS
    while os.getppid() == parent and time.monotonic() < deadline:
        time.sleep(0.0005)  # whether the supervisor has adopted it then is asked first thing (`bind_to_parent`)
    code = 1
    try:
        code = roles.main(list(words))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    bind_to_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # pages that the collector does not touch stay shared
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        requests.set_inheritable(False)
        with suppress(ConnectionError):  # the supervisor has ended, with an answer unread
            serve(requests)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
