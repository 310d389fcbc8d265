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
        while self._waiting:
            who, of_one = self._waiting.popitem(last=False)
            given = _first_wanted(of_one)
            if of_one:
                self._waiting[who] = of_one
            if given is not None:
                given.set_result(None)
                return
        self._free += 1

    def _forget(self, who: str, given: "asyncio.Future[None]") -> None:
        of_one = self._waiting.get(who)
        if of_one is None or given not in of_one:
            return  # it was passed over already
        of_one.remove(given)
        if not of_one:
            del self._waiting[who]


def _first_wanted(of_one: "deque[asyncio.Future[None]]") -> "asyncio.Future[None] | None":
    """Take the first that is still waited for: a task that was cancelled forgets its own a step later."""
    while of_one:
        given = of_one.popleft()
        if not given.done():
            return given
    return None
