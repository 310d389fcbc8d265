"""Waiting for something that has to be asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.01


async def until(condition: Callable[[], Awaitable[T]], seconds: float = 60.0) -> T:
    """Ask `condition` until it gives something true, and return that. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            if answer := await condition():
                return answer
            await asyncio.sleep(_POLL_SECONDS)
