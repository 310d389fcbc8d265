"""The in-memory twin of the log and the history: the same contracts, held to the same tests, gone at exit."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from lastseen.channels import parse_channel
from lastseen.names import LEFT_OUT_OFFLINE
from lastseen.record import NewRecord

from service.adapters.kafka.partitions import partition_of
from service.domain.duplicates import LOOK_BACK, LookBack, Seen
from service.domain.errors import HistoryUnavailable, LogUnavailable, OffsetsGone, Unreadable
from service.domain.records import Record, Unusable, read_record, stand_in, unusable
from service.ports import Bounds, Coverage, HistoryPage, Place, TailBatch

READ_RECORDS = 500
"""Records in one batch of a read."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record of the twin, as `RawRecord`."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True)
class _Partition:
    first: int = 0
    next: int = 0
    records: list[MemoryRecord] = field(default_factory=list)

    def between(self, start: int, stop: int) -> list[MemoryRecord]:
        return [record for record in self.records if start <= record.offset < stop]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryLog:
    """`EventLog` in memory. While `available` is false every call raises LogUnavailable."""

    def __init__(self, partitions: int = 4, now_ms: Callable[[], int] = _now_ms) -> None:
        self.topic_id = uuid4()
        self._partitions = [_Partition() for _ in range(partitions)]
        self._now_ms = now_ms
        self._available = True
        self._changed = asyncio.Event()

    @property
    def available(self) -> bool:
        return self._available

    @available.setter
    def available(self, value: bool) -> None:
        self._available = value
        self._wake()

    def append_raw(self, partition: int, value: bytes | None, headers: Headers = (), key: bytes | None = None) -> Place:
        """Append whatever a foreign producer might; returns its place."""
        held = self._partitions[partition]
        place = Place(partition, held.next)
        held.records.append(MemoryRecord(*place, self._now_ms(), key, value, tuple(headers)))
        held.next += 1
        self._wake()
        return place

    def skip(self, partition: int, offsets: int = 1) -> None:
        """Pass offsets without a record, as Kafka does for the ends of transactions."""
        self._partitions[partition].next += offsets
        self._wake()

    def drop_below(self, partition: int, offset: int) -> None:
        """Retention: forget what lies below `offset`."""
        held = self._partitions[partition]
        held.first = min(max(held.first, offset), held.next)
        held.records = [record for record in held.records if record.offset >= held.first]
        self._wake()

    def lose_from(self, partition: int, offset: int) -> None:
        """Forget what lies at `offset` and above, as a broker whose disk lied; what is appended next comes there."""
        held = self._partitions[partition]
        held.next = min(held.next, offset)
        held.records = [record for record in held.records if record.offset < offset]
        self._wake()

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Place]:
        self._check()
        return [self.append_raw(self.partition_of(key), value, headers, key) for key, value, headers in records]

    def partition_of(self, key: bytes) -> int:
        return partition_of(key, len(self._partitions))

    async def bounds(self) -> Mapping[int, Bounds]:
        self._check()
        return {number: Bounds(held.first, held.next) for number, held in enumerate(self._partitions)}

    async def offsets_at(self, ms: int) -> Mapping[int, int | None]:
        self._check()
        return {
            number: next((record.offset for record in held.records if record.timestamp >= ms), None)
            for number, held in enumerate(self._partitions)
        }

    @asynccontextmanager
    async def tail(self, start: Mapping[int, int]) -> AsyncIterator["MemoryTail"]:
        """As `EventLog.tail`. Raises OffsetsGone for a start outside the bounds."""
        for partition, offset in start.items():
            self._check_held(partition, offset)
        yield MemoryTail(self, start)

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        held = self._partitions[partition]
        while start < stop:
            self._check()
            self._check_held(partition, start)
            if start >= held.next:
                raise LogUnavailable(f"the log gave nothing of partition {partition} at offset {start}")
            found = held.between(start, stop)[:READ_RECORDS]
            start = found[-1].offset + 1 if len(found) == READ_RECORDS else min(stop, held.next)
            yield TailBatch(found, {partition: start})

    def _check(self) -> None:
        if not self._available:
            raise LogUnavailable("the log was made unavailable")

    def _check_held(self, partition: int, offset: int) -> None:
        first, next_ = self._partitions[partition].first, self._partitions[partition].next
        if not first <= offset <= next_:
            raise OffsetsGone(f"the log holds [{first}, {next_}) of partition {partition}, {offset} was asked for")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class MemoryTail:
    """`TailReader` on a MemoryLog."""

    def __init__(self, log: MemoryLog, start: Mapping[int, int]) -> None:
        self._log = log
        self._next = dict(start)

    async def read(self) -> TailBatch:
        while True:
            self._log._check()
            changed = self._log._changed
            found: list[MemoryRecord] = []
            moved: dict[int, int] = {}
            for partition, at in self._next.items():
                held = self._log._partitions[partition]
                self._log._check_held(partition, at)
                if held.next != at:
                    found += held.between(at, held.next)
                    moved[partition] = held.next
            if moved:
                self._next |= moved
                return TailBatch(found, moved)
            await changed.wait()


class MemoryHistory:
    """`History` of a MemoryLog, as far as `project` has copied it.

    While `available` is false every call raises HistoryUnavailable. Unreadable records, and those that it
    `refuses`, are left out as the log writer leaves them to its quarantine.
    """

    def __init__(self, log: MemoryLog, look_back: int = LOOK_BACK) -> None:
        self._log = log
        self._size = look_back
        self._look_backs: dict[int, LookBack] = {}
        self._coverage: dict[int, Coverage] = {}
        self._records: dict[int, list[Record]] = {}
        self._seen: dict[int, list[Seen]] = {}
        self.available = True
        self.refuses: Callable[[Record], bool] = lambda _: False
        """Which readable records it does not take."""

    async def project(self, upto: Mapping[int, int] | None = None) -> None:
        """Copy the log up to the offsets `upto` (exclusive), or all of it."""
        for partition, (first, next_) in (await self._log.bounds()).items():
            stop = next_ if upto is None else min(next_, upto.get(partition, 0))
            await self._project(partition, first, stop)

    async def _project(self, partition: int, first: int, stop: int) -> None:
        held = self._coverage.get(partition, Coverage(0, 0))
        if max(first, held.next) >= stop:
            return
        start = max(first, held.next)
        holes = (*held.holes, (held.next, start)) if held.next < start else tuple(held.holes)
        async for batch in self._log.read(partition, start, stop):
            for raw in batch.records:
                try:
                    record = read_record(raw)
                except Unreadable as error:
                    missing = stand_in(raw, error)
                    if missing is not None:
                        self._records.setdefault(partition, []).append(missing)
                    continue
                self._add(record)
        self._coverage[partition] = Coverage(held.first, stop, holes)

    def _add(self, record: Record) -> None:
        partition = record.partition
        self._seen.setdefault(partition, []).append(Seen(record.offset, record.id, record.ended_task))
        if self._look_backs.setdefault(partition, LookBack(self._size)).judge(record) is None:
            place = (partition, record.offset, record.appended_at)
            taken = unusable(*place, record.channels) if self.refuses(record) else record
            self._records.setdefault(partition, []).append(taken)

    def drop_below(self, partition: int, offset: int) -> None:
        """Retention of the history: forget what lies below `offset`."""
        held = self._coverage[partition]
        first = min(max(held.first, offset), held.next)
        holes = tuple((max(start, first), stop) for start, stop in held.holes if stop > first)
        self._coverage[partition] = Coverage(first, held.next, holes)
        kept = [record for record in self._records.get(partition, ()) if record.offset >= first]
        self._records[partition] = kept

    async def coverage(self) -> Mapping[int, Coverage]:
        self._check()
        return dict(self._coverage)

    async def page(
        self,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        """As `History.page`. Raises ValueError for a name that is no channel."""
        self._check()
        wanted = {str(parse_channel(name)) for name in channels}
        served = {partition: after.get(partition, -1) for partition in upto}
        found: list[Record] = []
        for partition in sorted(upto):
            if partition not in self._coverage or upto[partition] <= served[partition]:
                continue
            held = self._coverage[partition]
            if served[partition] + 1 < held.first and (partition in after or held.first == held.next):
                raise HistoryUnavailable(
                    f"what follows offset {served[partition]} of partition {partition} was dropped from the history",
                    retry_after=0.2,
                )
            end = min(upto[partition], held.next - 1)
            for record in self._records.get(partition, ()):
                if offline and record.type in LEFT_OUT_OFFLINE:
                    continue
                if served[partition] < record.offset <= end and _matches(record, wanted, types):
                    found.append(record)
                    if len(found) == limit:
                        served[partition] = record.offset
                        return HistoryPage(found, served)
            served[partition] = max(served[partition], end)
        return HistoryPage(found, served)

    async def page_back(
        self,
        channels: Sequence[str],
        upto: Mapping[int, int],
        down_to: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
    ) -> HistoryPage:
        """As `History.page_back`. Raises ValueError for a name that is no channel."""
        self._check()
        wanted = {str(parse_channel(name)) for name in channels}
        served = {}
        found: list[Record] = []
        for partition, highest in sorted(upto.items()):
            lowest = served[partition] = down_to[partition]
            if lowest > highest:
                served[partition] = highest + 1
                continue
            held = self._coverage.get(partition, Coverage(0, 0))
            if not held.first <= lowest <= highest < held.next:
                raise HistoryUnavailable(f"[{lowest}, {highest}] of partition {partition} is not held", retry_after=0.2)
            within = [
                record
                for record in self._records.get(partition, ())
                if lowest <= record.offset <= highest and _matches(record, wanted, types)
            ]
            last = within[: -limit - 1 : -1]
            if len(last) == limit:
                served[partition] = last[-1].offset
            found += last
        return HistoryPage(found, served)

    async def offsets_at(self, ms: int) -> Mapping[int, int]:
        self._check()
        firsts = {
            partition: next((r.offset for r in records if r.appended_at >= ms), None)
            for partition, records in self._records.items()
        }
        return {partition: offset for partition, offset in firsts.items() if offset is not None}

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        self._check()
        return [seen for seen in self._seen.get(partition, ()) if start <= seen.offset < stop]

    def _check(self) -> None:
        if not self.available:
            raise HistoryUnavailable("the history was made unavailable")


def _matches(record: Record, channels: AbstractSet[str], types: Collection[str]) -> bool:
    is_of_type = not types or record.type in types or isinstance(record, Unusable)
    return is_of_type and not channels.isdisjoint(record.channels)
