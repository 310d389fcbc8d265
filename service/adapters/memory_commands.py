"""The in-memory twin of the topic `commands`."""

from lastseen.commands import Command, encode

from service.adapters.memory import MemoryLog


class MemoryCommands:
    """`Commands` in `log`, where a runner's twin may read them."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()

    async def append(self, command: Command) -> None:
        await self.log.append([encode(command)])
