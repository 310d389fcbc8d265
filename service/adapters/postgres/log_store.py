"""The log writer's side of the Postgres log: a batch and how far it reaches, in one transaction or not at all."""

import logging
from collections.abc import Mapping, Sequence
from datetime import date

import asyncpg

from service.adapters.postgres.batches import (
    QUARANTINE_COLUMNS,
    VOID_COLUMNS,
    Batch,
    Quarantined,
    Readable,
    quarantine_row,
    void_row,
)
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.fence import ADVANCE, check_moved, free_fence, next_offsets
from service.adapters.postgres.history import LOG_PROJECTION
from service.adapters.postgres.pool import Connection, answering
from service.adapters.postgres.rows import LOG_COLUMNS, row_of

logger = logging.getLogger(__name__)

_FENCE = f"""{ADVANCE}, greatest(
        (now() AT TIME ZONE 'UTC')::date,
        (SELECT max(bucket) FROM log_bucket WHERE epoch = $2 AND partition = o.partition)
    ) AS bucket
"""  # noqa: S608
_COVER = """
    INSERT INTO log_bucket (epoch, partition, bucket, first_offset, last_offset)
    SELECT $1, b.partition, b.bucket, b.first, b.next - 1
    FROM unnest($2::int[], $3::date[], $4::bigint[], $5::bigint[]) AS b(partition, bucket, first, next)
    ON CONFLICT (epoch, partition, bucket) DO UPDATE SET last_offset = excluded.last_offset
"""
# Only what is written to yet: a day that was dropped must not come back, empty, as if it held something.
_LATEST_DAYS = """
    SELECT DISTINCT max(bucket) AS bucket FROM log_bucket WHERE epoch = $1
    GROUP BY partition HAVING max(bucket) > (now() AT TIME ZONE 'UTC')::date
"""
_HOLE = """
    INSERT INTO hole (epoch, partition, first_offset, next_offset, reason) VALUES ($1, $2, $3, $4, $5)
"""

_REFUSALS = (
    asyncpg.DataError,
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.ProgramLimitExceededError,
    # What asyncpg or Python refuses before Postgres sees it.
    ValueError,
    OverflowError,
)
"""Errors that are a row's own fault: another try, or another writer, would meet them again."""


TRIES = 4
"""Once for a missing day, once for refused records, once for a fence that somebody frozen holds."""


class LogStore:
    """Writes the log of one epoch. Raises HistoryUnavailable while the database does not answer.

    After HistoryUnavailable a batch may have been written or not; only `next_offsets` tells.
    """

    def __init__(self, pool: asyncpg.Pool, epoch: int) -> None:
        self._pool = pool
        self._epoch = epoch

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The offset that each partition's next batch must begin at; 0 for one never written."""
        with answering():
            async with self._pool.acquire() as connection:
                return await next_offsets(connection, LOG_PROJECTION, self._epoch, partitions)

    async def ensure_days(self) -> None:
        """Make the day partitions for today and the next days."""
        with answering():
            async with self._pool.acquire() as connection:
                await ensure_days(connection)

    async def write(self, batches: Sequence[Batch]) -> None:
        """Write all batches, at most one a partition, or none. Raises `fence.Fenced`.

        A record that Postgres refuses is moved to its batch's `quarantined`, with Postgres's reason.
        """
        with answering():
            async with self._pool.acquire() as connection:
                for _ in range(TRIES):
                    try:
                        return await self._write(connection, batches)
                    except asyncpg.LockNotAvailableError as error:
                        refusal: Exception = error
                        await free_fence(connection)
                    except _REFUSALS as error:
                        refusal = error
                        await self._mend(connection, batches, error)
                raise refusal

    async def write_hole(self, partition: int, first: int, next_: int, reason: str) -> None:
        """Record that `[first, next_)` was gone before it could be read, and go on behind it. Raises Fenced."""
        batch = Batch(partition, first, next_)
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                await self._advance(connection, [batch], absent=[0])
                await connection.execute(_HOLE, self._epoch, partition, first, next_, reason)

    async def _mend(self, connection: Connection, batches: Sequence[Batch], refusal: Exception) -> None:
        """Take away what made Postgres refuse the batches."""
        if isinstance(refusal, asyncpg.CheckViolationError) and not refusal.constraint_name:
            # "No partition of relation found for row": the day came, or the clock was set back, while none ran.
            rows = await connection.fetch(_LATEST_DAYS, self._epoch)
            await ensure_days(connection, [row["bucket"] for row in rows])
            return
        logger.warning("Postgres refused a batch, looking for the record: %s", refusal)
        for batch in batches:
            await self._quarantine_refused(connection, batch)

    async def _write(self, connection: Connection, batches: Sequence[Batch]) -> None:
        async with connection.transaction():
            buckets = await self._advance(connection, batches, absent=[batch.absent for batch in batches])
            rows = [
                row_of(self._epoch, buckets[batch.partition], readable.record)
                for batch in batches
                for readable in batch.readable
            ]
            await _copy(connection, "log", LOG_COLUMNS, rows)
            voids = [void_row(self._epoch, entry) for batch in batches for entry in batch.voids]
            await _copy(connection, "void", VOID_COLUMNS, voids)
            refused = [quarantine_row(self._epoch, entry) for batch in batches for entry in batch.quarantined]
            await _copy(connection, "quarantine", QUARANTINE_COLUMNS, refused)

    async def _advance(
        self, connection: Connection, batches: Sequence[Batch], absent: Sequence[int]
    ) -> Mapping[int, date]:
        """Pass the fence and extend what the days cover; returns each partition's bucket."""
        partitions = [batch.partition for batch in batches]
        firsts = [batch.first for batch in batches]
        nexts = [batch.next for batch in batches]
        moved = await connection.fetch(_FENCE, LOG_PROJECTION, self._epoch, partitions, firsts, nexts, list(absent))
        buckets: dict[int, date] = {row["partition"]: row["bucket"] for row in moved}
        check_moved("log writer", batches, buckets)
        days = [buckets[partition] for partition in partitions]
        await connection.execute(_COVER, self._epoch, partitions, days, firsts, nexts)
        return buckets

    async def _quarantine_refused(self, connection: Connection, batch: Batch) -> None:
        """Move the records that Postgres refuses from `readable` to `quarantined`."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            bucket = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
            refused = await self._refused(connection, bucket, batch.readable)
        finally:
            await transaction.rollback()
        for readable, error in refused:
            record = readable.record
            logger.error(
                "Postgres refuses offset %d of partition %d, it goes to the quarantine: %s",
                record.offset,
                record.partition,
                error,
            )
            batch.quarantined.append(Quarantined(readable.raw, "refused", str(error), record.channels, record))
        gone = {readable.record.offset for readable, _ in refused}
        batch.readable = [readable for readable in batch.readable if readable.record.offset not in gone]

    async def _refused(
        self, connection: Connection, bucket: date, readables: Sequence[Readable]
    ) -> list[tuple[Readable, Exception]]:
        if not readables:
            return []
        try:
            async with connection.transaction():
                rows = [row_of(self._epoch, bucket, readable.record) for readable in readables]
                await _copy(connection, "log", LOG_COLUMNS, rows)
        except _REFUSALS as error:
            if len(readables) == 1:
                return [(readables[0], error)]
        else:
            return []
        half = len(readables) // 2
        return [
            *await self._refused(connection, bucket, readables[:half]),
            *await self._refused(connection, bucket, readables[half:]),
        ]


async def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await connection.copy_records_to_table(table, columns=list(columns), records=rows)
