"""The lease of this incarnation, kept by a thread of its own: work can't starve it, a blocked event loop neither."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from lastseen.errors import Closed
from lastseen.threads import in_thread

from consumers.running.clock import uptime
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.pool import open_pool
from service.domain.errors import Unavailable

logger = logging.getLogger(__name__)

STUCK_SECONDS: Final = 60.0
"""A process whose event loop did nothing for so long does not hold its tasks any more."""
_TICK_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.05


class Lease:
    """Renews the lease of the incarnation `runner`, which has begun. Use it in an `async with`.

    Others give it up when they have seen no renewal for `patience` seconds. A process that has slept for half of that
    can't know whether they have: from its waking on nothing is admitted until a renewal has gone well. While Postgres
    is merely away everything is.
    """

    def __init__(self, database_url: str, runner: str, patience: float) -> None:
        self._url = database_url
        self._runner = runner
        self._patience = patience
        self._every = min(1.0, patience / 5)
        self._blink = patience / 2
        self._beaten = self._ticked = uptime()
        # How often the thread woke from a sleep, and the event loop from being stuck; each writes its own. And up to
        # which of both it is certain, by the thread.
        self._wakings = 0
        self._unstuck = 0
        self._certain = (0, 0)
        self._stop: Callable[[], object] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        begun: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, begun), daemon=True, name="lease")
        self._thread.start()
        await begun
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._ended is not None
        assert self._thread is not None
        if self._stop is not None:
            with suppress(RuntimeError):  # its loop has ended
                self._stop()
        await in_thread(self._thread.join)
        if self._ended.done():
            self._ended.exception()

    def beat(self) -> None:
        """The event loop works: to be called every second or so."""
        now = uptime()
        if now - self._beaten > STUCK_SECONDS:
            self._unstuck += 1
        self._beaten = now

    @property
    def is_lost(self) -> bool:
        """Whether it is known that others have given this incarnation up."""
        assert self._ended is not None, "entered"
        return self._ended.done()

    async def lost(self) -> None:
        """Waits until it is."""
        assert self._ended is not None, "entered"
        await asyncio.shield(self._ended)

    async def admit(self) -> None:
        """Waits until it is certain that the lease is held, as far as can be known here. Raises Closed when lost."""
        while True:
            if self.is_lost:
                raise Closed("the lease is lost")
            # In this order: who has just woken finds tick or beat old, or the waking counted.
            is_awake = uptime() - self._ticked <= self._blink and uptime() - self._beaten <= STUCK_SECONDS
            if is_awake and self._certain == (self._wakings, self._unstuck):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _run(self, loop: asyncio.AbstractEventLoop, begun: "asyncio.Future[None]") -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._keep(loop, begun))
        except asyncio.CancelledError:
            return
        except BaseException as raised:  # noqa: BLE001 - raised again where the loss is waited for
            error = raised
        with suppress(RuntimeError):  # the other loop has ended
            loop.call_soon_threadsafe(self._tell, error)

    def _tell(self, error: BaseException | None) -> None:
        assert self._ended is not None
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _keep(self, loop: asyncio.AbstractEventLoop, begun: "asyncio.Future[None]") -> None:
        """Until it is stopped, or lost."""
        keeper = asyncio.current_task()
        assert keeper is not None
        thread_loop = asyncio.get_running_loop()
        self._stop = lambda: thread_loop.call_soon_threadsafe(keeper.cancel)
        loop.call_soon_threadsafe(begun.set_result, None)
        async with open_pool(self._url, size=1, seconds=max(self._every, self._blink)) as pool:
            ticking = asyncio.create_task(self._tick())
            try:
                await self._renew(PostgresLeases(pool))
            finally:
                ticking.cancel()

    async def _tick(self) -> None:
        while True:
            now = uptime()
            if now - self._ticked > self._blink:
                self._wakings += 1
                logger.warning(
                    "this process stood still for %.1f s: asking whether it is still held", now - self._ticked
                )
            self._ticked = now
            await asyncio.sleep(_TICK_SECONDS)

    async def _renew(self, leases: PostgresLeases) -> None:
        away = False
        while True:
            awake = self._wakings, self._unstuck
            if uptime() - self._beaten <= STUCK_SECONDS:
                try:
                    if not await leases.renew(self._runner):
                        return
                    self._certain = awake
                    if away:
                        logger.info("the lease is renewed again")
                    away = False
                except Unavailable as error:
                    if not away:
                        logger.warning("the lease can't be renewed now: %s", error)
                    away = True
            is_certain = self._certain == (self._wakings, self._unstuck)
            await asyncio.sleep(self._every if is_certain else _LOOK_SECONDS)
