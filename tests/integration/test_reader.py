"""The reader that consumers share, on a real topic, into a sink that the test holds up."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer

from consumers.reader import Reader, Start
from service.adapters.kafka.log import KafkaLog
from service.adapters.postgres.batches import Batch
from service.domain.duplicates import LookBack
from service.ports import Bounds
from tests.events import records_of, task_events
from tests.waiting import until


@dataclass
class HeldSink:
    """Its first writing ends when something has been prepared meanwhile."""

    is_writing: bool = False
    prepared: asyncio.Event = field(default_factory=asyncio.Event)
    written: list[Batch] = field(default_factory=list)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Of the records that were written."""
        return [(r.record.partition, r.record.offset) for batch in self.written for r in batch.readable]

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return dict.fromkeys(partitions, 0)

    async def begin(self, partition: int, next_: int, held: Bounds) -> Start:
        return Start(next_, LookBack(), next_)

    def prepare(self, batch: Batch) -> None:
        if self.is_writing and batch.readable:
            self.prepared.set()

    async def write(self, batches: Sequence[Batch]) -> None:
        self.is_writing = True
        await self.prepared.wait()
        self.written += batches

    async def tend(self) -> None:
        """Nothing is to be done."""


async def test_what_comes_next_is_prepared_while_a_batch_is_written(kafka: str, topic: str, log: KafkaLog) -> None:
    sink = HeldSink()
    places = [*await log.append(records_of(task_events(50)))]
    async with (
        AIOKafkaConsumer(
            bootstrap_servers=kafka, group_id=topic, enable_auto_commit=False, auto_offset_reset="none"
        ) as consumer,
        Reader(consumer, topic, sink) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        reading = tasks.create_task(reader.run())
        await until(lambda: sink.is_writing, timeout=40, what="a first batch being written")
        places += await log.append(records_of(task_events(500)))
        await until(lambda: len(sink.places) == len(places), timeout=40, what="all of it being written")
        reading.cancel()
    assert sorted(sink.places) == sorted(places)
    reached = dict.fromkeys(range(log.partitions), 0)
    for batch in sink.written:
        assert batch.first == reached[batch.partition]
        reached[batch.partition] = batch.next
