"""Copying the log to Postgres: rows a second of the log writer's process, against a bare COPY of the same rows."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import date

import asyncpg
from lastseen.record import NewRecord

from benchmarks.events import make_records
from benchmarks.measured import Row, in_turn, paired
from benchmarks.processes import log_writer
from benchmarks.site import Ground, Site
from benchmarks.waiting import until
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.copy_format import copy_bytes, place_bytes, row_bytes
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.log_store import copy_in
from service.adapters.postgres.pool import Connection, open_pool
from service.adapters.postgres.rows import columns_of, time_of
from service.domain.records import Record, read_record

_TRANSACTION = 2_000
"""Rows of a limit's transaction."""
_COLUMNS = (
    "epoch", "partition", "offset", "bucket", "id", "type", "appended_at", "ttl",
    "task", "project", "user", "system", "broadcast", "payload",
)  # fmt: skip
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

        async def sent() -> float:
            async with site.ground(ground.topic) as fresh:
                return await _copy_ready(fresh, records)

        ours, limit, ready = await in_turn(min(site.pairs, 3), drained, copied, sent)
    measured = f"consumers.log_writer draining {amount:,} events, from its first commit on"
    into = f"into the same tables, {_TRANSACTION:,} a transaction"
    return [
        Row("log_writer", measured, "rows/s", f"bare asyncpg COPY of the same rows {into}", paired(ours, limit)),
        Row("log_writer", measured, "rows/s", f"COPY of the same rows as ready bytes {into}", paired(ours, ready)),
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


@asynccontextmanager
async def _copying(ground: Ground) -> AsyncIterator[tuple[Connection, date]]:
    """A connection to copy by, and the day to copy into."""
    async with open_pool(ground.database_url) as pool, pool.acquire() as connection:
        await ensure_days(connection)
        yield connection, await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")


async def _copy(ground: Ground, records: list[Record]) -> float:
    async with _copying(ground) as (connection, bucket):
        rows = [_row_of(bucket, record) for record in records]
        started = time.perf_counter()
        for at in range(0, len(rows), _TRANSACTION):
            await connection.copy_records_to_table("log", columns=_COLUMNS, records=rows[at : at + _TRANSACTION])
        return len(rows) / (time.perf_counter() - started)


async def _copy_ready(ground: Ground, records: list[Record]) -> float:
    async with _copying(ground) as (connection, bucket):
        placed = [(place_bytes(1, record.partition, bucket), [row_bytes(record)]) for record in records]
        ready = [copy_bytes(placed[at : at + _TRANSACTION]) for at in range(0, len(placed), _TRANSACTION)]
        started = time.perf_counter()
        for data in ready:
            await copy_in(connection, data)
        return len(records) / (time.perf_counter() - started)


def _row_of(bucket: date, record: Record) -> tuple[object, ...]:
    """The row of `record`, a Python object a column, in the order of _COLUMNS."""
    return (
        1,
        record.partition,
        record.offset,
        bucket,
        record.id,
        record.type,
        time_of(record.appended_at),
        record.ttl,
        *columns_of(record.channels),
        record.value.decode(),
    )
