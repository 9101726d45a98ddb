"""The last snapshot from the supervisor, and the answers that are made of it: once per snapshot, not per request. Guards I10, O7.

When the supervisor falls silent, what it said last is no longer true: then everything here is down.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

from cdc.admin.metrics import metrics_text
from cdc.supervisor.snapshot import Snapshot

SILENT_AFTER_SECONDS: Final = 4.0  # the supervisor speaks several times a second
_SILENCE: Final = "the supervisor gives no sign of life"


class Board:
    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._received_at = 0.0
        self._status = b""
        self._ready = b""
        self._metrics: bytes | None = None
        self._changed = asyncio.Condition()

    async def post(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._received_at = time.monotonic()
        self._status = msgspec.json.encode(snapshot.status)
        self._ready = msgspec.json.encode(snapshot.ready)
        self._metrics = None
        async with self._changed:
            self._changed.notify_all()

    @property
    def snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("asked before the first snapshot")
        return self._snapshot

    @property
    def supervisor_lives(self) -> bool:
        return time.monotonic() - self._received_at < SILENT_AFTER_SECONDS

    @property
    def health(self) -> str:
        return self.snapshot.status["status"] if self.supervisor_lives else "down"

    def ready(self) -> tuple[int, bytes]:
        """HTTP status and body of `/readyz`."""
        if not self.supervisor_lives:
            return 503, msgspec.json.encode(self._silenced(self.snapshot.ready))
        return (503 if self.snapshot.ready["status"] == "down" else 200), self._ready

    def status(self) -> bytes:
        return self._status if self.supervisor_lives else msgspec.json.encode(self._silenced(self.snapshot.status))

    def metrics(self) -> bytes:
        if not self.supervisor_lives:
            return metrics_text(self.snapshot, up=False)
        if self._metrics is None:
            self._metrics = metrics_text(self.snapshot, up=self.health != "down")
        return self._metrics

    async def until_mapping(self, name: str, *, enabled: bool, seconds: float) -> bool:
        """Wait until the running service shows a toggle, but not for long."""

        def shown() -> bool:
            line: dict[str, Any] | None = self.snapshot.status["mappings"].get(name)
            return line is not None and line["enabled"] is enabled

        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(shown)
        except TimeoutError:
            return False
        return True

    @staticmethod
    def _silenced(document: dict[str, Any]) -> dict[str, Any]:
        return document | {"status": "down", "reasons": [*document["reasons"], _SILENCE]}
