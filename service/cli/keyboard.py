"""The terminal in which a command runs, where it has one."""

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lastseen.task_events import Outcome

    from service.running.task_run import TaskRun

_STDIN: Final = 0
_READ_BYTES: Final = 4096
_INTERRUPT: Final = b"\x03"


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal that we write to; the usual ones where there is none."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return 80, 24
    return (size.columns, size.lines) if size.columns and size.lines else (80, 24)


def is_foreground() -> bool:
    """Whether we are what the terminal's keys go to, and its Ctrl-C."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


@asynccontextmanager
async def passed_to(
    run: "TaskRun", running: "asyncio.Future[Outcome]", begun: asyncio.Event, *, wanted: bool
) -> AsyncIterator[None]:
    """Where that is `wanted` and we have a terminal: once the program runs, all keys go to it, Ctrl-C as well."""
    if not (wanted and os.isatty(_STDIN) and is_foreground()):
        yield
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(_STDIN, _READ_BYTES)
        if not data:
            loop.remove_reader(_STDIN)
        elif run.is_running:
            run.type(data)
        elif _INTERRUPT in data:
            # It has ended, and its last events have not been taken yet.
            running.cancel()

    async def pass_keys() -> None:
        await begun.wait()
        tty.setraw(_STDIN)
        loop.add_reader(_STDIN, read)

    before = termios.tcgetattr(_STDIN)
    passing = asyncio.ensure_future(pass_keys())
    try:
        yield
    finally:
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
        loop.remove_reader(_STDIN)
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
