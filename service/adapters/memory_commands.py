"""The in-memory twin of the topic `commands`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lastseen.commands import Command, encode

from service.adapters.kafka.command_reader import CommandReader
from service.adapters.memory import MemoryLog
from service.ports import Clock


class MemoryCommands:
    """`Commands` in `log`, where a runner's twin may read them."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()

    async def append(self, command: Command) -> None:
        await self.log.append([encode(command)])

    def source(self, reach_seconds: float, clock: Clock) -> CommandReader:
        """What reads it, beginning so many seconds before now."""

        @asynccontextmanager
        async def open_() -> AsyncIterator[MemoryLog]:
            yield self.log

        return CommandReader(open_, reach_seconds, clock)
