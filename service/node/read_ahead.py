"""Reading what will be wanted next while something else is done with what has been read."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class ReadAhead(Generic[K, T]):
    """At most one reading that is under way or waits to be taken. Use in `async with`, which waits for it."""

    def __init__(self) -> None:
        self._key: K | None = None
        self._task: asyncio.Task[T] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    def begin(self, key: K, reading: Coroutine[Any, Any, T]) -> None:
        """Start to read what `key` stands for. What was begun before must have been taken."""
        assert self._task is None
        self._key, self._task = key, asyncio.create_task(reading)

    async def take(self, key: K) -> T | None:
        """What was read for `key`, or what that raised; None where something else was begun, or nothing."""
        if self._task is None:
            return None
        if self._key != key:
            await self._end()
            return None
        task = self._task
        await asyncio.wait([task])
        self._task = None
        return task.result()

    async def _end(self) -> None:
        """Wait for what nobody wants any more: a driver that is cancelled would ask its server once more to stop."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            if task.done() and not task.cancelled():
                task.exception()  # of no interest to anybody
