"""The port `Commands` on a Kafka topic."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lastseen.commands import Command, encode

from service.adapters.kafka.producer import Appender
from service.adapters.kafka.topic_id import read_topic
from service.domain.errors import LogUnavailable


class KafkaCommands:
    """`Commands` on one topic; made by `open_commands`."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def append(self, command: Command) -> None:
        await self._appender.append([encode(command)])


@asynccontextmanager
async def open_commands(bootstrap: str, topic: str, *, timeout: float = 10.0) -> AsyncIterator[KafkaCommands]:
    """The commands in `topic`. `timeout`, in seconds, bounds every call that waits for Kafka.

    Raises LogUnavailable when Kafka does not answer or has no such topic.
    """
    info = await read_topic(bootstrap, topic, timeout=timeout)
    if info is None:
        raise LogUnavailable(f"Kafka at {bootstrap} has no topic {topic}: make it with `lastseen topics create`")
    async with Appender(bootstrap, topic, info.partitions, timeout=timeout) as appender:
        yield KafkaCommands(appender)
