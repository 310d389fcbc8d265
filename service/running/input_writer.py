"""Writing to a program, in order, at its pace."""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from lastseen.commands import Command

from service.domain.commands import TASK_ENDED, State
from service.running.readiness import until_writable

MOST_WAITING: Final = 1_000
MOST_BYTES: Final = 2 * 1024 * 1024
"""Inputs, and their bytes, that wait for the program to read. Another is rejected with NO_ROOM."""
NO_INPUT: Final = "no_input"
NO_ROOM: Final = "no_room"
WRITE_FAILED: Final = "write_failed"
DEADLINE: Final = "deadline"


@dataclass(slots=True, eq=False)
class _Input:
    command: Command | None
    data: bytes
    deadline: float | None
    """The loop's time after which it is not begun any more."""
    written: int = 0


Settle = Callable[[Command, State, str | None], Awaitable[None]]


class InputWriter:
    """Writes one input after the other to `fd`, which does not block, and says what became of each command.

    `accept` is told of a command that has to wait for the program; `settle` of each, once it is known; `close` when
    nothing more is to be written.
    """

    def __init__(
        self, fd: int, accept: Callable[[Command], Awaitable[None]], settle: Settle, close: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._accept = accept
        self._settle = settle
        self._close = close
        self._waiting: deque[_Input] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._wake: asyncio.Future[None] | None = None
        self._ends = False
        self._stopped = False

    @property
    def problem(self) -> str | None:
        """Why another command can't be taken on."""
        if self._ends:
            return NO_INPUT
        is_full = len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_BYTES
        return NO_ROOM if is_full else None

    def add(self, data: bytes, command: Command | None = None, deadline: float | None = None) -> None:
        """Write this behind what waits; not once the loop's time is past `deadline` and none of it is written."""
        self._waiting.append(_Input(command, data, deadline))
        self._bytes += len(data)
        self._more.set()

    def end(self) -> None:
        """Close the program's stdin behind what waits."""
        if not self._ends:
            self._ends = True
            self._more.set()

    async def run(self) -> None:
        """Until stopped, or nothing more is to be written."""
        while not self._stopped:
            if not self._waiting:
                if self._ends:
                    self._close()
                    return
                self._more.clear()
                await self._more.wait()
                continue
            input_ = self._waiting[0]
            result = await self._write(input_)
            if result is None:
                return
            # In one step with the last byte: what is left then was not written.
            self._bytes -= len(self._waiting.popleft().data)
            if input_.command is not None:
                await self._settle(input_.command, *result)

    def stop(self) -> None:
        """Write no more; `run` returns once all is said of what was written."""
        self._stopped = True
        self._more.set()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def give_up(self) -> list[tuple[Command, State, str]]:
        """The task has ended: what became of the commands that still wait."""
        left = [
            (one.command, State.UNKNOWN, WRITE_FAILED) if one.written else (one.command, State.REJECTED, TASK_ENDED)
            for one in self._waiting
            if one.command is not None
        ]
        self._waiting.clear()
        return left

    async def _write(self, input_: _Input) -> tuple[State, str | None] | None:
        """What became of it; None where it was stopped before that was known."""
        clock = asyncio.get_running_loop().time
        accepted = input_.command is None
        while input_.written < len(input_.data):
            if self._stopped:
                return None
            if not input_.written and input_.deadline is not None and clock() >= input_.deadline:
                return State.EXPIRED, DEADLINE
            try:
                input_.written += os.write(self._fd, memoryview(input_.data)[input_.written :])
            except BlockingIOError:
                if not accepted and input_.command is not None:
                    accepted = True
                    await self._accept(input_.command)
                await self._until_writable(None if input_.written else input_.deadline)
            except OSError:
                return (State.UNKNOWN, WRITE_FAILED) if input_.written else (State.REJECTED, NO_INPUT)
        return State.APPLIED, None

    async def _until_writable(self, deadline: float | None) -> None:
        if self._stopped:
            return
        self._wake = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline):
                await until_writable(self._fd, self._wake)
        except TimeoutError:
            return
        finally:
            self._wake = None
