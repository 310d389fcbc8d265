"""Reading, read_committed: a tail of every partition, and ranges by consumers without a group, placed by hand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from service.adapters.kafka import lean, lenient, plain_records
from service.adapters.kafka.errors import answering
from service.adapters.kafka.fetching import Fetching
from service.adapters.kafka.plain_records import PlainRecord
from service.cancellation import heed_cancellation
from service.domain.errors import LogUnavailable, OffsetsGone
from service.ports import Bounds, TailBatch

lenient.install()
lean.install()
plain_records.install()

POLL_MS = 200
"""How long one wait for records may hide offsets that pass without one (control records)."""
STOP_SECONDS = 3.0
CHECK_SECONDS = 5.0
"""How often a tail asks whether the log is still the one that it reads; with a shorter time-out, as often as that."""
END_SECONDS = 1.0
"""How often it asks for the bounds: an end that has gone back is soon passed again by what is appended."""
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
        value_deserializer=plain_records.AS_IT_IS,
    )
    try:
        with answering(f"Kafka at {bootstrap}"):
            async with asyncio.timeout(timeout):
                await consumer.start()
                heed_cancellation()
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
        # While a broker goes and comes, its stop may wait for ever.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
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


async def read_offsets_at(
    consumer: AIOKafkaConsumer, topic: str, partitions: Sequence[int], ms: int, timeout: float
) -> dict[int, int | None]:
    """As `EventLog.offsets_at`."""
    asked = [TopicPartition(topic, partition) for partition in partitions]
    with answering("Kafka"):
        async with asyncio.timeout(timeout):
            found = await consumer.offsets_for_times(dict.fromkeys(asked, max(ms, 0)))
    return {tp.partition: None if found[tp] is None else found[tp].offset for tp in asked}


def check_start(start: Mapping[int, int], bounds: Mapping[int, Bounds]) -> None:
    """Raises OffsetsGone for a start outside the bounds: aiokafka could wait there for ever."""
    for partition, offset in start.items():
        first, next_ = bounds[partition]
        if not first <= offset <= next_:
            raise OffsetsGone(f"Kafka holds [{first}, {next_}) of partition {partition}, {offset} was asked for")


class KafkaTail:
    """Reads what is fetched of all partitions, as `TailReader` says. Use in `async with`.

    `probe` is asked for the bounds of the topic's partitions. `check` is awaited now and then, beside the reading; what
    it raises comes out of `read`.
    """

    def __init__(
        self,
        fetching: Fetching,
        topic: str,
        start: Mapping[int, int],
        probe: AIOKafkaConsumer,
        timeout: float,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._fetching = fetching
        self._next = dict(start)
        self._partitions = {TopicPartition(topic, partition): partition for partition in start}
        self._probe = probe
        self._timeout = timeout
        self._more = check
        self._checked = self._asked_more = asyncio.get_running_loop().time()
        self._checking: asyncio.Task[None] | None = None
        self._is_behind = False

    async def __aenter__(self) -> "KafkaTail":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)

    async def read(self) -> TailBatch:
        """As `TailReader.read`.

        Raises OffsetsGone when retention has overtaken it, when Kafka has ended twice in a row before what it has
        read (a leader may be late to know its end), or by its `check`.
        """
        while True:
            await self._check_now_and_then()
            with answering("Kafka"):
                fetched = await self._fetching.read(min(END_SECONDS, self._timeout))
            if fetched is not None:
                self._next |= fetched.next
                return TailBatch(fetched.records, fetched.next)

    async def _check_now_and_then(self) -> None:
        """Not awaited where it goes on: what is read meanwhile shall not be late for it."""
        now = asyncio.get_running_loop().time()
        if self._checking is not None and self._checking.done():
            done, self._checking, self._checked = self._checking, None, now
            if done.cancelled():
                # By the client, which cancels what it is asked while it closes: that is no cancelling of the reader.
                raise LogUnavailable("Kafka was away while it was asked for its bounds")
            await done
        if self._checking is None and now - self._checked > min(END_SECONDS, self._timeout):
            self._checking = asyncio.create_task(self._check(dict(self._next)))

    async def _check(self, next_: Mapping[int, int]) -> None:
        now = asyncio.get_running_loop().time()
        # First: of a topic that was made anew the bounds would tell only that they are others.
        if self._more is not None and (self._is_behind or now - self._asked_more > min(CHECK_SECONDS, self._timeout)):
            await self._more()
            self._asked_more = now
        # Of a broker that is away just nothing comes; only a question with an answer tells.
        ends = await self._asked(self._probe.end_offsets)
        was_behind, self._is_behind = self._is_behind, any(ends[p] < before for p, before in next_.items())
        if all(min(self._next[p], ends[p]) == ends[p] >= before for p, before in next_.items()):
            return  # at its end none can have been overtaken: the starts need not be asked for
        starts = await self._asked(self._probe.beginning_offsets)
        bounds = {p: Bounds(starts[p], max(starts[p], ends[p])) for p in next_}
        for partition, before in next_.items():
            # It may have read on meanwhile, and so stand beyond the end that was told.
            at = max(before, min(self._next[partition], bounds[partition].next))
            if at <= bounds[partition].next or was_behind:
                check_start({partition: at}, bounds)

    async def _asked(self, ask: Callable[[list[TopicPartition]], Awaitable[Any]]) -> dict[int, int]:
        """The offset of each partition that Kafka answers with. Raises LogUnavailable."""
        with answering("Kafka"):
            async with asyncio.timeout(self._timeout):
                answer = await ask(list(self._partitions))
        return {partition: answer[tp] for tp, partition in self._partitions.items()}


class _Reader:
    """A consumer, and the (partition, offset) that it would read next without being placed anew."""

    __slots__ = ("at", "consumer")

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.at: tuple[int, int] | None = None

    def rest(self) -> None:
        """Fetch nothing until it is placed anew."""
        self.at = None
        self.consumer.pause(*self.consumer.assignment())


class RangeReaders:
    """Up to RANGE_READERS consumers that read ranges, each borrowed for one batch. Use in `async with`.

    So nobody holds one while its caller does something else; a read waits only for the batches of others.
    """

    def __init__(self, bootstrap: str, topic: str, timeout: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._timeout = timeout
        self._free: list[_Reader] = []
        """The longest unused first."""
        self._count = 0
        self._turns = asyncio.Semaphore(RANGE_READERS)

    async def __aenter__(self) -> "RangeReaders":
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._free:
            await self._stop(self._free.pop())

    async def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        """As `EventLog.read`. Raises LogUnavailable too when it gets no turn within the timeout."""
        next_ = start
        try:
            while next_ < stop:
                async with self._borrow(partition, next_) as reader:
                    records, next_ = await self._next(reader.consumer, TopicPartition(self._topic, partition), next_)
                    if next_ < stop:
                        reader.at = (partition, next_)
                while records and records[-1].offset >= stop:
                    records.pop()
                yield TailBatch(records, {partition: min(next_, stop)})
        finally:
            # Left early: what would have come next is nobody's any more.
            for reader in self._free:
                if reader.at == (partition, next_):
                    reader.rest()

    async def _next(self, consumer: AIOKafkaConsumer, tp: TopicPartition, at: int) -> tuple[list[PlainRecord], int]:
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
    async def _borrow(self, partition: int, at: int) -> AsyncIterator[_Reader]:
        """A reader placed at an offset; one that is not told where it stands at the end rests."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
        except TimeoutError as error:
            raise LogUnavailable(f"no turn to read a range of Kafka came within {self._timeout:g} s") from error
        try:
            reader = await self._take(partition, at)
            try:
                if reader.at != (partition, at):
                    tp = TopicPartition(self._topic, partition)
                    reader.consumer.assign([tp])
                    reader.consumer.seek(tp, at)
                reader.at = None
                yield reader
            except BaseException:
                await self._stop(reader)
                raise
            if reader.at is None:
                reader.rest()
            self._free.append(reader)
        finally:
            self._turns.release()

    async def _take(self, partition: int, at: int) -> _Reader:
        """The free reader that stands there, else one that rests, else a new one, else the longest unused."""
        for where in ((partition, at), None):
            for reader in self._free:
                if reader.at == where:
                    self._free.remove(reader)
                    return reader
        if self._count == RANGE_READERS:
            return self._free.pop(0)
        self._count += 1
        try:
            return _Reader(await start_consumer(self._bootstrap, self._timeout))
        except BaseException:
            self._count -= 1
            raise

    async def _stop(self, reader: _Reader) -> None:
        self._count -= 1
        await reader.consumer.stop()
