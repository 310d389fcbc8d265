"""Clients that come, ask, are cut and come back to any node, and write down all that is said and heard."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol
from urllib.parse import urlencode

from lastseen import close_codes
from lastseen.notices import Ask, Begun, Delivery, Established, Message, Refused, Unsubscribed
from lastseen.positions import Position
from lastseen.session import Session
from lastseen.transitions import State
from pydantic_core import from_json, to_json
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from service.domain.identity import Identity
from tests.checker import Followed
from tests.nodes import NodeProcess, token
from tests.transcript import Transcript
from tests.wire_watch import WAITING

STAY_SECONDS = 12.0
ACT_SECONDS = 0.7


class World(Protocol):
    """What clients know of the rest."""

    @property
    def nodes(self) -> list[NodeProcess]: ...
    @property
    def acknowledged(self) -> Mapping[int, int]:
        """Per partition the offset below which the log surely holds everything that was asked of it."""
        ...

    @property
    def ending(self) -> asyncio.Event:
        """From here on nobody cuts anything, and nobody wants anything new."""
        ...

    @property
    def over(self) -> bool:
        """Everything has been judged to be there: what stands now is what counts."""
        ...

    def some_channels(self, user: str, random: Random, count: int) -> list[str]: ...
    def some_project(self, user: str, random: Random) -> str | None: ...


@dataclass
class PlainClient:
    """No idea of positions: each connection begins anew."""

    user: str
    world: World
    random: Random
    transcripts: list[Transcript] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    """Channels that it has just been given a right to."""
    told: dict[int, int] = field(default_factory=dict)
    """How far a node has served it by its last ping."""
    behind: set[str] = field(default_factory=set)
    """Subscriptions that catch up."""
    cuts: int = 0
    _socket: ClientConnection | None = None
    _outbox: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)
    _refs: int = 0
    _asked: dict[object, tuple[str, ...]] = field(default_factory=dict)
    _again: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            # Perhaps the node is gone just now.
            with contextlib.suppress(OSError, TimeoutError, InvalidHandshake, InvalidMessage):
                await self._converse()
            await asyncio.sleep(self.random.uniform(0.05, 0.4))

    @property
    def is_open(self) -> bool:
        """Whether a node has greeted it on the present connection."""
        return self._socket is not None and bool(self.told)

    def has_all(self, head: Mapping[int, int]) -> bool:
        """Whether it is connected and has been served up to the offsets `head` (exclusive)."""
        served = all(self.told.get(partition, -1) >= next_ - 1 for partition, next_ in head.items())
        return self.is_open and served and not self.behind and not self._asked and not self._again

    def want(self, *channels: str) -> None:
        """Subscribe."""
        self._refs += 1
        self._send({"type": "subscribe", "channels": list(channels), "ref": self._refs})

    def want_all_again(self) -> None:
        """Ask once more for all that it has had; a plain client has had nothing."""

    def begin(self) -> tuple[str | None, list[Message]]:
        """The position to connect with, and what to say first."""
        return None, []

    def take(self, message: Message) -> None:
        """A message that has come, written down already."""

    def project(self) -> str | None:
        """The project to connect with."""
        return self.world.some_project(self.user, self.random)

    async def _converse(self) -> None:
        self.told, self.behind, self._asked = {}, set(), {}
        node, project = self.random.choice(self.world.nodes), self.project()
        after, first = self.begin()
        query = {k: v for k, v in (("project_id", project), ("after", after)) if v is not None}
        address = f"{node.url.replace('http', 'ws')}/ws?{urlencode({**query, 'token': token(self.user)})}"
        identity = Identity(self.user, "", frozenset(), frozenset(), 2**40)
        name = node.environment["INSTANCE_ID"]
        transcript = Transcript(identity, name, project, after, dict(self.world.acknowledged))
        async with asyncio.timeout(5):
            socket = await connect(address, proxy=None, compression=None, ping_interval=None, max_size=None)
        self.transcripts.append(transcript)
        self._socket = socket
        self._outbox = asyncio.Queue()
        tasks = [asyncio.create_task(self._write(socket)), asyncio.create_task(self._act(socket, first))]
        try:
            async for text in socket:
                message: Message = from_json(text)
                transcript.hear(message)
                self._note(message)
                self.take(message)
        except ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            self._socket = None
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            received = socket.protocol.close_rcvd
            if not self.world.over:
                transcript.end(received.code if received else None, received.reason if received else "")
            socket.transport.abort()
            for result in ended:
                if isinstance(result, Exception):
                    raise result

    async def _act(self, socket: ClientConnection, first: list[Message]) -> None:
        """Say what a client says, until the line is cut."""
        random, clock = self.random, asyncio.get_running_loop().time
        until = clock() + random.expovariate(1 / STAY_SECONDS)
        for message in first:
            self._send(message)
        while True:
            await asyncio.sleep(random.uniform(0.02, ACT_SECONDS) if not self._again else 0.1)
            if again := [channel for channel in self._again if self.is_open]:
                self._again.clear()
                self.want(*again)
            if self.world.ending.is_set():
                continue
            if clock() > until:
                self.cuts += 1
                socket.transport.abort()
                return
            if self.hints and self.is_open:
                self.want(self.hints.pop())
            elif random.random() < 0.3:
                self.want(*self.world.some_channels(self.user, random, random.choice([1, 1, 2, 3])))
            elif random.random() < 0.05:
                channel = self.world.some_channels(self.user, random, 1)[0]
                self.leave(channel)

    def leave(self, channel: str) -> None:
        """Unsubscribe."""
        self._send({"type": "unsubscribe", "channel": channel})

    def _send(self, message: Message) -> None:
        if self._socket is None:
            return
        if message["type"] == "subscribe":
            self._asked[message["ref"]] = tuple(message.get("channels") or [message["channel"]])
        self.transcripts[-1].say(message, dict(self.world.acknowledged))
        self._outbox.put_nowait(message)

    async def _write(self, socket: ClientConnection) -> None:
        """Bring what is said to the node, until the line is cut."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await self._outbox.get()
                await socket.send(to_json(message), text=True)

    def _note(self, message: Message) -> None:
        """Keep up with how far it has been served."""
        match message["type"]:
            case _ if "offset" in message:
                pass
            case "connection_established":
                self.told = dict.fromkeys(Position.parse(message["position"]).offsets, -1)
                self.behind |= {one["channel"] for one in message["subscriptions"] if not one["live"]}
            case "ping":
                self.told = dict(Position.parse(message["position"]).offsets)
                self._send({"type": "pong"})
            case "subscription_result":
                if "recovered" in message:
                    self.behind.add(message["channel"])
                self._answered(message)
            case "fell_behind":
                self.behind |= set(message["channels"])
            case "caught_up":
                self.behind -= set(message["channels"])
            case "unsubscribed" | "unsubscription_result":
                self.behind.discard(message["channel"])
            case "error":
                self._answered(message)
                if message["code"] in WAITING and "channel" in message and "ref" in message:
                    self.refused(message["channel"])

    def refused(self, channel: str) -> None:
        """To be asked for again."""
        self._again.append(channel)

    def _answered(self, message: Message) -> None:
        left = tuple(c for c in self._asked.pop(message.get("ref"), ()) if c != message.get("channel"))
        if left:
            self._asked[message["ref"]] = left


@dataclass
class ResumingClient(PlainClient):
    """Comes back with what it has, by the rules of the protocol."""

    session: Session = field(default_factory=Session)
    followed: Followed = field(init=False)
    _project: str | None = None
    _is_greeted: bool = False
    _wanting: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.followed = Followed(Identity(self.user, "", frozenset(), frozenset(), 2**40))

    def project(self) -> str | None:
        """The same for life, until it is told that it may not have it."""
        if not self.transcripts:
            self._project = self.world.some_project(self.user, self.random)
        elif self.transcripts[-1].close == (close_codes.POLICY, close_codes.PROJECT_DENIED):
            self._project = None
        return self._project

    def begin(self) -> tuple[str | None, list[Message]]:
        self._is_greeted = False
        resume = self.session.resume()
        self._wanting = {message["channel"] for message in resume.messages}
        return resume.after, list(resume.messages)

    def want(self, *channels: str) -> None:
        for channel in channels:
            # A channel that it has needs no asking; one that it lost just then would begin anew without a start.
            if self._is_greeted and self.session.state(channel) is State.IDLE and channel not in self._wanting:
                self._wanting.add(channel)
                self._send(self.session.subscribe(channel))

    def want_all_again(self) -> None:
        self.want(*self.followed.begun)

    def leave(self, channel: str) -> None:
        if self._is_greeted and channel not in self._wanting:
            self._send(self.session.unsubscribe(channel))

    def refused(self, channel: str) -> None:
        """The session says so itself."""

    def take(self, message: Message) -> None:
        for item in self.session.receive(message):
            match item:
                case Delivery(event, channels):
                    for channel in channels:
                        self.followed.got.setdefault(channel, []).append((event["partition"], event["offset"]))
                case Established():
                    self._is_greeted = True
                case Begun(channel, position, answers=answers):
                    self.followed.begun.setdefault(channel, position)
                    if answers:
                        self._wanting.discard(channel)
                case Ask(asked):
                    self._send(asked)
                case Unsubscribed(channel):
                    self._wanting.discard(channel)
                case Refused(channel, _, code):
                    self._wanting.discard(channel)
                    if code in WAITING:
                        self._again.append(channel)
