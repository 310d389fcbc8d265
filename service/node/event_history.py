"""The history of events for readers over HTTP: pages both ways, and a whole range as a stream.

Postgres, Kafka and the window are read as for replays, so that what was acknowledged before the question is in the
answer wherever it stands by then. Expired events are not left out.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from lastseen.positions import EARLIEST, Position

from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.messages import QUARANTINE
from service.domain.records import Record, Unusable
from service.domain.window import Window
from service.node.going_back import Descent
from service.node.going_forward import ascending
from service.node.head import Head
from service.node.past import Range, Wanted, offsets_at, starts_at
from service.node.replay import Lost, Page, Replay
from service.node.sources import Sources

PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page ends with the record that brings its values to this."""
_LAST_SECONDS: Final = 4.0
"""How long the last events are looked for: a `subscribe` waits no longer than 5 s for its start."""
PAGE_SECONDS: Final = 2.0
"""A page that has looked for so long ends where it has come to, full or not."""
_SEARCH_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between the two positions will not come."""

    requested: str
    earliest: str
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """A page. Positions are tokens."""

    records: Sequence[Record]
    next: str
    """Behind it lies what is newer than this page."""
    previous: str | None
    """At or below it lies what is older; None where nothing is."""
    watermark: str
    """Up to there the pages are complete."""
    gap: Gap | None = None
    """What is missing before the records, in the direction of reading."""


class EventHistory:
    """Reads the past of one log. Every call raises HistoryUnavailable or LogUnavailable where it can't be told now."""

    def __init__(self, window: Window, head: Head, replay: Replay, sources: Sources, settle_seconds: float) -> None:
        self._window = window
        self._head = head
        self._replay = replay
        self._sources = sources
        self._settle_seconds = settle_seconds

    async def forward(self, wanted: Wanted, range_: Range, limit: int) -> HistoryAnswer:
        """The next `limit` events of a range, in the order of the log. A page may hold fewer, or none, before the end.

        Going on with `next` until it is the watermark gives each event of the range once.
        """
        cursor, upto, gap = await self._bounds(wanted, range_)
        begun = Position(self._head.epoch, cursor)
        reached, records = dict(cursor), list[Record]()
        deadline = asyncio.get_running_loop().time() + PAGE_SECONDS
        size = 0
        async with aclosing(ascending(self._window, self._replay, wanted, cursor, upto)) as parts:
            async for part in parts:
                if isinstance(part, Lost):
                    if records:
                        break  # the next page begins with it
                    gap = self._gap(gap, reached, {**reached, **part.earliest}, part.reason)
                    reached.update(part.earliest)
                    continue
                taken = _fitting(part.records, limit - len(records), PAGE_BYTES - size)
                records += part.records[:taken]
                size += sum(len(record.value) for record in part.records[:taken])
                reached.update(_served(part, taken))
                is_full = len(records) >= limit or size >= PAGE_BYTES
                if is_full or taken < len(part.records) or asyncio.get_running_loop().time() > deadline:
                    break
        is_first = (range_.after, range_.since_ms, range_.last) == (None, None, None)
        is_first = is_first or (gap is not None and gap.reason != QUARANTINE)
        return HistoryAnswer(
            records,
            next=self._head.token_of(reached),
            previous=None if is_first or max(begun.offsets.values()) < 0 else begun.token,
            watermark=self._head.token_of(_joined(cursor, upto)),
            gap=gap,
        )

    async def backward(self, wanted: Wanted, range_: Range, limit: int) -> HistoryAnswer:
        """The last `limit` events of a range, the newest first, by their times of appending."""
        await self.settle()
        heads = self._window.heads()
        top, gap = heads, None
        if range_.before is not None:
            beginning = await self._replay.begin(range_.before)
            if any(lost.reason == "epoch" for lost in beginning.lost):
                start = self._head.token_of(beginning.cursor)
                return HistoryAnswer((), start, None, start, Gap(beginning.asked, start, "epoch"))
            given = Position.parse(beginning.asked).offsets
            top = {p: min(given[p], head) for p, head in heads.items()}
        bottom = dict.fromkeys(heads, 0)
        if range_.until_ms is not None:
            until = starts_at(await self._offsets_at(range_.until_ms), _next(heads))
            top = {p: min(offset, until[p]) for p, offset in top.items()}
        if range_.since_ms is not None:
            bottom = _next((await self.since(range_.since_ms)).offsets)
        deadline = asyncio.get_running_loop().time() + PAGE_SECONDS
        descent = Descent(self._window, self._replay, self._sources, wanted, top, bottom, deadline)
        records: list[Record] = []
        size = 0
        while len(records) < limit and size < PAGE_BYTES:
            record = await descent.take()
            if isinstance(record, Unusable):
                if records:
                    descent.put_back(record)
                    break  # the next page begins with what is missing
                gap = self._gap(gap, top, descent.rest, QUARANTINE)
            elif record is not None:
                records.append(record)
                size += len(record.value)
            elif descent.missing is None or records:
                break  # the end, or the next page begins with what is missing
            else:
                gap = self._gap(gap, top, *descent.missing)
        await descent.settle()
        rest = descent.rest
        upper = self._head.token_of(top)
        previous = self._head.token_of(rest) if max(rest.values()) >= 0 else None
        return HistoryAnswer(records, upper, previous, upper, gap)

    async def stream(
        self, wanted: Wanted, range_: Range, limit: int | None
    ) -> AsyncGenerator[Sequence[Record] | Gap | str, None]:
        """A range as it stands now, or its first `limit` events: records, gaps before what follows them, and at last
        the position up to which that is everything."""
        cursor, upto, gap = await self._bounds(wanted, range_)
        if gap is not None:
            yield gap
        reached, given = dict(cursor), 0
        async with aclosing(ascending(self._window, self._replay, wanted, cursor, upto)) as parts:
            async for part in parts:
                if isinstance(part, Lost):
                    yield self._gap(None, reached, {**reached, **part.earliest}, part.reason)
                    reached.update(part.earliest)
                    continue
                taken = len(part.records) if limit is None else min(limit - given, len(part.records))
                reached.update(_served(part, taken))
                given += taken
                yield part.records[:taken]
                if given == limit:
                    break
        yield self._head.token_of(reached)

    async def since(self, ms: int) -> Position:
        """The position behind which lies what was appended at a time (ms since 1970) or later."""
        heads = self._window.heads()
        return Position(self._head.epoch, starts_at(await self._offsets_at(ms), _next(heads)))

    async def last(self, wanted: Wanted, count: int) -> Position:
        """The position behind which lie the last `count` events, by their times of appending, or all where there are
        fewer. No lower than it has to be. Raises HistoryUnavailable where looking for them takes too long."""
        earliest = (await self._replay.begin(EARLIEST)).cursor
        behind = dict(self._window.heads())
        deadline = asyncio.get_running_loop().time() + _LAST_SECONDS
        descent = Descent(self._window, self._replay, self._sources, wanted, behind.copy(), _next(earliest), deadline)
        while count > 0 and (record := await descent.take()) is not None:
            count -= not isinstance(record, Unusable)
            behind[record.partition] = record.offset - 1
        if count > 0 and not descent.is_over:
            # Fewer than there are would look like all of them.
            raise HistoryUnavailable("the last events could not be found in time, try again", retry_after=2.0)
        return Position(self._head.epoch, behind)

    async def descend(
        self, wanted: Wanted, top: Mapping[int, int], bottom: Mapping[int, int]
    ) -> AsyncGenerator[Record, None]:
        """The records of some partitions between two offsets each, both included, the newest first.

        What nobody holds any more, or can use, is passed over. Raises Unavailable, too, where none is found for long.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SEARCH_SECONDS
        descent = Descent(self._window, self._replay, self._sources, wanted, top, bottom, deadline)
        while True:
            record = await descent.take()
            if isinstance(record, Unusable):
                continue
            if record is not None:
                yield record
            elif descent.missing is None:
                if max(descent.rest.values()) >= 0:
                    raise Unavailable("what is asked for lies too far back: try again")
                return

    async def _bounds(self, wanted: Wanted, range_: Range) -> tuple[dict[int, int], dict[int, int], Gap | None]:
        """Where a range begins and up to where it can be read now, and what is missing at its beginning."""
        await self.settle()
        heads = self._window.heads()
        beginning = await self._replay.begin(range_.after or EARLIEST)
        cursor, gap = dict(beginning.cursor), None
        for lost in beginning.lost:
            earliest = self._head.token_of(lost.earliest)
            gap = Gap(gap.requested if gap else beginning.asked, earliest, lost.reason)
        if range_.since_ms is not None:
            cursor = _joined(cursor, (await self.since(range_.since_ms)).offsets)
        if range_.last is not None:
            cursor = _joined(cursor, (await self.last(wanted, range_.last)).offsets)
        upto = heads
        if range_.before is not None:
            last = await self._replay.begin(range_.before)
            if any(lost.reason == "epoch" for lost in last.lost):
                return cursor, cursor, Gap(last.asked, self._head.token_of(last.cursor), "epoch")
            given = Position.parse(last.asked).offsets
            upto = {p: min(given[p], head) for p, head in upto.items()}
        if range_.until_ms is not None:
            until = starts_at(await self._offsets_at(range_.until_ms), _next(heads))
            upto = {p: min(until[p], offset) for p, offset in upto.items()}
        return cursor, _joined(cursor, upto), gap

    async def settle(self) -> None:
        """Give the tail a moment to come as far as the log is; where it does not, the watermark says so."""
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(self._settle_seconds):
                ends = {p: held.next - 1 for p, held in (await self._sources.bounds()).items()}
                await self._head.passed(ends)

    async def _offsets_at(self, ms: int) -> dict[int, int | None]:
        return await offsets_at(self._sources, ms, _next(self._window.heads()))

    def _gap(self, before: Gap | None, requested: Mapping[int, int], earliest: Mapping[int, int], reason: str) -> Gap:
        """A gap, joined to one that was found just before it."""
        if before is None:
            return Gap(self._head.token_of(requested), self._head.token_of(earliest), reason)
        is_said = reason == QUARANTINE or (reason == "retention" and before.reason != QUARANTINE)
        return Gap(before.requested, self._head.token_of(earliest), before.reason if is_said else reason)


def _fitting(records: Sequence[Record], limit: int, max_bytes: int) -> int:
    """How many of them are at most `limit`, up to the one with which they have `max_bytes`."""
    size = 0
    for taken, record in enumerate(records[:limit], 1):
        size += len(record.value)
        if size >= max_bytes:
            return taken
    return min(limit, len(records))


def _served(page: Page, taken: int) -> dict[int, int]:
    """How far a page serves whoever takes its first records only."""
    left = {record.partition for record in page.records[taken:]}
    served = {p: offset for p, offset in page.served.items() if p not in left}
    return served | {record.partition: record.offset for record in page.records[:taken] if record.partition in left}


def _joined(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {p: max(offset, other[p]) for p, offset in one.items()}


def _next(offsets: Mapping[int, int]) -> dict[int, int]:
    return {p: offset + 1 for p, offset in offsets.items()}
