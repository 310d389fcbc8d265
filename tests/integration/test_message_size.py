"""How long a client's message may be: counted as it comes, for nothing is ever inflated."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from service.embedded.free_ports import choose
from service.web.server import create_server
from tests.waiting import until

MOST = 65_536


@pytest.fixture(scope="module")
async def url() -> AsyncIterator[str]:
    """A server whose application says how many characters it heard."""
    app = FastAPI()

    @app.websocket("/")
    async def count(websocket: WebSocket) -> None:
        await websocket.accept()
        while (message := await websocket.receive())["type"] == "websocket.receive":
            await websocket.send_text(str(len(message["text"])))

    async def drained() -> None:
        return

    (port,) = choose(1)
    server = create_server(app, "127.0.0.1", port, max_message_bytes=MOST, drain=drained)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, what="the server listens")
    yield f"ws://127.0.0.1:{port}/"
    server.should_exit = True
    await serving


async def code(client: ClientConnection) -> int | None:
    """With which code the server closes, having answered nothing before."""
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(10):
            await client.recv()
    return client.close_code


async def test_up_to_the_limit(url: str) -> None:
    async with connect(url, proxy=None, compression=None) as client:
        await client.send("x" * MOST)
        assert await client.recv() == str(MOST)
        await client.send(["x" * (MOST // 2)] * 2)
        assert await client.recv() == str(MOST)
        await client.send("x" * (MOST + 1))
        assert await code(client) == 1009


async def test_pieces_count_together(url: str) -> None:
    async with connect(url, proxy=None, compression=None) as client:
        await client.send(["x" * 1000] * 66)
        assert await code(client) == 1009


async def test_bytes_count_and_not_characters(url: str) -> None:
    async with connect(url, proxy=None, compression=None) as client:
        await client.send("é" * (MOST // 2 + 1))
        assert await code(client) == 1009


async def test_compression_is_not_agreed_to(url: str) -> None:
    async with connect(url, proxy=None, compression="deflate") as client:
        assert client.request is not None
        assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        await client.send("x" * 10_000)
        assert await client.recv() == "10000"


async def test_a_compressed_frame_is_refused_and_not_inflated(url: str) -> None:
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(b"x" * 50_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < MOST
    async with connect(url, proxy=None, compression=None) as client:
        frame = bytearray(Frame(Opcode.TEXT, bomb[:-4]).serialize(mask=True))
        frame[0] |= 0x40  # what says that it is compressed
        client.transport.write(frame)
        assert await code(client) == 1002
