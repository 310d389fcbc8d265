"""One serving process: everything between the log and its clients."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

from lastseen import close_codes

from service.domain.errors import LastseenError
from service.domain.frames import message_frame
from service.domain.identity import Identity
from service.domain.protocol import ping
from service.domain.window import Window
from service.node.access import Access
from service.node.connection import Connection, ConnectionPort
from service.node.fanout import Fanout
from service.node.head import Head
from service.node.publishing import Publisher
from service.node.pull import Puller
from service.node.replay import Replay
from service.node.services import Services
from service.node.tail import Tail, TailStart, find_start
from service.node.tasks import Tasks
from service.ports import Clock, Epoch, EventLog, History
from service.settings import Settings

_log = logging.getLogger(__name__)
_TICK_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 1.0


class Node:
    """The connections of this process, its tail and its publisher.

    Made by `running`; its tasks belong to `tasks`.
    """

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        history: History,
        epoch: Epoch,
        clock: Clock,
        start: TailStart,
        tasks: asyncio.TaskGroup,
    ) -> None:
        window = Window(start.serve, settings.window_bytes)
        head = Head(window, epoch.name)
        known_tasks = Tasks(history, window)
        fanout: Fanout[Connection] = Fanout()
        self._slots: list[set[Connection]] = [set() for _ in range(settings.heartbeat_seconds)]
        self._slot_of: dict[Connection, set[Connection]] = {}
        self._next_slot = 0
        self._left = asyncio.Event()
        """Set, and made anew, whenever a client has left."""
        self.puller = Puller(tasks)
        self.services = Services(
            settings=settings,
            clock=clock,
            window=window,
            head=head,
            fanout=fanout,
            replay=Replay(window, log, history, epoch, settings.look_back),
            access=Access(known_tasks, head, log, settings.settle_seconds),
            tasks=known_tasks,
            pull=self.puller.start,
        )
        self.tail = Tail(log, window, start, head, known_tasks, fanout)
        self.publisher = Publisher(log, known_tasks, self.tail, settings.max_event_bytes)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._slot_of)

    def connect(self, port: ConnectionPort, identity: Identity) -> Connection | None:
        """A connection carried by `port`, or None when there are as many as may be."""
        if self.connections >= self.services.settings.max_connections:
            return None
        connection = Connection(self.services, port, identity, uuid4().hex)
        slot = self._slot_of[connection] = self._slots[self._next_slot]
        slot.add(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Give up a connection whose client is gone."""
        connection.gone()
        slot = self._slot_of.pop(connection, None)
        if slot is not None:
            slot.discard(connection)
            left, self._left = self._left, asyncio.Event()
            left.set()

    async def drain(self) -> None:
        """Send every client away: this process is about to end. Those that don't listen are waited for a moment."""
        for connection in list(self._slot_of):
            connection.close(close_codes.GOING_AWAY, "Server is going away")
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._slot_of:
                    await self._left.wait()

    def abort(self) -> None:
        """Drop every client."""
        for connection in list(self._slot_of):
            connection.abort()

    async def beat(self) -> None:
        """Ping each connection every `heartbeat_seconds`, spread over them; end the silent and the expired."""
        while True:
            self._next_slot = (self._next_slot + 1) % len(self._slots)
            self._beat_slot(self._slots[self._next_slot])
            await asyncio.sleep(_TICK_SECONDS)

    def _beat_slot(self, slot: set[Connection]) -> None:
        now_ms = self.services.clock.now_ms()
        # A second of grace: the tick that is due may come a little early.
        silent_since = now_ms - (self.services.settings.heartbeat_timeout_seconds - 1) * 1000
        frame = message_frame(ping(now_ms, self.services.head.token))
        for connection in list(slot):
            if connection.identity.expires_at * 1000 <= now_ms:
                connection.close(close_codes.TOKEN_EXPIRED, "Token expired")
            elif not connection.is_alive(silent_since):
                connection.close(close_codes.HEARTBEAT_TIMEOUT, "Heartbeat timeout")
            else:
                connection.ping(frame)


@asynccontextmanager
async def running(
    settings: Settings, log: EventLog, history: History, epoch: Epoch, clock: Clock
) -> AsyncGenerator[Node, None]:
    """A node that is ready: its window holds the newest records and its tail is reading.

    Raises LogUnavailable when Kafka does not answer. If the tail can't go on, the body is cancelled and
    OffsetsGone comes out.
    """
    start = await find_start(log, history, settings.look_back, settings.window_offsets)
    try:
        async with asyncio.TaskGroup() as tasks:
            node = Node(settings, log, history, epoch, clock, start, tasks)
            head = node.services.head
            ends = {partition: held.next - 1 for partition, held in (await log.bounds()).items()}
            owned = [tasks.create_task(node.tail.run(), name="tail"), tasks.create_task(node.beat(), name="heartbeat")]
            await head.passed(ends)
            _log.info("ready at %s, %d bytes in the window", head.token, node.services.window.bytes)
            try:
                yield node
            finally:
                node.abort()
                node.puller.cancel()
                for task in owned:
                    task.cancel()
    except ExceptionGroup as failures:
        foreseen, others = failures.split(LastseenError)
        if foreseen is None or others is not None:
            raise
        # Its message says it all; the group around it would only be read as a fault of this program.
        raise foreseen.exceptions[0] from None
