"""A pace for work that comes in crowds: so many pieces in a step of the event loop, and everything else in between."""

import asyncio
from collections import deque


class Pace:
    """Lets `at_once` through in each step, in the order in which they came.

    Those who wait are bounded by the connections and the catch-ups that there are.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_stepping = False

    async def turn(self) -> None:
        """Wait for a turn; the work is done in the step in which this returns."""
        if self._taken < self._at_once and not self._waiting:
            self._taken += 1
            self._step_soon()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._step_soon()
        await turn

    def _step_soon(self) -> None:
        if not self._is_stepping:
            self._is_stepping = True
            asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        self._is_stepping = False
        self._taken = 0
        while self._waiting and self._taken < self._at_once:
            turn = self._waiting.popleft()
            if not turn.done():  # else whoever waited was cancelled
                turn.set_result(None)
                self._taken += 1
        if self._taken:
            self._step_soon()
