"""What the admin server writes: toggles into the configuration file, pauses into the hub store, an audit line for each.

In a thread of its own, one write at a time: neither the file nor the store ever holds up an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from cdc.admin.board import Board
from cdc.admin.exchange import Refused
from cdc.errors import DatongError
from cdc.supervisor.snapshot import Access

if TYPE_CHECKING:
    from cdc.store import Store

log = structlog.get_logger("datong.admin")

_TAKES_EFFECT_SECONDS: Final = 1.5


class Writes:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writes")

    @property
    def _access(self) -> Access:
        return self._board.snapshot.access

    async def etag(self) -> str:
        from config.edit import etag

        path = Path(self._access.configuration)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: etag(path))
        except OSError as error:
            raise Refused(503, f"the configuration file cannot be read: {error.strerror}") from None

    async def toggle(self, name: str, enabled: bool, who: str, if_match: str) -> str:
        """Write `enabled` into the file and answer its new ETag. Raises Refused 412 where `if_match` is another version."""
        write = partial(self._toggle, self._access, name, enabled, who, if_match)
        etag = await asyncio.get_running_loop().run_in_executor(self._thread, write)
        await self._board.until_mapping(name, enabled=enabled, seconds=_TAKES_EFFECT_SECONDS)
        return etag

    def _toggle(self, access: Access, name: str, enabled: bool, who: str, if_match: str) -> str:
        from config.edit import EditConflict, EditRefused, UnknownMapping, etag, set_mapping_enabled
        from config.load import ConfigurationRefused

        path = Path(access.configuration)
        try:
            store = _open(access)
            try:
                store.open()  # what cannot be audited is not done
                changed = set_mapping_enabled(path, name, enabled, if_match=if_match or None)
                store.audit(who, "mapping", name, str(enabled is not changed).lower(), str(enabled).lower())
            finally:
                store.close()
            log.info("admin.mapping_set", mapping=name, enabled=enabled, changed=changed, who=who)
            return etag(path)
        except EditConflict as error:
            raise Refused(412, str(error)) from None
        except UnknownMapping as error:
            raise Refused(404, str(error)) from None
        except (EditRefused, ConfigurationRefused) as error:
            raise Refused(409, str(error).replace("\n", "; ")) from None
        except DatongError as error:
            raise Refused(503, str(error)) from None
        except OSError as error:
            raise Refused(503, f"{path}: {error.strerror}") from None

    async def pause(self, channel: str, roles: Sequence[str], paused: bool, who: str) -> None:
        write = partial(self._pause, self._access, channel, roles, paused, who)
        await asyncio.get_running_loop().run_in_executor(self._thread, write)

    def _pause(self, access: Access, channel: str, roles: Sequence[str], paused: bool, who: str) -> None:
        try:
            store = _open(access)
            try:
                store.open()
                before = store.paused()
                for role in roles:
                    was = (channel, role) in before
                    store.set_paused(channel, role, paused)
                    store.audit(who, "pause" if paused else "resume", f"{channel} {role}", str(was), str(paused))
                    log.info("admin.paused" if paused else "admin.resumed", channel=channel, of=role, who=who)
            finally:
                store.close()
        except DatongError as error:
            raise Refused(503, str(error)) from None


def _open(access: Access) -> Store:
    from cdc.store import Store

    return Store(access.store_url, access.deployment)
