"""The port `PresenceLog`: what the twin and Kafka promise alike."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from service.adapters.kafka.presence import open_presence
from service.adapters.kafka.topics import ensure_topic
from service.adapters.memory_presence import MemoryPresence
from service.domain.errors import OffsetsGone
from service.ports import PresenceLog, PresenceReader, PresenceRecord

Entry = tuple[str, bytes | None]


@pytest.fixture
async def _twin() -> PresenceLog:
    return MemoryPresence()


@pytest.fixture
async def _real(kafka: str) -> AsyncIterator[PresenceLog]:
    topic = f"presence-{uuid.uuid4().hex}"
    await ensure_topic(kafka, topic, partitions=1, compacted=True)
    async with open_presence(kafka, topic) as log:
        yield log
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


@pytest.fixture(params=["twin", "real"])
def log(request: pytest.FixtureRequest) -> PresenceLog:
    """A presence topic, empty."""
    log: PresenceLog = request.getfixturevalue(f"_{request.param}")
    return log


async def read(reader: PresenceReader, upto: int) -> tuple[list[PresenceRecord], int]:
    """What a reader gives until it has come to an offset."""
    found: list[PresenceRecord] = []
    next_ = 0
    async with asyncio.timeout(20):
        while next_ < upto:
            records, next_ = await reader.read()
            found += records
    return found, next_


def said(records: list[PresenceRecord]) -> list[Entry]:
    return [(record.key, record.value) for record in records]


async def test_a_reader_gets_all_that_is_held_and_then_what_comes(log: PresenceLog) -> None:
    before = int(time.time() * 1000)
    entries: list[Entry] = [("lease/a", b"1"), ("user/a/é", b"{}"), ("user/a/é", None)]
    end = await log.append(entries)
    async with log.follow(None) as reader:
        assert reader.end == end
        records, next_ = await read(reader, end)
        assert said(records) == entries
        assert next_ == end
        assert all(before - 1000 <= record.appended_at <= time.time() * 1000 + 1000 for record in records)
        waiting = asyncio.create_task(read(reader, end + 1))
        assert await log.append([("lease/b", b"2")]) > end
        assert said((await waiting)[0]) == [("lease/b", b"2")]


async def test_a_reader_goes_on_where_another_stopped(log: PresenceLog) -> None:
    end = await log.append([("lease/a", b"1")])
    later = await log.append([("lease/a", b"2")])
    async with log.follow(end) as reader:
        assert reader.end == later
        assert said((await read(reader, later))[0]) == [("lease/a", b"2")]


async def test_many_in_one_go_keep_their_order(log: PresenceLog) -> None:
    entries: list[Entry] = [(f"user/a/{number}", b"x" * 100) for number in range(3000)]
    end = await log.append(entries)
    async with log.follow(None) as reader:
        assert said((await read(reader, end))[0]) == entries


async def test_offsets_of_another_topic_are_refused(log: PresenceLog) -> None:
    await log.append([("lease/a", b"1")])
    with pytest.raises(OffsetsGone):
        async with log.follow(1000):
            pass


async def test_nothing_to_append_is_nothing(log: PresenceLog) -> None:
    assert await log.append([]) == 0
    async with log.follow(None) as reader:
        assert reader.end == 0


async def test_the_twin_compacts_as_kafka_does() -> None:
    log = MemoryPresence()
    end = await log.append([("a", b"1"), ("b", b"1"), ("a", b"2"), ("b", None), ("c", b"1")])
    log.compact()
    async with log.follow(None) as reader:
        assert said((await read(reader, end))[0]) == [("a", b"2"), ("c", b"1")]
