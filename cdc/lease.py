"""One instance per role: a lease in Redis that its holder keeps alive. Guards I2 and I4 together with the fencing behind it.

The lease keeps two instances politely apart. What makes a stale holder harmless is elsewhere: the publish script compares the
holder, and every apply transaction compares its epoch inside the target.
The thread here only renews; it does no work of the role.

A holder that was killed need not be waited for where it provably is no more: the lease names its process, and a process of the same
machine (boot and PID namespace) can see whether that still runs. Of any other holder the time has to run out.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

from cdc.errors import DatongError, LeaseLostError
from cdc.redis_connection import Keys, RedisAddress, connect, redis_errors

LEASE_SECONDS: Final = 10.0
RENEW_SECONDS: Final = 2.0

_ACQUIRE: Final = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def process_name(pid: int) -> str:
    """Name a process so that another one of the same machine can tell whether it still runs: place:pid:start time.

    Source: proc(5), field 22 of /proc/PID/stat, the start in clock ticks since boot. Empty where there is no such process.
    """
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        place = Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    if started[0] == "Z":
        return ""
    return f"{hashlib.sha256(place.encode()).hexdigest()[:12]}:{pid}:{started[19]}"


def is_gone(holder: str) -> bool:
    """Whether this holder's process is of this machine and runs no more. False where that cannot be told."""
    place, pid, started = ([*holder.split(":"), "", "", ""])[1:4]
    mine = process_name(os.getpid())
    if not pid.isdigit() or not mine or mine.split(":")[0] != place:
        return False
    return process_name(int(pid)) != f"{place}:{pid}:{started}"


class Lease:
    """The lease of one role; `holder` names this process for others to read: host, process name, random."""

    def __init__(self, address: RedisAddress, deployment: str, role: str) -> None:
        self._address = address
        self._role = role
        self._key = Keys(deployment).lease(role)
        host = socket.gethostname().replace(":", "_")
        self.holder = f"{host}:{process_name(os.getpid()) or f'-:{os.getpid()}:-'}:{secrets.token_hex(8)}"
        self._redis: Any = connect(address)
        self._renewer: Any = connect(address)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed_at = 0.0
        self._lost_to = ""

    def acquire(self) -> str | None:
        """Take or keep the lease; answer None, or who holds it instead. Raises TransientError."""
        held = self._ask("")
        if held != self.holder and is_gone(held):
            held = self._ask(held)
        if held != self.holder:
            return held
        self._renewed_at = time.monotonic()
        self._lost_to = ""
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, name=f"lease {self._role}", daemon=True)
            self._thread.start()
        return None

    def _ask(self, gone: str) -> str:
        """Take the lease if it is free, ours, or held by one that is known to be `gone`; answer its holder."""
        with redis_errors(self._address, f"taking the lease of {self._role}"):
            held: bytes = self._acquire(keys=[self._key], args=[self.holder, int(LEASE_SECONDS * 1000), gone])
        return held.decode()

    def check(self) -> None:
        """Raise LeaseLostError if another instance may hold it by now: no write after this without a new `acquire`."""
        if self._lost_to:
            raise LeaseLostError(f"{self._role}: another instance took over ({self._lost_to})")
        if time.monotonic() - self._renewed_at > LEASE_SECONDS:
            raise LeaseLostError(f"{self._role}: the lease could not be renewed for {LEASE_SECONDS:.0f} s")

    def release(self) -> None:
        """Give the lease back, so that a successor need not wait for it to run out."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        try:
            with redis_errors(self._address, "releasing the lease"):
                self._redis.eval(_RELEASE, 1, self._key, self.holder)
        except DatongError:
            return  # it runs out by itself
        finally:
            self._redis.close()
            self._renewer.close()

    def _renew(self) -> None:
        script = self._renewer.register_script(_ACQUIRE)
        while not self._stop.wait(RENEW_SECONDS):
            try:
                with redis_errors(self._address, "renewing the lease"):
                    held = script(keys=[self._key], args=[self.holder, int(LEASE_SECONDS * 1000), ""]).decode()
            except DatongError:
                continue  # `check` notices when this goes on for too long
            if held == self.holder:
                self._renewed_at = time.monotonic()
            else:
                self._lost_to = held
