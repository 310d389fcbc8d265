"""Kafka and Postgres frozen and killed: clear errors while they are away, nothing lost and nothing twice after."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from pathlib import Path

import pytest
from lastseen.record import NewRecord

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.kafka.topics import ensure_topic
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.history import open_history
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.schema import upgrade
from service.domain.errors import HistoryUnavailable, LogUnavailable
from service.embedded.data_dir import open_data_dir
from service.embedded.stack import Stack, running
from service.ports import History, Place
from tests.events import records_of, task_events
from tests.freezing import frozen
from tests.ledger import check_ledger
from tests.waiting import until

TIMEOUT = 1.5
TOPIC = "events"


class _Quiet:
    def tell(self, line: str) -> None:
        print(line)

    def fetched(self, had: int, total: int) -> None:
        pass


@pytest.fixture(scope="module")
async def stack(open_folder: Path) -> AsyncIterator[Stack]:
    """A Kafka and a Postgres of this module's own; their supervisor brings a killed one back."""
    with open_data_dir(open_folder / "servers-away") as data_dir:
        async with running(data_dir, progress=_Quiet(), durable=False) as stack:
            await asyncio.to_thread(upgrade, stack.database_url)
            info = await ensure_topic(stack.kafka, TOPIC, partitions=3)
            async with open_pool(stack.database_url) as pool:
                await Epochs(pool).ensure(info.id, info.partitions)
            yield stack


async def append_until_done(log: KafkaLog, records: list[NewRecord]) -> list[Place]:
    """Append with the same ids until it succeeds, as every publisher does."""
    async with asyncio.timeout(60):
        while True:
            with suppress(LogUnavailable):
                return list(await log.append(records))
            await asyncio.sleep(0.05)


async def read_through(log: KafkaLog, partition: int, stop: int) -> None:
    async with aclosing(log.read(partition, 0, stop)) as batches:
        async for _ in batches:
            pass


async def ask_until_it_fails(history: History) -> None:
    async with asyncio.timeout(10):
        while True:
            await history.coverage()


async def test_a_frozen_kafka_is_unavailable_in_time_and_goes_on(stack: Stack) -> None:
    async with open_log(stack.kafka, TOPIC, timeout=TIMEOUT) as log:
        await log.append(records_of(task_events(50)))
        bounds = await log.bounds()
        ends = {partition: held.next for partition, held in bounds.items()}
        partition = next(partition for partition, held in bounds.items() if held.next > 0)
        async with log.tail(ends) as tail:
            retried = records_of(task_events(30))
            with frozen(stack.supervisor.pids["kafka-1"]):
                async with asyncio.timeout(20):
                    for call in (lambda: log.append(retried), log.bounds, tail.read):
                        with pytest.raises(LogUnavailable):
                            await call()
                    with pytest.raises(LogUnavailable):
                        await read_through(log, partition, ends[partition])
                    with pytest.raises(LogUnavailable):
                        async with open_log(stack.kafka, TOPIC, timeout=TIMEOUT):
                            pass
            places = await append_until_done(log, retried)
            seen: set[tuple[int, int]] = set()
            async with asyncio.timeout(30):
                while not seen.issuperset(places):
                    with suppress(LogUnavailable):
                        seen |= {(raw.partition, raw.offset) for raw in (await tail.read()).records}


async def test_a_log_closes_though_kafka_is_frozen(stack: Stack) -> None:
    with ExitStack() as until_closed:
        async with open_log(stack.kafka, TOPIC, timeout=TIMEOUT) as log:
            await log.append(records_of(task_events(5)))
            until_closed.enter_context(frozen(stack.supervisor.pids["kafka-1"]))
            with pytest.raises(LogUnavailable):
                await log.append(records_of(task_events(5)))
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 10


async def test_a_postgres_that_is_killed_is_unavailable_and_comes_back(stack: Stack) -> None:
    async with open_history(stack.database_url, 1) as history:
        await history.coverage()
        pid = stack.supervisor.pids["postgres"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(HistoryUnavailable):
            await ask_until_it_fails(history)

        async def answers() -> bool:
            with suppress(HistoryUnavailable):
                await history.coverage()
                return True
            return False

        await until(answers, timeout=30, what="Postgres being back")


async def test_both_killed_while_the_log_is_written(stack: Stack, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LASTSEEN_KAFKA": stack.kafka,
        "LASTSEEN_DATABASE_URL": stack.database_url,
        "LASTSEEN_TOPIC": TOPIC,
    }
    with (tmp_path / "log").open("wb") as out:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "consumers.log_writer", env=environment, stdout=out, stderr=out
        )
    places: list[Place] = []
    try:
        async with open_log(stack.kafka, TOPIC, timeout=TIMEOUT) as log:
            for name in ("kafka-1", "postgres"):
                for _ in range(10):
                    places += await append_until_done(log, records_of(task_events(100)))
                os.kill(stack.supervisor.pids[name], signal.SIGKILL)
                for _ in range(10):
                    places += await append_until_done(log, records_of(task_events(100)))
            ends = {partition: held.next for partition, held in (await log.bounds()).items()}
        async with open_history(stack.database_url, 1) as history:

            async def written() -> bool:
                with suppress(HistoryUnavailable):
                    return {p: held.next for p, held in (await history.coverage()).items()} == ends
                return False

            await until(written, timeout=60, what=f"Postgres having reached {ends}")
    finally:
        writer.terminate()
        status = await writer.wait()
        print((tmp_path / "log").read_text())
    assert status == 0
    ledger = await check_ledger(stack.kafka, TOPIC, stack.database_url, acknowledged=places)
    assert ledger.rows == ledger.records - ledger.void >= len(places)
