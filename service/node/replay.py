"""Replays: the records that a catching-up subscription wants and the window no longer holds."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple, TypedDict

from lastseen.positions import Position

from service.domain.catchup import FromHistory, FromLog, Missing, NeedsHistory, Step, earliest, plan
from service.domain.duplicates import LookBack
from service.domain.errors import HistoryUnavailable, Unavailable, Unreadable
from service.domain.ranges import Bounds, Coverage
from service.domain.records import Record, read_record
from service.domain.subscriptions import CatchUp
from service.domain.window import Window
from service.node.head import Head
from service.ports import Epoch, EventLog, History

_FIRST_PAGE: Final = 100
_LONGEST_PAGE: Final = 1_000
_PAGE_BYTES: Final = 1024 * 1024
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


class Held(NamedTuple):
    """What Kafka and Postgres hold of each partition, as far as they can be asked."""

    log: Mapping[int, Bounds]
    history: Mapping[int, Coverage]
    history_known: bool


class _Copied(TypedDict):
    history: Mapping[int, Coverage]
    history_known: bool


class Replay:
    """Reads from Postgres and Kafka, by the plan of `domain.catchup`."""

    def __init__(
        self, window: Window, head: Head, log: EventLog, history: History, epoch: Epoch, look_back: int
    ) -> None:
        self._window = window
        self._head = head
        self._log = log
        self._history = history
        self._epoch = epoch
        self._look_back = look_back

    async def reach(self, position: Position, seconds: float) -> None:
        """Wait until this node has come as far as a position that another gave, so that rights can be judged.

        One of another epoch, or beyond Kafka's end, is not waited for. Raises Unavailable after so many seconds.
        """
        if position.epoch != self._epoch.name or not self._ahead(position.offsets):
            return
        bounds = await self._log.bounds()
        ends = {p: position.offsets[p] for p in self._ahead(position.offsets) if position.offsets[p] < bounds[p].next}
        try:
            async with asyncio.timeout(seconds):
                await self._head.passed(ends)
        except TimeoutError:
            raise Unavailable("this node has not come as far as the position yet: try again") from None

    def _ahead(self, offsets: Mapping[int, int]) -> list[int]:
        return [p for p, offset in offsets.items() if p in self._window.partitions and offset >= self._window.next(p)]

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
            bounds = await self._log.bounds()
            if any(known[p] >= bounds[p].next for p in ahead):
                # Offsets that never were in this log, or that it has lost: they mean nothing here.
                cursor = await self._earliest(window.partitions)
                return Beginning(asked, [Lost(cursor, "epoch")], cursor)
        lost = []
        while (missing := await self._missing(cursor)) is not None:
            lost.append(missing)
            cursor = dict(missing.earliest)
        return Beginning(asked, lost, cursor)

    async def pages(self, group: CatchUp, types: Collection[str] = ()) -> AsyncGenerator[Page | Lost, None]:
        """What lies between the group's cursor and the window, page by page, until the window holds the rest.

        With `types`, records of others may be left out.

        Whoever iterates moves the cursor by each page before asking for the next.
        """
        held: Held | None = None
        is_fresh = False
        limit = _FIRST_PAGE
        while behind := self._behind(group.cursor):
            if held is None:
                held, is_fresh = await self.held(), True
            steps = {p: self._plan(p, group.cursor[p], held) for p in behind}
            upto = {p: step.upto for p, step in steps.items() if isinstance(step, FromHistory)}
            if len(upto) < len(steps) and not is_fresh:
                held = None
                continue
            if any(isinstance(step, NeedsHistory) for step in steps.values()):
                raise _history_needed()
            if any(isinstance(step, Missing) for step in steps.values()):
                yield _lost(group.cursor, steps)
                continue
            if upto:
                if not group.channels:
                    return  # whoever it was for has left meanwhile
                upto, offline = self._offline_part(group, upto)
                after = {p: group.cursor[p] for p in upto}
                channels = [group.offline.channel] if offline and group.offline is not None else list(group.channels)
                page = await self._history.page(channels, after, upto, limit, types, offline=offline)
                # A day that was dropped meanwhile is missing from the page: then it is planned anew.
                held, is_fresh = held._replace(**await self._copied()), False
                if all(isinstance(self._plan(p, offset, held), FromHistory) for p, offset in after.items()):
                    limit = _next_limit(page.records) or limit
                    yield Page(page.records, page.served)
                continue
            log_held, held = held, None
            for partition, step in steps.items():
                if isinstance(step, FromLog):
                    async with aclosing(self.logged(group.cursor[partition], partition, step.upto, log_held)) as pages:
                        async for logged in pages:
                            yield logged
                    break

    @staticmethod
    def _offline_part(group: CatchUp, upto: Mapping[int, int]) -> tuple[dict[int, int], bool]:
        """What to read first where offline messages come before the rest: and whether it is those alone."""
        offline = group.offline
        if offline is None or offline.channel not in group.channels:
            return dict(upto), False
        before = {p: min(end, offline.upto.get(p, -1)) for p, end in upto.items()}
        before = {p: end for p, end in before.items() if group.cursor[p] < end}
        # Below its head at the connect the group has nothing but the user's channel.
        return (before, True) if before else (dict(upto), False)

    def _behind(self, cursor: Mapping[int, int]) -> list[int]:
        return [p for p, after in cursor.items() if after + 1 < self._window.first(p)]

    async def _missing(self, cursor: Mapping[int, int]) -> Lost | None:
        behind = self._behind(cursor)
        if not behind:
            return None
        held = await self.held()
        steps = {p: self._plan(p, cursor[p], held) for p in behind}
        if any(isinstance(step, NeedsHistory) for step in steps.values()):
            raise _history_needed()
        return _lost(cursor, steps) if any(isinstance(step, Missing) for step in steps.values()) else None

    def _plan(self, partition: int, after: int, held: Held) -> Step:
        return plan(
            after,
            self._window.first(partition),
            held.log[partition],
            held.history.get(partition),
            history_known=held.history_known,
        )

    async def held(self) -> Held:
        """What is held now. Raises LogUnavailable."""
        # Kafka first: what its retention drops meanwhile has been copied by the time Postgres is asked, so it is
        # seen in one of the two. The other way round it could be in neither, and a gap be told that is none.
        bounds = await self._log.bounds()
        return Held(log=bounds, **await self._copied())

    async def _copied(self) -> "_Copied":
        try:
            return {"history": await self._history.coverage(), "history_known": True}
        except HistoryUnavailable:
            return {"history": {}, "history_known": False}

    async def _earliest(self, partitions: Iterable[int]) -> dict[int, int]:
        wanted = list(partitions)
        if all(self._window.first(p) == 0 for p in wanted):
            return dict.fromkeys(wanted, -1)
        held = await self.held()
        found = {}
        for p in wanted:
            start = earliest(self._window.first(p), held.log[p], held.history.get(p), history_known=held.history_known)
            if start is None:
                raise _history_needed()
            found[p] = start
        return found

    async def logged(self, after: int, partition: int, upto: int, held: Held) -> AsyncGenerator[Page, None]:
        """What Kafka holds of a partition in `(after, upto]`, judged by the void rule with what lies before it."""
        first = held.log[partition].first
        coverage = held.history.get(partition)
        look_back = LookBack(self._look_back)
        # W offsets of Kafka do; nearer than that, what Postgres has need not be read again: its ids will do.
        start = max(first, after + 1 - self._look_back)
        if coverage is not None:
            start = max(start, min(after + 1, coverage.next))
            for entry in await self._history.look_back(partition, start - self._look_back, start):
                look_back.load(entry)
        elif not held.history_known and start == first > max(after + 1 - self._look_back, 0):
            raise _history_needed()
        async with aclosing(self._log.read(partition, start, upto + 1)) as batches:
            async for batch in batches:
                records: list[Record] = []
                for raw in batch.records:
                    try:
                        record = read_record(raw)
                    except Unreadable:
                        continue
                    if look_back.judge(record) is None and record.offset > after:
                        records.append(record)
                read = min(batch.next[partition] - 1, upto)
                if read > after:
                    yield Page(records, {partition: read})


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


def _history_needed() -> HistoryUnavailable:
    return HistoryUnavailable("Kafka no longer holds all that is needed, and Postgres does not answer", retry_after=5.0)
