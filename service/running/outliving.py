"""What goes on of a program once it has ended: others that hold its output."""

import asyncio
from collections.abc import Sequence
from typing import Final

from service.running.process import Process

QUIET_SECONDS: Final = 1.0
"""How long they may be silent."""


async def outlive(process: Process, pumps: Sequence["asyncio.Task[None]"], stop: "asyncio.Task[bool]") -> None:
    """Wait until its output has ended, or nobody writes any more; or nobody is left of its session; or for `stop`.

    As long as somebody goes on writing that takes as long as it takes.
    """
    while not stop.done() and (process.is_alive or not process.has_session):
        open_ = [pump for pump in pumps if not pump.done()]
        if not open_:
            return
        before = _reads(process)
        done, _ = await asyncio.wait([*open_, stop], timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        all_wait = sum(stream.is_waiting for stream in process.streams) >= len(open_)
        if not done and all_wait and before == _reads(process):
            return


def _reads(process: Process) -> int:
    return sum(stream.reads for stream in process.streams)
