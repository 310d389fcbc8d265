"""When Python looks for garbage that refers to itself: in a node, whose memory is large and mostly lasts.

Of its own accord Python looks through everything once a quarter of it is new: seconds for a large window, in which
nobody is served. Nearly all of it is let go of without that. So only what is new is looked through, what outlives that
is set aside, and everything is looked through only where there are signs of garbage in it, when nobody waits for it.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

_log = logging.getLogger(__name__)
_NEW_OBJECTS: Final = 20_000
"""Between two looks at what is new. One request of events makes thousands that live on in the window and the
look-back: at Python's own 700 collecting costs a fifth of appending over HTTP."""
_NEVER: Final = 1_000_000_000
_LEFT: Final = 500
"""Conversations that have ended and are there still, of which each holds some kilobytes."""
_SECONDS: Final = 3_600.0
_LOOKS: Final = 50
"""Looks at what is new, in that time: what became garbage after it had been set aside is a part of what was made."""
_LOOK_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 60.0


@contextmanager
def set_aside() -> Iterator[None]:
    """Look through what is new alone; leave it as it was at the end."""
    before = gc.get_threshold()

    def done(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            gc.freeze()

    gc.collect()
    gc.freeze()
    gc.callbacks.append(done)
    gc.set_threshold(_NEW_OBJECTS, _NEVER, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(done)
        gc.unfreeze()


async def look_through(left: Callable[[], int], quiet: Callable[[float], Awaitable[None]]) -> None:
    """Look through everything now and then, until cancelled; within `set_aside`.

    That is once many conversations that have ended are `left`, or after an hour in which much was made; and when it is
    `quiet`: that waits for it, so many seconds at most. With ten thousand clients it takes a third of a second.
    """
    looks, looked_at = _looks(), time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        is_due = time.monotonic() - looked_at > _SECONDS and _looks() - looks > _LOOKS
        if left() < _LEFT and not is_due:
            continue
        await quiet(_QUIET_SECONDS)
        began = time.monotonic()
        gc.unfreeze()
        found = gc.collect()
        looks, looked_at = _looks(), time.monotonic()
        _log.debug("looked through everything in %.0f ms: %d objects of garbage", (looked_at - began) * 1000, found)


def _looks() -> int:
    """How often what is new was looked through so far."""
    return int(gc.get_stats()[0]["collections"])
