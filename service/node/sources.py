"""What a node asks Kafka and Postgres about the past, for all its readers together.

Questions that many have at once are asked once; reads of the history are bounded, and readers take turns at them. A
Kafka that did not answer is waited for only a moment the next time.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from service.domain.catchup import NeedsHistory
from service.domain.errors import HistoryUnavailable, LogUnavailable, Unavailable
from service.domain.ranges import Bounds, Coverage
from service.node.fairness import FairTurns
from service.node.recent_pages import RecentPages
from service.node.sharing import PatientQuestion, SingleFlight
from service.ports import EventLog, History, HistoryPage

_PageKey = tuple[tuple[str, ...], tuple[tuple[int, int], ...], int, frozenset[str], tuple[tuple[int, int], ...] | None]
"""Channels, the position before the page, how many records at most, of which types, and where offline messages end."""


class Held(NamedTuple):
    """What Kafka and Postgres hold of each partition, as far as they can be asked; the words are those of `plan`."""

    log: Mapping[int, Bounds]
    log_known: bool
    history: Mapping[int, Coverage]
    history_known: bool


class Copied(TypedDict):
    """Postgres's part of `Held`."""

    history: Mapping[int, Coverage]
    history_known: bool


class Sources:
    """Kafka and Postgres, asked about the past. `reads` bounds how many pages of the history are read at once.

    With `tasks`, what is held is asked in one of them, and waited for no longer than somebody may be kept waiting.
    """

    def __init__(self, log: EventLog, history: History, reads: int, tasks: asyncio.TaskGroup | None = None) -> None:
        self._log = log
        self._history = history
        self._turns = FairTurns(reads)
        # The history can mostly do without Kafka, and Kafka without it, where one hangs.
        self._bounds = PatientQuestion(self._ask_bounds, 1.0, 0.1, tasks)
        self._coverage = PatientQuestion(self._ask_coverage, 5.0, 0.5, tasks)
        self._reading: SingleFlight[_PageKey, HistoryPage] = SingleFlight()
        self._recent: RecentPages[_PageKey, HistoryPage] = RecentPages()
        self._last: Mapping[int, Bounds] = {}

    @property
    def log(self) -> EventLog:
        """Kafka, to read ranges from."""
        return self._log

    @property
    def history(self) -> History:
        """Postgres, for what is neither a page nor its coverage."""
        return self._history

    async def bounds(self) -> Mapping[int, Bounds]:
        """What Kafka holds, asked after the call. Raises LogUnavailable, soon where it has just not answered."""
        try:
            self._last = await self._bounds.ask()
        except TimeoutError:
            raise LogUnavailable("Kafka does not answer in time") from None
        return self._last

    def cancel(self) -> None:
        """End what is being asked."""
        self._bounds.cancel()
        self._coverage.cancel()

    def lowest_in_log(self, partition: int) -> int:
        """The lowest offset that Kafka may hold, by what it said last."""
        return self._last[partition].first if partition in self._last else 0

    async def _ask_bounds(self) -> Mapping[int, Bounds]:
        return await self._log.bounds()

    async def _ask_coverage(self) -> Mapping[int, Coverage]:
        return await self._history.coverage()

    async def held(self) -> Held:
        """What is held now."""
        # Kafka first: what its retention drops meanwhile has been copied by the time Postgres is asked, so it is
        # seen in one of the two. The other way round it could be in neither, and a gap be told that is none.
        try:
            log, log_known = await self.bounds(), True
        except LogUnavailable:
            log, log_known = self._last, False
        return Held(log, log_known, **await self.copied())

    async def copied(self) -> Copied:
        """What Postgres holds, asked after the call; not known where it does not say so soon."""
        try:
            return {"history": await self._coverage.ask(), "history_known": True}
        except (HistoryUnavailable, TimeoutError):
            return {"history": {}, "history_known": False}

    async def page(
        self,
        who: str,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        """As `History.page`, in the turn of `who`; the answer may be that to another reader of the same range.

        It may end before `upto`, and is as good as coverage says that is asked for afterwards.
        """
        # Not `upto`: what follows a position is the same however far somebody was to read. Offline messages end there.
        key: _PageKey = (
            tuple(sorted(channels)),
            tuple(sorted(after.items())),
            limit,
            frozenset(types),
            tuple(sorted(upto.items())) if offline else None,
        )
        if (known := self._recent.find(key)) is not None:
            return known

        async def read() -> HistoryPage:
            async with self._turns.turn(who):
                page = await self._history.page(channels, after, upto, limit, types, offline=offline)
            if len(page.records) >= limit:
                self._recent.keep(key, page)
            return page

        return await self._reading.ask(key, read)

    async def page_back(
        self,
        who: str,
        channels: Sequence[str],
        upto: Mapping[int, int],
        down_to: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
    ) -> HistoryPage:
        """As `History.page_back`, in the turn of `who`."""
        async with self._turns.turn(who):
            return await self._history.page_back(channels, upto, down_to, limit, types)


def needed(steps: Iterable[object]) -> Unavailable:
    """Who has to be waited for, where nothing can be read before."""
    if any(isinstance(step, NeedsHistory) for step in steps):
        problem = "Kafka no longer holds all that is needed, and Postgres does not answer"
        return HistoryUnavailable(problem, retry_after=5.0)
    return LogUnavailable("Postgres does not hold all that is needed, and Kafka does not answer", retry_after=2.0)
