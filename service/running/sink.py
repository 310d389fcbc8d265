"""Where the events of a task go."""

import asyncio
from typing import Protocol

from lastseen.answers import Place
from lastseen.envelope import Event


class EventSink(Protocol):
    """Publishes events in the order of the calls, each once. `lastseen.publisher.Publisher` is one."""

    async def submit(self, event: Event) -> "asyncio.Future[Place]":
        """Take an event on, waiting while too much is under way; the future is its place in the log.

        Raises, or fails the future with, a LastseenError when it is refused for good.
        """
        ...

    async def flush(self) -> None:
        """Wait until everything taken on so far is answered."""
        ...
