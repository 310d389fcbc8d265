"""What a consumer reads of one subscription: a bounded buffer between the connection and it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from lastseen.errors import LastseenError
from lastseen.names import TERMINAL_TYPES
from lastseen.notices import FellBehind, Gap, Message, OfflineDelayed
from lastseen.positions import Position

MAX_ITEMS: Final = 1_000
MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """An event, and the position to resume after it."""

    event: Message
    position: Position


@dataclass(frozen=True, slots=True)
class Moved:
    """The position moved without an event; `caught_up` where the subscription became live with it."""

    position: Position
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """For the client alone: `call` when the consumer has dealt with everything before."""

    call: Callable[[], None]


Item = Received | Moved | Gap | FellBehind | OfflineDelayed


class Stream:
    """The events of one channel, each once, in the order of the log, over all reconnections.

    Iterate it for the events; iterate `items()` for what lies between them too: gaps, moves, and that what came while
    away is delayed. It ends after the
    terminal event of its task, or when the server says that nothing more will come; it raises `AccessDenied`
    when the channel may not be read, `Ended` when the server ended it, and what the client failed with. One
    consumer reads a stream; `aclose()` it (or use `async with`) when you stop before its end.

    The buffer holds at most 1,000 items and about 4 MiB. When it is full the client reads no more from the
    connection, for any of its streams, and the server goes over to serving it at the consumer's pace.
    """

    def __init__(
        self,
        channel: str,
        *,
        begun: bool,
        on_gap: Callable[[Gap], None] | None = None,
        close: Callable[["Stream"], None],
    ) -> None:
        self.channel = channel
        self.begun = begun
        """Whether what comes belongs to it; until the server confirms a start it doesn't."""
        self.begins_with_connection = False
        """Whether the next connection begins it, by itself."""
        self.ended = False
        """Whether nothing more will come."""
        self._on_gap = on_gap
        self._close = close
        self._items: deque[tuple[Item | Passed, int]] = deque()
        self._bytes = 0
        self._error: LastseenError | None = None
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._position: Position | None = None

    @property
    def position(self) -> str | None:
        """The token to resume after the last event that was handed out; None before it began."""
        return None if self._position is None else self._position.token

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._events()

    async def _events(self) -> AsyncIterator[Message]:
        async for item in self.items():
            if isinstance(item, Received):
                yield item.event

    async def items(self) -> AsyncIterator[Item]:
        """The events and what lies between them, in order."""
        while await self.wait():
            for item in self.take(1):
                yield item

    async def wait(self) -> bool:
        """Wait until there is something to take; False when nothing more will come.

        Raises what the stream failed with, once everything before it was taken. Cancelling it loses nothing.
        """
        while not self._items:
            if self._error is not None:
                raise self._error
            if self.ended:
                return False
            self._ready.clear()
            await self._ready.wait()
        return True

    def take(self, limit: int = MAX_ITEMS) -> list[Item]:
        """At most `limit` of the items that are there now. Whoever calls it has dealt with those of the call before."""
        taken: list[Item] = []
        while self._items and len(taken) < limit:
            if taken and isinstance(self._items[0][0], Passed):
                break
            item, size = self._items.popleft()
            self._bytes -= size
            match item:
                case Received() | Moved():
                    self._position = item.position
                case Gap():
                    if self._on_gap is not None:
                        self._on_gap(item)
                case FellBehind() | OfflineDelayed():
                    pass
                case Passed():
                    item.call()
                    continue
            taken.append(item)
        self._room.set()
        return taken

    async def aclose(self) -> None:
        """Want no more of it; what is in the buffer is dropped."""
        self._items.clear()
        self._bytes = 0
        self.end()
        self._close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def put(self, item: Item | Passed, size: int = 0) -> None:
        """For the client: hand an item over, waiting for room. After the end it is dropped."""
        while not self.ended and (len(self._items) >= MAX_ITEMS or self._bytes >= MAX_BYTES):
            self._room.clear()
            await self._room.wait()
        if self.ended:
            return
        if isinstance(item, Moved) and self._items and isinstance(last := self._items[-1][0], Moved):
            self._items[-1] = (Moved(item.position, item.caught_up or last.caught_up), 0)
        else:
            self._items.append((item, size))
            self._bytes += size
        if isinstance(item, Received) and _ends(item.event, self.channel):
            self.ended = True
        self._ready.set()

    def end(self, error: LastseenError | None = None) -> None:
        """For the client: nothing more will come; `error` is raised after what is in the buffer."""
        self._error = self._error or (None if self.ended else error)
        self.ended = True
        self._ready.set()
        self._room.set()


def _ends(event: Message, channel: str) -> bool:
    return event.get("type") in TERMINAL_TYPES and channel == f"task:{event.get('task_id')}"
