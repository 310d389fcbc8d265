"""A client of Server-Sent Events in the simulated loop: it takes pieces at its own pace, is cut, and comes back."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from random import Random

from lastseen.positions import Position

from service.domain.identity import Identity
from service.node.event_stream import EventStream
from service.node.past import Wanted
from service.node.starts import Start
from tests.event_source import EventSource
from tests.simulated_server import Server


class StreamReader:
    """Comes back with the last id, as the browser's EventSource does."""

    def __init__(self, identity: Identity, channels: Sequence[str], start: Start | None, random: Random) -> None:
        self.identity = identity
        self.channels = tuple(channels)
        self.start = start
        self.random = random
        self.source = EventSource()
        self.first: Position | None = None
        """Where it began: the first place that it was told."""
        self.server: Server | None = None
        self.is_over = True
        """Whether the stream has ended by itself, or was refused."""
        self.on_piece: Callable[[bytes], None] = lambda _: None
        """Told of each piece in the step in which the node made it."""
        self._stream: EventStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._pending = b""
        self._allowed = 0
        self._asked = asyncio.Event()

    @property
    def places(self) -> list[tuple[int, int]]:
        """Where its events lie, in the order in which they came."""
        return [(event["partition"], event["offset"]) for event in self.source.events]

    async def connect(self, server: Server) -> None:
        """Begin, or go on, at a node."""
        await self.cut()
        assert server.node is not None
        self.server, self.is_over = server, False
        last = self.source.last_event_id
        start = Start(after=Position.parse(last)) if last else self.start
        stream = server.node.open_stream(self.identity, Wanted(self.channels), start)
        assert stream is not None
        self._stream = stream
        self._allowed = 0
        self._task = asyncio.create_task(self._take(stream))

    async def cut(self) -> None:
        """The connection breaks, in the middle of what was on its way."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        self._feed(self._pending[: self.random.randint(0, len(self._pending))])
        self.source.cut()
        self._pending = b""
        assert self._stream is not None
        assert self.server is not None
        assert self.server.node is not None
        self.server.node.close_stream(self._stream)
        self._task = None
        self.is_over = True

    def read(self, count: int) -> None:
        """Let it take so many pieces more."""
        self._allowed += count
        self._asked.set()

    async def _take(self, stream: EventStream) -> None:
        denied = (await stream.judge()).denied
        if len(denied) == len(stream.channels):
            self.is_over = True
            return
        said = stream.leave_out(denied)
        self.on_piece(said)
        self._feed(said)
        async with aclosing(stream.frames()) as pieces:
            async for piece in pieces:
                assert piece
                self._pending = piece
                self.on_piece(piece)
                while not self._allowed:
                    self._asked.clear()
                    await self._asked.wait()
                self._allowed -= 1
                self._feed(piece)
                self._pending = b""
        self.is_over = True

    def _feed(self, piece: bytes) -> None:
        before = self.source.last_event_id
        self.source.feed(piece)
        now = self.source.last_event_id
        if now != before:
            place = Position.parse(now)
            self.first = self.first or place
            assert not before or Position.parse(before).raised(place) == place, f"it fell from {before} to {now}"
