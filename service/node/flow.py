"""How much a client lets be written to it, and waiting for it to take more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.node.connection_port import ConnectionPort


class Flow:
    """The fill of one connection's port. Once the client is gone there is always room, and nobody waits."""

    __slots__ = ("_buffered", "_held", "_high_water", "_is_over", "_is_waiting", "_port", "_room")

    def __init__(self, port: ConnectionPort, high_water: int) -> None:
        self._port = port
        self._high_water = high_water
        self._room: asyncio.Event | None = None
        self._is_over = False
        self._is_waiting = False
        self._buffered = 0
        self._held: list[bytes] | None = None

    def write(self, frames: bytes) -> None:
        """Write, or hold what is written together."""
        if self._held is None:
            self._port.write(frames)
        else:
            self._held.append(frames)

    @contextmanager
    def together(self, first: bytes = b"") -> Iterator[None]:
        """Write what comes meanwhile, within one step of the event loop, in one go: each writing is a system call.

        `first` goes before it, whatever comes.
        """
        if self._held is not None:
            yield  # whoever began writes it
            return
        self._held = [first] if first else []
        try:
            yield
        finally:
            self.write_held()
            self._held = None

    def write_held(self) -> None:
        """Write what has come so far."""
        if self._held:
            frames, self._held = b"".join(self._held), []
            self._port.write(frames)

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        held = sum(map(len, self._held)) if self._held else 0
        return self._port.buffered() + held > self._high_water

    @property
    def has_room(self) -> bool:
        """Whether a replay may go on."""
        return self._is_over or self._port.buffered() <= self._high_water // 2

    @property
    def has_room_to_answer(self) -> bool:
        """Whether one more answer may be written."""
        # More than a replay ever leaves waiting, so that a request gets its turn while one is under way.
        return self._is_over or self._port.buffered() <= 2 * self._high_water

    async def room(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""
        while not self.has_room:
            await self._drain()

    async def room_within(self, seconds: float) -> bool:
        """Wait for that, at most so long; whether it has come."""
        try:
            async with asyncio.timeout(seconds):
                await self.room()
        except TimeoutError:
            return False
        return True

    async def room_to_answer(self) -> None:
        """Wait until the client has taken enough of what was written; its further messages wait with it."""
        while not self.has_room_to_answer:
            self._is_waiting = True
            try:
                await self._drain()
            finally:
                self._is_waiting = False

    def has_moved(self) -> bool:
        """Whether a client whose messages have to wait has taken something since this was asked last."""
        if not self._is_waiting:
            return False
        before, self._buffered = self._buffered, self._port.buffered()
        return before != self._buffered

    def drained(self) -> None:
        """The port's buffer has fallen to the low-water mark."""
        if self._room is not None:
            self._room.set()
            self._room = None

    def over(self) -> None:
        """The client is gone."""
        self._is_over = True
        self.drained()

    async def _drain(self) -> None:
        if self._room is None:
            self._room = asyncio.Event()
        await self._room.wait()
