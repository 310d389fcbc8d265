"""Retention in Postgres: whole days go, and nothing claims that they are still there."""

import asyncio
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import asyncpg
import pytest

from service.adapters.kafka.log import KafkaLog
from service.adapters.postgres.days import drop_days, ensure_days
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.progress import read_progress
from service.domain.errors import BadRequest
from service.ports import Coverage, Epoch
from tests.events import records_of, task_events
from tests.integration.conftest import LogWriters, until_written
from tests.ledger import check_ledger
from tests.raw import task_event

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


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


async def test_the_example_of_the_operations_page_drops_what_it_says(
    log: KafkaLog, epoch: Epoch, log_writers: LogWriters, sql: asyncpg.Connection, database: str
) -> None:
    (example,) = re.findall(r"```sh\n(python - [^`]*drop_days[^`]*)```", OPERATIONS.read_text())
    async with open_pool(database) as pool:
        await write_some(log, log_writers, sql)
        today = await make_older(pool, 91)
        await write_some(log, log_writers, sql)
        await make_older(pool, 90)
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", example],
        env={**log_writers.environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"dropped {today - timedelta(days=181)}\ndropped {today - timedelta(days=91)}\n"
    assert await sql.fetchval("SELECT min(bucket) FROM log_bucket") == today - timedelta(days=90)
