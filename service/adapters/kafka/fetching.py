"""Fetching: what some partitions of a topic hold, from where one stands on, as it comes.

aiokafka's consumer is made for any number of topics, groups and ways to read: a fetch of twelve partitions goes several
times through all of them, half a millisecond for a single event. Here each leader has one request under way, in a
session that names only what has moved, and answers are read once. A few records are worked on before more are asked
for: whoever waits for them does not wait for the request too. What takes a while is worked on while the broker gets
the next. Connections, metadata and the parsing of batches are aiokafka's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import CorruptRecordException, KafkaError, for_code

from service.adapters.kafka import lean
from service.adapters.kafka.errors import answering
from service.adapters.kafka.fetch_session import SESSION_ERRORS, FetchSession
from service.adapters.kafka.plain_records import PlainRecord, unpacked
from service.cancellation import heed_cancellation, is_cancelled

lean.install()

_log = logging.getLogger(__name__)
_WAIT_SECONDS: Final = 5.0
"""How long a broker waits for something to come before it answers, where it leads all partitions; half of the client's
time-out at most."""
_WAIT_WITH_OTHERS_SECONDS: Final = 0.5
"""Where others lead some: one that it comes to lead is asked for behind that."""
_FEW_BYTES: Final = 64 * 1024
"""Of records that are worked on within a millisecond or two, and so before more are asked for."""
_AGAIN_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 3.0
_LED_ELSEWHERE: Final = frozenset({3, 5, 6, 9, 56, 74, 75, 78})
"""Errors of a partition that pass once its leader, or what that leads, is known: Kafka's UNKNOWN_TOPIC_OR_PARTITION,
LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH,
UNKNOWN_LEADER_EPOCH and OFFSET_NOT_AVAILABLE."""


class Fetched(NamedTuple):
    """What one answer brought: records in the order of each partition, and the next offset of each that has moved."""

    records: list[PlainRecord]
    next: dict[int, int]


class _Answer(NamedTuple):
    """What was fetched, and the event that tells that it was worked on."""

    fetched: Fetched
    is_done: asyncio.Event


class Fetching:
    """Fetches from a started client. Use it in an `async with`.

    `timeout` is the client's for a request, in seconds. At most two answers wait to be read. While a leader is away its
    partitions are asked for again, for ever: that nothing comes does not tell why.
    """

    def __init__(self, client: AIOKafkaClient, topic: str, start: Mapping[int, int], timeout: float) -> None:
        self._client = client
        self._topic = topic
        self._wait_ms = int(min(_WAIT_SECONDS, timeout / 2) * 1000)
        self._next = dict(start)
        """The offset to ask for, of each partition; those that have waited longest for records first."""
        self._partitions = {partition: TopicPartition(topic, partition) for partition in start}
        self._followed: dict[int, asyncio.Task[None]] = {}
        """By leader."""
        self._came: asyncio.Queue[_Answer | Exception] = asyncio.Queue(1)
        self._read: _Answer | None = None
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._client.cluster.add_listener(self._follow_leaders)
        self._follow_leaders(self._client.cluster)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._client.cluster.remove_listener(self._follow_leaders)
        await _end(self._followed.values())

    async def read(self, seconds: float) -> Fetched | None:
        """The next answer that moves some partition; None where none has come in so many seconds.

        Whoever reads again has worked on what came before.
        Raises what aiokafka has for an offset that Kafka does not hold, and for anything else that does not pass.
        """
        if self._read is not None:
            self._read.is_done.set()
            self._read = None
        try:
            came = self._came.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(seconds):
                    came = await self._came.get()
            except TimeoutError:
                if any(self._leader_of(partition) not in self._followed for partition in self._next):
                    self._client.force_metadata_update()
                return None
        if isinstance(came, Exception):
            raise came
        self._read = came
        return came.fetched

    def _leader_of(self, partition: int) -> int | None:
        leader: int | None = self._client.cluster.leader_for_partition(self._partitions[partition])
        return None if leader == -1 else leader

    def _follow_leaders(self, _: ClusterMetadata) -> None:
        """Ask those that lead some partition by the metadata that have just come, and are not asked yet."""
        for partition in self._next:
            leader = self._leader_of(partition)
            if leader is not None and leader not in self._followed:
                self._followed[leader] = asyncio.create_task(self._follow(leader), name=f"fetch from {leader}")

    async def _follow(self, leader: int) -> None:
        """Ask one leader, as long as it leads any partition."""
        session = FetchSession()
        try:
            while asked := {p: at for p, at in self._next.items() if self._leader_of(p) == leader}:
                answer = await self._ask(leader, session, asked)
                if self._is_over:
                    return
                if answer is None or (taken := await self._take(answer, session)) is None:
                    continue
                fetched, size = taken
                given = _Answer(fetched, asyncio.Event())
                await self._came.put(given)
                if size < _FEW_BYTES:
                    await given.is_done.wait()
        except Exception as error:  # noqa: BLE001 - it comes out of `read`
            await self._came.put(error)
        finally:
            self._followed.pop(leader, None)

    async def _ask(self, leader: int, session: FetchSession, asked: Mapping[int, int]) -> Any | None:
        """Its answer; None where there was none, a moment later."""
        wait_ms = self._wait_ms
        if len(asked) < len(self._next):
            wait_ms = min(wait_ms, int(_WAIT_WITH_OTHERS_SECONDS * 1000))
        try:
            answer = await self._client.send(leader, session.request(self._topic, asked, wait_ms))
        except KafkaError as error:
            _log.info("no answer from broker %d, asking again: %r", leader, error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # The client's own future, which it cancels where it loses a connection.
            _log.info("the connection to broker %d was lost, asking again", leader)
        else:
            return self._within(session, answer)
        session.restart()
        self._client.force_metadata_update()
        await asyncio.sleep(_AGAIN_SECONDS)
        return None

    def _within(self, session: FetchSession, answer: Any) -> Any | None:
        """The answer; None where it says that the session is over, as of a broker that was started again."""
        if answer.error_code in SESSION_ERRORS:
            session.restart()
            return None
        if answer.error_code:
            raise for_code(answer.error_code)(f"fetching from {self._topic}")
        session.answered(answer.session_id)
        return answer

    async def _take(self, answer: Any, session: FetchSession) -> tuple[Fetched, int] | None:
        """Read an answer, which moves what is asked for next, and its bytes; None where it has moved nothing."""
        records: list[PlainRecord] = []
        moved: dict[int, int] = {}
        size = 0
        is_led_elsewhere = False
        for _, partitions in answer.topics:
            for partition, error, _, _, _, aborted, _, data in partitions:
                before = self._next[partition]
                if before != session.offsets.get(partition):
                    continue  # another has come to lead it meanwhile, and has been quicker
                if error:
                    if error not in _LED_ELSEWHERE:
                        raise for_code(error)({self._partitions[partition]: before})
                    is_led_elsewhere = True
                elif data:
                    found, next_ = _records_of(self._partitions[partition], data, aborted, before)
                    records += found
                    size += len(data)
                    if next_ != before:
                        # Behind all others: where an answer has no room for all, the first ones come.
                        del self._next[partition]
                        self._next[partition] = moved[partition] = next_
        if is_led_elsewhere:
            self._client.force_metadata_update()
            if not moved:
                await asyncio.sleep(_AGAIN_SECONDS)
        return (Fetched(records, moved), size) if moved else None


def _records_of(
    partition: TopicPartition, data: bytes, aborted: list[tuple[int, int]] | None, start: int
) -> tuple[list[PlainRecord], int]:
    """The records from an offset on, and the offset behind the last batch. Raises CorruptRecordException."""
    batches = unpacked(partition, data, aborted, start)
    records: list[PlainRecord] = []
    try:
        records.extend(batches)
    except CorruptRecordException:
        # What lies before it counts; at the next answer it is the first.
        if not records:
            raise
    return records, batches.next_fetch_offset


@asynccontextmanager
async def open_client(bootstrap: str, topic: str, timeout: float) -> AsyncIterator[AIOKafkaClient]:
    """A client that knows, and keeps knowing, who leads the partitions of a topic. Raises LogUnavailable."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, client_id="lastseen", request_timeout_ms=int(timeout * 1000))
    try:
        with answering(f"Kafka at {bootstrap}"):
            async with asyncio.timeout(timeout):
                await client.bootstrap()
                await client.set_topics([topic])
                heed_cancellation()
        yield client
    finally:
        closing = asyncio.create_task(client.close())
        await asyncio.wait([closing], timeout=_STOP_SECONDS)
        await _end([closing])
        if not closing.cancelled() and (error := closing.exception()) is not None:
            _log.info("a client of Kafka did not close in order: %r", error)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: while it connects or closes, aiokafka's client swallows a cancellation."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        left = (await asyncio.wait(left, timeout=_AGAIN_SECONDS))[1]
