"""The one loop that every consumer runs in: it starts the work, starts it again, and stops it on a signal."""

import asyncio
import gc
import logging
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from service.adapters.kafka.seldom import log_seldom
from service.cancellation import heed_cancellation, is_cancelled
from service.domain.errors import LastseenError, Unavailable
from service.settings import Settings, read_settings

logger = logging.getLogger(__name__)

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
GARBAGE_THRESHOLDS = (400_000, 20, 100)
"""A record that is read makes some ten objects, which are let go of once it is written: at Python's own 700 new ones
between two looks for garbage, looking takes as long as reading."""
WENT_WELL_SECONDS = 10.0
"""Work that ran this long begins with the shortest wait again."""

Work = Callable[[], Awaitable[None]]


def run(name: str, *works: Callable[[Settings], Awaitable[None]]) -> None:
    """Be the process `name`: do all `works` side by side until SIGTERM or SIGINT, which cancel them; then exit with 0.

    Any error but Unavailable ends the process with a traceback, for its supervisor to see; settings that are
    wrong end it with a sentence.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    log_seldom()
    try:
        settings = read_settings()
    except LastseenError as error:
        sys.exit(f"{name}: {error}")
    # What is imported lasts.
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(until_signal(name, lambda: work_side_by_side(name, [partial(work, settings) for work in works])))


async def work_side_by_side(name: str, works: Sequence[Work]) -> None:
    """Keep working at all of them; whatever fails comes out, and the others end with the event loop.

    Cancelled, it ends when all have cleaned up; cancelled again, their cleaning up is cancelled.
    """
    # Not a TaskGroup, which cancels its tasks once: a second signal has to reach them as well.
    working = [asyncio.ensure_future(keep_working(name, work)) for work in works]
    try:
        await asyncio.gather(*working)
    except asyncio.CancelledError:
        # That is when the first has ended. The event loop, when it ends, cancels all there is: a driver of another that
        # has been told to close would lose what it closes with, and wait for that in vain.
        await _all_ended(working)
        raise


async def _all_ended(working: Sequence[asyncio.Future[None]]) -> None:
    """Wait for what has been cancelled; each cancellation meanwhile goes to all that is left."""
    while left := [one for one in working if not one.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            for one in left:
                one.cancel()


async def until_signal(name: str, work: Work) -> None:
    """Await `work`; a first SIGTERM or SIGINT cancels it, a second one its cleaning up as well."""
    working = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    came: list[str] = []

    def stop(signal_name: str) -> None:
        came.append(signal_name)
        working.cancel()

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop, signal_.name)
    try:
        await working
    except asyncio.CancelledError:
        logger.info("%s stopped by %s", name, came[0] if came else "its caller")


async def keep_working(name: str, work: Work) -> None:
    """Await `work` again and again: after Unavailable with a wait that doubles, up to LONGEST_WAIT."""
    loop = asyncio.get_running_loop()
    wait = FIRST_WAIT
    while True:
        heed_cancellation()
        started = loop.time()
        try:
            await work()
        except (Unavailable, asyncio.CancelledError) as error:
            if is_cancelled():
                # Kafka's client swallows a cancellation while it closes: then what it was closed for comes out.
                raise asyncio.CancelledError from error
            # A future of a driver's own that was cancelled looks the same; the process would end without a word.
            if loop.time() - started > WENT_WELL_SECONDS:
                wait = FIRST_WAIT
            # Jitter, so that the instances of a deployment don't come back in step.
            pause = wait * random.uniform(0.5, 1.0)  # noqa: S311
            logger.warning("%s waits %.1f s: %s", name, pause, str(error) or "its driver gave up what it was doing")
            await asyncio.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
