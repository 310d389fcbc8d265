"""Log writers as processes of their own, on a topic and a database of the test's own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.pool import open_pool
from service.ports import Epoch
from tests.waiting import until


@dataclass
class LogWriters:
    """Starts `python -m consumers.log_writer` and stops it in several ways."""

    environment: dict[str, str]
    logs: Path
    running: list[asyncio.subprocess.Process] = field(default_factory=list)
    started: int = 0

    async def start(self, **environment: str) -> asyncio.subprocess.Process:
        """A new log writer, on its way."""
        self.started += 1
        with (self.logs / f"log-writer-{self.started}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "consumers.log_writer", env=self.environment | environment, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    async def stop(self, process: asyncio.subprocess.Process, how: signal.Signals = signal.SIGTERM) -> int:
        """Send `how`, and return the exit status."""
        self.running.remove(process)
        if process.returncode is None:
            process.send_signal(how)
        return await process.wait()

    def said(self) -> str:
        """What all of them have logged."""
        return "".join(path.read_text() for path in sorted(self.logs.glob("log-writer-*.log")))


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
async def log_writers(kafka: str, topic: str, database: str, epoch: Epoch, tmp_path: Path) -> AsyncIterator[LogWriters]:
    """Log writers on the test's topic and database; those left over are killed."""
    environment = {
        **os.environ,
        "LASTSEEN_KAFKA": kafka,
        "LASTSEEN_TOPIC": topic,
        "LASTSEEN_DATABASE_URL": database,
    }
    writers = LogWriters(environment, tmp_path)
    try:
        yield writers
    finally:
        for process in list(writers.running):
            await writers.stop(process, signal.SIGKILL)
        print(writers.said())


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def until_written(log: KafkaLog, sql: asyncpg.Connection, timeout: float = 30.0) -> None:
    """Wait until Postgres stands where Kafka ends, in every partition."""
    ends = {partition: bounds.next for partition, bounds in (await log.bounds()).items()}

    async def written() -> bool:
        rows = await sql.fetch("SELECT partition, next_offset FROM projection_offset")
        return dict(map(tuple, rows)) == ends

    await until(written, timeout=timeout, what=f"Postgres having reached {ends}")
