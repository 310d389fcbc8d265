"""One serving process, less its network and its servers."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from os import urandom
from typing import Final

from lastseen.positions import Position

from service.domain.errors import LastseenError
from service.domain.identity import Identity
from service.domain.replay_frames import ReplayFrames
from service.domain.rights import Rights
from service.domain.window import Window
from service.node.access import LogAccess
from service.node.beginnings import TaskBeginnings
from service.node.command_feed import CommandFeed
from service.node.command_stream import LATE_SECONDS, CommandStream
from service.node.command_tasks import CommandTasks
from service.node.commands import Commander
from service.node.connection import Connection
from service.node.connection_port import ConnectionPort
from service.node.connections import Connections
from service.node.cursors import CursorKeeper
from service.node.enforcing import Enforcer
from service.node.event_history import EventHistory
from service.node.event_stream import EventStream
from service.node.event_streams import EventStreams, Stream
from service.node.fanout import Fanout
from service.node.head import Head
from service.node.heartbeat import TICK_SECONDS, Heartbeat
from service.node.leftovers import Leftovers
from service.node.listing import Listing
from service.node.offline import OfflineMessages
from service.node.outside import Outside
from service.node.pace import Pace
from service.node.past import Wanted
from service.node.patience import Patience
from service.node.presence import Presence
from service.node.publishing import Publisher
from service.node.pull import Puller
from service.node.replay import Replay
from service.node.rights import KnownRights
from service.node.services import Services
from service.node.sources import Sources
from service.node.starts import Start as StreamStart
from service.node.states import States
from service.node.tail import Start, Tail, find_start
from service.node.task_screens import TaskScreens
from service.node.task_starter import TaskStarter
from service.ports import Epoch, JudgesAtOnce
from service.settings import Settings

_log = logging.getLogger(__name__)
_DRAIN_SECONDS: Final = 1.0
_LEAST_WINDOW_MS: Final = 250
"""What few clients are told: as short as their own first back-off."""
_REPLAY_FRAMES_BYTES: Final = 64 * 1024 * 1024
"""Of replays that many want: a hundred events are some 35 KB, kept joined and one by one."""
_AT_ONCE: Final = 4
"""Beginnings and steps of catch-ups in one step of the event loop: a millisecond or two, mostly."""


def _not_surely(_: Identity, __: Sequence[str]) -> bool:
    """Of an authority that has to be asked."""
    return False


class Node:
    """The connections of this process, its tail and its publisher.

    Made by `running`; its tasks belong to `tasks`.
    """

    def __init__(
        self, settings: Settings, outside: Outside, epoch: Epoch, start: Start, tasks: asyncio.TaskGroup
    ) -> None:
        log, clock = outside.log, outside.clock
        self.epoch = epoch
        window = Window(start.tail.serve, settings.window_bytes)
        head = Head(window, epoch.name)
        self.patience = Patience(tasks)
        self.sources = sources = Sources(log, outside.history, settings.history_reads, tasks)
        known = Rights(epoch.first_of_topic, settings.remembered_tasks, epoch.losses)
        rights = KnownRights(known, outside.rights, start.rights, self.patience)
        by_the_log = LogAccess(
            rights,
            head,
            sources,
            settle_seconds=settings.settle_seconds,
            trust_claims=settings.trust_project_claims,
        )
        connections = Connections(rights.watched, rights.unwatched)
        fanout: Fanout[Connection] = Fanout(outside.send_all)
        replay = Replay(window, head, sources, epoch, settings.look_back)
        cursors = CursorKeeper(outside.cursors)
        access = outside.authority(by_the_log)
        past = EventHistory(window, head, replay, sources, settings.settle_seconds)
        beginnings = TaskBeginnings(rights, past, window, head, epoch)
        commander = Commander(outside.commands, access, rights, beginnings, outside.leases, clock, settings)
        self.commands = CommandTasks(tasks, commander, settings.max_waiting_commands_per_connection)
        reach = settings.command_deadline_seconds + LATE_SECONDS
        self.feed = CommandFeed(outside.command_source, reach, tasks)
        self._left = asyncio.Event()
        """Set, and made anew, whenever a client has left."""
        self.puller = Puller(tasks)
        pace = Pace(_AT_ONCE)
        self.services = Services(
            settings=settings,
            clock=clock,
            authenticator=outside.authenticator,
            handlers=outside.handlers,
            window=window,
            head=head,
            connections=connections,
            heartbeat=Heartbeat(settings, clock, head, fanout),
            fanout=fanout,
            replay=replay,
            replay_frames=ReplayFrames(_REPLAY_FRAMES_BYTES),
            pace=pace,
            history=past,
            states=States(
                *(rights, access, head, window, past, TaskScreens(past, outside.screens), epoch),
                settle_seconds=settings.settle_seconds,
            ),
            listing=Listing(rights, access),
            oversight=outside.oversight,
            access=access,
            rights=rights,
            cursors=cursors,
            offline=OfflineMessages(cursors, replay, sources, window, head, clock, self.patience),
            patience=self.patience,
            commands=self.commands,
            starter=TaskStarter(commander, rights, beginnings, past),
            presence=Presence(settings, outside.presence, log, connections, clock, pace),
            surely_may=access.surely_may if isinstance(access, JudgesAtOnce) else _not_surely,
            pull=self.puller.start,
        )
        enforcer = Enforcer(connections, rights)
        self.streams = EventStreams(rights.watched, rights.unwatched)
        notes = [commander.note, self.streams.note]
        self.tail = Tail(log, window, start.tail, head, access, enforcer, fanout, notes)
        self.publisher = Publisher(log, rights, self.tail, settings.max_event_bytes)
        self.ended = 0
        """Conversations and streams that were, and are over."""
        self.leftovers = Leftovers()
        """Conversations that are over."""

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.services.connections)

    def connect(self, port: ConnectionPort, identity: Identity) -> Connection | None:
        """A connection carried by `port`, or None when there are as many as may be."""
        if not self._has_room:
            return None
        connection = Connection(self.services, port, identity, urandom(16).hex())
        self.services.connections.add(connection)
        self.services.heartbeat.add(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Give up a connection whose client is gone."""
        connection.gone()
        self.services.heartbeat.remove(connection)
        self.services.presence.disconnected(connection.id)
        self.commands.leave(connection.id)
        if self.services.connections.remove(connection):
            self.ended += 1
            self.leftovers.add(connection)
            left, self._left = self._left, asyncio.Event()
            left.set()

    def open_stream(self, identity: Identity, wanted: Wanted, start: StreamStart | None) -> EventStream | None:
        """An event stream, or None when there are as many clients as may be. Whoever carries it closes it."""
        if not self._has_room:
            return None
        stream = EventStream(self.services, identity, wanted, start)
        self.streams.add(stream)
        return stream

    def open_command_stream(self, identity: Identity, task: str, after: Position | None) -> CommandStream | None:
        """The same for the commands of a task."""
        if not self._has_room:
            return None
        stream = CommandStream(self.services, self.feed, identity, task, after)
        self.streams.add(stream)
        return stream

    def close_stream(self, stream: Stream) -> None:
        """Give up a stream whose client is gone, or that has ended."""
        stream.close()
        self.streams.remove(stream)
        self.ended += 1

    @property
    def _has_room(self) -> bool:
        return self.connections + len(self.streams) < self.services.settings.max_connections

    async def drain(self) -> None:
        """Send every client away: this process is about to end. Those that don't listen are waited for a moment.

        They are told the time over which to spread their return: the longer, the more they are.
        """
        crowd_seconds = (self.connections + len(self.streams)) / self.services.settings.returns_per_second
        within_ms = max(_LEAST_WINDOW_MS, round(crowd_seconds * 1000))
        await asyncio.gather(self._drain_connections(crowd_seconds, within_ms), self.streams.drain(within_ms))

    async def _drain_connections(self, crowd_seconds: float, within_ms: int) -> None:
        for connection in self.services.connections:
            connection.go_away(within_ms)
        with suppress(TimeoutError):
            # A word to each takes a while too.
            async with asyncio.timeout(_DRAIN_SECONDS + crowd_seconds):
                while self.connections:
                    await self._left.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.services.cursors.flush()

    def abort(self) -> None:
        """Drop every client."""
        for connection in self.services.connections:
            connection.abort()

    async def beat(self) -> None:
        """Let the heartbeat tick."""
        while True:
            self.services.heartbeat.tick()
            await asyncio.sleep(TICK_SECONDS)


@asynccontextmanager
async def running(
    settings: Settings, outside: Outside, epoch: Epoch, beside: Sequence[Callable[[], Coroutine[None, None, None]]] = ()
) -> AsyncGenerator[Node, None]:
    """A node that is ready: its window holds the newest records, it knows all rights, and its tail is reading.

    `beside` runs as long as the node. Raises LogUnavailable when Kafka does not answer. If the tail can't go on, the
    body is cancelled and OffsetsGone comes out; so it is with what `beside` raises.
    """
    start = await find_start(outside.log, outside.history, outside.rights, settings)
    try:
        async with asyncio.TaskGroup() as tasks:
            node = Node(settings, outside, epoch, start, tasks)
            head = node.services.head
            ends = {partition: held.next - 1 for partition, held in (await outside.log.bounds()).items()}
            owned = [
                tasks.create_task(node.tail.run(), name="tail"),
                tasks.create_task(node.beat(), name="heartbeat"),
                tasks.create_task(node.services.cursors.run(), name="cursors"),
                tasks.create_task(node.services.presence.run(), name="presence"),
                *(tasks.create_task(one()) for one in beside),
            ]
            await head.passed(ends)
            _log.info("ready at %s, %d bytes in the window", head.token, node.services.window.bytes)
            try:
                yield node
            finally:
                node.abort()
                node.puller.cancel()
                node.commands.cancel()
                node.feed.cancel()
                node.patience.cancel()
                node.sources.cancel()
                for task in owned:
                    task.cancel()
    except ExceptionGroup as failures:
        foreseen, others = failures.split(LastseenError)
        if foreseen is None or others is not None:
            raise
        # Its message says it all; the group around it would only be read as a fault of this program.
        raise foreseen.exceptions[0] from None
