"""Clients that send much and read nothing: what the node holds for them is bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from tests.nodes import ADMIN, Ground, NodeProcess, new_ground

PINGS = 60_000


@pytest.fixture
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


async def _connect(node: NodeProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket by hand, whose side of the kernel holds little."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", node.port))
    reader, writer = await asyncio.open_connection(sock=client, limit=32_768)
    lines = [
        f"GET /ws?{urlencode({'token': ADMIN})} HTTP/1.1",
        f"Host: 127.0.0.1:{node.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_client_that_pings_and_reads_nothing_gets_no_mountain_of_answers(ground: Ground) -> None:
    async with ground.node() as node:
        reader, writer = await _connect(node)
        ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
        for _ in range(PINGS // 1000):
            writer.write(ping * 1000)
            await writer.drain()
        writer.write(Frame(Opcode.TEXT, b'{"type":"ping","ref":"the end"}').serialize(mask=True))

        answered, ended = 0, False
        client = Protocol(CLIENT, state=OPEN)
        async with asyncio.timeout(60):
            while not ended:
                client.receive_data(await reader.read(65_536))
                for frame in client.events_received():
                    assert isinstance(frame, Frame)
                    answered += frame.opcode is Opcode.PONG
                    ended = ended or b'"the end"' in bytes(frame.data)
        writer.close()
        assert 0 < answered < PINGS, "none is answered while its answers pile up"
