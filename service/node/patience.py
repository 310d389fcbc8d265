"""Waiting no longer than somebody else may be kept waiting: for a database that hangs, which is worse than one away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from service.domain.errors import HistoryUnavailable

T = TypeVar("T")

_MOST_LEFT: Final = 200
_SHORT_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 5.0


class Patience:
    """Runs questions as tasks of the node, and leaves one that takes too long to end by itself.

    A driver that is cancelled still waits for its server, so nobody waits for that either. While a question that
    was left is still under way, others are given a moment only: most of them would be left too.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._left: set[asyncio.Task[Any]] = set()

    async def within(self, seconds: float, question: Coroutine[Any, Any, T]) -> T:
        """The answer, or what it raises. Raises HistoryUnavailable after so many seconds."""
        if len(self._left) >= _MOST_LEFT:
            question.close()
            raise _hangs()
        task = self._tasks.create_task(_outcome(question))
        try:
            await asyncio.wait([task], timeout=min(seconds, _SHORT_SECONDS) if self._left else seconds)
        finally:
            if not task.done():
                self._left.add(task)
                task.add_done_callback(self._left.discard)
        if not task.done():
            raise _hangs()
        answer, error = task.result()
        if error is not None:
            raise error
        return answer

    def cancel(self) -> None:
        """End what was left."""
        for task in self._left:
            task.cancel()


async def _outcome(question: Coroutine[Any, Any, T]) -> tuple[T, None] | tuple[Any, Exception]:
    try:
        return await question, None
    except Exception as error:  # noqa: BLE001 - raised where the answer is waited for, not in the node's tasks
        return None, error


def _hangs() -> HistoryUnavailable:
    return HistoryUnavailable("Postgres does not answer in time", retry_after=_RETRY_SECONDS)
