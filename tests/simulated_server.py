"""A node in the simulated loop, whose tail moves when the schedule says so, and the line of a client to it."""

import asyncio
from types import SimpleNamespace
from typing import Any

from lastseen.notices import Message
from pydantic_core import to_json

from service.adapters.memory_cursors import MemoryCursors
from service.domain.frames import message_frame
from service.domain.identity import Identity
from service.domain.messages import ping
from service.node.node import Node
from service.node.opening import open_conversation
from service.node.tail import find_start
from service.ports import Epoch
from service.settings import Settings
from tests.outside import outside_of
from tests.simulation import SimulatedHistory, SimulatedLog, SimulatedPort, SimulatedRights


class Server:
    """A node on the twins of the outside."""

    def __init__(
        self,
        settings: Settings,
        log: SimulatedLog,
        history: SimulatedHistory,
        rights: SimulatedRights,
        cursors: MemoryCursors,
    ) -> None:
        self.settings = settings
        self.log = log
        self.history = history
        self.rights = rights
        self.cursors = cursors
        self.node: Node | None = None
        self.next: dict[int, int] = {}
        """Per partition the offset up to which (exclusive) it has read."""
        self.was: dict[int, int] = {}
        """The same before the step that is under way, or was last."""
        self._ending = asyncio.Event()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """It is ready when `node` is there: without Postgres that may take until Postgres is back."""
        self._ending = asyncio.Event()
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def ready(self) -> None:
        await self._ready.wait()

    async def _run(self) -> None:
        start = await find_start(self.log, self.history, self.rights, self.settings)
        self.next = dict(start.tail.read)
        async with asyncio.TaskGroup() as tasks:
            clock: Any = SimpleNamespace(now_ms=lambda: 0)
            outside = outside_of(self.log, clock, self.history, self.rights, cursors=self.cursors)
            node = Node(self.settings, outside, Epoch(1, "e", len(self.next)), start, tasks)
            cursors = tasks.create_task(node.services.cursors.run())
            for partition in self.next:
                self.step(partition, 10_000, node)
            self.node = node
            self._ready.set()
            await self._ending.wait()
            node.abort()
            node.puller.cancel()
            node.patience.cancel()
            node.sources.cancel()
            cursors.cancel()

    async def stop(self) -> None:
        self.node = None
        self._ending.set()
        assert self._task is not None
        await self._task

    def step(self, partition: int, count: int, node: Node | None = None) -> None:
        """Read up to `count` more offsets of a partition."""
        at = self.next[partition]
        upto = min(at + count, self.log.next(partition))
        records = [raw for raw in self.log.all[partition] if at <= raw.offset < upto]
        self.was = dict(self.next)
        self.next[partition] = upto
        node = node or self.node
        assert node is not None
        node.tail.step(records, {partition: upto})
        self.was = dict(self.next)

    def heartbeat(self) -> None:
        """Ping every client."""
        assert self.node is not None
        token = self.node.services.head.token
        frame = message_frame(ping(0, token))
        for connection in self.node.services.connections:
            connection.ping(frame, token)


class Line:
    """What connects one client to a node, until it is cut."""

    def __init__(self, server: Server, port: SimulatedPort, identity: Identity) -> None:
        assert server.node is not None
        self.server = server
        self.port = port
        self._node = server.node
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        connection = server.node.connect(port, identity)
        assert connection is not None
        self._connection = port.connection = connection
        self._feeder: asyncio.Task[None] | None = None

    def open(self, project: str | None, after: str | None, client_id: str | None) -> None:
        """Begin the conversation; from here on what is sent arrives, one message after the other."""

        async def feed() -> None:
            await open_conversation(self._connection, project, after, client_id)
            while not self._connection.is_gone:
                message = await self._outbox.get()
                self.arrives(message)
                await self._connection.receive(to_json(message))

        self._feeder = asyncio.create_task(feed())

    def send(self, message: Message) -> None:
        """Have a message on its way to the node."""
        self._outbox.put_nowait(message)

    def arrives(self, message: Message) -> None:
        """The node takes a message up; for those who want to know."""

    async def cut(self) -> None:
        """It breaks; what was on its way is lost."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        self._node.disconnect(self._connection)
