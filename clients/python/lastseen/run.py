"""Running a program as a task: what it writes and how it ends become events.

Nothing that the program wrote is lost and none of it piles up: what is not published yet is bounded by the
publisher's queue, and when that is full (the service is away, say) the program waits in its own `write`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from lastseen.answers import Place
from lastseen.chunks import Chunk, Chunker
from lastseen.envelope import Event
from lastseen.errors import Closed, LastseenError
from lastseen.publisher import Publisher
from lastseen.task_events import NOT_EXECUTABLE, NOT_FOUND, Outcome, TaskEvents
from lastseen.tee import Tee

LINGER_SECONDS: Final = 0.03
READ_BYTES: Final = 64 * 1024
QUIET_SECONDS: Final = 1.0
"""How long, once the program has ended, its children that still hold its output may be silent."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `env` and `cwd` are our own where they are None."""

    argv: Sequence[str]
    cwd: str | None = None
    env: Mapping[str, str] | None = None


class ProgramRun:
    """One program, run as the task of `events`.

    `stdout` and `stderr` are the descriptors that its output is written through to (None: to nowhere); its
    stdin is ours. `warn` is told, once, when the service refuses its events: the program goes on without.
    """

    def __init__(
        self,
        publisher: Publisher,
        events: TaskEvents,
        command: Command,
        *,
        stdout: int | None = 1,
        stderr: int | None = 2,
        warn: Callable[[str], None],
    ) -> None:
        self._publisher = publisher
        self._events = events
        self._command = command
        self._tees = {"stdout": Tee(stdout), "stderr": Tee(stderr)}
        self._warn = warn
        self._refused = False
        self._process: asyncio.subprocess.Process | None = None
        self._read = 0
        """Counts what was read, to see when nothing more comes."""
        self._waiting: set[str] = set()
        """The streams whose pump waits for the program, not for a reader or the service."""

    @property
    def is_running(self) -> bool:
        """Whether the program has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def send_signal(self, number: int) -> None:
        """Pass a signal on to the program, if it runs."""
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    async def run(self) -> Outcome:
        """Run it to its end and publish all of it.

        The program starts once the log has `task_started`; raises Rejected when the service refuses that.
        """
        cwd = self._command.cwd or os.getcwd()
        await self._publisher.publish(self._events.started(self._command.argv, cwd))
        try:
            outcome = await self._run_program()
            previous = "running"
        except OSError as error:
            outcome, previous = _not_started(error), "pending"
            self._warn(f"{self._command.argv[0]}: {error.strerror or error}")
        for event in self._events.ended(outcome, previous):
            await self._publish(event)
        await self._publisher.flush()
        return outcome

    async def _run_program(self) -> Outcome:
        async with _pipe() as out, _pipe() as err:
            try:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command.argv,
                    stdout=out.write_end,
                    stderr=err.write_end,
                    cwd=self._command.cwd,
                    env=self._command.env,
                )
            finally:
                os.close(out.write_end)
                os.close(err.write_end)
            try:
                await self._publish(self._events.running(process.pid))
                async with asyncio.TaskGroup() as group:
                    pumps = {
                        "stdout": group.create_task(self._pump("stdout", out.reader)),
                        "stderr": group.create_task(self._pump("stderr", err.reader)),
                    }
                    returncode = await process.wait()
                    await self._drain(pumps)
                    for pipe in (out, err):
                        pipe.transport.close()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return Outcome.of(returncode)

    async def _drain(self, pumps: Mapping[str, "asyncio.Task[None]"]) -> None:
        """Wait for the rest of the output: its end, or a while in which its heirs write nothing."""
        while open_ := {name for name, pump in pumps.items() if not pump.done()}:
            before = self._read
            await asyncio.wait(pumps.values(), timeout=QUIET_SECONDS)
            if before == self._read and open_ <= self._waiting:
                return

    async def _pump(self, name: str, reader: asyncio.StreamReader) -> None:
        clock = asyncio.get_running_loop().time
        chunker, tee = Chunker(name), self._tees[name]
        flush_at: float | None = None
        while True:
            self._waiting.add(name)
            try:
                async with asyncio.timeout_at(flush_at):
                    data = await reader.read(READ_BYTES)
            except TimeoutError:
                data = None
            self._waiting.discard(name)
            if data is None:
                flush_at = None
                await self._publish_all(chunker.flush())
                continue
            if not data:
                await self._publish_all(chunker.finish())
                return
            self._read += 1
            await tee.write(data)
            await self._publish_all(chunker.feed(data))
            if not chunker.is_waiting:
                flush_at = None
            elif flush_at is None:
                flush_at = clock() + LINGER_SECONDS
            elif flush_at <= clock():
                flush_at = None
                await self._publish_all(chunker.flush())

    async def _publish_all(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            await self._publish(self._events.output(chunk))

    async def _publish(self, event: Event) -> None:
        if self._refused:
            return
        try:
            place = await self._publisher.submit(event)
        except LastseenError as error:
            self._refuse(error)
        else:
            place.add_done_callback(self._placed)

    def _placed(self, place: "asyncio.Future[Place]") -> None:
        if not place.cancelled() and isinstance(error := place.exception(), LastseenError):
            self._refuse(error)

    def _refuse(self, error: LastseenError) -> None:
        if not self._refused:
            self._refused = True
            if isinstance(error, Closed):
                return  # whoever closed the publisher knows
            self._warn(f"the task's events are no longer published: {error}")


def _not_started(error: OSError) -> Outcome:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Outcome(NOT_FOUND, "not_found")
    return Outcome(NOT_EXECUTABLE, "not_executable")


@dataclass(frozen=True, slots=True)
class _Pipe:
    reader: asyncio.StreamReader
    transport: asyncio.ReadTransport
    write_end: int
    """What the program gets; closed here once it has it."""


@asynccontextmanager
async def _pipe() -> AsyncIterator[_Pipe]:
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader(READ_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        yield _Pipe(reader, transport, write_end)
    finally:
        transport.close()
