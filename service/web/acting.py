"""Acting on what a client says where something has to be awaited: a task, and the messages that come meanwhile."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableSet
from typing import Protocol

Work = Callable[[], Awaitable[None]]


class Speaker(Protocol):
    """Whose messages they are."""

    async def act_on(self, said: str | bytes) -> None:
        """Act on a message; nothing where the conversation is over."""
        ...

    def read_on(self) -> None:
        """None waits any more."""
        ...

    def failed(self) -> None:
        """An exception is being handled."""
        ...

    def acted(self, acting: "Acting") -> None:
        """It has ended."""
        ...


class Acting:
    """One task of a client: it does some work, then acts on the messages that wait, one after the other.

    Who has one lets it hear each message until it `is_done`, reads no more while any wait, and stops it where the
    conversation ends. The set of tasks has its task as long as that lasts.
    """

    __slots__ = ("_heard", "_speaker", "_task", "_tasks")

    def __init__(
        self,
        speaker: Speaker,
        tasks: MutableSet[asyncio.Task[None]],
        work: Work | None = None,
        heard: Iterable[str | bytes] = (),
    ) -> None:
        self._speaker = speaker
        self._tasks = tasks
        self._heard: deque[str | bytes] | None = deque(heard) or None
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._task: asyncio.Task[None] | None = task
        tasks.add(task)
        task.add_done_callback(self._done)

    @property
    def is_done(self) -> bool:
        """Whether nothing more is acted on; its client is told in the next step of the event loop."""
        return self._task is None or self._task.done()

    def hear(self, said: str | bytes) -> None:
        """A message has come behind the others."""
        if self._heard is None:
            self._heard = deque()
        self._heard.append(said)

    def stop(self) -> None:
        """There is nobody to answer to; whoever called this from within the task comes to its end by itself."""
        self._heard = None
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self, work: Work | None) -> None:
        try:
            if work is not None:
                await work()
            while self._heard:
                said = self._heard.popleft()
                if not self._heard:
                    self._heard = None
                    self._speaker.read_on()
                await self._speaker.act_on(said)
                # Those that wait already would be acted on in the same step of the event loop, all others waiting.
                await asyncio.sleep(0)
        except Exception:  # noqa: BLE001 - it ends one client's conversation, visibly, and nobody else's
            self._speaker.failed()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # One that was cancelled keeps the exception, and with it this object: else both would wait for the collector.
        self._task = None
        self._speaker.acted(self)
