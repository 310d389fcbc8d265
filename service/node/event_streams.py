"""The event streams of one node, and who of them has something to read."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from lastseen.names import RIGHTS_TYPES

from service.domain.records import Record

_DRAIN_SECONDS: Final = 1.0


class Stream(Protocol):
    """One of them."""

    @property
    def channels(self) -> Sequence[str]:
        """The channels whose records concern it."""
        ...

    def wake(self, record: Record) -> None:
        """A record of its channels has come."""
        ...

    def look(self) -> None:
        """Something may concern it that is no record of its channels."""
        ...

    def end(self, within_ms: int) -> None:
        """End, and say that its client is to come back spread over so long."""
        ...

    def close(self) -> None:
        """Give back what it took: it has ended, or its client has gone."""
        ...


class EventStreams:
    """Wakes those that wait at the head. Nothing is handed to them: each reads what it wants by itself."""

    def __init__(self, began: Callable[[str], None], ended: Callable[[str], None]) -> None:
        """`began` and `ended` are told of each channel that gets its first stream, or loses its last."""
        self._began = began
        self._ended = ended
        self._all: dict[Stream, list[str]] = {}
        self._by_channel: dict[str, set[Stream]] = {}
        self._left = asyncio.Event()
        """Set, and made anew, whenever one has ended."""

    def __len__(self) -> int:
        return len(self._all)

    def add(self, stream: Stream) -> None:
        """One more."""
        self._all[stream] = list(stream.channels)
        for channel in stream.channels:
            reading = self._by_channel.get(channel)
            if reading is None:
                reading = self._by_channel[channel] = set()
                self._began(channel)
            reading.add(stream)

    def remove(self, stream: Stream) -> None:
        """It has ended; a second time does nothing."""
        for channel in self._all.pop(stream, ()):
            reading = self._by_channel[channel]
            reading.discard(stream)
            if not reading:
                del self._by_channel[channel]
                self._ended(channel)
        left, self._left = self._left, asyncio.Event()
        left.set()

    def note(self, record: Record) -> None:
        """The tail has put a record into the window."""
        if not self._all:
            return
        for channel in record.channels:
            for stream in self._by_channel.get(channel, ()):
                stream.wake(record)
        if record.type in RIGHTS_TYPES:
            # Behind the others: it is not for these, but what they may read may have ended.
            for stream in self._all:
                stream.look()

    async def drain(self, within_ms: int) -> None:
        """End them all: this process is about to end. Those that don't listen are waited for a moment.

        Their clients come back spread over `within_ms`.
        """
        for stream in list(self._all):
            stream.end(within_ms)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._all:
                    await self._left.wait()
