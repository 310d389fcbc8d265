"""A small server that speaks the protocol over a real socket and does to its clients what a test tells it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lastseen.positions import Position
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

Script = Callable[["Line"], Awaitable[None]]


@dataclass
class Line:
    """One connection, from the server's side."""

    socket: ServerConnection
    number: int
    """Counts the connections, from 0."""
    after: str | None
    token: str
    project: str | None = None
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, type_: str) -> dict[str, Any]:
        """The next message of that type; others are kept in `heard`."""
        while True:
            message: dict[str, Any] = json.loads(await self.socket.recv())
            self.heard.append(message)
            if message["type"] == type_:
                return message

    async def establish(self, position: str = "k:0=-1", *, heartbeat: float = 30, live: bool = True) -> None:
        """Greet as the service does, with the user's channel."""
        await self.send(
            type="connection_established",
            connection_id=f"c{self.number}",
            timestamp="2026-01-01T00:00:00Z",
            user_id="u",
            node="n",
            protocol=1,
            heartbeat_seconds=heartbeat,
            subscriptions=[{"channel": "user:u", "position": position, "live": live}],
        )

    async def answer_subscribe(self) -> dict[str, Any]:
        """Take a subscribe as asked for."""
        asked = await self.hear("subscribe")
        await self.send(
            type="subscription_result",
            channel=asked["channel"],
            subscribed=True,
            position=asked.get("after", "k:0=-1"),
            ref=asked["ref"],
        )
        return asked

    async def event(self, offset: int, channel: str, *, replay: bool = True, type_: str = "task_output") -> None:
        """Send event number `offset` of a channel."""
        kind, _, id_ = channel.partition(":")
        more = {"replay": [channel]} if replay else {}
        await self.send(
            id=f"e{offset}",
            type=type_,
            **{f"{kind}_id": id_},
            channels=[channel],
            data={"n": offset},
            **more,
            partition=0,
            offset=offset,
        )

    def break_(self) -> None:
        """Cut the line without a word."""
        self.socket.transport.abort()


@dataclass
class WireServer:
    """Runs `script` for each connection; the connection is held open when it returns."""

    script: Script
    lines: list[Line] = field(default_factory=list)
    url: str = ""

    async def handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        offered = socket.request.headers["Sec-WebSocket-Protocol"].split(", ")
        assert offered[0] == "lastseen.v1"
        after, project = (query.get(name, [None])[0] for name in ("after", "project_id"))
        line = Line(socket, len(self.lines), after, offered[1].removeprefix("bearer."), project)
        self.lines.append(line)
        await self.script(line)
        async for text in socket:
            line.heard.append(json.loads(text))


@asynccontextmanager
async def serving(script: Script, port: int = 0) -> AsyncIterator[WireServer]:
    """A server on a port of its own."""
    server = WireServer(script)
    async with serve(
        server.handle,
        "127.0.0.1",
        port,
        subprotocols=[Subprotocol("lastseen.v1")],
        ping_interval=None,
        compression=None,
    ) as listening:
        server.url = f"http://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
        yield server


async def read_log(line: Line, channel: str, upto: int) -> None:
    """Serve a channel whose events have the offsets 0 … upto-1, from where the client asks."""
    asked = await line.answer_subscribe()
    after = Position.parse(asked["after"]).offsets.get(0, -1) if "after" in asked else -1
    for offset in range(after + 1, upto):
        await line.event(offset, channel)
    await line.send(type="caught_up", channels=[channel], position=f"k:0={upto - 1}")


__all__ = ["Line", "WireServer", "asyncio", "read_log", "serving"]
