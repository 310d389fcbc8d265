"""Retention in Postgres: whole days go, and nothing claims that they are still there."""

import os
from datetime import date, timedelta
from pathlib import Path

import asyncpg
import pytest

from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.days import drop_days, ensure_days
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.progress import read_progress
from service.domain.errors import BadRequest
from service.ports import Coverage, Epoch
from tests.events import records_of, task_events
from tests.integration.conftest import LogWriters, consumers, delete_records, until_written
from tests.ledger import check_ledger
from tests.nodes import new_ground, numbers, output
from tests.raw import task_event
from tests.waiting import until


async def make_older(pool: asyncpg.Pool, days: int) -> date:
    """Let everything that is written have been written `days` earlier; returns the present day."""
    async with pool.acquire() as connection, connection.transaction():
        today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        held = [row[0] for row in await connection.fetch("SELECT DISTINCT bucket FROM log_bucket ORDER BY 1")]
        await ensure_days(connection, [day - timedelta(days=days) for day in held])
        for table in ("log", "log_bucket"):
            for day in held:
                await connection.execute(
                    f"UPDATE {table} SET bucket = $1 WHERE bucket = $2", day - timedelta(days=days), day
                )
    return today


async def day_tables(sql: asyncpg.Connection) -> list[str]:
    return [
        row[0]
        for row in await sql.fetch("SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
        if row[0].startswith("log_2") and not row[0].endswith("key")
    ]


async def write_some(log: KafkaLog, log_writers: LogWriters, sql: asyncpg.Connection) -> None:
    """Rows, void records, quarantined ones: in a writer that has ended again."""
    records = records_of(task_events(300))
    await log.append([*records, *records[:30], records[0]._replace(value=b"broken")])
    writer = await log_writers.start()
    await until_written(log, sql)
    await log_writers.stop(writer)


async def test_the_ledger_holds_after_days_were_dropped(
    kafka: str, topic: str, database: str, log: KafkaLog, epoch: Epoch, log_writers: LogWriters, sql: asyncpg.Connection
) -> None:
    async with open_pool(database) as pool:
        await write_some(log, log_writers, sql)
        await make_older(pool, 2)
        await write_some(log, log_writers, sql)
        again = records_of([task_event(task="again")])
        (place,) = await log.append(again)
        writer = await log_writers.start()
        await until_written(log, sql)
        today = await make_older(pool, 1)
        await write_some(log, log_writers, sql)
        before = await check_ledger(kafka, topic, database)
        ends = {p: progress.next for p, progress in (await read_progress(pool, epoch.number)).items()}

        dropped = await drop_days(pool, today)
        assert dropped == [today - timedelta(days=days) for days in (3, 2, 1)]
        assert all(name >= f"log_{today:%Y%m%d}" for name in await day_tables(sql))
        after = await check_ledger(kafka, topic, database)
        assert (after.rows, after.void, after.quarantined) == (300, 30, 1)
        assert after.records == before.records == 3 * 331 + 1
        progress = await read_progress(pool, epoch.number)
        assert sum(of.void for of in progress.values()) == 30
        assert sum(of.quarantined for of in progress.values()) == 1
        assert {p: of.next for p, of in progress.items()} == ends
        assert await drop_days(pool, today) == []

        # The look-back reaches over what was dropped, for a writer that starts now too.
        assert place in {(row[0], row[1]) for row in await sql.fetch("""SELECT partition, "offset" FROM void""")}
        await log_writers.stop(writer)
        await log.append(again)
        await log_writers.start()
        await until_written(log, sql)
        assert (await check_ledger(kafka, topic, database)).void == 31


async def test_ids_stay_no_longer_than_the_look_back_needs_them(
    log: KafkaLog, epoch: Epoch, log_writers: LogWriters, sql: asyncpg.Connection, database: str
) -> None:
    async with open_pool(database) as pool:
        await write_some(log, log_writers, sql)
        today = await make_older(pool, 1)
        await drop_days(pool, today, look_back=5)
        ends = {p: bounds.next for p, bounds in (await log.bounds()).items()}
        kept = await sql.fetch("""SELECT partition, "offset" FROM void""")
        assert kept
        assert all(offset >= ends[partition] - 5 for partition, offset in kept)
        assert await sql.fetchval("SELECT count(*) FROM quarantine") == 0
        coverage = await PostgresHistory(pool, epoch.number).coverage()
        assert coverage == {p: Coverage(end, end) for p, end in ends.items()}


async def test_the_present_day_is_never_dropped(database: str, sql: asyncpg.Connection) -> None:
    async with open_pool(database) as pool:
        async with pool.acquire() as connection:
            await ensure_days(connection)
            today = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        before = await day_tables(sql)
        with pytest.raises(BadRequest, match="the present one, can't be dropped"):
            await drop_days(pool, today + timedelta(days=1))
        assert await drop_days(pool, today) == []
        assert await day_tables(sql) == before


async def test_a_day_that_was_dropped_by_hand_is_neither_claimed_nor_made_again(
    log: KafkaLog, epoch: Epoch, log_writers: LogWriters, sql: asyncpg.Connection, database: str
) -> None:
    async with open_pool(database) as pool:
        await write_some(log, log_writers, sql)
        today = await make_older(pool, 1)
        ends = {p: bounds.next for p, bounds in (await log.bounds()).items()}
        history = PostgresHistory(pool, epoch.number)
        assert all(held.first == 0 for held in (await history.coverage()).values())
        await sql.execute(f"DROP TABLE log_{today - timedelta(days=1):%Y%m%d}")
        assert {p: held.first for p, held in (await history.coverage()).items()} == ends

        # The writer misses the present day, and makes that one alone.
        writer = await log_writers.start()
        await until_written(log, sql)
        await sql.execute(f"DROP TABLE log_{today:%Y%m%d}")
        await log.append(records_of(task_events(100)))
        await until_written(log, sql)
        await log_writers.stop(writer)
        assert f"log_{today:%Y%m%d}" in (tables := await day_tables(sql))
        assert f"log_{today - timedelta(days=1):%Y%m%d}" not in tables
        assert {p: held.first for p, held in (await history.coverage()).items()} == ends


async def test_a_log_writer_drops_old_days_once_the_rights_are_read_and_clients_are_told(
    kafka: str, postgres_url: str, tmp_path: Path
) -> None:
    async with (
        new_ground(kafka, postgres_url, partitions=1) as ground,
        consumers({**os.environ, **ground.environment}, tmp_path, "log_writer") as writers,
        consumers({**os.environ, **ground.environment}, tmp_path, "projections") as projections,
        open_pool(ground.database_url) as pool,
        open_log(kafka, ground.topic) as log,
    ):

        async def until_read(projection: str) -> None:
            end = (await log.bounds())[0].next
            query = "SELECT max(next_offset) FROM projection_offset WHERE projection = $1"

            async def is_read() -> bool:
                return bool(await pool.fetchval(query, projection) == end)

            await until(is_read, timeout=30, what=f"{projection} having come to {end}")

        writer = await writers.start()
        await log.append(records_of([task_event() for _ in range(5)]))
        await until_read("log")
        await writers.stop(writer)
        today = await make_older(pool, 4)
        await delete_records(kafka, ground.topic, {0: 5})
        # Two at once, and what is to be dropped is only in Postgres and not read for rights.
        kept = [await writers.start(LASTSEEN_RETENTION_DAYS="3") for _ in range(2)]
        await until(lambda: writers.said().count("stay until the projection") == 2, timeout=30, what="both waiting")
        assert await pool.fetchval("SELECT count(*) FROM log") == 5
        for writer in kept:
            await writers.stop(writer)
        await projections.start()
        await until_read("rights")
        for _ in range(2):
            await writers.start(LASTSEEN_RETENTION_DAYS="3")
        await until(lambda: f"those before {today - timedelta(days=3)}" in writers.said(), timeout=30, what="the drop")
        assert await pool.fetchval("SELECT count(*) FROM projection_hole") == 0
        async with ground.node() as node, node.client() as client:
            await client.begin()
            await node.publish(*(output("t", number) for number in range(3)))
            token = f"{ground.epoch}:0=1"
            await client.subscribe("task:t", after=token)
            gap = await client.hear("gap")
            assert (gap["reason"], gap["requested"], gap["earliest"]) == ("retention", token, f"{ground.epoch}:0=4")
            await client.hear("task_output", data={"number": 2})
            heard = len(client.heard)
            await client.subscribe("task:t", after="earliest")
            await client.hear("task_output", data={"number": 2})
            assert "gap" not in [message["type"] for message in client.heard[heard:]]
            page = await node.history("task:t", after="earliest")
            assert numbers(page["events"]) == [0, 1, 2]
