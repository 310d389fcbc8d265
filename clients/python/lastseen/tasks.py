"""Tasks beside the main one, owned: whoever starts them ends them."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final

_log: Final = logging.getLogger(__name__)


class Tasks:
    """Small tasks that may fail alone. `close` ends those that are left, and waits for them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Do it beside everything else; an error of it is logged."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """End them all."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)
