"""When Python looks for garbage that refers to itself: in a node, whose memory is large and mostly lasts.

Of its own accord Python looks through everything once a quarter of it is new: seconds for a large window, in which
nobody is served. So only what is new is looked through, which takes milliseconds, and what outlives that is set aside.

What ends in a node is made so that it does not refer to itself, and is gone without a look
(`tests/integration/test_left_over.py`). A look at what was set aside can't be made in parts, and takes the longer the
more there is. So there is one only where there are signs of garbage in it, when nobody waits for it, and where it will
be short: 0.1 s. On a larger node it waits until that has become smaller, or until what is left over costs more memory
than a longer look is worth.
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
_MUCH_LEFT: Final = 5_000
"""As many as that are worth a look however long it takes: some 35 MB."""
_SECONDS: Final = 3_600.0
_FOUND: Final = 1_000_000
"""Objects of garbage among what was new, in that time. Of what refers to itself and is gone as fast, one in hundreds
was set aside before; where next to nothing is found there is no more among what is old."""
_LONGEST_SECONDS: Final = 0.1
_SECONDS_EACH: Final = 0.6e-6
"""What a look takes for each object that was set aside, until one has been timed."""
_LOOK_SECONDS: Final = 5.0
_LATER_SECONDS: Final = 60.0
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
    """Look through everything where that is due, until cancelled; within `set_aside`.

    That is once many conversations that have ended are `left`, or after an hour in which much garbage was found among
    what was new; where it will be short, and when it is `quiet`: that waits for it, so many seconds at most.
    """
    each, found_before, looked_at = _SECONDS_EACH, _found(), time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        conversations = left()
        is_due = time.monotonic() - looked_at > _SECONDS and _found() - found_before > _FOUND
        if conversations < _LEFT and not is_due:
            continue
        objects = gc.get_freeze_count()
        if objects * each > _LONGEST_SECONDS and conversations < _MUCH_LEFT:
            _log.debug("%d conversations left, but %d objects are too many to look through", conversations, objects)
            await asyncio.sleep(_LATER_SECONDS)
            continue
        await quiet(_QUIET_SECONDS)
        began = time.monotonic()
        gc.unfreeze()
        found = gc.collect()
        found_before, looked_at = _found(), time.monotonic()
        took = looked_at - began
        each = took / max(1, objects)
        level = logging.DEBUG if conversations < _LEFT else logging.WARNING
        _log.log(level, _LOOKED, objects, took * 1000, found, conversations)


_LOOKED: Final = (
    "looked through %d objects in %.0f ms: %d of garbage; %d conversations that had ended were there still, "
    "which is a fault of this program"
)


def _found() -> int:
    """How much garbage was found so far among what was new."""
    return int(gc.get_stats()[0]["collected"])
