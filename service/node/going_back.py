"""The past, newest first: the partitions' records merged by their times of appending."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final

from service.domain.catchup import NeedsHistory, NeedsLog, earliest
from service.domain.errors import HistoryUnavailable, LogUnavailable
from service.domain.going_back import MissingBelow, NothingBelow, Source, StepBack, Stretch, plan_back
from service.domain.records import Record
from service.domain.window import Window
from service.node.past import Wanted
from service.node.replay import Replay
from service.node.sources import Held, Sources

_AT_ONCE: Final = 240
"""Records that are read ahead, over all partitions that have to be asked."""
_LOG_OFFSETS: Final = 500
"""Offsets of a partition that are read from Kafka at once."""


class Descent:
    """Takes the newest wanted record at or below `top` again and again, per partition down to `bottom`.

    Partitions are merged by (time of appending, partition); each keeps its own order. `deadline`, by the loop's
    clock, bounds how long it looks for one.
    """

    def __init__(
        self,
        window: Window,
        replay: Replay,
        sources: Sources,
        wanted: Wanted,
        top: Mapping[int, int],
        bottom: Mapping[int, int],
        deadline: float,
    ) -> None:
        self._window = window
        self._replay = replay
        self._sources = sources
        self._wanted = wanted
        self._bottom = bottom
        self._top = top
        self._unread = {p: offset for p, offset in top.items() if offset >= max(bottom[p], 0)}
        self._ahead: dict[int, deque[Record]] = {p: deque() for p in self._unread}
        self._below_missing: Mapping[int, int] = {}
        self._deadline = deadline
        self.missing: tuple[Mapping[int, int], str] | None = None
        """Set where `take` came upon what nobody holds: where something is held again, and the reason."""

    @property
    def rest(self) -> dict[int, int]:
        """What has not been taken lies at or below these offsets; -1 where a partition has no more."""
        return self._rest(self._unread)

    @property
    def is_over(self) -> bool:
        """Whether there is no more, or what comes next is `missing`; else `take` gave None at the deadline."""
        return self.missing is not None or not (self._unread or any(self._ahead.values()))

    async def take(self) -> Record | None:
        """The next record. None at the end, at the deadline, and before what is `missing`, which is passed then."""
        if self.missing is not None:
            self.missing = None
            self._unread |= self._below_missing
            self._drop_done()
        while starving := [p for p in self._unread if not self._ahead[p]]:
            await self._read(starving)
            if self.missing is not None or asyncio.get_running_loop().time() > self._deadline:
                return None
        newest = max(
            (ahead[0] for ahead in self._ahead.values() if ahead),
            key=lambda record: (record.appended_at, record.partition),
            default=None,
        )
        return None if newest is None else self._ahead[newest.partition].popleft()

    def put_back(self, record: Record) -> None:
        """It was not taken: the next call of `take` gives it again."""
        self._ahead[record.partition].appendleft(record)

    async def settle(self) -> None:
        """Find out whether it is over, where the next call of `take` would have to."""
        below = [p for p, upto in self._unread.items() if upto < self._window.first(p)]
        if len(below) == len(self._unread) > 0 and not any(self._ahead.values()):
            held = await self._sources.held()
            for partition in below:
                if isinstance(self._plan(partition, held), NothingBelow):
                    del self._unread[partition]

    def _rest(self, unread: Mapping[int, int]) -> dict[int, int]:
        return {p: self._ahead[p][0].offset if self._ahead.get(p) else unread.get(p, -1) for p in self._top}

    async def _read(self, starving: Sequence[int]) -> None:
        """One step further down in each of these partitions, or in some of them."""
        older = []
        for partition in starving:
            upto = self._unread[partition]
            if upto < self._window.first(partition):
                older.append(partition)
                continue
            found = self._window.read_back(self._wanted.channels, partition, upto, _share(starving))
            self._took(partition, found.records, found.served)
        if not older:
            await asyncio.sleep(0)
            return
        held = await self._sources.held()
        steps = {partition: self._plan(partition, held) for partition in older}
        if any(isinstance(step, NeedsHistory) for step in steps.values()):
            raise HistoryUnavailable("Kafka no longer holds all that is asked for, and Postgres does not answer")
        if any(isinstance(step, NeedsLog) for step in steps.values()):
            raise LogUnavailable("Postgres does not hold all that is asked for, and Kafka does not answer")
        self._find_missing(steps, held)
        if self.missing is not None:
            return
        stretches = {partition: step for partition, step in steps.items() if isinstance(step, Stretch)}
        copied = {p: stretch.down_to for p, stretch in stretches.items() if stretch.source is Source.HISTORY}
        if copied:
            await self._read_copied(copied)
        for partition, stretch in stretches.items():
            if stretch.source is Source.LOG:
                await self._read_logged(partition, stretch.down_to, held)

    def _find_missing(self, steps: Mapping[int, StepBack], held: Held) -> None:
        """Note what nobody holds. The end of everything held is told only to who began below it."""
        reasons = set()
        below: dict[int, int] = {}
        told: dict[int, int] = {}
        for partition, step in steps.items():
            if isinstance(step, MissingBelow):
                reasons.add(step.reason)
                below[partition] = told[partition] = step.first - 1
            elif isinstance(step, NothingBelow):
                below[partition] = -1
                earliest_ = self._earliest(partition, held)
                if self._unread[partition] == self._top[partition] < earliest_:
                    reasons.add("retention")
                    told[partition] = earliest_
        if reasons:
            self._below_missing = below
            self.missing = (self._rest(self._unread | below | told), "lost" if "lost" in reasons else "retention")
        else:
            self._unread |= below
            self._drop_done()

    def _earliest(self, partition: int, held: Held) -> int:
        found = earliest(self._window.first(partition), held.log.get(partition), held.history.get(partition))
        return found if isinstance(found, int) else -1

    async def _read_copied(self, down_to: Mapping[int, int]) -> None:
        upto = {p: self._unread[p] for p in down_to}
        lowest = {p: max(offset, self._bottom[p]) for p, offset in down_to.items()}
        wanted = self._wanted
        page = await self._sources.page_back(wanted.who, wanted.channels, upto, lowest, _share(upto), wanted.types)
        # A day that was dropped meanwhile is missing from the page: then it is planned anew.
        coverage = (await self._sources.copied())["history"]
        if all(p in coverage and coverage[p].first <= served for p, served in page.served.items()):
            for partition, served in page.served.items():
                self._took(partition, [r for r in page.records if r.partition == partition], served)

    async def _read_logged(self, partition: int, down_to: int, held: Held) -> None:
        upto = self._unread[partition]
        lowest = max(down_to, self._bottom[partition], upto + 1 - _LOG_OFFSETS)
        records: list[Record] = []
        async with aclosing(self._replay.logged(lowest - 1, partition, upto, held)) as pages:
            async for page in pages:
                records += page.records
        self._took(partition, records[::-1], lowest)

    def _took(self, partition: int, records: Sequence[Record], served: int) -> None:
        """Everything from `served` on has been read; `records` descend."""
        bottom = self._bottom[partition]
        self._ahead[partition].extend(r for r in records if r.offset >= bottom and self._wanted.matches(r))
        self._unread[partition] = served - 1
        self._drop_done()

    def _drop_done(self) -> None:
        for partition in [p for p, upto in self._unread.items() if upto < max(self._bottom[p], 0)]:
            del self._unread[partition]

    def _plan(self, partition: int, held: Held) -> StepBack:
        return plan_back(
            self._unread[partition],
            self._window.first(partition),
            held.log.get(partition),
            held.history.get(partition),
            log_known=held.log_known,
            history_known=held.history_known,
        )


def _share(partitions: Sequence[int] | Mapping[int, int]) -> int:
    return max(_AT_ONCE // len(partitions), 10)
