"""Waiting for something that has to be asked for, and for several things."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.01


async def until(condition: Callable[[], Awaitable[T]], seconds: float = 60.0, every: float = _POLL_SECONDS) -> T:
    """Ask `condition`, `every` so many seconds, until it gives something true, and return that.

    Raises TimeoutError after `seconds`.
    """
    async with asyncio.timeout(seconds):
        while True:
            if answer := await condition():
                return answer
            await asyncio.sleep(every)


async def side_by_side(several: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each gives, in their order; where one fails, the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in several]
    return [one.result() for one in running]
