"""The claims of one incarnation: made before a start is late, and settled whenever Postgres is there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from lastseen.backoff import Backoff

from service.domain.errors import Unavailable
from service.ports import Claim, Leases

logger = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 0.5


class Claims:
    """Makes claims and ends them. Run `tend` beside it."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._ended: list[Claim] = []
        self._unused: list[Claim] = []

    async def make(self, claim: Claim, left: Callable[[], float]) -> bool:
        """Whether the task is ours, for `left` seconds at most.

        While Postgres is away it is tried again. What may have been claimed too late is given back.
        """
        backoff = Backoff(base=0.05, cap=1.0)
        uncertain = False
        while left() > 0:
            try:
                mine = await self._leases.claim(claim)
            except Unavailable as error:
                logger.warning("task %s can't be claimed now: %s", claim.task, error)
                uncertain = True
                await asyncio.sleep(min(backoff.next(), max(left(), 0.0)))
                continue
            if not mine:
                return False
            if left() > 0:
                return True
            uncertain = True
        if uncertain:
            self._unused.append(claim)
        return False

    def end(self, claim: Claim) -> None:
        """Its task has ended: Postgres will be told."""
        self._ended.append(claim)

    async def tend(self) -> NoReturn:
        """Until cancelled: settle what there is to settle."""
        while True:
            try:
                await self.settle()
            except Unavailable as error:
                logger.debug("claims are settled later: %s", error)
            await asyncio.sleep(SETTLE_SECONDS)

    async def settle(self) -> None:
        """Tell Postgres of all tasks that have ended so far. Raises HistoryUnavailable."""
        if ended := list(self._ended):
            await self._leases.end(ended)
            self._ended = [claim for claim in self._ended if claim not in ended]
        for claim in list(self._unused):
            await self._leases.release(claim)
            self._unused.remove(claim)

    @property
    def unsettled(self) -> int:
        """Claims that Postgres is still to be told of."""
        return len(self._ended) + len(self._unused)
