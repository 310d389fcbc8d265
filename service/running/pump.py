"""One stream of a program's output on its way to becoming events."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lastseen.chunks import Chunk, Chunker

from service.running.adapter import Adapter, Published, ScreenKeeper, ScreenState, StreamRedactor
from service.running.output_stream import OutputStream
from service.running.tee import Tee

LINGER_SECONDS: Final = 0.03
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pump:
    """Reads the stream, no faster than `publish` takes what comes of it.

    `tee` gets the bytes as the program wrote them, all else as `redactor` leaves them; `screen` follows what has been
    published.
    """

    stream: OutputStream
    tee: Tee
    adapter: Adapter
    publish: Callable[[Sequence[Published]], Awaitable[None]]
    publish_screen: Callable[[ScreenState], Awaitable[None]]
    redactor: StreamRedactor | None = None
    screen: ScreenKeeper | None = None

    async def run(self) -> None:
        """To the end of the stream."""
        clock = asyncio.get_running_loop().time
        chunker = Chunker(self.stream.name)
        flush_at = unhold_at = NEVER
        while True:
            try:
                async with asyncio.timeout_at(None if flush_at == unhold_at == NEVER else min(flush_at, unhold_at)):
                    data = await self.stream.read()
            except TimeoutError:
                flush_at = NEVER
                if unhold_at <= clock():
                    # Nothing has come for a while: what was held back is not the middle of something.
                    unhold_at = NEVER
                    await self._take(chunker.feed(self._unhold()))
                await self._take(chunker.flush())
                continue
            if not data:
                break
            await self.tee.write(data)
            if self.redactor is not None:
                data, unhold_at = self.redactor.feed(data), clock() + LINGER_SECONDS
            await self._take(chunker.feed(data))
            if not chunker.is_waiting:
                flush_at = NEVER
            elif flush_at == NEVER:
                flush_at = clock() + LINGER_SECONDS
            elif flush_at <= clock():
                flush_at = NEVER
                await self._take(chunker.flush())
        await self._take(chunker.feed(self._unhold()) + chunker.finish())
        await self.publish(self.adapter.finish(self.stream.name))

    def _unhold(self) -> bytes:
        return b"" if self.redactor is None else self.redactor.flush()

    async def _take(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            await self.publish(self.adapter.output(chunk))
            if self.screen is not None:
                self.screen.feed(chunk.raw, chunk.offset)
                if (state := self.screen.due()) is not None:
                    await self.publish_screen(state)
