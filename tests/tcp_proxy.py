"""A TCP proxy that misbehaves on command: black hole, reset, refusal, slow line.

One thread moves the bytes; tests change its mood from outside. A black hole (`freeze`) and a reset are different
faults: the first is only noticed by who keeps a clock.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from tests.ports import free_port

_CHUNK = 65536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds


@dataclass(eq=False, slots=True)
class _End:
    """One socket of a pair, and the bytes that it still has to get."""

    socket: socket.socket
    outgoing: bytearray = field(default_factory=bytearray)
    finished_sending: bool = False  # its peer's end was seen, and is passed on once `outgoing` is empty
    finished_reading: bool = False


@dataclass(eq=False, slots=True)
class _Link:
    client: _End
    server: _End | None = None  # None while frozen: accepted, and nobody told

    def ends(self) -> list[tuple[_End, _End]]:
        return [(self.client, self.server), (self.server, self.client)] if self.server else []


class _CutError(Exception):
    """All links are gone."""


class TcpProxy:
    """Forwards `127.0.0.1:<port>` to `host:target_port`; a context manager."""

    def __init__(self, host: str, target_port: int) -> None:
        self._target = (host, target_port)
        self.host = "127.0.0.1"
        self.port = free_port()  # its own while it refuses, too
        self._listener: socket.socket | None = _listen(self.port)
        self._links: list[_Link] = []
        self._frozen = False
        self._rate: float | None = None
        self._budget = 0.0
        self._refilled = time.monotonic()
        self._cut: int | None = None
        self._gently = False
        self.cuts = 0
        self.accepted = 0  # connections, ever
        self._closing = False
        self._lock = threading.Lock()
        self._mood = 0
        self._bell, self._ringer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name=f"tcp-proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._links)

    def freeze(self) -> None:
        """Accept and hold: nothing is forwarded either way, nothing answered, until `thaw`."""
        with self._lock:
            self._frozen = True
            self._ring()

    def thaw(self) -> None:
        """Go on with everything that was held."""
        with self._lock:
            self._frozen = False
            self._ring()

    def reset(self) -> None:
        """Send RST to both ends of all connections; new ones are accepted as before."""
        with self._lock:
            for link in self._links:
                _abort(link)
            self._links.clear()
            self._ring()

    def cut_after(self, size: int, *, gently: bool = False) -> None:
        """End all connections once, when so many more bytes have gone through them together, both ways: by RST, or by a plain end."""
        with self._lock:
            self._cut, self._gently = size, gently

    @property
    def will_cut(self) -> bool:
        with self._lock:
            return self._cut is not None

    def refuse(self) -> None:
        """Refuse new connections, as a server that is down does; those that exist go on."""
        with self._lock:
            if self._listener:
                self._listener.shutdown(socket.SHUT_RDWR)  # now, not when the thread's poll lets go of it
                self._listener.close()
                self._listener = None
            self._ring()

    def accept(self) -> None:
        """Listen again, on the same port."""
        with self._lock:
            if self._listener is None:
                self._listener = _listen(self.port)
            self._ring()

    def slow(self, bytes_per_second: float | None) -> None:
        """Limit all connections together, both ways together; None lifts the limit."""
        with self._lock:
            self._rate = bytes_per_second
            self._budget = 0.0
            self._refilled = time.monotonic()
            self._ring()

    def close(self) -> None:
        """End everything and wait for the thread."""
        with self._lock:
            self._closing = True
            self._ring()
        self._thread.join(10)
        if self._thread.is_alive():
            raise RuntimeError(f"the proxy on port {self.port} did not end")
        self.refuse()
        for link in self._links:
            _abort(link)
        self._links.clear()
        self._bell.close()
        self._ringer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ring(self) -> None:
        self._mood += 1
        self._ringer.send(b"!")

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closing:
                    return
                mood = self._mood
                poll, timeout = self._interests()
            ready = dict(poll.poll(timeout))
            with self._lock:
                if ready.pop(self._bell.fileno(), 0):
                    self._bell.recv(4096)
                if mood == self._mood:  # else what poll saw is out of date, its file descriptors too perhaps
                    self._move(ready)

    def _interests(self) -> tuple[select.poll, float | None]:
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if self._listener:
            poll.register(self._listener, select.POLLIN)
        if self._frozen:
            return poll, None
        for link in [link for link in self._links if link.server is None]:
            self._connect(link)
        may_read = self._refill()
        for link in self._links:
            for end, peer in link.ends():
                wanted = select.POLLOUT if end.outgoing else 0
                if may_read and not end.finished_reading and len(peer.outgoing) < _CHUNK:
                    wanted |= select.POLLIN
                if wanted:
                    poll.register(end.socket, wanted)
        return poll, None if may_read else 20.0

    def _refill(self) -> bool:
        """Whether bytes may be read now."""
        if self._rate is None:
            return True
        now = time.monotonic()
        self._budget = min(self._budget + (now - self._refilled) * self._rate, max(self._rate, 1.0))
        self._refilled = now
        return self._budget >= 1

    def _move(self, ready: dict[int, int]) -> None:
        if self._listener and ready.get(self._listener.fileno()):
            self._admit(self._listener)
        for link in list(self._links):
            try:
                for end, peer in link.ends():
                    events = ready.get(end.socket.fileno(), 0)
                    if events & select.POLLOUT:
                        del end.outgoing[: end.socket.send(end.outgoing)]
                    if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not end.finished_reading:
                        self._read(end, peer)
                    if peer.finished_sending and not peer.outgoing:
                        peer.socket.shutdown(socket.SHUT_WR)
                        peer.finished_sending = False
            except _CutError:
                return
            except BlockingIOError:
                continue  # poll may call a socket ready that is not: poll(2)
            except OSError:
                self._drop(link)
                continue
            if link.server and all(end.finished_reading and not end.outgoing for end, _ in link.ends()):
                link.client.socket.close()
                link.server.socket.close()
                self._links.remove(link)

    def _admit(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it went away before we looked
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(_Link(_End(client)))
        self.accepted += 1

    def _read(self, end: _End, peer: _End) -> None:
        size = _CHUNK if self._rate is None else min(_CHUNK, int(self._budget))
        if size < 1:
            return
        data = end.socket.recv(size)
        if self._rate is not None:
            self._budget -= len(data)
        if self._cut is not None:
            self._cut -= len(data)
            if self._cut < 0:
                self._end_all(peer, data[: self._cut])
        if data:
            peer.outgoing += data
        else:
            end.finished_reading = True
            peer.finished_sending = True

    def _end_all(self, last: _End, data: bytes) -> None:
        with contextlib.suppress(OSError):
            last.socket.send(last.outgoing + data)
        for link in self._links:
            if self._gently:
                for end in (link.client, link.server):
                    if end:
                        end.socket.close()
            else:
                _abort(link)
        self._links.clear()
        self._cut = None
        self.cuts += 1
        raise _CutError

    def _connect(self, link: _Link) -> None:
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            self._drop(link)
            return
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.server = _End(server)

    def _drop(self, link: _Link) -> None:
        _abort(link)
        self._links.remove(link)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def _abort(link: _Link) -> None:
    for end in (link.client, link.server):
        if end:
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            end.socket.close()
