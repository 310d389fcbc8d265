"""Replays: the records that a catching-up subscription wants and the window no longer holds."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from lastseen.positions import Position

from service.domain.catchup import FromHistory, FromLog, Missing, NeedsHistory, NeedsLog, Step, earliest, plan
from service.domain.errors import Unavailable
from service.domain.ranges import Coverage
from service.domain.records import Record
from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.head import Head
from service.node.log_pages import LogPages
from service.node.read_ahead import ReadAhead
from service.node.sources import Held, Sources, needed
from service.ports import Epoch, HistoryPage

_FIRST_PAGE: Final = 40
_LONGEST_PAGE: Final = 1_000
_PAGE_BYTES: Final = 384 * 1024
"""What a page is meant to hold: the number of records asked for follows their size."""


class Page(NamedTuple):
    """Records to deliver, and per partition the offset up to which the subscription is then served."""

    records: Sequence[Record]
    served: Mapping[int, int]

    def slices(self, max_bytes: int) -> Iterator["Page"]:
        """The same in parts, each of which ends with the record that brings its values to `max_bytes`."""
        part: list[Record] = []
        size = 0
        for record in self.records:
            part.append(record)
            size += len(record.value)
            if size >= max_bytes:
                # They ascend within their partitions, so each last one says how far its partition has come.
                yield Page(part, {r.partition: r.offset for r in part})
                part, size = [], 0
        yield Page(part, self.served)


class Lost(NamedTuple):
    """A gap: nobody holds what lies between the cursor and `earliest`."""

    earliest: Mapping[int, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a replay begins: as asked for (a token), then what is missing, then the first cursor."""

    asked: str
    lost: Sequence[Lost]
    cursor: Mapping[int, int]


class _Part(NamedTuple):
    """What to read of the history. Offline messages are read for themselves, up to where they end."""

    channels: tuple[str, ...]
    after: tuple[tuple[int, int], ...]
    limit: int
    offline_upto: tuple[tuple[int, int], ...] | None


class _Read(NamedTuple):
    """A page, and what the history held once it was read."""

    page: HistoryPage
    history: Mapping[int, Coverage]
    history_known: bool


class Replay:
    """Reads from Postgres and Kafka, by the plan of `domain.catchup`."""

    def __init__(self, window: Window, head: Head, sources: Sources, epoch: Epoch, look_back: int) -> None:
        self._window = window
        self._head = head
        self._sources = sources
        self._epoch = epoch
        self._logged = LogPages(sources, look_back)

    async def reach(self, position: Position, seconds: float) -> None:
        """Wait until this node has come as far as a position that another gave, so that rights can be judged.

        One of another epoch, or beyond Kafka's end, is not waited for. Raises Unavailable after so many seconds.
        """
        if position.epoch != self._epoch.name or not self._ahead(position.offsets):
            return
        bounds = await self._sources.bounds()
        ends = {p: position.offsets[p] for p in self._ahead(position.offsets) if position.offsets[p] < bounds[p].next}
        try:
            async with asyncio.timeout(seconds):
                await self._head.passed(ends)
        except TimeoutError:
            raise Unavailable("this node has not come as far as the position yet: try again") from None

    def _ahead(self, offsets: Mapping[int, int]) -> list[int]:
        return [p for p, offset in offsets.items() if p in self._window.partitions and offset >= self._window.next(p)]

    def begin_at_once(self, position: Position) -> Beginning | None:
        """The beginning of a replay that the window holds whole; None where more has to be asked."""
        window, offsets = self._window, position.offsets
        if position.epoch != self._epoch.name or not window.spans(offsets):
            return None
        cursor = {partition: offsets[partition] for partition in window.partitions}
        return Beginning(self._head.token_of(cursor), (), cursor)

    async def begin(self, position: Position) -> Beginning:
        """Judge a position that a client came with.

        Raises HistoryUnavailable when only Postgres could tell, LogUnavailable when Kafka has to be asked.
        """
        window = self._window
        if not position.is_earliest and position.epoch != self._epoch.name:
            cursor = await self._earliest(window.partitions)
            return Beginning(position.token, [Lost(cursor, "epoch")], cursor)
        known = {p: position.offsets[p] for p in window.partitions if p in position.offsets}
        cursor = {**known, **await self._earliest(p for p in window.partitions if p not in known)}
        asked = Position(self._epoch.name, dict(cursor)).token
        ahead = self._ahead(known)
        if ahead:
            bounds = await self._sources.bounds()
            if any(known[p] >= bounds[p].next for p in ahead):
                # Offsets that never were in this log, or that it has lost: they mean nothing here.
                cursor = await self._earliest(window.partitions)
                return Beginning(asked, [Lost(cursor, "epoch")], cursor)
        lost = []
        while (missing := await self._missing(cursor)) is not None:
            lost.append(missing)
            cursor = dict(missing.earliest)
        return Beginning(asked, lost, cursor)

    async def pages(
        self,
        group: CatchUp,
        types: Collection[str] = (),
        *,
        who: str = "",
        is_quick: Callable[[], bool] = lambda: False,
        first: int | None = None,
    ) -> AsyncGenerator[Page | Lost, None]:
        """What lies between the group's cursor and the window, page by page, until the window holds the rest.

        With `types`, records of others may be left out. `who` takes turns with others at reading the history; while
        `is_quick`, the next page is read before it is asked for. `first` bounds the records of the first page.

        Whoever iterates moves the cursor by each page before asking for the next. Raises HistoryUnavailable,
        LogUnavailable where only the one or the other could go on.
        """
        held: Held | None = None
        is_fresh = False
        limit = min(first or _FIRST_PAGE, _FIRST_PAGE)
        ahead: ReadAhead[_Part, _Read] = ReadAhead()
        async with ahead:
            while behind := self._behind(group.cursor):
                if held is None:
                    held, is_fresh = await self._sources.held(), True
                steps = {p: self._plan(p, group.cursor[p], held) for p in behind}
                upto = {p: step.upto for p, step in steps.items() if isinstance(step, FromHistory)}
                if len(upto) < len(steps) and not is_fresh:
                    held = None
                    continue
                if any(isinstance(step, Missing) for step in steps.values()):
                    yield _lost(group.cursor, steps)
                    # Taking it may last: what is appended meanwhile and leaves the window lies beyond this answer.
                    is_fresh = False
                    continue
                if upto:
                    if not group.channels:
                        return  # whoever it was for has left meanwhile
                    part = self._part(group, group.cursor, upto, limit)
                    read = await ahead.take(part) or await self._read(who, part, upto, types)
                    # A day that was dropped meanwhile is missing from the page: then it is planned anew.
                    held, is_fresh = held._replace(history=read.history, history_known=read.history_known), False
                    if not all(isinstance(self._plan(p, offset, held), FromHistory) for p, offset in part.after):
                        continue
                    limit = _next_limit(read.page.records) or limit
                    if is_quick() and len(read.page.records) >= part.limit > _FIRST_PAGE:
                        self._begin_next(ahead, group, held, read.page.served, limit, who, types)
                        await asyncio.sleep(0)  # it asks before this page is delivered
                    once = [Page(read.page.records, read.page.served)]
                    del read
                    # Not held here: whoever has taken it may wait for long before it asks for the next.
                    yield once.pop()
                    continue
                log_held, held = held, None
                for partition, step in steps.items():
                    if isinstance(step, FromLog):
                        logged = self.logged(group.cursor[partition], partition, step.upto, log_held)
                        async with aclosing(logged) as pages:
                            async for page in pages:
                                yield page
                        break
                else:
                    raise needed(steps.values())

    async def _read(self, who: str, part: "_Part", upto: Mapping[int, int], types: Collection[str]) -> "_Read":
        """A page of the history, and what it holds behind that."""
        page = await self._sources.page(
            who, part.channels, dict(part.after), upto, part.limit, types, offline=part.offline_upto is not None
        )
        return _Read(page, **await self._sources.copied())

    def _begin_next(
        self,
        ahead: ReadAhead["_Part", "_Read"],
        group: CatchUp,
        held: Held,
        served: Mapping[int, int],
        limit: int,
        who: str,
        types: Collection[str],
    ) -> None:
        """Read on behind a page that is yet to be taken, where that comes from the history alone."""
        cursor = {p: max(offset, served.get(p, offset)) for p, offset in group.cursor.items()}
        steps = {p: self._plan(p, cursor[p], held) for p in self._behind(cursor)}
        upto = {p: step.upto for p, step in steps.items() if isinstance(step, FromHistory)}
        if upto and len(upto) == len(steps):
            part = self._part(group, cursor, upto, limit)
            ahead.begin(part, self._read(who, part, upto, types))

    @staticmethod
    def _part(group: CatchUp, cursor: Mapping[int, int], upto: dict[int, int], limit: int) -> "_Part":
        """What to read next; `upto` is lowered to the end of what comes first.

        Offline messages come before the rest: below its head at the connect the group has nothing but them.
        """
        offline = group.offline
        if offline is not None and offline.channel in group.channels:
            before = {p: min(end, offline.upto.get(p, -1)) for p, end in upto.items()}
            before = {p: end for p, end in before.items() if cursor[p] < end}
            if before:
                upto.clear()
                upto.update(before)
                after = tuple((p, cursor[p]) for p in before)
                return _Part((offline.channel,), after, limit, tuple(before.items()))
        return _Part(tuple(group.channels), tuple((p, cursor[p]) for p in upto), limit, None)

    def _behind(self, cursor: Mapping[int, int]) -> list[int]:
        return [p for p, after in cursor.items() if after + 1 < self._window.first(p)]

    async def _missing(self, cursor: Mapping[int, int]) -> Lost | None:
        behind = self._behind(cursor)
        if not behind:
            return None
        held = await self._sources.held()
        steps = {p: self._plan(p, cursor[p], held) for p in behind}
        if any(isinstance(step, Missing) for step in steps.values()):
            return _lost(cursor, steps)
        if any(isinstance(step, NeedsHistory | NeedsLog) for step in steps.values()):
            raise needed(steps.values())
        return None

    def _plan(self, partition: int, after: int, held: Held) -> Step:
        return plan(
            after,
            self._window.first(partition),
            held.log.get(partition),
            held.history.get(partition),
            log_known=held.log_known,
            history_known=held.history_known,
        )

    async def _earliest(self, partitions: Iterable[int]) -> dict[int, int]:
        wanted = list(partitions)
        if all(self._window.first(p) == 0 for p in wanted):
            return dict.fromkeys(wanted, -1)
        held = await self._sources.held()
        found = {}
        for p in wanted:
            log, history = held.log.get(p), held.history.get(p)
            start = earliest(self._window.first(p), log, history, history_known=held.history_known)
            if not isinstance(start, int):
                raise needed([start])
            found[p] = start
        return found

    async def logged(self, after: int, partition: int, upto: int, held: Held) -> AsyncGenerator[Page, None]:
        """What Kafka holds of a partition in `(after, upto]`, judged by the void rule with what lies before it."""
        at = self._logged.start(partition, after, held)
        while at <= upto:
            page = await self._logged.read(partition, at, upto, held)
            at = page.next
            if at - 1 > after:
                records = [record for record in page.records if after < record.offset <= upto]
                yield Page(records, {partition: min(at - 1, upto)})


def _next_limit(records: Sequence[Record]) -> int | None:
    """How many records like these make a page; None where there are none to judge by."""
    if not records:
        return None
    mean = sum(len(record.value) for record in records) / len(records)
    return max(1, min(_LONGEST_PAGE, int(_PAGE_BYTES / mean)))


def _lost(cursor: Mapping[int, int], steps: Mapping[int, Step]) -> Lost:
    missing = {p: step for p, step in steps.items() if isinstance(step, Missing)}
    reason = "lost" if any(step.reason == "lost" for step in missing.values()) else "retention"
    return Lost({**cursor, **{p: step.earliest for p, step in missing.items()}}, reason)
