"""Waiting for a condition, with a deadline: what tests do instead of sleeping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

INTERVAL = 0.02


@overload
async def until(condition: Callable[[], Awaitable[T]], *, timeout: float = ..., what: str = ...) -> T: ...
@overload
async def until(condition: Callable[[], T], *, timeout: float = ..., what: str = ...) -> T: ...
async def until(condition: Callable[[], T | Awaitable[T]], *, timeout: float = 30.0, what: str = "the condition") -> T:
    """Asks `condition`, sync or async, until it gives something true, and returns that.

    Raises AssertionError, naming `what`, when `timeout` seconds have passed.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout:g} s")
        await asyncio.sleep(INTERVAL)
