"""The reader that consumers share: it goes through the partitions that a group deals out, into a sink.

The sink says how far each partition has come and holds the fence; the group only shares out the work, and nothing is
committed to it. Several instances, and several that the group is mistaken about, do no harm.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError

from consumers.partition import Partition
from service.adapters.kafka import plain_records
from service.adapters.kafka.errors import answering
from service.adapters.kafka.readers import check_start, read_bounds
from service.adapters.postgres.batches import Batch
from service.adapters.postgres.fence import Fenced
from service.cancellation import heed_cancellation
from service.domain.duplicates import LookBack
from service.domain.errors import OffsetsGone
from service.domain.records import RawRecord
from service.ports import Bounds
from service.settings import Settings

plain_records.install()

logger = logging.getLogger(__name__)

MAX_ROWS = 10_000
MAX_BYTES = 8 * 1024 * 1024
LINGER_SECONDS = 0.025
POLL_RECORDS = 500
STEP_RECORDS = 100
"""So many records are taken in one step of the event loop: in the next one the writing gets on."""
IDLE_POLL_SECONDS = 0.25
BUSY_POLL_SECONDS = 0.005
"""How long records are waited for at once while the batch before them is being written."""
CHECK_SECONDS = 5.0
KAFKA_SECONDS = 10.0
STOP_SECONDS = 3.0
SESSION_MS = 6_000
"""After so much silence of an instance the others take its partitions; the least that brokers allow by default."""
TEND_SECONDS = 3_600.0


class Start(NamedTuple):
    """Where a partition goes on."""

    next: int
    """The first offset that is to be written."""
    look_back: LookBack
    reading: int
    """At or below `next`: what Kafka holds from here on is read for the look-back alone."""


class Sink(Protocol):
    """Where the batches go, exactly once. Every call raises HistoryUnavailable while Postgres does not answer."""

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The offset that each partition's next batch must begin at."""
        ...

    async def begin(self, partition: int, next_: int, held: Bounds) -> Start:
        """Where to go on from `next_`, at most the end of what Kafka holds. Raises Fenced."""
        ...

    def prepare(self, batch: Batch) -> None:
        """Do with what has come to a batch what needs no server: the batch before it is being written meanwhile."""
        ...

    async def write(self, batches: Sequence[Batch]) -> None:
        """Write all batches, at most one a partition, or none. Raises Fenced."""
        ...

    async def tend(self) -> None:
        """What is to be done now and then: every TEND_SECONDS."""
        ...


@asynccontextmanager
async def open_member(settings: Settings, name: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the group `name` of the topic, not subscribed yet. Raises LogUnavailable."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        client_id=f"lastseen-{name}",
        group_id=f"{settings.topic}.{name}",
        # Postgres knows how far it has come; the group deals out partitions and nothing else.
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        value_deserializer=plain_records.AS_IT_IS,
        request_timeout_ms=int(KAFKA_SECONDS * 1000),
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 4,
    )
    try:
        with answering("Kafka"):
            async with asyncio.timeout(KAFKA_SECONDS):
                await consumer.start()
        heed_cancellation()
        yield consumer
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await consumer.stop()


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]
    """Goes through the partitions that the group deals out to `consumer`, which it subscribes. Use in `async with`.

    One batch is written while the next is read; a further one waits until that is written. `check` is awaited before
    partitions are begun and every CHECK_SECONDS; what it raises ends the reading: whether topic and epoch are still
    those that it was begun with, for one.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        sink: Sink,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._sink = sink
        self._check = check
        # Replaced, never emptied: who holds the old one across an await sees that it is no longer ours.
        self._partitions: dict[int, Partition] = {}
        self._rows = 0
        self._bytes = 0
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._consumer.subscribe([self._topic], listener=self)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Drop what is not written: whoever has the partition next reads it again."""
        self._partitions = {}

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Hold the new partitions still until `run` knows where they begin."""
        self._partitions = {}
        for tp in assigned:
            # Any place will do; without one the consumer would look for a committed offset.
            self._consumer.seek(tp, 0)
            self._consumer.pause(tp)

    async def run(self) -> None:
        """Read, judge and write until cancelled. Raises Unavailable when Kafka or Postgres is away."""
        loop = asyncio.get_running_loop()
        checked = tended = loop.time()
        while True:
            heed_cancellation()
            try:
                await self._take_over()
                await self._round()
                if self._writing is not None and self._writing.done():
                    await self._written()
                if loop.time() - checked > CHECK_SECONDS:
                    checked = loop.time()
                    await self._check_bounds()
            except Fenced as error:
                logger.warning("beginning again where Postgres stands: %s", error)
                self._partitions = {}
            if loop.time() - tended > TEND_SECONDS:
                tended = loop.time()
                await self._sink.tend()

    async def _take_over(self) -> None:
        """Bring the partitions that are ours and not known to where Postgres stands, and let them run."""
        before = self._partitions
        new = sorted(tp.partition for tp in self._consumer.assignment() if tp.partition not in before)
        if not new:
            return
        await self._written()
        for _, tp in self._tps(new):
            self._consumer.pause(tp)
        if self._check is not None:
            await self._check()
        nexts = await self._sink.next_offsets(new)
        bounds = await read_bounds(self._consumer, self._topic, new, KAFKA_SECONDS)
        found: dict[int, Partition] = {}
        for number in new:
            if nexts[number] > bounds[number].next:
                raise OffsetsGone(
                    f"Postgres stands at {nexts[number]} of partition {number}, Kafka ends at {bounds[number].next}: "
                    "data seems to be lost, which the loss detector looks into"
                )
            start = await self._sink.begin(number, nexts[number], bounds[number])
            found[number] = Partition(number, start.next, start.look_back, start.reading)
        if self._partitions is not before:
            return
        self._partitions = {**before, **found}
        for number, tp in self._tps(new):
            self._consumer.seek(tp, found[number].reading)
            self._consumer.resume(tp)
        logger.info("writing partitions %s", ", ".join(f"{p} from {found[p].next}" for p in new))

    async def _round(self) -> None:
        """Gather records and write them: when there are enough, or LINGER_SECONDS after the first and not before the
        batch before them is written.
        """
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while deadline is None or loop.time() < deadline or (self._writing is not None and not self._writing.done()):
            wait = IDLE_POLL_SECONDS if deadline is None else max(deadline - loop.time(), BUSY_POLL_SECONDS)
            held = self._partitions
            found = await self._poll(wait)
            if self._partitions is not held:
                return
            # Before anything else is awaited: now they belong to `found`.
            ends = {number: await self._consumer.position(tp) for number, tp in self._tps(held)}
            for number, tp in self._tps(held):
                await self._take(held, held[number], found.get(tp, ()), ends[number])
                if self._partitions is not held:
                    return
            if not any(partition.has_moved for partition in held.values()):
                return
            deadline = deadline or loop.time() + LINGER_SECONDS
        await self._write(self._partitions)

    async def _poll(self, seconds: float) -> dict[TopicPartition, list[RawRecord]]:
        with answering("Kafka"):
            try:
                found: dict[TopicPartition, list[RawRecord]] = await self._consumer.getmany(
                    timeout_ms=int(seconds * 1000), max_records=POLL_RECORDS
                )
            except NoOffsetForPartitionError:
                # It was asked for between being dealt a partition and being told of it.
                return {}
        return found

    async def _take(
        self, held: dict[int, Partition], partition: Partition, records: Sequence[RawRecord], end: int
    ) -> None:
        for taken, record in enumerate(records, 1):
            partition.add(record)
            self._rows += 1
            self._bytes += len(record.value or b"")
            if self._rows >= MAX_ROWS or self._bytes >= MAX_BYTES:
                await self._write(held)
            elif taken % STEP_RECORDS == 0:
                self._sink.prepare(partition.batch)
                await asyncio.sleep(0)
            else:
                continue
            if self._partitions is not held:
                return
        if records:
            self._sink.prepare(partition.batch)
        partition.pass_to(end)

    async def _write(self, held: dict[int, Partition]) -> None:
        """Begin to write what is held, once the batch before it is written."""
        self._rows = self._bytes = 0
        batches = [partition.take_batch() for partition in held.values() if partition.has_moved]
        for batch in batches:
            self._sink.prepare(batch)
        await self._written()
        if batches and self._partitions is held:
            self._writing = asyncio.create_task(self._sink.write(batches))

    async def _written(self) -> None:
        """Wait until nothing is being written. Raises what the writing raised."""
        if self._writing is not None:
            try:
                await self._writing
            finally:
                self._writing = None

    async def _check_bounds(self) -> None:
        """Notice that Kafka is away, or that retention has overtaken us: the consumer alone just finds nothing."""
        if self._check is not None:
            await self._check()
        held = self._partitions
        bounds = await read_bounds(self._consumer, self._topic, list(held), KAFKA_SECONDS)
        check_start({number: partition.reading for number, partition in held.items()}, bounds)

    def _tps(self, partitions: Iterable[int]) -> list[tuple[int, TopicPartition]]:
        return [(number, TopicPartition(self._topic, number)) for number in partitions]
