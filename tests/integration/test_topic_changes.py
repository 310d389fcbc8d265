"""A topic that gets more partitions, or is made anew, under those that read it."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from service.adapters.kafka.log import open_log
from service.adapters.kafka.topic_id import read_topic
from service.adapters.kafka.topics import create_topic
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.pool import open_pool
from service.domain.errors import LogUnavailable, OffsetsGone
from tests.integration.conftest import consumers
from tests.nodes import new_ground, output
from tests.waiting import until


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Kafka's administration."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


async def test_a_topic_made_anew_is_not_the_one_that_was_read(
    kafka: str, topic: str, admin: AIOKafkaAdminClient
) -> None:
    async with open_log(kafka, topic) as log:
        start = dict.fromkeys(range(log.partitions), 0)
        async with log.tail(start):
            await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return await read_topic(kafka, topic) is None

        await until(is_gone, what="the topic being gone")
        with pytest.raises(LogUnavailable, match="any more"):
            async with log.tail(start):
                pass
        await create_topic(kafka, topic, partitions=log.partitions)
        with pytest.raises(OffsetsGone, match="made anew"):
            async with log.tail(start):
                pass


async def test_who_reads_a_topic_that_gets_a_partition_begins_afresh(
    kafka: str, postgres_url: str, admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    async with (
        new_ground(kafka, postgres_url, partitions=1) as ground,
        ground.projections(),
        ground.node(kafka_timeout_seconds=2) as node,
        consumers({**os.environ, **node.environment}, tmp_path, "log_writer") as writers,
        open_pool(ground.database_url, size=1) as pool,
    ):
        writer = await writers.start()
        (before,) = await node.publish(output("t", 0))

        async def copied() -> set[tuple[int, int]]:
            return {(row["epoch"], row["partition"]) for row in await pool.fetch("SELECT epoch, partition FROM log")}

        await until(copied, timeout=20, what="the first epoch's log")
        await admin.create_partitions({ground.topic: NewPartitions(total_count=2)})
        assert node.process is not None
        async with asyncio.timeout(15):
            assert await node.process.wait() == 1
        assert f"lastseen node: topic {ground.topic} has 2 partitions and had 1" in node.said
        await until(lambda: "has 2 partitions and had 1" in writers.said(), timeout=15, what="the writer's noticing")
        info = await read_topic(kafka, ground.topic)
        assert info is not None
        await Epochs(pool).ensure(info.id, info.partitions)
        await node.start()
        places = await node.publish(*(output(f"t{number}", number) for number in range(20)))
        assert {place["partition"] for place in places} == {0, 1}
        async with node.client() as client:
            await client.begin()
            token = f"{ground.epoch}:0={before['offset']}"
            await client.subscribe("task:t", after=token)
            gap = await client.hear("gap", channels=["task:t"])
            assert (gap["reason"], gap["requested"]) == ("epoch", token)
            assert (await client.hear("task_output"))["data"] == {"number": 0}, "all that is held comes again"

        async def copied_all() -> bool:
            return {(2, 0), (2, 1)} <= await copied()

        await until(copied_all, timeout=20, what="the second epoch's log")
        assert await writers.stop(writer) == 0
