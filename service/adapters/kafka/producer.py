"""Appending: one idempotent producer, made anew after an error that it can't go on from."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.structs import RecordMetadata
from lastseen.kafka_producer import BATCH_BYTES as BATCH_BYTES
from lastseen.kafka_producer import MAX_REQUEST_BYTES as MAX_REQUEST_BYTES
from lastseen.kafka_producer import new_producer, stop_producer

from service.adapters.kafka.errors import answering
from service.adapters.kafka.partitions import partition_of
from service.domain.errors import BadRequest, LogUnavailable
from service.ports import Place

logger = logging.getLogger(__name__)

NewEntry = tuple[bytes, bytes | None, tuple[tuple[str, bytes], ...]]
"""Key, value and headers, as a NewRecord; a value of None is a tombstone."""


class Appender:
    """Appends records to one topic of `partitions` partitions. Use it in an `async with`.

    The producer holds at most two batches a partition; when they are full an append waits, up to `timeout`
    seconds, and then raises LogUnavailable. Records of callers that append at once share batches and requests, and the
    more of them wait while a request is under way; `linger`, in seconds, has even the first of them wait for others.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, *, timeout: float, linger: float = 0.0) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._timeout = timeout
        self._linger = linger
        self._producer: AIOKafkaProducer | None = None
        self._retired: set[AIOKafkaProducer] = set()
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> "Appender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._discard(self._producer)
        for producer in list(self._retired):
            await self._discard(producer)

    async def append(self, records: Sequence[NewEntry]) -> Sequence[Place]:
        """As `EventLog.append`; BadRequest for a record larger than the brokers take."""
        producer = None
        with answering(f"Kafka at {self._bootstrap}"):
            try:
                async with asyncio.timeout(self._timeout):
                    producer = self._producer or await self._start()
                    return await self._send(producer, records)
            except KafkaTimeoutError:
                raise
            except KafkaError as error:
                # A batch that was given up leaves a gap in the producer's numbering, which the brokers refuse.
                await self._discard(producer)
                if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
                    raise BadRequest(f"Kafka takes no record of that size: {error}", code="too_large") from error
                raise

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[NewEntry]) -> Sequence[Place]:
        sent: list[asyncio.Future[RecordMetadata]] = []
        try:
            for key, value, headers in records:
                partition = 0 if self._partitions == 1 else partition_of(key, self._partitions)
                sent.append(await producer.send(self._topic, value, key, partition, headers=list(headers)))
            return [_place(metadata) for metadata in await asyncio.gather(*sent)]
        except BaseException:
            for future in sent:
                if not future.cancel() and not future.cancelled():
                    future.exception()
            raise

    async def _start(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = new_producer(
                    self._bootstrap, client_id="lastseen", timeout=self._timeout, linger=self._linger
                )
                try:
                    await producer.start()
                except BaseException:
                    await stop_producer(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _discard(self, producer: AIOKafkaProducer | None) -> None:
        if producer is None:
            return
        if producer is self._producer:
            self._producer = None
        self._retired.add(producer)
        await stop_producer(producer)
        self._retired.discard(producer)


def _place(metadata: RecordMetadata) -> Place:
    if metadata.log_start_offset is not None and metadata.log_start_offset < 0:
        # "Duplicate sequence": appended by an earlier try, at an offset that the broker no longer knows.
        raise LogUnavailable("Kafka has the record but does not say where; a retry is recognised by its id")
    return Place(metadata.partition, metadata.offset)
