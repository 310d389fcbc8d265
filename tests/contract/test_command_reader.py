"""Reading all commands: on a log in memory and on Kafka alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from lastseen.commands import Command, CommandName, encode

from service.adapters.kafka.command_reader import CommandReader, read_commands
from service.adapters.kafka.log import open_log
from service.adapters.memory import MemoryLog
from service.ports import EventLog
from tests.contract.conftest import PARTITIONS
from tests.waiting import until


@dataclass
class Topic:
    """A topic of commands; `reader` gives a new reader of it that reaches back so many seconds."""

    log: EventLog
    reader: Callable[[float], CommandReader]
    drop: Callable[[int, int], Awaitable[None]]
    took: list[Command] = field(default_factory=list)

    async def send(self, *numbers: int) -> None:
        await self.log.append([encode(command(number)) for number in numbers])

    async def until_took(self, *numbers: int) -> None:
        """In the order of each task."""

        def is_there() -> bool:
            return len(self.took) >= len(numbers)

        await until(is_there, what=f"{len(numbers)} commands being read")
        for task in ("t0", "t1", "t2"):
            assert [c.id for c in self.took if c.task_id == task] == [f"c{n}" for n in numbers if f"t{n % 3}" == task]
        self.took.clear()


@pytest.fixture
async def _twin_topic() -> Topic:
    log = MemoryLog(PARTITIONS)

    @asynccontextmanager
    async def open_() -> AsyncIterator[MemoryLog]:
        yield log

    async def drop(partition: int, below: int) -> None:
        log.drop_below(partition, below)

    return Topic(log, lambda seconds: CommandReader(open_, seconds), drop)


@pytest.fixture
async def _real_topic(kafka: str, topic: str) -> AsyncIterator[Topic]:
    async def drop(partition: int, below: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(below)})
        finally:
            await admin.close()

    async with open_log(kafka, topic) as log:
        yield Topic(log, lambda seconds: read_commands(kafka, topic, seconds), drop)


@pytest.fixture(params=["twin", "real"])
def topic_of_commands(request: pytest.FixtureRequest) -> Topic:
    """A topic without commands."""
    found: Topic = request.getfixturevalue(f"_{request.param}_topic")
    return found


def command(number: int) -> Command:
    return Command(
        id=f"c{number}",
        command=CommandName.PAUSE,
        task_id=f"t{number % 3}",
        user_id="ann",
        deadline=datetime(2026, 1, 1, tzinfo=UTC),
        node="n",
    )


@asynccontextmanager
async def following(topic: Topic, reader: CommandReader) -> AsyncIterator[None]:
    task = asyncio.create_task(reader.follow(topic.took.append))
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_all_commands_are_read_from_a_time_on(topic_of_commands: Topic) -> None:
    topic = topic_of_commands
    await topic.send(*range(20))
    async with following(topic, topic.reader(60)):
        await topic.until_took(*range(20))
        await topic.log.append([encode(command(20))._replace(headers=())])
        await topic.send(*range(21, 30))
        await topic.until_took(*range(21, 30))
    # What was appended before the time is not read.
    async with following(topic, topic.reader(-3600)):

        async def reads() -> bool:
            # Nothing tells when it has begun.
            await topic.send(30)
            return bool(topic.took)

        await until(reads, what="the reader having begun")
        assert {one.id for one in topic.took} == {"c30"}


async def test_a_reader_that_is_overtaken_goes_on(topic_of_commands: Topic) -> None:
    topic = topic_of_commands
    await topic.send(*range(9))
    reader = topic.reader(60)
    async with following(topic, reader):
        await topic.until_took(*range(9))
    # The same goes on where it was.
    await topic.send(9, 10)
    async with following(topic, reader):
        await topic.until_took(9, 10)
    await topic.send(11, 12)
    for partition, held in (await topic.log.bounds()).items():
        await topic.drop(partition, held.next)
    async with following(topic, reader):
        await topic.send(13)
        await topic.until_took(13)


async def test_it_waits_for_a_topic_that_is_away() -> None:
    log = MemoryLog(PARTITIONS)
    opened = 0

    @asynccontextmanager
    async def open_() -> AsyncIterator[MemoryLog]:
        nonlocal opened
        opened += 1
        yield log

    async def drop(_partition: int, _below: int) -> None:
        """Not here."""

    topic = Topic(log, lambda seconds: CommandReader(open_, seconds), drop)
    async with following(topic, topic.reader(60)):
        await topic.send(1, 2)
        await topic.until_took(1, 2)
        log.available = False
        before = opened
        await until(lambda: opened > before, what="another try")
        log.available = True
        await topic.send(3, 4)
        await topic.until_took(3, 4)
