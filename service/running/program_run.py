"""A program that runs: its output is read, its input written, and it is over when nothing of it goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from service.running.ending import Patience, end, kill
from service.running.input_writer import InputWriter
from service.running.outliving import outlive
from service.running.process import Process
from service.running.pump import Pump


class ProgramRun:
    """Owns the process. `writer` is None where it takes no input; `warn` is told of what could not be killed."""

    def __init__(
        self,
        process: Process,
        pumps: Sequence[Pump],
        writer: InputWriter | None,
        patience: Patience,
        warn: Callable[[str], None],
    ) -> None:
        self.process = process
        self.writer = writer
        self._pumps = pumps
        self._patience = patience
        self._warn = warn
        self._tasks: asyncio.TaskGroup | None = None
        self._ending: asyncio.Task[bool] | None = None
        self._ending_began = asyncio.Event()

    async def run(self, started: Callable[[], Awaitable[None]], exited: Callable[[bool], None]) -> int:
        """Its return code, once all that belongs to it has ended, and its output has been published.

        `started` is awaited before any of its output is published; `exited` is called when the program has ended, with
        whether others of its session go on, and when they have. Cancelled, it kills them all.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                return await self._watch(tasks, started, exited)
        finally:
            try:
                if self.process.is_alive:
                    await kill(self.process)
            finally:
                self.process.close()

    def end(self) -> None:
        """Begin to end it, with one signal after the other; nothing more is written to it."""
        self._stop_writing()
        if self._ending is None and self._tasks is not None:
            self._ending = self._tasks.create_task(end(self.process, self._patience))
            self._ending_began.set()

    async def _watch(
        self, tasks: asyncio.TaskGroup, started: Callable[[], Awaitable[None]], exited: Callable[[bool], None]
    ) -> int:
        process = self.process
        pumps = [tasks.create_task(pump.run()) for pump in self._pumps]
        writing = None if self.writer is None else tasks.create_task(self.writer.run())
        began = tasks.create_task(self._ending_began.wait())
        await started()
        returncode = await process.wait()
        self._stop_writing()
        exited(process.has_session and process.is_alive)
        await outlive(process, pumps, began)
        began.cancel()
        if self._ending is None and process.has_session and process.is_alive:
            self._ending = tasks.create_task(end(process, self._patience, interrupt=False))
        if self._ending is not None and not await self._ending:
            self._warn(f"processes of the session {process.pid} could not be killed")
        exited(False)
        for stream in process.streams:
            stream.cut()
        await asyncio.wait(pumps)
        if writing is not None:
            await writing
        return returncode

    def _stop_writing(self) -> None:
        if self.writer is not None:
            self.writer.stop()
