"""A client that asks much and reads nothing: what the server holds for it is bounded."""

import asyncio
import socket
from typing import cast

from fastapi import FastAPI, WebSocket
from websockets.frames import Frame, Opcode

from service.embedded.free_ports import choose
from service.web.server import create_server
from service.web.transport import EXTENSION, WebSocketTransport
from tests.waiting import until

UNREAD = "x" * 10_000_000
"""More than kernels keep for a connection."""
PINGS = 900
"""Fewer than may come at once."""


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket by hand, whose side of the kernel holds little."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=client, limit=32_768)
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_the_answers_of_pings_that_nobody_reads_do_not_pile_up() -> None:
    app = FastAPI()
    heard: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    @app.websocket("/")
    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = cast(WebSocketTransport, websocket.scope["extensions"][EXTENSION]).transport
        await websocket.send_text(UNREAD)
        await websocket.receive_text()
        before = transport.get_write_buffer_size()
        await websocket.receive_text()  # it comes behind all the pings
        heard.put_nowait((before, transport.get_write_buffer_size()))
        await websocket.receive()

    async def drained() -> None:
        return

    (port,) = choose(1)
    server = create_server(app, "127.0.0.1", port, max_message_bytes=65_536, drain=drained)
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started, what="the server listens")
        _, writer = await _connect(port)
        text = Frame(Opcode.TEXT, b"done").serialize(mask=True)
        writer.write(text)
        writer.write(Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * PINGS)
        writer.write(text)
        async with asyncio.timeout(60):
            before, after = await heard.get()
        assert 0 < after <= before, "none of them is answered"
        writer.transport.abort()
    finally:
        server.should_exit = True
        await serving
