"""The projection of rights: exactly what the pure fold makes of the topic, whatever is killed or gone."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Self

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from lastseen.envelope import Event
from lastseen.record import NewRecord, encode

from consumers.projections import RightsSink
from consumers.reader import Reader
from service.adapters.kafka.log import KafkaLog
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.log_range import LogRange
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.adapters.postgres.rights_store import RightsStore
from service.domain.duplicates import LookBack
from service.domain.records import Record, read_record
from service.domain.rights import Rights
from service.ports import Epoch
from tests.integration.conftest import Consumers, LogWriters, delete_records, until_written
from tests.waiting import until

RIGHTS = "rights"


def told(type_: str, project: str = "p", **fields: Any) -> NewRecord:
    return encode(Event.model_validate({"type": type_, "project_id": project, "user_id": "ann", **fields}))


def added(user: str, project: str = "p", role: str = "member") -> NewRecord:
    return told("project_member_added", project, data={"user_id": user, "role": role})


def removed(user: str, project: str = "p") -> NewRecord:
    return told("project_member_removed", project, data={"user_id": user})


def some(random: Random, count: int) -> list[NewRecord]:
    """Records that bear on rights, a tenth of them sent twice."""
    made: list[NewRecord] = []
    for _ in range(count):
        number, user = random.randrange(60), f"u{random.randrange(5)}"
        # Some records name another project than the one that most of the task's do.
        project, task = f"p{(number + (random.random() < 0.1)) % 6}", f"t{number}"
        type_ = random.choice(
            ["project_created", "project_deleted", "task_started", "task_paused", "task_completed"]
            + ["project_member_added", "project_member_removed"] * 3 + ["task_output"] * 9
        )  # fmt: skip
        if type_ == "project_deleted":
            project = f"p{number % 2}"  # for good: the others keep their members
        more = {"data": {"user_id": user}} if "member" in type_ else {"task_id": task} if "task" in type_ else {}
        made.append(told(type_, project, **more))
        if random.random() < 0.1:
            made.append(random.choice(made[-20:]))
    return made


class Past:
    """The records that count, each partition's in order, read before Kafka drops them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._look_backs: dict[int, LookBack] = {}
        self._next: dict[int, int] = {}

    async def read(self, log: KafkaLog) -> Self:
        """Read on to the end."""
        for partition, held in (await log.bounds()).items():
            look_back = self._look_backs.setdefault(partition, LookBack())
            start = max(held.first, self._next.get(partition, 0))
            async for batch in log.read(partition, start, held.next):
                records = [read_record(raw) for raw in batch.records]
                self.records += [record for record in records if look_back.judge(record) is None]
            self._next[partition] = held.next
        return self


async def check(database: str, epoch: Epoch, past: Past) -> Rights:
    """Compare what Postgres holds with what the pure fold makes of the records; returns that."""
    meant = Rights(epoch.first_of_topic)
    for record in past.records:
        meant.apply(record)
    async with open_pool(database) as pool:
        held = await PostgresRights(pool, epoch.number).load(100_000)
    projects, members, tasks = meant.everything()
    assert sorted(held.projects) == sorted(projects)
    assert sorted(held.members) == sorted(members)
    assert {*held.tasks} == {*tasks}
    return meant


@asynccontextmanager
async def appending(log: KafkaLog) -> AsyncIterator[None]:
    """Somebody appends without a pause; at the end of the block he has stopped."""
    random, stopping = Random(11), asyncio.Event()

    async def append() -> None:
        while not stopping.is_set():
            await log.append(some(random, 25))
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(append())
        try:
            yield
        finally:
            stopping.set()


async def projected(sql: asyncpg.Connection, more: int) -> None:
    """Wait until `more` further offsets are projected."""
    total = "SELECT coalesce(sum(next_offset), 0) FROM projection_offset WHERE projection = $1"
    goal = await sql.fetchval(total, RIGHTS) + more

    async def is_reached() -> bool:
        return bool(await sql.fetchval(total, RIGHTS) >= goal)

    await until(is_reached, timeout=40, what=f"{more} more offsets having been projected")


async def test_two_one_killed_in_the_middle_again_and_again(
    database: str, log: KafkaLog, epoch: Epoch, projections: Consumers, sql: asyncpg.Connection
) -> None:
    running = [await projections.start(), await projections.start()]
    async with appending(log):
        for _ in range(2):
            await projected(sql, 300)
            await projections.stop(running.pop(0), signal.SIGKILL)
            running.append(await projections.start())
        await projected(sql, 300)
    await until_written(log, sql, projection=RIGHTS)
    rights = await check(database, epoch, await Past().read(log))
    assert rights.everything()[1], "there are members to be compared"
    assert await projections.stop(running[0]) == 0
    assert "Traceback" not in projections.said()


async def rival(name: str, kafka: str, topic: str, database: str, epoch: Epoch, patience: float = 0) -> None:
    """A projection alone in a group of its own."""
    async with (
        open_pool(database, size=3) as pool,
        AIOKafkaConsumer(
            bootstrap_servers=kafka,
            group_id=f"{topic}.{name}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        ) as consumer,
    ):
        history = PostgresHistory(pool, epoch.number)
        log = LogRange(pool, epoch.number, history)
        sink = RightsSink(RightsStore(pool, epoch.number, epoch.first_of_topic), history, log, 10_000, patience)
        async with Reader(consumer, topic, sink) as reader:
            await reader.run()


async def test_two_that_no_group_keeps_apart(
    kafka: str,
    topic: str,
    database: str,
    log: KafkaLog,
    epoch: Epoch,
    sql: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both believe that every partition is theirs: only the fence stands between them."""
    random = Random(5)
    await log.append(some(random, 1_000))
    async with asyncio.TaskGroup() as group:
        rivals = [group.create_task(rival(name, kafka, topic, database, epoch)) for name in ("a", "b")]

        async def have_met() -> bool:
            await log.append(some(random, 100))
            return "another projection of rights has moved" in caplog.text

        await until(have_met, timeout=60, what="one being told that the other was there before")
        await until_written(log, sql, projection=RIGHTS)
        for task in rivals:
            task.cancel()
    await check(database, epoch, await Past().read(log))


@pytest.mark.parametrize("log_writer_runs", [False, True])
async def test_a_late_repetition_of_a_grant_brings_nobody_back(
    database: str,
    log: KafkaLog,
    epoch: Epoch,
    projections: Consumers,
    log_writers: LogWriters,
    sql: asyncpg.Connection,
    log_writer_runs: bool,
) -> None:
    """The look-back of a projection that starts between is read from Postgres, or from Kafka where that is behind."""
    grant = added("bob")
    await log.append([told("project_created"), grant, removed("bob"), added("carl")])
    first = await projections.start()
    await until_written(log, sql, projection=RIGHTS)
    await projections.stop(first)
    if log_writer_runs:
        await log_writers.start()
        await until_written(log, sql)
    await log.append([grant])
    await projections.start()
    await until_written(log, sql, projection=RIGHTS)
    rights = await check(database, epoch, await Past().read(log))
    assert {member.user: member.role for member in rights.members("p")} == {
        "ann": "owner",
        "bob": None,
        "carl": "member",
    }


async def test_what_kafka_dropped_is_read_from_postgres_and_what_neither_holds_is_a_hole(
    kafka: str,
    topic: str,
    database: str,
    log: KafkaLog,
    epoch: Epoch,
    log_writers: LogWriters,
    sql: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    await log.append(some(Random(3), 3_000))
    writer = await log_writers.start()
    await until_written(log, sql)
    await log_writers.stop(writer)
    copied = {partition: held.next for partition, held in (await log.bounds()).items()}
    past = await Past().read(log)
    await log.append([told("project_created", f"lost{n}") for n in range(20)])
    dropped = {partition: held.next for partition, held in (await log.bounds()).items()}
    await delete_records(kafka, topic, dropped)
    await log.append(some(Random(4), 200))
    projecting = asyncio.create_task(rival("late", kafka, topic, database, epoch))
    try:
        await until_written(log, sql, projection=RIGHTS)
    finally:
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
    await check(database, epoch, await past.read(log))
    holes = await sql.fetch(
        "SELECT partition, first_offset, next_offset FROM projection_hole WHERE projection = $1 ORDER BY 1", RIGHTS
    )
    lost = {partition for partition in copied if copied[partition] < dropped[partition]}
    assert [tuple(row) for row in holes] == [(p, copied[p], dropped[p]) for p in sorted(lost)]
    assert len(lost) > 1
    assert "who was added or removed there is not known" in caplog.text


async def test_it_waits_for_postgres_and_stops_while_it_waits(projections: Consumers) -> None:
    waiting = await projections.start(LASTSEEN_DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/none")
    await until(lambda: "Postgres can't be reached" in projections.said(), what="a word about Postgres")
    assert await projections.stop(waiting) == 0
