"""An event stream whose client takes nothing, over a real socket: it is dropped. Other answers are waited for."""

import asyncio
import socket
from contextlib import suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.web.http import STALL_SECONDS
from service.web.reception import reception
from tests.waiting import until


class Endless:
    """Answers without end; `stall` bounds how long its client may take nothing."""

    def __init__(self, stall: float | None) -> None:
        self.stall = stall
        self.sent = 0
        self.has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.stall is not None:
            scope["state"][STALL_SECONDS] = self.stall
        await receive()

        async def leave() -> None:
            await receive()

        leaving = asyncio.create_task(leave())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
            self.sent += 1
            await asyncio.sleep(0)
        self.has_ended = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize(("stall", "dropped"), [(0.3, True), (None, False)])
async def test_it_is_dropped_once_its_client_takes_nothing(stall: float | None, dropped: bool) -> None:
    app = Endless(stall)
    config = uvicorn.Config(
        app, port=0, http=reception(10.0), lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listening]))
        await until(lambda: server.started, what="the server")
        reader, writer = await asyncio.open_connection(*listening.getsockname(), limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

        async def is_stuck() -> bool:
            before = app.sent
            await asyncio.sleep(0.1)
            return before == app.sent > 0

        await until(is_stuck, what="its being stuck")
        if dropped:
            await until(lambda: app.has_ended, what="its being dropped")
        else:
            await asyncio.sleep(3 * 0.3)
            assert not app.has_ended
            # Whoever takes it up again gets on.
            await reader.read(64)
        writer.transport.abort()
        await until(lambda: app.has_ended, what="its end")
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving
