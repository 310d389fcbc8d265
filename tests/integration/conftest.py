"""Consumers as processes of their own, on a topic and a database of the test's own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.pool import open_pool
from service.ports import Epoch
from tests.module_process import ModuleProcess, start_module
from tests.waiting import until


@dataclass
class Consumers:
    """Starts `python -m consumers.…` and stops it in several ways."""

    environment: dict[str, str]
    logs: Path
    module: str
    running: list[ModuleProcess] = field(default_factory=list)
    started: int = 0

    async def start(self, **environment: str) -> ModuleProcess:
        """A new one, on its way."""
        self.started += 1
        with (self.logs / f"{self.module}-{self.started}.log").open("wb") as log:
            process = await start_module(
                f"consumers.{self.module}",
                environment=self.environment | environment,
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        self.running.append(process)
        return process

    async def stop(self, process: ModuleProcess, how: signal.Signals = signal.SIGTERM) -> int:
        """Send `how`, and return the exit status."""
        self.running.remove(process)
        if process.returncode is None:
            process.send_signal(how)
        return await process.wait()

    def said(self) -> str:
        """What all of them have logged."""
        return "".join(path.read_text() for path in sorted(self.logs.glob(f"{self.module}-*.log")))


LogWriters = Consumers
"""Those that the fixture `log_writers` starts."""


@pytest.fixture
async def log(kafka: str, topic: str) -> AsyncIterator[KafkaLog]:
    """The real log on the test's topic."""
    async with open_log(kafka, topic) as log:
        yield log


@pytest.fixture
async def epoch(log: KafkaLog, database: str) -> Epoch:
    """The epoch of the test's topic, in its database."""
    async with open_pool(database) as pool:
        return await Epochs(pool).ensure(log.topic_id, log.partitions)


@pytest.fixture
def environment(kafka: str, topic: str, database: str, epoch: Epoch) -> dict[str, str]:
    """What a consumer on the test's topic and database is told."""
    return {
        **os.environ,
        "LASTSEEN_KAFKA": kafka,
        "LASTSEEN_TOPIC": topic,
        "LASTSEEN_DATABASE_URL": database,
    }


@asynccontextmanager
async def consumers(environment: dict[str, str], logs: Path, module: str) -> AsyncIterator[Consumers]:
    """Consumers of a kind; those left over at the end are killed."""
    found = Consumers(environment, logs, module)
    try:
        yield found
    finally:
        for process in list(found.running):
            await found.stop(process, signal.SIGKILL)
        print(found.said())


@pytest.fixture
async def log_writers(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[LogWriters]:
    """Log writers on the test's topic and database."""
    async with consumers(environment, tmp_path, "log_writer") as found:
        yield found


@pytest.fixture
async def projections(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Consumers]:
    """Projections of the test's topic into its database."""
    async with consumers(environment, tmp_path, "projections") as found:
        yield found


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def until_written(log: KafkaLog, sql: asyncpg.Connection, timeout: float = 30.0, projection: str = "log") -> None:
    """Wait until Postgres stands where Kafka ends, in every partition."""
    ends = {partition: bounds.next for partition, bounds in (await log.bounds()).items()}
    query = "SELECT partition, next_offset FROM projection_offset WHERE projection = $1"

    async def written() -> bool:
        return dict(map(tuple, await sql.fetch(query, projection))) == ends

    await until(written, timeout=timeout, what=f"Postgres having reached {ends}")


async def delete_records(kafka: str, topic: str, below: dict[int, int]) -> None:
    """Have the brokers drop what lies below these offsets, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        wanted = {TopicPartition(topic, p): RecordsToDelete(before_offset=offset) for p, offset in below.items()}
        await asyncio.wait_for(admin.delete_records(wanted), 10)
    finally:
        await admin.close()
