"""Reading: consumers without a group, read_committed, placed by hand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from service.adapters.kafka import lenient
from service.adapters.kafka.errors import answering
from service.domain.errors import LogUnavailable, OffsetsGone
from service.ports import Bounds, TailBatch

lenient.install()

POLL_MS = 200
"""How long one wait for records may hide offsets that pass without one (control records)."""
RANGE_READERS = 4


async def start_consumer(bootstrap: str, timeout: float) -> AIOKafkaConsumer:
    """A consumer that is assigned nothing yet; the caller stops it. Raises LogUnavailable."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="lastseen",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        request_timeout_ms=int(timeout * 1000),
        max_poll_records=None,
    )
    try:
        with answering(f"Kafka at {bootstrap}"):
            async with asyncio.timeout(timeout):
                await consumer.start()
        # Lets its tasks begin: aiokafka's stop raises CancelledError for one that never ran.
        await asyncio.sleep(0)
    except BaseException:
        await consumer.stop()
        raise
    return consumer


@asynccontextmanager
async def open_consumer(bootstrap: str, timeout: float) -> AsyncIterator[AIOKafkaConsumer]:
    """`start_consumer`, stopped at the end."""
    consumer = await start_consumer(bootstrap, timeout)
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_bounds(
    consumer: AIOKafkaConsumer, topic: str, partitions: Sequence[int], timeout: float
) -> dict[int, Bounds]:
    """The readable range of each partition. Raises LogUnavailable."""
    asked = [TopicPartition(topic, partition) for partition in partitions]
    with answering("Kafka"):
        async with asyncio.timeout(timeout):
            # First the starts: a start read after an end could lie above it.
            first = await consumer.beginning_offsets(asked)
            last = await consumer.end_offsets(asked)
    return {tp.partition: Bounds(first[tp], max(first[tp], last[tp])) for tp in asked}


def check_start(start: Mapping[int, int], bounds: Mapping[int, Bounds]) -> None:
    """Raises OffsetsGone for a start outside the bounds: aiokafka could wait there for ever."""
    for partition, offset in start.items():
        first, next_ = bounds[partition]
        if not first <= offset <= next_:
            raise OffsetsGone(f"Kafka holds [{first}, {next_}) of partition {partition}, {offset} was asked for")


class KafkaTail:
    """Reads all partitions from where it was opened on, as `TailReader` says."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, start: Mapping[int, int], timeout: float) -> None:
        self._consumer = consumer
        self._next = dict(start)
        self._partitions = {TopicPartition(topic, partition): partition for partition in start}
        self._topic = topic
        self._timeout = timeout
        consumer.assign(list(self._partitions))
        for tp, partition in self._partitions.items():
            consumer.seek(tp, start[partition])

    async def read(self) -> TailBatch:
        """As `TailReader.read`. Raises OffsetsGone when retention has overtaken it."""
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            with answering("Kafka"):
                found = await self._consumer.getmany(timeout_ms=POLL_MS)
            moved = await self._moved()
            if moved:
                return TailBatch([record for records in found.values() for record in records], moved)
            if loop.time() - checked > self._timeout:
                await self._check()
                checked = loop.time()

    async def _moved(self) -> dict[int, int]:
        moved: dict[int, int] = {}
        for tp, partition in self._partitions.items():
            next_ = await self._consumer.position(tp)
            if next_ != self._next[partition]:
                moved[partition] = self._next[partition] = next_
        return moved

    async def _check(self) -> None:
        # A consumer of a broker that is away just finds nothing; only a question with an answer tells.
        check_start(self._next, await read_bounds(self._consumer, self._topic, list(self._next), self._timeout))


class RangeReaders:
    """Up to RANGE_READERS consumers that read ranges; a further read waits for one. Use in `async with`."""

    def __init__(self, bootstrap: str, topic: str, timeout: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._timeout = timeout
        self._free: list[AIOKafkaConsumer] = []
        self._turns = asyncio.Semaphore(RANGE_READERS)

    async def __aenter__(self) -> "RangeReaders":
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._free:
            await self._free.pop().stop()

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        """As `EventLog.read`."""
        if start >= stop:
            return
        async with self._borrow() as consumer:
            tp = TopicPartition(self._topic, partition)
            consumer.assign([tp])
            consumer.seek(tp, start)
            next_ = start
            while next_ < stop:
                records, next_ = await self._next(consumer, tp, next_)
                while records and records[-1].offset >= stop:
                    records.pop()
                yield TailBatch(records, {partition: min(next_, stop)})

    async def _next(self, consumer: AIOKafkaConsumer, tp: TopicPartition, at: int) -> tuple[list[ConsumerRecord], int]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            with answering("Kafka"):
                found = await consumer.getmany(tp, timeout_ms=POLL_MS)
                next_ = await consumer.position(tp)
            if next_ != at:
                return found.get(tp, []), next_
            if loop.time() > deadline:
                bounds = await read_bounds(consumer, self._topic, [tp.partition], self._timeout)
                check_start({tp.partition: at}, bounds)
                raise LogUnavailable(f"Kafka gave nothing of partition {tp.partition} at offset {at}")

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[AIOKafkaConsumer]:
        async with self._turns:
            consumer = self._free.pop() if self._free else await start_consumer(self._bootstrap, self._timeout)
            try:
                yield consumer
            except (Exception, asyncio.CancelledError):
                await consumer.stop()
                raise
            finally:
                # A reader that its caller left early is as good as one that came to its end.
                if not consumer._closed:
                    consumer.pause(*consumer.assignment())
                    self._free.append(consumer)
