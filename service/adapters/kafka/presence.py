"""The port `PresenceLog` on a compacted topic of one partition."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from service.adapters.kafka.fetching import Fetching, open_client
from service.adapters.kafka.producer import Appender
from service.adapters.kafka.readers import KafkaTail, check_start, open_consumer, read_bounds
from service.domain.records import RawRecord
from service.ports import PresenceBatch, PresenceRecord

_PARTITION = 0


class KafkaPresence:
    """`PresenceLog` on one topic; made by `open_presence`."""

    def __init__(self, bootstrap: str, topic: str, appender: Appender, timeout: float) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._appender = appender
        self._timeout = timeout

    async def append(self, entries: Sequence[tuple[str, bytes | None]]) -> int:
        places = await self._appender.append([(key.encode(), value, ()) for key, value in entries])
        return max((place.offset + 1 for place in places), default=0)

    @asynccontextmanager
    async def follow(self, start: int | None) -> AsyncIterator["KafkaPresenceReader"]:
        async with open_consumer(self._bootstrap, self._timeout) as probe:
            held = (await read_bounds(probe, self._topic, [_PARTITION], self._timeout))[_PARTITION]
            at = {_PARTITION: held.first if start is None else start}
            check_start(at, {_PARTITION: held})
            async with (
                open_client(self._bootstrap, self._topic, self._timeout) as client,
                Fetching(client, self._topic, at, self._timeout) as fetching,
                KafkaTail(fetching, self._topic, at, probe, self._timeout) as tail,
            ):
                yield KafkaPresenceReader(tail, held.next)


class KafkaPresenceReader:
    """`PresenceReader` on a tail of the topic."""

    def __init__(self, tail: KafkaTail, end: int) -> None:
        self._tail = tail
        self._end = end

    @property
    def end(self) -> int:
        return self._end

    async def read(self) -> PresenceBatch:
        batch = await self._tail.read()
        return PresenceBatch([_record(raw) for raw in batch.records], batch.next[_PARTITION])


def _record(raw: RawRecord) -> PresenceRecord:
    key = (raw.key or b"").decode(errors="replace")
    return PresenceRecord(raw.offset, key, raw.value, raw.timestamp)


@asynccontextmanager
async def open_presence(bootstrap: str, topic: str, *, timeout: float = 10.0) -> AsyncIterator[KafkaPresence]:
    """The presence topic `topic`; nothing is asked of Kafka before it is used."""
    async with Appender(bootstrap, topic, 1, timeout=timeout) as appender:
        yield KafkaPresence(bootstrap, topic, appender, timeout)
