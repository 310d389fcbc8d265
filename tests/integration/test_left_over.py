"""What a conversation leaves in a node, however it ends: nothing that waits for the garbage collector."""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import pytest
from websockets.frames import Close, Frame, Opcode

from tests.nodes import Ground, Message, NodeProcess, WireClient, new_ground, started, token
from tests.waiting import until

ENDED = 40
ROUNDS = 5
ADMIN = token("ann", role="admin")
STAYS = token("watching", role="admin")


@pytest.fixture(scope="module")
async def ground(kafka: str, postgres_url: str) -> AsyncIterator[Ground]:
    async with new_ground(kafka, postgres_url) as ground:
        yield ground


@pytest.fixture(scope="module")
async def node(ground: Ground) -> AsyncIterator[NodeProcess]:
    """A node that keeps its garbage until it is asked, on a log that is copied; its window holds little."""
    settings: dict[str, Any] = {
        "extensions": '["tests.counting_objects:extend"]',
        "window_bytes": 200_000,
        "high_water_bytes": 65_536,
        "heartbeat_seconds": 1,
        "heartbeat_timeout_seconds": 2,
        "jwt_leeway_seconds": 0,
    }
    async with ground.log_writer(), ground.projections(), ground.node(**settings) as node:
        await node.publish(started("t", project_id="p", user_id="ann"))
        for _ in range(10):
            await node.publish(*(_output(4_000) for _ in range(20)))
        yield node


async def test_a_conversation_leaves_nothing_behind(node: NodeProcess) -> None:
    async with node.client(STAYS) as watching:
        await watching.begin()
        before = await _objects(watching)
        for number in range(ENDED):
            async with node.client(token("bob", role="admin"), project_id="p") as client:
                await client.begin()
                if number % 2:
                    await client.ask({"type": "subscribe", "channel": "task:t", "after": "earliest"})
                    await client.hear("caught_up", channels=["task:t"])
            # It answers its pings by the way.
            await _objects(watching)

        more: dict[str, int] = {}

        async def has_gone() -> bool:
            now = await _objects(watching)
            more.clear()
            more.update({name: count - before.get(name, 0) for name, count in now.items()})
            return more.get("Connection", 0) < ENDED // 2

        await until(has_gone, what=f"the end of {ENDED} conversations")
        # One or two may be ending.
        assert {name for name, count in more.items() if count >= ENDED // 2} <= {"Record"}, more


async def _objects(client: WireClient) -> dict[str, int]:
    await client.send({"type": "objects"})
    objects: dict[str, int] = (await client.hear("objects_result"))["objects"]
    return objects


class Line:
    """A client's end of a connection, byte by byte."""

    def __init__(self, node: NodeProcess) -> None:
        self._node = node
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self._socket.setblocking(False)
        self._heard = b""

    async def come(
        self, access: str | None = ADMIN, query: str = "", more: str = "", *, upto: int | None = None
    ) -> None:
        """Connect, and say the hand-shake, or its beginning."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._node.port))
        key = base64.b64encode(os.urandom(16)).decode()
        known = "" if access is None else f"Authorization: Bearer {access}\r\n"
        head = (
            f"GET /ws?{query} HTTP/1.1\r\nHost: 127.0.0.1:{self._node.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{known}{more}\r\n"
        )
        await self.send(head.encode()[:upto])

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def say(self, **message: object) -> None:
        await self.send(_frame(Opcode.TEXT, json.dumps(message).encode()))

    async def hear(self, what: str) -> None:
        """Read until this comes; what comes behind it in the same piece counts for the next."""
        while what.encode() not in self._heard:
            piece = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
            assert piece, f"closed behind {self._heard[-300:]!r}"
            self._heard += piece
        self._heard = self._heard.partition(what.encode())[2]

    async def end(self) -> None:
        """Read until the node closes, and answer its close, if it has not been the answer."""
        with suppress(ConnectionError):
            while piece := await asyncio.get_running_loop().sock_recv(self._socket, 65_536):
                if b"\x88" in piece:
                    await self.send(_frame(Opcode.CLOSE, b""))
        self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def _output(size: int) -> Message:
    return {"type": "task_output", "task_id": "t", "data": {"text": "x" * size}}


def _frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


async def _greeted(node: NodeProcess, access: str = ADMIN, query: str = "", more: str = "") -> Line:
    line = Line(node)
    await line.come(access, query, more)
    await line.hear('"caught_up"')
    return line


async def cut(node: NodeProcess) -> None:
    (await _greeted(node, query="project_id=p")).reset()


async def cut_while_it_is_read_from_the_history(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.say(type="subscribe", channel="task:t", after="earliest")
    await line.hear("subscription_result")
    line.reset()


async def cut_behind_a_replay(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.say(type="subscribe", channel="task:t", after="earliest")
    await line.hear('"caught_up"')
    line.reset()


async def cut_having_fallen_behind(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.say(type="subscribe", channel="task:t")
    await line.hear("subscription_result")
    await node.publish(*(_output(60_000) for _ in range(30)))
    line.reset()


async def cut_behind_the_hand_shake(node: NodeProcess) -> None:
    for access, query in ((ADMIN, ""), (token("bob"), "project_id=p"), (ADMIN, "after=earliest")):
        line = Line(node)
        await line.come(access, query)
        line.reset()


async def cut_behind_the_hand_shake_of_the_long_way(node: NodeProcess) -> None:
    line = Line(node)
    await line.come(more="Content-Length: 0\r\n")
    line.reset()


async def cut_within_the_hand_shake(node: NodeProcess) -> None:
    for upto in (0, 40):
        line = Line(node)
        await line.come(upto=upto)
        line.reset()


async def cut_within_a_message(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.send(_frame(Opcode.TEXT, b"{", fin=False) + b"\x80")
    line.reset()


async def closed_by_the_client(node: NodeProcess) -> None:
    for more in ("", "Content-Length: 0\r\n"):
        line = await _greeted(node, more=more)
        await line.send(_frame(Opcode.CLOSE, Close(1000, "").serialize()))
        await line.end()


async def closed_with_a_message(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.send(_frame(Opcode.TEXT, b'{"type":"ping"}') + _frame(Opcode.CLOSE, b""))
    await line.end()


async def closed_for_nonsense(node: NodeProcess) -> None:
    line = await _greeted(node)
    await line.send(b"GET / HTTP/1.1\r\n\r\n")
    await line.end()


async def not_let_in(node: NodeProcess) -> None:
    for access, query, more in (
        ("none", "", ""),
        (None, "", ""),
        (token("ann", ttl=-60), "", ""),
        (token("bob"), "project_id=other", ""),
        (ADMIN, "after=nonsense", ""),
        ("none", "", "Content-Length: 0\r\n"),
    ):
        line = Line(node)
        await line.come(access, query, more)
        await line.end()


async def whose_token_ends(node: NodeProcess) -> None:
    line = Line(node)
    await line.come(token("ann", ttl=2))
    await line.end()


async def silent(node: NodeProcess) -> None:
    await (await _greeted(node)).end()


async def told_that_it_may_not(node: NodeProcess) -> None:
    line = await _greeted(node, token("bob"))
    for message in (
        {"type": "dance"},
        {"type": "subscribe", "channel": "task:none"},
        {"type": "task_input"},
        {"type": "subscribe", "channel": "broadcast", "after": "nonsense"},
        {"type": "authenticate", "token": "none"},
    ):
        await line.say(**message)
        await line.hear('"code":')
    await line.send(_frame(Opcode.TEXT, b"{"))
    await line.hear("invalid_json")
    line.reset()


async def of_an_event_stream(node: NodeProcess) -> None:
    where: dict[str, dict[str, str]] = {
        "/api/v1/events/stream": {"channel": "task:t", "after": "earliest"},
        "/api/v1/tasks/t/commands": {},
    }
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=60))
        for path, query in where.items():
            asked = http.stream("GET", path, params=query, headers={"Authorization": f"Bearer {ADMIN}"})
            response = await stack.enter_async_context(asked)
            assert response.status_code == 200
            await anext(response.aiter_raw())


async def of_a_page_that_is_left(node: NodeProcess) -> None:
    async with httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=60) as http:
        headers = {"Authorization": f"Bearer {ADMIN}", "Accept": "application/x-ndjson"}
        async with http.stream("GET", "/api/v1/events", params={"channel": "task:t"}, headers=headers) as response:
            await anext(response.aiter_raw())


@pytest.mark.parametrize(
    "one",
    [
        cut,
        cut_while_it_is_read_from_the_history,
        cut_behind_a_replay,
        cut_having_fallen_behind,
        cut_behind_the_hand_shake,
        cut_behind_the_hand_shake_of_the_long_way,
        cut_within_the_hand_shake,
        cut_within_a_message,
        closed_by_the_client,
        closed_with_a_message,
        closed_for_nonsense,
        not_let_in,
        whose_token_ends,
        silent,
        told_that_it_may_not,
        of_an_event_stream,
        of_a_page_that_is_left,
    ],
    ids=lambda one: one.__name__,
)
async def test_however_it_ends_nothing_of_it_is_garbage(
    node: NodeProcess, one: Callable[[NodeProcess], Awaitable[None]]
) -> None:
    async with asyncio.timeout(120):
        await one(node)
        await _found(node)
        await asyncio.gather(*(one(node) for _ in range(ROUNDS)))
        found = await _found(node)
    assert {name for name, count in found.items() if count >= ROUNDS} == set(), found
    assert "Traceback" not in node.said


async def _found(node: NodeProcess) -> dict[str, int]:
    """What of ours the node's collector finds, once all have left."""
    await until(lambda: node.sockets == 0, timeout=60, what="nobody is connected")
    async with node.client(STAYS) as asking:
        await asking.begin()
        await asking.send({"type": "garbage"})
        found: dict[str, int] = (await asking.hear("garbage_result"))["found"]
    await until(lambda: node.sockets == 0, timeout=60, what="nor who has asked")
    return found
