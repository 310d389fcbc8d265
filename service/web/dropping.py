"""Dropping a connection some time after its end.

A transport that is merely closed waits for the client to take what is buffered: for one that has stopped reading it
would be held, with its descriptor, for as long as that client likes.
"""

import asyncio
from collections.abc import Callable


def drop_in(
    seconds: float, drop: Callable[[], None], dropping: asyncio.TimerHandle | None, loop: asyncio.AbstractEventLoop
) -> asyncio.TimerHandle:
    """Call `drop` then, unless that is to happen sooner already, by `dropping`."""
    at = loop.time() + seconds
    if dropping is not None:
        if dropping.when() <= at:
            return dropping
        dropping.cancel()
    return loop.call_at(at, drop)
