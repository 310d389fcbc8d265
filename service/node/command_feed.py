"""The node's one reader of the topic of commands, which reads as long as somebody listens."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Protocol

from service.domain.errors import LogUnavailable
from service.node.command_window import CommandWindow
from service.ports import CommandBatch, CommandSource, Place


class Listener(Protocol):
    """Who wants the commands of one task."""

    @property
    def task(self) -> str:
        """Which."""
        ...

    def command_came(self, place: Place) -> None:
        """One of its commands has come, and stands there."""
        ...

    def look(self) -> None:
        """Something else may concern it."""
        ...


class CommandFeed:
    """Begins to read with the first listener, and ends with the last: each time with a source and a window anew."""

    def __init__(
        self, source: Callable[[float], CommandSource], reach_seconds: float, tasks: asyncio.TaskGroup
    ) -> None:
        """The reading begins so many seconds before now, and is a task of `tasks`."""
        self._open = source
        self._reach_seconds = reach_seconds
        self._tasks = tasks
        self._listeners: dict[str, set[Listener]] = {}
        self._source: CommandSource | None = None
        self._reading: asyncio.Task[None] | None = None
        self.window = self._new_window()
        """Another one each time that the reading is begun."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is read."""
        return self._reading is None

    def add(self, listener: Listener) -> None:
        """One more."""
        self._listeners.setdefault(listener.task, set()).add(listener)
        if self._reading is None:
            self._source, self.window = self._open(self._reach_seconds), self._new_window()
            self._reading = self._tasks.create_task(_feed(self._source, self.window), name="commands")

    def remove(self, listener: Listener) -> None:
        """It listens no more; a second time does nothing."""
        others = self._listeners.get(listener.task)
        if others is None:
            return
        others.discard(listener)
        if not others:
            del self._listeners[listener.task]
        if not self._listeners:
            self.cancel()

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[CommandBatch, None]:
        """What the window has dropped; as `CommandSource.read`, for a listener."""
        if self._source is None:
            raise LogUnavailable("commands are not being read")
        return self._source.read(partition, start, stop)

    def cancel(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = self._source = None

    def _new_window(self) -> CommandWindow:
        return CommandWindow(self._reach_seconds, self._came, self._began)

    def _came(self, task: str, place: Place) -> None:
        for listener in self._listeners.get(task, ()):
            listener.command_came(place)

    def _began(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.look()


async def _feed(source: CommandSource, window: CommandWindow) -> None:
    with suppress(asyncio.CancelledError):
        await source.feed(window)
