"""The times of one event stream: its keep-alives, the end of its token and of itself."""

import asyncio
from collections.abc import Awaitable, Callable

from service.domain.identity import Identity
from service.ports import Clock
from service.settings import Settings


class StreamTimes:
    """Begun when it is made. Tells what is due, and waits no longer than until something is."""

    def __init__(self, settings: Settings, clock: Clock, identity: Identity) -> None:
        self._clock = clock
        self._keepalive = settings.stream_keepalive_seconds
        self._expires_at = identity.expires_at + settings.jwt_leeway_seconds
        self._loop = asyncio.get_running_loop()
        self._told_at = self._loop.time()
        self._ends_at = None if settings.stream_seconds is None else self._told_at + settings.stream_seconds
        self._is_ended = False
        self._waiting: asyncio.Timeout | None = None

    @property
    def is_over(self) -> bool:
        """Whether it ends here."""
        is_old = self._ends_at is not None and self._loop.time() >= self._ends_at
        return self._is_ended or is_old or self.is_expired

    @property
    def is_ended(self) -> bool:
        """Whether `end` was called."""
        return self._is_ended

    @property
    def is_expired(self) -> bool:
        """Whether its token has."""
        return self._left_seconds <= 0

    @property
    def is_keepalive_due(self) -> bool:
        """Whether it has said nothing for so long."""
        return self._loop.time() >= self._told_at + self._keepalive

    def told(self) -> None:
        """It says something."""
        self._told_at = self._loop.time()

    def end(self) -> None:
        """End it from outside, whatever it waits for."""
        self._is_ended = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(0.0)

    async def wait(self, what: Callable[[], Awaitable[object]]) -> None:
        """For `what`, or until something is due."""
        if self._is_ended:
            return
        due = [self._told_at + self._keepalive, self._loop.time() + self._left_seconds]
        if self._ends_at is not None:
            due.append(self._ends_at)
        try:
            async with asyncio.timeout_at(min(due)) as self._waiting:
                await what()
        except TimeoutError:
            pass
        finally:
            self._waiting = None

    @property
    def _left_seconds(self) -> float:
        return self._expires_at - self._clock.now_ms() / 1000
