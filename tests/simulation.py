"""A node, its log and its history in one event loop whose clock is simulated: for adversarial schedules.

The node's own code runs unchanged; Kafka and Postgres are their twins, the network and time are played. The twins
take a random number of turns of the loop to answer, so that everything may move meanwhile.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from lastseen.envelope import Event
from lastseen.record import encode
from pydantic_core import from_json

from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.memory_rights import MemoryRights
from service.domain.duplicates import Seen
from service.domain.frames import payloads
from service.domain.ranges import Bounds, Coverage
from service.domain.records import RawRecord, Record, read_record
from service.node.connection import Connection
from service.ports import HeldRights, HeldTask, HistoryPage, TailBatch
from tests.raw import APPENDED_AT, UNUSABLE_VALUE, Raw, unusable_headers, unusable_raw


class _Timeless(selectors.SelectSelector):
    """Never waits: the time that it was to wait passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout > 0:
            self.now += timeout
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour passes in no time."""

    def __init__(self) -> None:
        self._timeless = _Timeless()
        super().__init__(self._timeless)

    def time(self) -> float:
        return self._timeless.now


def simulate(main: Callable[[], Any]) -> None:
    """Run a coroutine function in a simulated loop."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main())


class SimulatedLog(MemoryLog):
    """The twin of Kafka, slow to answer; it remembers what retention dropped, to know what was owed."""

    def __init__(self, partitions: int, random: Random, tick_ms: int = 0) -> None:
        """`tick_ms` pass between two events."""
        self._now = APPENDED_AT
        self._tick_ms = tick_ms
        super().__init__(partitions, now_ms=lambda: self._now)
        self.random = random
        self.all: dict[int, list[RawRecord]] = {partition: [] for partition in range(partitions)}
        # The records that are not void, and of how many of which rule: checkers ask again and again.
        self._counted: list[Record] = []
        self._counting = (0, 0)
        self.unusable: dict[str, set[tuple[int, int]]] = {}
        """By channel, where records lie that nobody can use."""

    def add(self, partition: int, event: Event, skip: int = 0) -> None:
        """Append an event, `skip` offsets behind the last one (control records lie between)."""
        if skip:
            self.skip(partition, skip)
        self._now += self._tick_ms
        record = encode(event)
        place = self.append_raw(partition, record.value, record.headers, record.key)
        self.all[partition].append(Raw(*place, record.value, record.headers, record.key, self._now))

    def add_unusable(self, partition: int, channels: Sequence[str]) -> None:
        """Append a record of these channels that nobody can use."""
        self._now += self._tick_ms
        place = self.append_raw(partition, UNUSABLE_VALUE, unusable_headers(channels))
        self.all[partition].append(unusable_raw(*place, channels, timestamp=self._now))
        for channel in channels:
            self.unusable.setdefault(channel, set()).add(place)

    def owed(self, channel: str, look_back: int) -> list[Record]:
        """What a subscriber of `channel` is owed, over all that was ever appended: by the void rule's definition."""
        count = sum(map(len, self.all.values()))
        if self._counting != (count, look_back):
            self._counting = (count, look_back)
            self._counted = [record for raws in self.all.values() for record in _counting(raws, look_back)]
        return [record for record in self._counted if channel in record.channels]

    def first(self, partition: int) -> int:
        """The first offset held."""
        return self._partitions[partition].first

    def next(self, partition: int) -> int:
        """The offset of the next record."""
        return self._partitions[partition].next

    async def turn(self) -> None:
        """Take a while to answer."""
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)

    async def bounds(self) -> Mapping[int, Bounds]:
        await self.turn()
        return await super().bounds()

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        while start < stop:
            await self.turn()
            upto = min(stop, start + self.random.randint(1, 9))
            async for batch in super().read(partition, start, upto):
                yield batch
            start = upto


def _counting(raws: Sequence[RawRecord], look_back: int) -> Iterator[Record]:
    """The records of a partition that are not void."""
    records = [read_record(raw) for raw in raws if raw.value != UNUSABLE_VALUE]
    for at, record in enumerate(records):
        before = [other for other in records[:at] if other.offset >= record.offset - look_back]
        duplicate = any(other.id == record.id for other in before)
        fenced = record.task is not None and any(other.ended_task == record.task for other in before)
        if not duplicate and not fenced:
            yield record


class SimulatedHistory(MemoryHistory):
    """The twin of Postgres, slow to answer, a few records a page."""

    def __init__(self, log: SimulatedLog, look_back: int) -> None:
        super().__init__(log, look_back)
        self._slow = log

    def next(self, partition: int) -> int:
        """Up to where (exclusive) it has been copied."""
        return self._coverage.get(partition, Coverage(0, 0)).next

    def holds(self, partition: int, offset: int) -> bool:
        """Whether what lay at an offset can still be had."""
        kept = self._coverage.get(partition, Coverage(0, 0))
        return kept.first <= offset < kept.next and kept.hole_at(offset) is None

    async def coverage(self) -> Mapping[int, Coverage]:
        await self._slow.turn()
        return await super().coverage()

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
        await self._slow.turn()
        few = self._slow.random.randint(1, 4)
        return await super().page(channels, after, upto, few, types, offline=offline)

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        await self._slow.turn()
        return await super().look_back(partition, start, stop)


class SimulatedRights(MemoryRights):
    """The twin of the projection of rights, slow to answer: somewhere between what Kafka has dropped and its end."""

    def __init__(self, log: SimulatedLog, look_back: int) -> None:
        super().__init__(log, look_back)
        self._slow = log

    async def load(self, tasks: int) -> HeldRights:
        await self._slow.turn()
        self._come_further()
        return await super().load(tasks)

    async def task(self, task_id: str) -> HeldTask:
        await self._slow.turn()
        self._come_further()
        return await super().task(task_id)

    def heard(self, high: Mapping[int, int]) -> Mapping[int, int]:
        """What a node that has read up to `high` may have heard of tasks, since it asks here."""
        return {partition: max(at, self._next.get(partition, 0)) for partition, at in high.items()}

    def _come_further(self) -> None:
        for partition, raws in self._slow.all.items():
            least = max(self._slow.first(partition), self._next.get(partition, 0))
            self.fold(partition, raws, self._slow.random.randint(least, max(least, self._slow.next(partition))))


class SimulatedPort:
    """A network that takes frames only when its client reads."""

    def __init__(self, low_water: int) -> None:
        self._low_water = low_water
        self._sent: deque[bytes] = deque()
        self._bytes = 0
        self.most_bytes = 0
        self.connection: Connection | None = None
        self.closed: tuple[int, str] | None = None

    def write(self, frames: bytes) -> None:
        for payload in payloads(frames):
            self._sent.append(payload)
            self._bytes += len(payload)
        self.most_bytes = max(self.most_bytes, self._bytes)

    def descriptor(self) -> int:
        return -1

    def buffered(self) -> int:
        return self._bytes

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.closed = (1006, "")

    def read(self, count: int) -> list[dict[str, Any]]:
        """The client reads up to `count` messages."""
        messages: list[dict[str, Any]] = []
        while self._sent and len(messages) < count:
            payload = self._sent.popleft()
            self._bytes -= len(payload)
            messages.append(from_json(payload))
        if self._bytes <= self._low_water and self.connection is not None:
            self.connection.drained()
        return messages
