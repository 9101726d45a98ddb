"""One COPY BOTH session with a walsender: frames in, status updates out, keep-alives beside the work. Guards I7, I10.

It must never report a flush position that `confirm` was not told, nor one that goes back. psycopg 3 has no replication interface
(TRAPS.md G1), so this goes through its libpq wrapper; a lock makes libpq's calls safe for two threads. The second thread sends
keep-alives whatever the worker does (TRAPS.md G3, CASES.md C11), and asks for a reply with each, so that a dead connection is
noticed by its silence.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from cdc.errors import DatongError, TransientError
from cdc.readers.pgoutput import lsn_text, status_update
from cdc.readers.postgresql_errors import connection_refused, one_line, stream_refused
from cdc.readers.postgresql_patience import cut_off_after
from sinks.connections import Address, connect_postgresql

_CHUNK_FRAMES: Final = 500
_CHUNK_BYTES: Final = 1 << 20
_FLOW_FRAMES: Final = 8
_BREATH: Final = 0.001  # seconds
_ANSWER_SECONDS: Final = 10.0
_LONGEST_WAIT: Final = 0.5  # of one look at the socket: frames may be in libpq's buffer without it
_MICROSECONDS: Final = 1_000_000


class ReplicationStream:
    """`interval`: seconds between keep-alives. `server_gone`: asked with each of them; true ends the session."""

    def __init__(self, address: Address, slot: str, interval: float, server_gone: Callable[[], bool]) -> None:
        self._address = address
        self._slot = slot
        self._interval = interval
        self._server_gone = server_gone
        try:
            self._connection: psycopg.Connection[Any] = connect_postgresql(address, replication=True)
        except psycopg.Error as error:
            raise connection_refused(error, address) from None
        self._libpq = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: DatongError | None = None
        self._confirmed = 0
        self._flow = 0  # how many looks in a row found some frames, yet not a full chunk
        self.silent_seconds = 0.0  # spent waiting for the server since it last said anything

    def identify(self) -> tuple[str, int, int]:
        """System identifier, timeline, and the LSN up to which the log is flushed."""
        result = self._exec("IDENTIFY_SYSTEM", pq.ExecStatus.TUPLES_OK)
        system, timeline, lsn = (result.get_value(0, column) or b"" for column in range(3))
        high, _, low = lsn.partition(b"/")
        return system.decode(), int(timeline), int(high, 16) << 32 | int(low, 16)

    def start(self, lsn: int, publication: str, options: Mapping[str, str]) -> None:
        """Begin the stream: every transaction whose commit record starts at `lsn` or after it. `options`: pgoutput's."""
        name = publication.replace('"', '""').replace("'", "''")
        listed = ", ".join(f"{key} '{value}'" for key, value in {**options, "publication_names": f'"{name}"'}.items())
        self._exec(f'START_REPLICATION SLOT "{self._slot}" LOGICAL {lsn_text(lsn)} ({listed})', pq.ExecStatus.COPY_BOTH)
        self._thread = threading.Thread(target=self._keep_alive, name=f"keep-alive {self._slot}", daemon=True)
        self._thread.start()

    def receive(self, max_wait: float) -> list[bytes]:
        """Answer the frames that are there, some hundred at most; [] if none came within `max_wait` seconds."""
        deadline = time.monotonic() + max_wait
        if self._flow > 1:
            # A busy server sends row by row: to take each as it comes costs more than to decode it.
            time.sleep(_BREATH)
        while True:
            frames = self._drain()
            self._flow = self._flow + 1 if _FLOW_FRAMES <= len(frames) < _CHUNK_FRAMES else 0
            if frames:
                self.silent_seconds = 0.0
                return frames
            before = time.monotonic()
            wait = min(deadline - before, _LONGEST_WAIT)
            if wait <= 0:
                return frames
            if self._poll.poll(wait * 1000):
                self.silent_seconds = 0.0  # perhaps a part of a long frame
            else:
                self.silent_seconds += time.monotonic() - before

    def confirm(self, lsn: int) -> None:
        """Let the server discard what lies before `lsn`; a lower one than before changes nothing."""
        with self._lock:
            if lsn <= self._confirmed:
                return
            self._confirmed = lsn
            self._send_status(reply=False)

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._connection.close()

    def _drain(self) -> list[bytes]:
        frames: list[bytes] = []
        get = self._libpq.get_copy_data
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                length, data = get(1)
                size = 0
                while True:
                    if (
                        length == 0
                    ):  # libpq's own buffer is small: look at the socket's again until that is empty as well
                        self._libpq.consume_input()
                        length, data = get(1)
                    if length <= 0:
                        break
                    frames.append(bytes(data))
                    size += length
                    if len(frames) >= _CHUNK_FRAMES or size >= _CHUNK_BYTES:
                        return frames
                    length, data = get(1)
                if length < 0:
                    self._failure = self._ended()
            except psycopg.Error as error:
                self._failure = TransientError(f"the connection to {self._address} was lost: {one_line(error)}")
            # What came before the end is handed out first.
            if self._failure is not None and not frames:
                raise self._failure
        return frames

    def _ended(self) -> DatongError:
        """Why the server ended the stream."""
        result = self._libpq.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return stream_refused(error_from_result(result), self._address, self._slot)
        return TransientError(f"the server ended the stream of slot {self._slot} on {self._address}")

    def _keep_alive(self) -> None:
        while not self._stopped.wait(self._interval):
            gone = self._server_gone()
            with self._lock:
                if self._failure is not None:
                    return
                if gone:
                    self._failure = TransientError(
                        f"the server of {self._address} ended our session and takes no other: it is shutting down"
                    )
                    self._connection.close()
                    return
                self._send_status(reply=True)

    def _send_status(self, *, reply: bool) -> None:
        now = time.time_ns() // 1000
        message = status_update(written=self._confirmed, flushed=self._confirmed, now=now, reply=reply)
        try:
            self._libpq.put_copy_data(message)
            self._libpq.flush()
        except psycopg.Error as error:
            self._failure = self._failure or TransientError(
                f"the connection to {self._address} was lost: {one_line(error)}"
            )

    def _exec(self, command: str, expected: pq.ExecStatus) -> pq.abc.PGresult:
        try:
            with cut_off_after(_ANSWER_SECONDS, self._libpq.socket):
                result = self._libpq.exec_(command.encode())
        except psycopg.Error as error:
            raise TransientError(f"{command.split(maxsplit=1)[0]} on {self._address}: {one_line(error)}") from None
        if result.status != expected:
            raise stream_refused(error_from_result(result), self._address, self._slot)
        return result
