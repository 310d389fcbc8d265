"""The port `EventLog` on a Kafka topic."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from lastseen.record import NewRecord

from service.adapters.kafka.fetching import Fetching, open_client
from service.adapters.kafka.partitions import partition_of
from service.adapters.kafka.producer import Appender
from service.adapters.kafka.readers import (
    KafkaTail,
    RangeReaders,
    check_start,
    open_consumer,
    read_bounds,
    read_offsets_at,
)
from service.adapters.kafka.topic_id import Leader, TopicInfo, check_topic, read_leaders, read_topic
from service.cancellation import heed_cancellation
from service.domain.errors import LogUnavailable
from service.ports import Bounds, Place, TailBatch


class KafkaLog:
    """`EventLog` on one topic; made by `open_log`."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        info: TopicInfo,
        appender: Appender,
        readers: RangeReaders,
        probe: AIOKafkaConsumer,
        timeout: float,
    ) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._info = info
        self._appender = appender
        self._readers = readers
        self._probe = probe
        self._timeout = timeout

    @property
    def topic_id(self) -> UUID:
        """The topic's own id: another topic of the same name has another."""
        return self._info.id

    @property
    def partitions(self) -> int:
        """The number of partitions when the log was opened."""
        return self._info.partitions

    async def append(self, records: Sequence[NewRecord]) -> Sequence[Place]:
        return await self._appender.append(records)

    def partition_of(self, key: bytes) -> int:
        return partition_of(key, self._info.partitions)

    async def bounds(self) -> Mapping[int, Bounds]:
        return await read_bounds(self._probe, self._topic, range(self._info.partitions), self._timeout)

    async def offsets_at(self, ms: int) -> Mapping[int, int | None]:
        return await read_offsets_at(self._probe, self._topic, range(self._info.partitions), ms, self._timeout)

    @asynccontextmanager
    async def tail(self, start: Mapping[int, int]) -> AsyncIterator[KafkaTail]:
        """As `EventLog.tail`. Raises OffsetsGone for a start outside the bounds, LogUnavailable.

        OffsetsGone too, then or within seconds, where the topic has more partitions by now or was made anew.
        """
        await self._check_topic()
        check_start(start, await self.bounds())
        async with (
            open_client(self._bootstrap, self._topic, self._timeout) as client,
            Fetching(client, self._topic, start, self._timeout) as fetching,
            KafkaTail(fetching, self._topic, start, self._probe, self._timeout, self._check_topic) as tail,
        ):
            yield tail

    async def leaders(self) -> Mapping[int, Leader]:
        """The present leader of each partition.

        Raises LogUnavailable, also where one has none; OffsetsGone where the topic is not the one that was opened.
        """
        return await read_leaders(self._bootstrap, self._topic, self._info, timeout=self._timeout)

    def read(self, partition: int, start: int, stop: int) -> AsyncGenerator[TailBatch, None]:
        return self._readers.read(partition, start, stop)

    async def _check_topic(self) -> None:
        await check_topic(self._bootstrap, self._topic, self._info, timeout=self._timeout)


@asynccontextmanager
async def open_log(
    bootstrap: str, topic: str, *, timeout: float = 10.0, linger: float = 0.0
) -> AsyncIterator[KafkaLog]:
    """The log in `topic`. `timeout`, in seconds, bounds every call that waits for Kafka; `linger` is of `Appender`.

    Raises LogUnavailable when Kafka does not answer or has no such topic.
    """
    info = await read_topic(bootstrap, topic, timeout=timeout)
    if info is None:
        raise LogUnavailable(f"Kafka at {bootstrap} has no topic {topic}: make it with `lastseen topics create`")
    async with AsyncExitStack() as stack:
        appender = await stack.enter_async_context(
            Appender(bootstrap, topic, info.partitions, timeout=timeout, linger=linger)
        )
        readers = await stack.enter_async_context(RangeReaders(bootstrap, topic, timeout))
        probe = await stack.enter_async_context(open_consumer(bootstrap, timeout))
        yield KafkaLog(bootstrap, topic, info, appender, readers, probe, timeout)
    heed_cancellation()
