"""The port `Commands` on a Kafka topic."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from lastseen.commands import Command, encode

from service.adapters.kafka.producer import Appender
from service.adapters.kafka.topic_id import read_topic
from service.domain.errors import LogUnavailable


class KafkaCommands:
    """`Commands` on one topic; use it in an `async with`. `timeout`, in seconds, bounds every wait for Kafka.

    The topic is looked for when the first command is sent: a node serves without it, and says so then.
    """

    def __init__(self, bootstrap: str, topic: str, *, timeout: float = 10.0) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._timeout = timeout
        self._appender: Appender | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def append(self, command: Command) -> None:
        appender = self._appender or await self._open()
        await appender.append([encode(command)])

    async def _open(self) -> Appender:
        async with self._opening:
            if self._appender is None:
                info = await read_topic(self._bootstrap, self._topic, timeout=self._timeout)
                if info is None:
                    raise LogUnavailable(
                        f"Kafka at {self._bootstrap} has no topic {self._topic}: "
                        f"make it with `lastseen topics create {self._topic}`",
                        retry_after=10.0,
                    )
                self._appender = await self._stack.enter_async_context(
                    Appender(self._bootstrap, self._topic, info.partitions, timeout=self._timeout)
                )
            return self._appender
