"""What the peers in Python share: uvicorn around their application, and the ticks that they are told to send."""

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn
import uvloop

HOST: Final = "127.0.0.1"
WELCOME: Final = "welcome"
_BACKLOG: Final = 1024
_LINE_BYTES: Final = 1 << 20

Tick = Callable[[list[str]], Awaitable[None]]
"""Sends texts to all who are connected."""


def serve(app: Any, tick: Tick) -> None:
    """Serve an ASGI application, and send what comes on stdin, until that ends."""
    uvloop.run(_serve(app, tick))


async def _serve(app: Any, tick: Tick) -> None:
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server((HOST, 0), backlog=_BACKLOG) as listening:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            print(listening.getsockname()[1], flush=True)
            await _tick(tick)
            server.should_exit = True


async def _tick(tick: Tick) -> None:
    orders = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        await tick(json.loads(line))
