"""What the benchmarks stand on: a Kafka and a Postgres of their own, and topics and databases in them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from service.embedded.data_dir import open_data_dir
from service.embedded.stack import Stack, running
from service.main import prepare

PARTITIONS = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ground:
    """A topic and a migrated database that belong together."""

    kafka: str
    topic: str
    database_url: str
    epoch: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the service needs to run on it."""
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("LASTSEEN_")}
        return foreign | {
            "LASTSEEN_KAFKA": self.kafka,
            "LASTSEEN_TOPIC": self.topic,
            "LASTSEEN_COMMANDS_TOPIC": f"{self.topic}.commands",
            "LASTSEEN_PRESENCE_TOPIC": f"{self.topic}.presence",
            "LASTSEEN_DATABASE_URL": self.database_url,
        }


class Site:
    """Servers in `folder`, started when a benchmark first asks for them. Use it in an `async with`.

    They are as durable as those of `lastseen up`. `pairs` is how often each comparison is repeated,
    `clients` how many return at once, where that was said.
    """

    def __init__(
        self, folder: Path, *, pairs: int, quick: bool, clients: int | None = None, tell: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.pairs = pairs
        self.quick = quick
        self.clients = clients
        self.tell = tell
        self._exit = AsyncExitStack()
        self._stack: Stack | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    def fetched(self, had: int, total: int) -> None:
        """Tell when the servers' programs are there."""
        if had == total:
            self.tell(f"fetched {total / 1e6:.0f} MB of Kafka")

    def sized(self, full: T, quick: T) -> T:
        """How much to do: `full`, or `quick` in a quick run."""
        return quick if self.quick else full

    async def servers(self) -> Stack:
        """The running servers."""
        if self._stack is None:
            data_dir = self._exit.enter_context(open_data_dir(self.folder / "servers"))
            self._stack = await self._exit.enter_async_context(running(data_dir, progress=self))
        return self._stack

    @asynccontextmanager
    async def ground(self, topic: str | None = None) -> AsyncIterator[Ground]:
        """A database of its own, with `topic` or a new one; the database goes at the end."""
        stack = await self.servers()
        name = f"bench_{uuid4().hex}"
        topic = topic or name
        await _execute(stack.admin_url, f"CREATE DATABASE {name} OWNER lastseen")
        try:
            url = urlunsplit(urlsplit(stack.database_url)._replace(path=f"/{name}"))
            epoch = await prepare(
                kafka=stack.kafka,
                database_url=url,
                partitions=PARTITIONS,
                replication=1,
                topic=topic,
                commands_topic=f"{topic}.commands",
                presence_topic=f"{topic}.presence",
            )
            yield Ground(stack.kafka, topic, url, epoch)
        finally:
            await _execute(stack.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
