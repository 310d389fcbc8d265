"""A task that this runner holds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lastseen.commands import Command
from lastseen.errors import Closed, LastseenError

from service.running.task_run import TaskRun

logger = logging.getLogger(__name__)

MOST_WAITING = 1_000


class HeldTask:
    """Applies the commands of one task, in their order, beside its run.

    At most MOST_WAITING wait; a further one is passed over. Its sender is told that nothing is known of it, and may
    send it again with the same id.
    """

    def __init__(self, task: str, run: TaskRun, begun: asyncio.Event, admit: Callable[[], Awaitable[None]]) -> None:
        """`begun` is set once the program runs: until then commands wait, so that the start is told of first."""
        self.task = task
        self.run = run
        self._begun = begun
        self._admit = admit
        self._commands: asyncio.Queue[Command] = asyncio.Queue(MOST_WAITING)

    def take(self, command: Command) -> None:
        """One more command of it."""
        try:
            self._commands.put_nowait(command)
        except asyncio.QueueFull:
            logger.warning("task %s: command %s is passed over, %d wait", self.task, command.id, MOST_WAITING)

    async def live(self) -> None:
        """Run it to its end. What goes wrong comes out in an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            applying = group.create_task(self._apply())
            outcome = await self.run.run()
            applying.cancel()
        logger.info("task %s has ended: %s %d", self.task, outcome.reason, outcome.exit_code)

    async def _apply(self) -> None:
        await self._begun.wait()
        while True:
            command = await self._commands.get()
            try:
                # Whoever was frozen may have lost the task meanwhile.
                await self._admit()
                await self.run.apply(command)
            except Closed:
                return
            except LastseenError as error:
                logger.warning("task %s: command %s: %s", self.task, command.id, error)
