"""Ending a program and all that belongs to it: politely first, surely at last."""

import asyncio
import signal
from dataclasses import dataclass
from typing import Final

from service.running.process import Process

_LOOK_SECONDS: Final = 0.02
_KILLED_WITHIN: Final = 10.0
"""What hangs in the kernel can't be waited for."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a program has to end after SIGINT before SIGTERM follows, and after that before SIGKILL."""

    after_interrupt: float = 5.0
    after_terminate: float = 5.0


async def end(process: Process, patience: Patience, *, interrupt: bool = True) -> bool:
    """End it with one signal after the other; back when nobody of it goes on. False: it could not be killed.

    Without `interrupt` it begins with SIGTERM.
    """
    polite = ((signal.SIGINT, patience.after_interrupt),) if interrupt else ()
    for number, seconds in (*polite, (signal.SIGTERM, patience.after_terminate)):
        process.send(number)
        process.send(signal.SIGCONT)  # whoever is stopped would not notice
        if await _gone(process, seconds):
            return True
    return await kill(process)


async def kill(process: Process) -> bool:
    """End it at once; back when nobody of it goes on. False: it could not be killed."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _KILLED_WITHIN
    while True:
        process.send(signal.SIGKILL)
        if await _gone(process, 5 * _LOOK_SECONDS):
            return True
        if loop.time() > until:
            return False


async def _gone(process: Process, within: float) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + within
    while process.is_alive:
        if loop.time() >= until:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
