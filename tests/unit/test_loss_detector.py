"""The loss detector over the twin of the log: what it asks, when it believes, and what it starts."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
from lastseen.record import encode

from service.adapters.memory import MemoryLog
from service.domain.epochs import Loss, LostRange
from service.domain.errors import EpochEnded, HistoryUnavailable, LogUnavailable, OffsetsGone
from service.domain.loss import LOOKS, Entry
from service.domain.records import read_record
from service.loss_detector import LossDetector
from service.ports import Epoch
from tests.raw import task_event

PARTITIONS = 2


class Known:
    """A reader that has read what the log holds."""

    def __init__(self) -> None:
        self.next: dict[int, int] = {}
        self.held: dict[int, list[Entry]] = {}
        self.asked: list[int] = []
        self.ahead = 0
        """How many times it is ahead of Kafka, as of a leader that does not know its end yet."""

    async def read(self, log: MemoryLog) -> None:
        for partition, bounds in (await log.bounds()).items():
            self.next[partition] = bounds.next
            found = self.held[partition] = []
            async for batch in log.read(partition, bounds.first, bounds.next):
                found += [Entry(raw.offset, read_record(raw).id, raw.timestamp) for raw in batch.records]

    async def next_offsets(self) -> Mapping[int, int]:
        self.ahead -= 1
        return {partition: next_ + (2 if self.ahead >= 0 else 0) for partition, next_ in self.next.items()}

    async def entries(self, partition: int, start: int, stop: int) -> Sequence[Entry]:
        self.asked.append(partition)
        return [entry for entry in self.held[partition] if start <= entry.offset < stop]


class Started:
    """Epochs of a database."""

    def __init__(self) -> None:
        self.now = Epoch(1, "first", PARTITIONS)
        self.available = True

    async def check(self, epoch: Epoch) -> None:
        if not self.available:
            raise HistoryUnavailable("away")
        if epoch != self.now:
            raise EpochEnded("another")

    async def start_after_loss(self, epoch: Epoch, lost: Sequence[LostRange]) -> Epoch | None:
        await self.check(epoch)
        self.now = Epoch(epoch.number + 1, "next", PARTITIONS, losses=(Loss(epoch.number + 1, tuple(lost)),))
        return self.now


class World:
    """A log that was read, and its detector."""

    def __init__(self) -> None:
        self.time = 0
        self.log = MemoryLog(PARTITIONS, lambda: self.time)
        self.known, self.epochs = Known(), Started()
        self.leader = 1
        self.detector = LossDetector(
            self.log, self._leaders, self.known, self.epochs, self.epochs.now, seconds=0, pause=0
        )

    async def _leaders(self) -> Mapping[int, object]:
        if not self.log.available:
            raise LogUnavailable("away")
        return dict.fromkeys(range(PARTITIONS), self.leader)

    async def append(self, records: int) -> None:
        self.time += 1
        for _ in range(records):
            for partition in range(PARTITIONS):
                record = encode(task_event())
                self.log.append_raw(partition, record.value, record.headers)

    async def settle(self) -> None:
        async with asyncio.timeout(30):
            await self.detector.settle()


@pytest.fixture
async def world() -> World:
    world = World()
    await world.append(10)
    await world.known.read(world.log)
    return world


async def test_all_is_in_order_and_is_compared_again_only_after_a_change_of_leaders(world: World) -> None:
    await world.settle()
    assert sorted(world.known.asked) == [0, 1], "at first"
    await world.append(5)
    await world.settle()
    assert len(world.known.asked) == 2
    world.leader += 1
    await world.settle()
    assert len(world.known.asked) == 4


async def test_an_end_that_lies_behind_what_was_read_is_a_loss(world: World) -> None:
    world.log.lose_from(1, 4)
    with pytest.raises(EpochEnded, match=r"lost records that were read and acknowledged: partition 1 \[4, 10\)\."):
        await world.settle()
    assert world.epochs.now.losses == (Loss(2, (LostRange(0, 10, 10), LostRange(1, 4, 10))),)


async def test_what_was_written_over_is_a_loss_too_though_nothing_shows_at_the_ends(world: World) -> None:
    await world.settle()
    world.log.lose_from(0, 7)
    world.leader += 1
    await world.append(20)
    with pytest.raises(EpochEnded, match=r"partition 0 \[7, 10\)\."):
        await world.settle()


async def test_an_end_seen_too_late_is_put_where_the_records_end(world: World) -> None:
    world.log.lose_from(0, 3)
    await world.append(2)
    with pytest.raises(EpochEnded, match=r"partition 0 \[3, 10\)\."):
        await world.settle()


async def test_what_comes_back_was_late(world: World) -> None:
    world.known.ahead = LOOKS - 1
    await world.settle()
    assert world.epochs.now.number == 1


async def test_retention_is_no_loss(world: World) -> None:
    world.log.drop_below(0, 10)
    world.log.drop_below(1, 7)
    await world.settle()


async def test_a_question_without_an_answer_proves_nothing(world: World) -> None:
    world.log.lose_from(0, 7)
    world.log.available = False
    settling = asyncio.create_task(world.settle())
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.epochs.now.number == 1
    world.epochs.available = False
    world.log.available = True
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.epochs.now.number == 1
    world.epochs.available = True
    with pytest.raises(EpochEnded):
        await settling
    assert world.epochs.now.number == 2


async def test_another_topic_is_for_administration(world: World) -> None:
    async def other() -> Mapping[int, object]:
        raise OffsetsGone("made anew")

    world.log.lose_from(0, 0)
    world.detector._leaders = other
    with pytest.raises(OffsetsGone, match="made anew"):
        await world.settle()
    assert world.epochs.now.number == 1


async def test_it_ends_though_a_driver_swallows_that_it_is_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def check(_: Epoch) -> None:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(world.epochs, "check", check)
    looking = asyncio.create_task(world.detector.run())
    await asked.wait()
    looking.cancel()
    done, _ = await asyncio.wait([looking], timeout=10)
    assert done
    assert looking.cancelled()
