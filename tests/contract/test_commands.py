"""The port `Commands`: what the twin and Kafka promise alike."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from lastseen.commands import Command, CommandName, decode

from service.adapters.kafka.commands import KafkaCommands
from service.adapters.kafka.log import open_log
from service.adapters.memory import MemoryLog
from service.adapters.memory_commands import MemoryCommands
from service.domain.errors import LogUnavailable
from service.ports import Commands, EventLog
from tests.contract.conftest import PARTITIONS
from tests.contract.test_event_log import read_range

Topic = tuple[Commands, EventLog]


@pytest.fixture
async def _twin_commands() -> Topic:
    log = MemoryLog(PARTITIONS)
    return MemoryCommands(log), log


@pytest.fixture
async def _real_commands(kafka: str, topic: str) -> AsyncIterator[Topic]:
    async with KafkaCommands(kafka, topic) as commands, open_log(kafka, topic) as log:
        yield commands, log


@pytest.fixture(params=["twin", "real"])
def commands(request: pytest.FixtureRequest) -> Topic:
    """An empty topic of commands, and what reads it."""
    found: Topic = request.getfixturevalue(f"_{request.param}_commands")
    return found


def command(number: int) -> Command:
    return Command(
        id=f"c{number}",
        command=CommandName.INPUT,
        task_id=f"t{number % 3}",
        user_id="ann",
        deadline=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        node="n",
        data={"input": f"\0é {number}"},
    )


async def test_a_task_s_commands_are_in_one_partition_in_order(commands: Topic) -> None:
    append, log = commands
    sent = [command(number) for number in range(30)]
    for one in sent:
        await append.append(one)
    for task in ("t0", "t1", "t2"):
        partition = log.partition_of(task.encode())
        raws, _ = await read_range(log, partition, *(await log.bounds())[partition])
        found = [one for raw in raws if (one := decode(raw.value, raw.headers)).task_id == task]
        assert found == [one for one in sent if one.task_id == task]
        assert {raw.key for raw in raws} <= {b"t0", b"t1", b"t2"}


async def test_a_topic_that_is_not_there_is_named(kafka: str) -> None:
    async with KafkaCommands(kafka, "no-such-topic") as commands:
        with pytest.raises(LogUnavailable, match="no topic no-such-topic: make it with `lastseen topics create no-"):
            await commands.append(command(0))
