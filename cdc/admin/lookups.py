"""Who somebody is, asked over HTTP: `GET /api/identities`. In a thread of its own, one question at a time. Guards I9: masked unless revealed."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import structlog

from cdc.admin.board import Board
from cdc.admin.exchange import Refused
from cdc.errors import DatongError

_MOST_PARAMETERS: Final = 10

log = structlog.get_logger("datong.admin")


class Lookups:
    """Reads the hub store by the configuration that the service follows."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lookups")

    async def identities(self, query: str, who: str) -> list[dict[str, Any]]:
        """Raises Refused."""
        try:
            asked = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_PARAMETERS))
        except ValueError:
            raise Refused(400, "ask by ?phone=..., another identifying field, or ?key=...") from None
        reveal = asked.pop("reveal", "0") == "1"
        if not asked or ("key" in asked and len(asked) > 1):
            raise Refused(400, "ask by ?phone=..., another identifying field, or ?key=...")
        path = Path(self._board.snapshot.access.configuration)
        look = partial(_look_up, path, asked, reveal, who)
        return await asyncio.get_running_loop().run_in_executor(self._thread, look)


def _look_up(path: Path, asked: dict[str, str], reveal: bool, who: str) -> list[dict[str, Any]]:
    from cdc.identity.portraits import Portraits
    from cdc.people_sessions import open_registry
    from cdc.store import Store
    from config.load import ConfigurationRefused, load

    try:
        configuration = load(path, os.environ)
        entities = [entity for entity in configuration.entities().values() if entity.identity is not None]
        if not entities:
            raise Refused(404, "no entity of this configuration has identity")
        registry = open_registry(configuration)
        try:
            portraits = Portraits(registry, entities, configuration.channels)
            people = portraits.find(asked["key"]) if "key" in asked else portraits.find_by(asked)
            found = [portraits.portrait(person, reveal=reveal) for person in people]
        finally:
            registry.close()
        if reveal and found:
            store = Store(configuration.store.url.get_secret_value(), configuration.deployment)
            try:
                store.open()
                store.audit(who, "identity reveal", " ".join(f"oneid:{one['oneid']}" for one in found))
            finally:
                store.close()
    except KeyError as error:
        raise Refused(400, f"no entity is identified by '{error.args[0]}'") from None
    except (ConfigurationRefused, OSError):
        raise Refused(503, "the configuration cannot be read at the moment") from None
    except DatongError as error:
        raise Refused(503, str(error)) from None
    return found
