"""Copying the log to Postgres: rows a second of the log writer's process, against a bare COPY of the same rows."""

import time
from contextlib import aclosing

import asyncpg
from lastseen.record import NewRecord

from benchmarks.events import make_records
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import log_writer
from benchmarks.site import Ground, Site
from benchmarks.waiting import until
from consumers.reader import MAX_ROWS
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rows import LOG_COLUMNS, row_of
from service.domain.records import Record, read_record

_COPIED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM projection_offset WHERE projection = 'log'"


async def measure(site: Site) -> list[Row]:
    """The rows of this benchmark."""
    amount = site.sized(200_000, 20_000)
    async with site.ground() as ground, open_log(ground.kafka, ground.topic) as log:
        await fill(log, make_records(amount))
        records = await _read(log)

        async def drained() -> float:
            async with site.ground(ground.topic) as fresh, log_writer(site, fresh):
                return await rate_of_copying(fresh, amount)

        async def copied() -> float:
            async with site.ground(ground.topic) as fresh:
                return await _copy(fresh, records)

        ours, limit = await in_turn(min(site.pairs, 3), drained, copied)
    return [
        Row(
            "log_writer",
            f"consumers.log_writer draining {amount:,} events, from its first commit on",
            "rows/s",
            f"bare asyncpg COPY of the same rows into the same tables, {MAX_ROWS:,} a transaction",
            paired(ours, limit),
        )
    ]


async def fill(log: KafkaLog, records: list[NewRecord]) -> None:
    """Append the records."""
    step = 2_000
    for at in range(0, len(records), step):
        await log.append(records[at : at + step])


async def rate_of_copying(ground: Ground, amount: int, seconds: float = 60.0) -> float:
    """Rows a second between the log writer's first commit and its last of `amount` events."""
    connection = await asyncpg.connect(ground.database_url)
    try:

        async def copied() -> int:
            return int(await connection.fetchval(_COPIED))

        async def all_copied() -> bool:
            return await copied() >= amount

        first = await until(copied, seconds)
        started = time.perf_counter()
        await until(all_copied, seconds)
        return (amount - first) / (time.perf_counter() - started)
    finally:
        await connection.close()


async def _read(log: KafkaLog) -> list[Record]:
    records = []
    for partition, (first, next_) in (await log.bounds()).items():
        async with aclosing(log.read(partition, first, next_)) as batches:
            async for batch in batches:
                records += [read_record(raw) for raw in batch.records]
    return records


async def _copy(ground: Ground, records: list[Record]) -> float:
    async with open_pool(ground.database_url) as pool, pool.acquire() as connection:
        await ensure_days(connection)
        bucket = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
        rows = [row_of(1, bucket, record) for record in records]
        started = time.perf_counter()
        for at in range(0, len(rows), MAX_ROWS):
            await connection.copy_records_to_table("log", columns=LOG_COLUMNS, records=rows[at : at + MAX_ROWS])
        return len(rows) / (time.perf_counter() - started)
