"""The plainest client: connect, subscribe, `pong`, `task_input`, `task_cancel`, come back. It knows no position.

Whatever a node says or does to it has to be something that it can explain; else it raises AssertionError.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

from pydantic_core import from_json, to_json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.nodes import Message, NodeProcess, token

FIRST_DELAY: Final = 0.1
"""Seconds; the second is twice as long, and so on: a browser's 1 s, 2 s, 4 s, ten times as fast."""
LONGEST_DELAY: Final = 3.0
STAY_SECONDS: Final = 4.0
"""On average, before its user turns to something else for a moment."""
IN_TIME_SECONDS: Final = 1.0
"""What was answered so long before the line broke, the node had taken in."""
TYPES: Final = {
    *("connection_established", "subscription_result", "unsubscription_result", "ping", "pong", "error"),
    *("caught_up", "fell_behind", "input_result", "cancel_result"),
}
PASSING: Final = {"unavailable", "history_unavailable"}
"""Errors that say: later."""
CLOSES: Final = {1001: "the node goes away", 1006: "the node is gone", 1013: "the node does not know yet"}
STATES: Final = {"applied", "expired", "unknown", "rejected"}


@dataclass
class PlainestClient:
    """One user's only client, or one of several with names of their own."""

    user: str
    project: str
    client_id: str | None
    nodes: Sequence[NodeProcess]
    random: Random
    had: Counter[int] = field(default_factory=Counter)
    """Notifications by number: how often each has come."""
    seen: Counter[str] = field(default_factory=Counter)
    at: NodeProcess | None = None
    """The node that has greeted it on the present connection."""
    _settled: set[int] = field(default_factory=set)
    """Notifications that had come before a ping that was answered long enough ago."""
    _answered: list[tuple[float, list[int]]] = field(default_factory=list)
    """When a ping was answered, and the notifications since the one before."""
    _new: list[int] = field(default_factory=list)
    _moves_cursor: bool = True
    """Whether a `pong` says that everything has come."""
    _places: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            before = self.seen["connection_established"]
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, InvalidMessage):
                await self._converse()
            failures = 0 if self.seen["connection_established"] > before else failures + 1
            await asyncio.sleep(min(FIRST_DELAY * 2**failures, LONGEST_DELAY))

    async def _converse(self) -> None:
        query = {"token": token(self.user), "project_id": self.project}
        if self.client_id is not None:
            query["client_id"] = self.client_id
        node = self.random.choice(self.nodes)
        address = f"{node.url.replace('http', 'ws')}/ws?{urlencode(query)}"
        async with asyncio.timeout(5):
            socket = await connect(address, proxy=None, compression=None, ping_interval=None, max_size=None)
        self._places, self._answered, self._new, self._moves_cursor = {}, [], [], True
        acting = asyncio.create_task(self._act(socket))
        try:
            async with asyncio.timeout(self.random.expovariate(1 / STAY_SECONDS)):
                async for text in socket:
                    message: Message = from_json(text)
                    self.at = node
                    await self._take(socket, message)
        except ConnectionClosed:
            pass
        except TimeoutError:
            self.seen["left"] += 1
            await socket.close()
        finally:
            self.at = None
            acting.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await acting
            socket.transport.abort()
        code = socket.close_code or 1006
        if socket.protocol.close_rcvd_then_sent is False:
            return  # it left by itself
        assert code in CLOSES, f"{self.user}: closed with {code} {socket.close_reason}"
        self.seen[f"closed {code}"] += 1

    async def _act(self, socket: ClientConnection) -> None:
        """What its user does: looks at this and that, and types."""
        while True:
            await asyncio.sleep(self.random.uniform(0.05, 0.6))
            channel = self.random.choice([f"task:work-{self.user}", f"project:{self.project}", "broadcast"])
            match self.random.randrange(4):
                case 0:
                    await self._say(socket, type="subscribe", channel=channel)
                case 1 if channel != "broadcast":
                    await self._say(socket, type="unsubscribe", channel=channel)
                case 2:
                    await self._say(socket, type="task_input", task_id=f"work-{self.user}", input="y\n")
                case _:
                    await self._say(socket, type="ping")

    async def _say(self, socket: ClientConnection, **message: Any) -> None:
        self.seen[f"said {message['type']}"] += 1
        with contextlib.suppress(ConnectionClosed):
            await socket.send(to_json(message), text=True)

    async def _take(self, socket: ClientConnection, message: Message) -> None:
        if "offset" in message:
            await self._event(socket, message)
            return
        type_ = message["type"]
        self.seen[type_] += 1
        assert type_ in TYPES, f"{self.user} can't explain {message}"
        match type_:
            case "ping":
                await self._say(socket, type="pong")
                self._answer()
            case "fell_behind":
                self._moves_cursor = f"user:{self.user}" not in message["channels"]
            case "caught_up" if f"user:{self.user}" in message["channels"]:
                self._moves_cursor = True
            case "error":
                # What came while it was away comes another time.
                self._moves_cursor = self._moves_cursor and message.get("channel") != f"user:{self.user}"
                assert message["code"] in PASSING and message["retry_after"] > 0, f"{self.user} can't explain {message}"  # noqa: PT018
                self.seen[f"error {message['code']}"] += 1
            case "input_result" | "cancel_result":
                assert message["state"] in STATES, message
                assert message["success"] is (message["state"] == "applied"), message
                self.seen[f"{type_} {message['state']}"] += 1

    def _answer(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._moves_cursor:
            self._answered.append((now, self._new))
            self._new = []
        while self._answered and self._answered[0][0] < now - IN_TIME_SECONDS:
            self._settled |= set(self._answered.pop(0)[1])

    async def _event(self, socket: ClientConnection, event: Message) -> None:
        self.seen["events"] += 1
        place = event["partition"], event["offset"]
        assert place[1] > self._places.get(place[0], -1), f"{self.user}: {place} came twice, or late, on one connection"
        self._places[place[0]] = place[1]
        match event["type"]:
            case "user_notification":
                number = event["data"]["number"]
                assert self.client_id is None or number not in self._settled, (
                    f"{self.user} ({self.client_id}) had answered for {number}, and it came again"
                )
                self.had[number] += 1
                self._new.append(number)
            case "task_started" if event["task_id"].startswith(f"job-{self.user}-"):
                # Somebody started it in his name: away with it. It may have ended meanwhile, or by another device.
                await self._say(socket, type="task_cancel", task_id=event["task_id"])
            case "task_cancelled":
                self.seen["jobs cancelled"] += 1
