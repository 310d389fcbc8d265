"""A pace for work that comes in crowds: so many pieces in a step of the event loop, and everything else in between."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Pace:
    """Lets `at_once` through in each step, in the order in which they came.

    Those who wait are bounded by the connections and the catch-ups that there are.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._waiting: deque[asyncio.Future[None] | Callable[[], None]] = deque()
        self._is_stepping = False
        self._quiet: asyncio.Event = asyncio.Event()
        self._quiet.set()

    async def quiet(self, seconds: float) -> None:
        """Wait until nobody waits for a turn, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    async def turn(self) -> None:
        """Wait for a turn; the work is done in the step in which this returns."""
        if self._taken < self._at_once and not self._waiting:
            self._taken += 1
            self._step_soon()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wait(turn)
        await turn

    def in_turn(self, begin: Callable[[], None]) -> None:
        """Call it in its turn, which is not in this step."""
        self._wait(begin)

    def _wait(self, waiting: asyncio.Future[None] | Callable[[], None]) -> None:
        self._waiting.append(waiting)
        self._quiet.clear()
        self._step_soon()

    def _step_soon(self) -> None:
        if not self._is_stepping:
            self._is_stepping = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._is_stepping = False
        self._taken = 0
        try:
            while self._waiting and self._taken < self._at_once:
                waiting = self._waiting.popleft()
                if not isinstance(waiting, asyncio.Future):
                    self._taken += 1
                    waiting()
                elif not waiting.done():  # else whoever waited was cancelled
                    self._taken += 1
                    waiting.set_result(None)
        finally:
            if not self._waiting:
                self._quiet.set()
            if self._taken:
                self._step_soon()
