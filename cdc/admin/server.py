"""Runs the admin application under uvicorn on an inherited socket, fed by the supervisor; ends when the feed does."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

import msgspec
import uvicorn

from cdc import logs
from cdc.admin.application import Application
from cdc.admin.board import Board
from cdc.admin.protocol import GuardedProtocol
from cdc.supervisor.snapshot import DECODER

_LONGEST_SNAPSHOT: Final = 16 << 20
_LARGEST_HEAD: Final = 32 << 10
_MOST_CONNECTIONS: Final = 500


async def serve(listening: socket.socket, feed: socket.socket) -> None:
    """Serve from the first snapshot on, until the supervisor is gone or says SIGTERM."""
    board = Board()
    reader, writer = await asyncio.open_connection(sock=feed, limit=_LONGEST_SNAPSHOT)
    if not await _hear(reader, writer, board):
        return
    config = uvicorn.Config(
        Application(board, listening.getsockname()[0]),
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = asyncio.create_task(_follow(reader, writer, board))
    await server.serve(sockets=[listening])
    listener.cancel()


async def _follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, board: Board) -> None:
    while await _hear(reader, writer, board):
        pass
    os._exit(0)  # the supervisor is gone: nothing here is worth finishing


async def _hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, board: Board) -> bool:
    """Take one snapshot and answer it with a byte, this process's beat. False: the supervisor is gone."""
    try:
        line = await reader.readline()
        if not line:
            return False
        snapshot = DECODER.decode(line)
        writer.write(b".")
    except (ConnectionError, msgspec.DecodeError):
        return False
    logs.SECRETS.know(snapshot.access.secrets)
    await board.post(snapshot)
    return True
