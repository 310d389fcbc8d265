"""The twin and the real one behind the same fixtures: every test of this folder runs on both."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from lastseen.envelope import Event
from lastseen.record import encode

from consumers.partition import Partition
from service.adapters.kafka.log import open_log
from service.adapters.memory import MemoryHistory, MemoryLog
from service.adapters.postgres.days import drop_days, ensure_days
from service.adapters.postgres.history import PostgresHistory, open_history
from service.adapters.postgres.log_store import LogStore
from service.adapters.postgres.pool import open_pool
from service.domain.duplicates import LookBack
from service.ports import EventLog, History
from tests.waiting import until

PARTITIONS = 4


class LogUnderTest(Protocol):
    """A log of PARTITIONS partitions, and what only its makers can do to it."""

    @property
    def log(self) -> EventLog: ...

    async def append_raw(self, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """What a foreign producer appends."""

    async def pass_without_record(self, partition: int) -> None:
        """Make the log's last offset one that holds no record."""

    async def drop_below(self, partition: int, offset: int) -> None:
        """Retention."""


@dataclass
class Twin:
    log: MemoryLog = field(default_factory=lambda: MemoryLog(PARTITIONS))

    async def append_raw(self, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        self.log.append_raw(partition, value, headers)

    async def pass_without_record(self, partition: int) -> None:
        self.log.skip(partition, 2)

    async def drop_below(self, partition: int, offset: int) -> None:
        self.log.drop_below(partition, offset)


@dataclass
class Real:
    log: EventLog
    kafka: str
    topic: str

    async def append_raw(self, partition: int, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            await producer.send_and_wait(self.topic, value, None, partition, headers=list(headers))

    async def pass_without_record(self, partition: int) -> None:
        before = (await self.log.bounds())[partition].next
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, transactional_id=uuid.uuid4().hex) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(self.topic, b"aborted", None, partition)
            await producer.abort_transaction()

        async def is_passed() -> bool:
            # The end of the transaction is answered before it is in every partition.
            return (await self.log.bounds())[partition].next >= before + 2

        await until(is_passed, what="the end of the transaction")

    async def drop_below(self, partition: int, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(self.topic, partition): RecordsToDelete(offset)})
        finally:
            await admin.close()


@pytest.fixture
async def _twin_log() -> LogUnderTest:
    return Twin()


@pytest.fixture
async def _real_log(kafka: str, topic: str) -> AsyncIterator[LogUnderTest]:
    async with open_log(kafka, topic) as log:
        yield Real(log, kafka, topic)


@pytest.fixture(params=["twin", "real"])
def under_test(request: pytest.FixtureRequest) -> LogUnderTest:
    """A log, empty."""
    log: LogUnderTest = request.getfixturevalue(f"_{request.param}_log")
    return log


class HistoryUnderTest:
    """A history of PARTITIONS partitions, and the log that it is a copy of."""

    def __init__(self, history: History, log: MemoryLog, look_back: int) -> None:
        self.history = history
        self.log = log
        self.look_back = look_back

    def add(self, event: Event, partition: int) -> int:
        """Append to the log; returns the offset."""
        record = encode(event)
        return self.log.append_raw(partition, record.value, record.headers).offset

    async def project(self, upto: dict[int, int] | None = None) -> None:
        """Copy what is in the log, or the part below the offsets `upto`."""
        raise NotImplementedError

    async def refuse(self, type_: str) -> None:
        """Records of this type are not taken from now on."""
        raise NotImplementedError

    async def next_day(self) -> None:
        """What is copied from now on is of a later day."""
        raise NotImplementedError

    async def drop_days(self) -> None:
        """Retention: drop all days but the present one."""
        raise NotImplementedError


class TwinHistory(HistoryUnderTest):
    def __init__(self, look_back: int) -> None:
        log = MemoryLog(PARTITIONS)
        self.twin = MemoryHistory(log, look_back)
        self.day_begins: dict[int, int] = {}
        super().__init__(self.twin, log, look_back)

    async def project(self, upto: dict[int, int] | None = None) -> None:
        await self.twin.project(upto)

    async def refuse(self, type_: str) -> None:
        self.twin.refuses = lambda record: record.type == type_

    async def next_day(self) -> None:
        self.day_begins = {number: held.next for number, held in (await self.twin.coverage()).items()}

    async def drop_days(self) -> None:
        for number, offset in self.day_begins.items():
            self.twin.drop_below(number, offset)


class RealHistory(HistoryUnderTest):
    """Copies by the log writer's own parts, from a log in memory instead of Kafka."""

    EPOCH = 5

    def __init__(self, history: PostgresHistory, store: LogStore, pool: asyncpg.Pool, look_back: int) -> None:
        super().__init__(history, MemoryLog(PARTITIONS), look_back)
        self.store = store
        self.pool = pool
        self.partitions = {number: Partition(number, 0, LookBack(look_back)) for number in range(PARTITIONS)}

    async def project(self, upto: dict[int, int] | None = None) -> None:
        await self.store.next_offsets(list(self.partitions))
        for number, (first, next_) in (await self.log.bounds()).items():
            partition = self.partitions[number]
            if partition.next < first:
                await self.store.write_hole(number, partition.next, first, "retention")
                partition = self.partitions[number] = Partition(number, first, partition.look_back)
            stop = next_ if upto is None else min(next_, upto.get(number, 0))
            if partition.next >= stop:
                continue
            async for batch in self.log.read(number, partition.next, stop):
                for raw in batch.records:
                    partition.add(raw)
                partition.pass_to(batch.next[number])
            await self.store.write([partition.take_batch()])

    async def refuse(self, type_: str) -> None:
        # A named constraint: one without a name would be a missing day.
        await self.pool.execute(f"ALTER TABLE log ADD CONSTRAINT refused CHECK (type <> '{type_}')")

    async def next_day(self) -> None:
        day = timedelta(days=1)
        async with self.pool.acquire() as connection, connection.transaction():
            days = [row[0] for row in await connection.fetch("SELECT DISTINCT bucket FROM log_bucket")]
            await ensure_days(connection, [found - day for found in days])
            # From the earliest on, so that none is pushed onto one that is still there.
            for found in sorted(days):
                for table in ("log", "log_bucket"):
                    await connection.execute(f"UPDATE {table} SET bucket = $1 WHERE bucket = $2", found - day, found)

    async def drop_days(self) -> None:
        today = await self.pool.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        await drop_days(self.pool, today, look_back=self.look_back)


LOOK_BACK = 50


@pytest.fixture
async def _twin_history() -> HistoryUnderTest:
    return TwinHistory(LOOK_BACK)


@pytest.fixture
async def _real_history(database: str) -> AsyncIterator[HistoryUnderTest]:
    async with open_pool(database) as pool, open_history(database, RealHistory.EPOCH) as history:
        store = LogStore(pool, RealHistory.EPOCH)
        await store.ensure_days()
        yield RealHistory(history, store, pool, LOOK_BACK)


@pytest.fixture(params=["twin", "real"])
def copied(request: pytest.FixtureRequest) -> HistoryUnderTest:
    """A history, empty, whose void rule looks back LOOK_BACK offsets."""
    history: HistoryUnderTest = request.getfixturevalue(f"_{request.param}_history")
    return history
