"""Keeps child processes running, and stops them all.

Children are started in batches: those of a batch start side by side and stop side by side, batches stop in reverse
order. A child that ends by itself is started again, after a back-off that doubles while it keeps failing.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from service.embedded import child as children
from service.embedded.child import Child, log_size, reason
from service.embedded.errors import StartError
from service.embedded.together import together

FIRST_DELAY = 0.2
LONGEST_DELAY = 15.0
RAN_WELL = 30.0
STOP_WITHIN = 8.5
POLL = 0.05


@dataclass(slots=True)
class _Kept:
    child: Child
    process: asyncio.subprocess.Process
    since: float
    log_start: int
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Owns child processes; leaving it stops them all within 10 seconds.

    `tell` gets one line whenever a child ends or is started again. `changed` gets name → pid whenever that changed.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        tell: Callable[[str], None],
        changed: Callable[[Mapping[str, int]], None] = lambda _pids: None,
    ) -> None:
        self._run_dir = run_dir
        self._tell = tell
        self._changed = changed
        self._batches: list[list[_Kept]] = []
        self._failed: asyncio.Future[None] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Name → pid of every child."""
        return {kept.child.name: kept.process.pid for batch in self._batches for kept in batch}

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def start(self, *batch: Child) -> None:
        """Starts a batch and waits until all of it is ready.

        Raises StartError when one ends or isn't ready in time; what did start is stopped with everything else.
        """
        kept: list[_Kept] = []
        self._batches.append(kept)
        for child in batch:
            start = log_size(child.log)
            process = await self._spawn(child)
            # One by one: if the next can't be spawned, this one is known, and so stopped.
            kept.append(_Kept(child, process, asyncio.get_running_loop().time(), start))
        self._changed(self.pids)
        await together(*(self._until_ready(one) for one in kept))
        for one in kept:
            one.keeper = asyncio.create_task(self._keep(one), name=f"keep {one.child.name}")
            one.keeper.add_done_callback(self._keeper_done)

    async def wait(self) -> None:
        """Returns never; raises what made the supervisor itself fail."""
        assert self._failed is not None, "entered"
        await self._failed

    def _keeper_done(self, keeper: asyncio.Task[None]) -> None:
        assert self._failed is not None, "entered"
        if not keeper.cancelled() and (error := keeper.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        try:
            return await children.spawn(child, self._run_dir)
        except OSError as error:
            raise StartError(f"{child.name} could not be started: {error}.") from error

    async def _until_ready(self, kept: _Kept) -> None:
        name, within = kept.child.name, kept.child.ready_within
        ended = asyncio.create_task(kept.process.wait())
        asked = asyncio.create_task(_poll(kept.child))
        try:
            await asyncio.wait({ended, asked}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            why = reason(kept.child.log, kept.log_start)
            if asked.done():
                _answer(asked, name, why)
            elif ended.done():
                raise StartError(f"{name} ended at its start ({describe(ended.result())}){why}")
            else:
                raise StartError(f"{name} was not ready after {within:.0f} s{why}")
        finally:
            ended.cancel()
            asked.cancel()
            await asyncio.gather(ended, asked, return_exceptions=True)

    async def _keep(self, kept: _Kept) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while True:
            status = await kept.process.wait()
            if loop.time() - kept.since > RAN_WELL:
                delay = FIRST_DELAY
            self._tell(f"{kept.child.name} ended ({describe(status)}); starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)
            await self._start_again(kept)

    async def _start_again(self, kept: _Kept) -> None:
        try:
            kept.log_start = log_size(kept.child.log)
            kept.process = await self._spawn(kept.child)
            kept.since = asyncio.get_running_loop().time()
            self._changed(self.pids)
            await self._until_ready(kept)
            self._tell(f"{kept.child.name} runs again")
        except StartError as error:
            if kept.process.returncode is None:
                self._tell(str(error))
            await _end(kept, 0.0)

    async def _stop(self) -> None:
        deadline = asyncio.get_running_loop().time() + STOP_WITHIN
        for batch in reversed(self._batches):
            keepers = [one.keeper for one in batch if one.keeper is not None]
            for keeper in keepers:
                keeper.cancel()
            # Their failures were reported through `wait`; what counts now is that nothing is left running.
            await asyncio.gather(*keepers, return_exceptions=True)
            left = max(deadline - asyncio.get_running_loop().time(), 0.0)
            await asyncio.gather(*(_end(one, min(one.child.grace, left)) for one in batch))
            for one in batch:
                children.forget(one.child.name, self._run_dir)
        self._batches.clear()


def _answer(asked: asyncio.Task[None], name: str, why: str) -> None:
    error = asked.exception()
    if isinstance(error, StartError):
        raise error
    if error is not None:
        # Whatever it was, another start may go better: it must not end those that run.
        raise StartError(f"{name} can't be asked whether it is ready: {error!r}{why}") from error


async def _poll(child: Child) -> None:
    while child.ready is not None and not await child.ready():  # noqa: ASYNC110 (a process sets no event)
        await asyncio.sleep(POLL)


async def _end(kept: _Kept, grace: float) -> None:
    """Stops the process: by its own signal, and after `grace` seconds by SIGKILL."""
    process = kept.process
    if process.returncode is None and grace > 0:
        process.send_signal(kept.child.stop_signal)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    if process.returncode is None:
        process.kill()
        await process.wait()


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
