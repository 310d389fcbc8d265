"""Emitting events straight to Kafka, from asynchronous code."""

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self

try:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
    from aiokafka.partitioner import murmur2
    from aiokafka.structs import RecordMetadata
except ImportError as missing:
    raise ImportError('EventEmitter needs aiokafka: pip install "lastseen[kafka]"') from missing

from lastseen.emitting import (
    DEFAULT_TIMEOUT,
    DEFAULT_TOPIC,
    Emitted,
    Emitter,
    Fields,
    Records,
    addresses,
    checked_timeout,
)
from lastseen.errors import Closed
from lastseen.kafka_producer import new_producer, stop_producer
from lastseen.linger import checked_linger
from lastseen.partitioning import Partitioner
from lastseen.record import NewRecord
from lastseen.refusals import explain, unconfirmed

_TURNS: Final = 64
_CONNECT_AGAIN_SECONDS: Final = 0.1


class EventEmitter(Emitter[Coroutine[Any, Any, Emitted]]):
    """Appends events to the topic, each answered when all replicas in sync have it.

    Without `bootstrap_servers` the environment variable LASTSEEN_KAFKA names them. The first event connects.
    The events of one project (or task, or user) are appended in the order of the calls, also when many are
    emitted at once. Nothing is queued here: what is under way is what callers wait for, and the producer
    itself holds at most two batches a partition. What is emitted while a request is under way shares the next;
    `linger`, in seconds, has requests wait for more: fewer and larger ones, each answered so much later.

    A call raises InvalidEvent or EventTooLarge (both ValueErrors) before anything is sent, LogUnavailable
    after `timeout` seconds without Kafka's answer, and else what `lastseen.errors.Rejected` stands for.

        async with EventEmitter("localhost:9092") as emitter:
            await emitter.emit_task_event(TaskEvents.STARTED, "build-7", project_id="shop", user_id="ann")
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] | None = None,
        topic: str = DEFAULT_TOPIC,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        linger: float = 0.0,
    ) -> None:
        self._bootstrap = addresses(bootstrap_servers)
        self._kafka = ",".join(self._bootstrap)
        self._topic = topic
        self._timeout = checked_timeout(timeout)
        self._linger = checked_linger(linger)
        self._records = Records()
        self._partitioner = Partitioner(murmur2)
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        # Whoever waits for its turn keeps its place, and events of one key share a turn.
        self._turns = [asyncio.Lock() for _ in range(_TURNS)]
        self._retiring: set[asyncio.Task[None]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends within a few seconds, whether Kafka is there or not."""
        self._open = False
        self._retire(self._producer)
        await asyncio.gather(*self._retiring)

    async def _emit(self, fields: Fields) -> Emitted:
        id_, record = self._records.make(fields)
        try:
            async with asyncio.timeout(self._timeout):
                metadata = await self._append(record)
        except (TimeoutError, KafkaTimeoutError) as error:
            raise unconfirmed(self._kafka, id_, f"no answer within {self._timeout:g} s") from error
        except (KafkaError, OSError) as error:
            raise explain(error, self._kafka, self._topic, id_) from error
        if metadata.log_start_offset is not None and metadata.log_start_offset < 0:
            # "Duplicate sequence": appended by an earlier try, at an offset that the broker no longer knows.
            raise unconfirmed(self._kafka, id_, "it has the event from an earlier try, but does not say where")
        return Emitted(id_, metadata.partition, metadata.offset)

    async def _append(self, record: NewRecord) -> RecordMetadata:
        key, value, headers = record
        async with self._turns[hash(key) % _TURNS]:
            producer = self._producer or await self._connect()
            try:
                partitions = await producer.partitions_for(self._topic)
                partition = self._partitioner.partition_of(key, len(partitions))
                sent = await producer.send(self._topic, value, key, partition, headers=list(headers))
            except (KafkaTimeoutError, UnknownTopicOrPartitionError):
                raise
            except KafkaError:
                self._retire(producer)
                raise
        try:
            return await sent
        except KafkaError:
            # A batch that was given up leaves a gap in the producer's numbering, which the brokers refuse.
            self._retire(producer)
            raise

    async def _connect(self) -> AIOKafkaProducer:
        """A started producer; tries until its caller has no more time. Raises Closed."""
        async with self._connecting:
            while self._producer is None:
                if not self._open:
                    raise Closed("the emitter is not open: use it inside `async with`")
                producer = new_producer(
                    self._bootstrap, client_id="lastseen-emitter", timeout=self._timeout, linger=self._linger
                )
                try:
                    await producer.start()
                except (KafkaError, OSError) as error:
                    await stop_producer(producer)
                    if not getattr(error, "retriable", True):
                        raise
                    await asyncio.sleep(_CONNECT_AGAIN_SECONDS)
                except BaseException:
                    await stop_producer(producer)
                    raise
                else:
                    if self._open:
                        self._producer = producer
                    else:
                        await stop_producer(producer)
            return self._producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        """Have the next event make a new producer, while this one sends what it can."""
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        task = asyncio.create_task(stop_producer(producer))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
