"""Exactly once, whoever competes, freezes or dies."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from lastseen.record import NewRecord

from consumers.log_writer import LogSink
from consumers.reader import Reader
from service.adapters.kafka.log import KafkaLog
from service.adapters.postgres.batches import Batch
from service.adapters.postgres.fence import ADVANCE, FENCED_SESSION
from service.adapters.postgres.history import LOG_PROJECTION, PostgresHistory
from service.adapters.postgres.log_store import LogStore
from service.adapters.postgres.pool import Connection, open_pool
from service.ports import Epoch, Place
from tests.events import records_of, task_events
from tests.freezing import freeze, thaw
from tests.integration.conftest import LogWriters, until_written
from tests.ledger import check_ledger
from tests.waiting import until


class Producer:
    """Appends without a pause, every tenth record twice, until it is told to stop."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._stopping = False
        self.places: list[Place] = []
        self.repeated = 0

    async def run(self) -> None:
        random = Random(7)
        while not self._stopping:
            records = records_of(task_events(100, random=random))
            again: list[NewRecord] = random.sample(records, 10)
            self.repeated += len(again)
            self.places += await self._log.append([*records, *again])
            await asyncio.sleep(0.005)

    def stop(self) -> None:
        self._stopping = True


@asynccontextmanager
async def appending(log: KafkaLog) -> AsyncIterator[Producer]:
    """A producer at work; at the end of the block it has stopped."""
    producer = Producer(log)
    async with asyncio.TaskGroup() as group:
        group.create_task(producer.run())
        try:
            yield producer
        finally:
            producer.stop()


async def reached(sql: asyncpg.Connection, more: int) -> None:
    """Wait until `more` further offsets are written."""
    total = "SELECT coalesce(sum(next_offset), 0) FROM projection_offset WHERE projection = 'log'"
    goal = await sql.fetchval(total) + more

    async def is_reached() -> bool:
        return bool(await sql.fetchval(total) >= goal)

    await until(is_reached, timeout=40, what=f"{more} more offsets having been written")


async def test_two_writers_one_killed_in_the_middle_again_and_again(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    async with appending(log) as producer:
        writers = [await log_writers.start(), await log_writers.start()]
        for turn in range(2):
            await reached(sql, 500)
            await log_writers.stop(writers.pop(0), signal.SIGKILL)
            writers.append(await log_writers.start())
            assert len(log_writers.running) == 2, f"turn {turn}"
        await reached(sql, 500)
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database, acknowledged=producer.places)
    assert ledger.records == len(producer.places)
    assert ledger.void == producer.repeated


async def test_a_writer_that_was_frozen_while_another_took_over_writes_nothing_twice(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    async with appending(log) as producer:
        frozen = await log_writers.start()
        await reached(sql, 500)
        freeze(frozen.pid)
        await log_writers.start()
        await reached(sql, 1_500)
        thaw(frozen.pid)
        await reached(sql, 1_000)
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database, acknowledged=producer.places)
    assert ledger.void == producer.repeated


async def write_a_batch(store: LogStore) -> None:
    await store.write([Batch(0, 0, 3)])


async def write_a_hole(store: LogStore) -> None:
    await store.write_hole(0, 0, 3, "retention")


@pytest.mark.parametrize("go_on", [write_a_batch, write_a_hole])
async def test_a_writer_that_was_frozen_in_the_middle_of_a_copy_gives_up_the_fence(
    database: str, sql: asyncpg.Connection, go_on: Callable[[LogStore], Awaitable[None]]
) -> None:
    """The server waits for the rest of a COPY under no time-out of its own: the one who comes next ends that."""
    async with (
        open_pool(database, size=1, settings=FENCED_SESSION) as frozen_pool,
        open_pool(database, size=1, settings=FENCED_SESSION) as pool,
        frozen_pool.acquire() as frozen,
        asyncio.TaskGroup() as tasks,
    ):
        store = LogStore(pool, 1)
        await store.next_offsets([0])
        transaction = frozen.transaction()
        await transaction.start()
        assert await frozen.fetch(ADVANCE, LOG_PROJECTION, 1, [0], [0], [5], [5])
        copying = tasks.create_task(stopped_in_the_middle(frozen))
        pid = frozen.get_server_pid()

        async def is_in_copy() -> bool:
            query = "SELECT query LIKE 'COPY %' AND wait_event = 'ClientRead' FROM pg_stat_activity WHERE pid = $1"
            return bool(await sql.fetchval(query, pid))

        await until(is_in_copy, timeout=10, what="a COPY that waits for its client")
        async with asyncio.timeout(30):
            assert await store.next_offsets([0]) == {0: 0}, "whoever comes next asks that first"
            await go_on(store)
        assert await store.next_offsets([0]) == {0: 3}, "nothing of the frozen one's is there"
        copying.cancel()


async def stopped_in_the_middle(connection: Connection) -> None:
    """Begin to copy, and send nothing more."""

    async def source() -> AsyncIterator[bytes]:
        yield b"1\t"
        await asyncio.Event().wait()

    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await connection.copy_to_table("void", source=source())


async def test_postgres_sessions_killed_while_it_writes(
    kafka: str, topic: str, database: str, log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    async with appending(log) as producer:
        writer = await log_writers.start()
        for _ in range(5):
            await reached(sql, 300)
            killed = await sql.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert killed >= 1
    await until_written(log, sql)
    ledger = await check_ledger(kafka, topic, database, acknowledged=producer.places)
    assert ledger.void == producer.repeated
    assert writer.returncode is None, "it went on by itself"


async def test_two_writers_that_no_group_keeps_apart(
    kafka: str,
    topic: str,
    database: str,
    log: KafkaLog,
    epoch: Epoch,
    sql: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both believe that every partition is theirs: only the fence stands between them."""
    await log.append(records_of(task_events(5_000, random=Random(3))))
    async with asyncio.TaskGroup() as group:
        rivals = [group.create_task(rival(name, kafka, topic, database, epoch)) for name in ("a", "b")]
        appended = 5_000
        async with asyncio.timeout(60):
            while appended < 9_000 or "another log writer has moved" not in caplog.text:
                await log.append(records_of(task_events(200)))
                appended += 200
        await until_written(log, sql)
        for task in rivals:
            task.cancel()
    ledger = await check_ledger(kafka, topic, database)
    assert ledger.rows == ledger.records == appended


async def rival(name: str, kafka: str, topic: str, database: str, epoch: Epoch) -> None:
    """A log writer alone in a group of its own."""
    async with (
        open_pool(database, size=2) as pool,
        AIOKafkaConsumer(
            bootstrap_servers=kafka,
            group_id=f"{topic}.{name}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        ) as consumer,
    ):
        store = LogStore(pool, epoch.number)
        await store.ensure_days()
        sink = LogSink(store, PostgresHistory(pool, epoch.number), 10_000)
        async with Reader(consumer, topic, sink) as reader:
            await reader.run()
