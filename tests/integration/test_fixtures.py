"""The fixtures that other tests stand on give what they say."""

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


@pytest.mark.parametrize("topic", [3], indirect=True)
async def test_a_record_comes_back_from_the_topic(kafka: str, topic: str) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer,
        AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer,
    ):
        sent = await producer.send_and_wait(topic, b"value", key=b"key")
        assert sent.timestamp_type == 1, "LogAppendTime"
        assert len(await producer.partitions_for(topic)) == 3
        assert (await consumer.getone()).value == b"value"


async def test_the_server_asks_for_the_password(postgres_url: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_url.replace("postgresql://postgres:", "postgresql://postgres:not"))


async def test_a_database_has_the_schema_and_is_a_tests_own(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
        assert await connection.fetchval("SELECT current_user") == "lastseen"
        assert not await connection.fetchval("SELECT usesuper FROM pg_user WHERE usename = current_user")
    finally:
        await connection.close()
