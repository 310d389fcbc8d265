"""Nodes as processes of their own on real servers, and a WebSocket client that shows each message."""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

import asyncpg
import httpx
import psutil
from lastseen.names import PRESENCE_TYPES
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State as WebSocketState
from websockets.typing import Subprotocol

from service.adapters.tokens import issue
from service.embedded.free_ports import choose
from service.main import prepare
from tests.module_process import ModuleProcess, start_module
from tests.service_process import SECRET, ServiceProcess

Message = dict[str, Any]
WAIT = 45.0


def token(
    user: str = "ann",
    *,
    role: str = "",
    projects: Sequence[str] = (),
    scopes: Sequence[str] = (),
    ttl: int = 3600,
) -> str:
    """A token that the nodes take."""
    return issue(SECRET, user, role, projects, scopes, ttl, int(time.time()))


ADMIN = token("root", role="admin")
PRODUCER = token("producer", scopes=["publish"])


@dataclass(frozen=True)
class Ground:
    """A topic and a database, and what runs on them."""

    kafka: str
    topic: str
    database_url: str
    epoch: str

    @asynccontextmanager
    async def node(self, name: str = "node-1", **settings: object) -> AsyncIterator["NodeProcess"]:
        """A ready node; `settings` are environment variables less their prefix, in small letters."""
        environment = {f"LASTSEEN_{key.upper()}": str(value) for key, value in settings.items()}
        (port,) = choose(1)
        with tempfile.TemporaryDirectory() as folder:
            node = NodeProcess(
                Path(folder),
                port,
                {
                    **self.environment,
                    "LASTSEEN_JWT_SECRET": SECRET,
                    "LASTSEEN_TRUST_PROJECT_CLAIMS": "true",
                    "INSTANCE_ID": name,
                    **environment,
                },
            )
            try:
                await node.start_somewhere()
                yield node
            finally:
                if node.process is not None and node.process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        node.process.send_signal(signal.SIGCONT)
                await node.stop()
                print(node.said)

    def log_writer(self) -> AbstractAsyncContextManager[ModuleProcess]:
        """A running log writer."""
        return self._consumer("log_writer")

    def projections(self) -> AbstractAsyncContextManager[ModuleProcess]:
        """A running projection of rights."""
        return self._consumer("projections")

    @asynccontextmanager
    async def _consumer(self, module: str) -> AsyncIterator[ModuleProcess]:
        process = await start_module(f"consumers.{module}", environment={**os.environ, **self.environment})
        try:
            yield process
        finally:
            process.kill()
            await process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What a consumer or a node is told, less what is a node's own."""
        return {
            "LASTSEEN_KAFKA": self.kafka,
            "LASTSEEN_TOPIC": self.topic,
            "LASTSEEN_COMMANDS_TOPIC": f"{self.topic}.commands",
            "LASTSEEN_PRESENCE_TOPIC": f"{self.topic}.presence",
            "LASTSEEN_DATABASE_URL": self.database_url,
        }


@asynccontextmanager
async def new_ground(kafka: str, database_url: str, partitions: int = 4) -> AsyncIterator[Ground]:
    """A topic of its own on the broker, in a database of its own on the server of `database_url` (a superuser's)."""
    name = f"ground_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        url = urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
        epoch = await prepare(
            kafka=kafka,
            database_url=url,
            partitions=partitions,
            replication=1,
            topic=name,
            commands_topic=f"{name}.commands",
            presence_topic=f"{name}.presence",
        )
        try:
            yield Ground(kafka, name, url, epoch)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


class NodeProcess(ServiceProcess):
    """A node, as its clients see it."""

    async def start_somewhere(self) -> None:
        """Start it for the first time: at another port where somebody else has taken this one meanwhile."""
        try:
            await self.start()
        except AssertionError:
            if "Address already in use" not in self.said:
                raise
            (self.port,) = choose(1)
            await self.start()

    @property
    def said(self) -> str:
        """Its log."""
        return (self.data_dir / "node.log").read_text(errors="replace")

    @property
    def sockets(self) -> int:
        """How many connections of clients its process holds."""
        assert self.process is not None
        held = psutil.Process(self.process.pid).net_connections("tcp")
        return sum(one.laddr.port == self.port and one.status != psutil.CONN_LISTEN for one in held)

    def client(
        self, access: str | None = ADMIN, *, headers: dict[str, str] | None = None, **query: str
    ) -> "WireClient":
        """A client, to be entered; `access` goes into the subprotocols."""
        address = f"{self.url.replace('http', 'ws')}/ws" + (f"?{urlencode(query)}" if query else "")
        return WireClient(address, access, headers or {})

    async def post(self, body: object, access: str | None = PRODUCER) -> httpx.Response:
        """`POST /api/v1/events`; bytes go as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if access is None else {"Authorization": f"Bearer {access}"}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.post(f"{self.url}/api/v1/events", content=content, headers=headers)

    async def history(self, channel: str, **more: str) -> Message:
        """A page of `GET /api/v1/events`."""
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {ADMIN}"}) as http:
            response = await http.get(f"{self.url}/api/v1/events", params={"channel": channel, **more})
        assert response.status_code == 200, response.text
        page: Message = response.json()
        return page

    async def publish(self, *events: Message) -> list[Message]:
        """Publishes them in one go; gives their places."""
        response = await self.post(list(events), ADMIN)
        assert response.status_code == 202, response.text
        answers: list[Message] = response.json()
        return answers


@dataclass
class WireClient:
    """A connection, and every message that has come. It answers no ping by itself."""

    address: str
    access: str | None
    headers: dict[str, str]
    heard: list[Message] = field(default_factory=list)
    presence: bool = False
    _socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        offered = [Subprotocol("lastseen.v1")]
        if self.access is not None:
            offered.append(Subprotocol(f"bearer.{self.access}"))
        self._socket = await connect(
            self.address,
            subprotocols=offered,
            additional_headers=self.headers,
            proxy=None,
            compression=None,
            ping_interval=None,
            max_size=None,
            # What is not asked for is not read: a client that does not `hear` is one that does not read.
            max_queue=1,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.socket.state is not WebSocketState.CLOSED:
            self.socket.transport.abort()

    @property
    def socket(self) -> ClientConnection:
        """The connection itself."""
        assert self._socket is not None, "entered"
        return self._socket

    async def send(self, message: Message | str | bytes) -> None:
        """Send an object as JSON; a text as text, bytes as a binary message."""
        await self.socket.send(json.dumps(message) if isinstance(message, dict) else message)

    async def next(self) -> Message:
        """The next message; who comes and goes is only told where `presence` is set."""
        async with asyncio.timeout(WAIT):
            while True:
                message: Message = json.loads(await self.socket.recv())
                self.heard.append(message)
                if self.presence or message["type"] not in PRESENCE_TYPES:
                    return message

    async def hear(self, type_: str, **fields: object) -> Message:
        """The next message of that type and with these fields; others go by."""
        self.presence = self.presence or type_ in PRESENCE_TYPES
        while True:
            message = await self.next()
            if message["type"] == type_ and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def ask(self, message: Message | str | bytes) -> Message:
        """Send a message; the very next one that comes and is no event."""
        await self.send(message)
        while "offset" in (answer := await self.next()):
            pass
        return answer

    async def begin(self) -> Message:
        """The greeting, and all that follows it by itself: what came while away, and the ping behind that."""
        greeting = await self.hear("connection_established")
        if "after=" not in self.address and not greeting["subscriptions"][0]["live"]:
            await self.hear("ping")
        return greeting

    async def subscribe(self, channel: str, **more: object) -> Message:
        """Subscribe, and give the result."""
        await self.send({"type": "subscribe", "channel": channel, **more})
        return await self.hear("subscription_result", channel=channel)

    async def quiet(self) -> None:
        """Until the server has answered a ping: whatever it had to say before has come."""
        await self.send({"type": "ping", "ref": "quiet"})
        await self.hear("pong", ref="quiet")

    async def end(self) -> tuple[int | None, str | None]:
        """Code and reason with which the server closes; what comes before is heard."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        return self.socket.close_code, self.socket.close_reason

    @property
    def events(self) -> list[Message]:
        """The events heard so far, less those that tell of the tests' own coming and going."""
        return [m for m in self.heard if "offset" in m and m["type"] not in PRESENCE_TYPES]


def numbers(events: Sequence[Message]) -> list[int]:
    """The numbers in their data."""
    return [event["data"]["number"] for event in events]


def output(task: str, number: int, **more: object) -> Message:
    """An event of a task."""
    return {"type": "task_output", "task_id": task, "data": {"number": number}, **more}


def started(task: str, **more: object) -> Message:
    """The start of a task."""
    return {"type": "task_started", "task_id": task, **more}
