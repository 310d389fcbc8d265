"""Turns at something that only a few may do at once: each of those who wait gets one after the other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairTurns:
    """At most `at_once` turns at a time. Who has many waiting gets no more of them than who has one.

    What waits is bounded by whoever asks: one turn for each catch-up, page or stream.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """A turn of `who`, as long as the block lasts."""
        await self._take(who)
        try:
            yield
        finally:
            self._give()

    async def _take(self, who: str) -> None:
        if self._free:
            self._free -= 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(given)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                self._give()  # it came at the same moment
            else:
                self._forget(who, given)
            raise

    def _give(self) -> None:
        """Pass a turn on to the one who has waited longest, and put what else he waits for behind all others."""
        if not self._waiting:
            self._free += 1
            return
        who, of_one = self._waiting.popitem(last=False)
        of_one.popleft().set_result(None)
        if of_one:
            self._waiting[who] = of_one

    def _forget(self, who: str, given: "asyncio.Future[None]") -> None:
        of_one = self._waiting[who]
        of_one.remove(given)
        if not of_one:
            del self._waiting[who]
