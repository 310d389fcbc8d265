"""A node, its log and its history in one event loop whose clock is simulated: for adversarial schedules.

The node's own code runs unchanged; only Kafka, Postgres, the network and time are played. Whatever is played
takes a random number of turns of the loop to answer, so that everything may move meanwhile.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from random import Random
from typing import Any

from lastseen.envelope import Event
from pydantic_core import from_json

from service.domain.duplicates import Seen, Void
from service.domain.errors import HistoryUnavailable, OffsetsGone
from service.domain.frames import payloads
from service.domain.ranges import Bounds, Coverage
from service.domain.records import Record, read_record
from service.node.connection import Connection
from service.ports import HistoryPage, Place, TailBatch, TaskFacts
from tests.raw import Raw, raw_of


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


class SimulatedLog:
    """Kafka and Postgres, as far as a node sees them. Offsets have holes; retention passes."""

    def __init__(self, partitions: int, look_back: int, random: Random) -> None:
        self.records: dict[int, list[Raw]] = {p: [] for p in range(partitions)}
        self.bounds_now = {p: Bounds(0, 0) for p in range(partitions)}
        self.coverage_now = {p: Coverage(0, 0) for p in range(partitions)}
        self.history_away = False
        self.look_back_size = look_back
        self._random = random
        self.readable: dict[tuple[int, int], Record] = {}
        self.void: dict[tuple[int, int], Void] = {}

    def add(self, partition: int, event: Event, skip: int = 0) -> None:
        """Append an event, `skip` offsets behind the last one (control records lie between)."""
        first, next_ = self.bounds_now[partition]
        raw = raw_of(partition, next_ + skip, event)
        record = read_record(raw)
        lowest = raw.offset - self.look_back_size
        before = [self.readable[partition, r.offset] for r in self.records[partition] if r.offset >= lowest]
        if any(other.id == record.id for other in before):
            self.void[partition, raw.offset] = Void.DUPLICATE
        elif record.task is not None and any(other.ended_task == record.task for other in before):
            self.void[partition, raw.offset] = Void.FENCED
        self.records[partition].append(raw)
        self.readable[partition, raw.offset] = record
        self.bounds_now[partition] = Bounds(first, raw.offset + 1)

    def project(self, partition: int, count: int) -> None:
        """The log writer copies the next offsets, passing over what Kafka no longer holds as a hole."""
        held, kept = self.bounds_now[partition], self.coverage_now[partition]
        if kept.next < held.first:
            kept = Coverage(kept.first, held.first, [*kept.holes, (kept.next, held.first)])
        self.coverage_now[partition] = Coverage(kept.first, min(kept.next + count, held.next), kept.holes)

    def drop_below(self, partition: int, offset: int) -> None:
        """Kafka's retention passes."""
        first, next_ = self.bounds_now[partition]
        self.bounds_now[partition] = Bounds(max(first, min(offset, next_)), next_)

    def drop_history_below(self, partition: int, offset: int) -> None:
        """A day partition is dropped."""
        kept = self.coverage_now[partition]
        self.coverage_now[partition] = Coverage(max(kept.first, min(offset, kept.next)), kept.next, kept.holes)

    def live_records(self, channel: str) -> list[Record]:
        """What a subscriber of `channel` is owed, of all offsets."""
        return [r for place, r in self.readable.items() if place not in self.void and channel in r.channels]

    def is_copied(self, partition: int, offset: int) -> bool:
        """Whether Postgres has what lies at an offset."""
        kept = self.coverage_now[partition]
        return kept.first <= offset < kept.next and kept.hole_at(offset) is None

    async def _turn(self) -> None:
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)

    # EventLog

    async def append(self, records: Sequence[object]) -> Sequence[Place]:
        raise AssertionError("the simulation appends by `add`")

    def partition_of(self, key: bytes) -> int:
        return len(key) % len(self.records)

    async def bounds(self) -> Mapping[int, Bounds]:
        await self._turn()
        return dict(self.bounds_now)

    def tail(self, start: Mapping[int, int]) -> Any:
        raise AssertionError("the simulation steps the tail itself")

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        at = start
        while at < stop:
            await self._turn()
            if at < self.bounds_now[partition].first:
                raise OffsetsGone("retention has passed", retry_after=0.1)
            upto = min(stop, at + self._random.randint(1, 9))
            batch = [raw for raw in self.records[partition] if at <= raw.offset < upto]
            yield TailBatch(batch, {partition: upto})
            at = upto

    # History

    async def coverage(self) -> Mapping[int, Coverage]:
        await self._ask()
        return {p: kept for p, kept in self.coverage_now.items() if kept.next}

    async def page(
        self, channels: Sequence[str], after: Mapping[int, int], upto: Mapping[int, int], limit: int
    ) -> HistoryPage:
        await self._ask()
        limit = self._random.randint(1, 4)
        found: list[Record] = []
        served = dict(after)
        for partition in sorted(upto):
            end = min(upto[partition], self.coverage_now[partition].next - 1)
            matching = [
                record
                for (p, offset), record in sorted(self.readable.items(), key=lambda item: item[0])
                if p == partition
                and after[partition] < offset <= end
                and (p, offset) not in self.void
                and self.is_copied(p, offset)
                and set(channels) & set(record.channels)
            ]
            room = limit - len(found)
            found += matching[:room]
            if len(matching) >= room:
                if room > 0:
                    served[partition] = matching[room - 1].offset
                break
            served[partition] = max(served[partition], end)
        return HistoryPage(found, served)

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        await self._ask()
        return [
            Seen(record.offset, record.id, record.ended_task)
            for (p, offset), record in sorted(self.readable.items(), key=lambda item: item[0])
            if p == partition and start <= offset < stop and self.is_copied(p, offset)
        ]

    async def task(self, task_id: str) -> TaskFacts | None:
        await self._ask()
        mine = [
            record
            for (p, offset), record in self.readable.items()
            if record.task == task_id and (p, offset) not in self.void and self.is_copied(p, offset)
        ]
        return TaskFacts(None, None, any(record.ended_task for record in mine)) if mine else None

    async def _ask(self) -> None:
        await self._turn()
        if self.history_away:
            raise HistoryUnavailable("Postgres is away", retry_after=0.1)


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
