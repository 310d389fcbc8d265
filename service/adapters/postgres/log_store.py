"""The log writer's side of the Postgres log: a batch and how far it reaches, in one transaction or not at all."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import asyncpg

from service.adapters.postgres.batches import (
    QUARANTINE_COLUMNS,
    VOID_COLUMNS,
    Batch,
    Readable,
    quarantine_row,
    void_row,
)
from service.adapters.postgres.copy_format import COPY_COLUMNS, copy_bytes, place_bytes
from service.adapters.postgres.days import ensure_days
from service.adapters.postgres.fence import ADVANCE, check_moved, free_fence, next_offsets
from service.adapters.postgres.history import LOG_PROJECTION
from service.adapters.postgres.pool import Connection, answering

logger = logging.getLogger(__name__)

# Also extends what the days cover.
_FENCE = f"""
    WITH moved AS (
        {ADVANCE}, greatest(
            (now() AT TIME ZONE 'UTC')::date,
            (SELECT max(bucket) FROM log_bucket WHERE epoch = $2 AND partition = o.partition)
        ) AS bucket
    ), covered AS (
        INSERT INTO log_bucket (epoch, partition, bucket, first_offset, last_offset)
        SELECT $2, m.partition, m.bucket, b.first, b.next - 1
        FROM moved m JOIN unnest($3::int[], $4::bigint[], $5::bigint[]) AS b(partition, first, next) USING (partition)
        ON CONFLICT (epoch, partition, bucket) DO UPDATE SET last_offset = excluded.last_offset
    )
    SELECT partition, bucket FROM moved
"""  # noqa: S608
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
        with answering():
            async with self._pool.acquire() as connection:
                try:
                    await self._write_hole(connection, Batch(partition, first, next_), reason)
                except asyncpg.LockNotAvailableError:
                    await free_fence(connection)
                    await self._write_hole(connection, Batch(partition, first, next_), reason)

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
        for batch in batches:
            batch.make_rows()
        async with connection.transaction():
            buckets = await self._advance(connection, batches, absent=[batch.absent for batch in batches])
            rows = [(batch.partition, buckets[batch.partition], batch.rows) for batch in batches if batch.rows]
            if rows:
                await self._copy_rows(connection, rows)
            voids = [void_row(self._epoch, entry) for batch in batches for entry in batch.voids]
            await _copy(connection, "void", VOID_COLUMNS, voids)
            refused = [quarantine_row(self._epoch, entry) for batch in batches for entry in batch.quarantined]
            await _copy(connection, "quarantine", QUARANTINE_COLUMNS, refused)

    async def _write_hole(self, connection: Connection, hole: Batch, reason: str) -> None:
        async with connection.transaction():
            await self._advance(connection, [hole], absent=[0])
            await connection.execute(_HOLE, self._epoch, hole.partition, hole.first, hole.next, reason)

    async def _copy_rows(self, connection: Connection, placed: Iterable[tuple[int, date, Sequence[bytes]]]) -> None:
        """Copy rows into the log: for each partition its number, its bucket and its rows."""
        data = copy_bytes((place_bytes(self._epoch, partition, bucket), rows) for partition, bucket, rows in placed)
        await copy_in(connection, data)

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
        return buckets

    async def _quarantine_refused(self, connection: Connection, batch: Batch) -> None:
        """Move the records that Postgres refuses from `readable` to `quarantined`."""
        transaction = connection.transaction()
        await transaction.start()
        try:
            bucket = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
            refused = await self._refused(connection, (batch.partition, bucket), batch.readable, batch.rows)
        finally:
            await transaction.rollback()
        for readable, error in refused:
            batch.refuse(readable, error)

    async def _refused(
        self, connection: Connection, place: tuple[int, date], readables: Sequence[Readable], rows: Sequence[bytes]
    ) -> list[tuple[Readable, Exception]]:
        if not readables:
            return []
        try:
            async with connection.transaction():
                await self._copy_rows(connection, [(*place, rows)])
        except _REFUSALS as error:
            if len(readables) == 1:
                return [(readables[0], error)]
        else:
            return []
        half = len(readables) // 2
        return [
            *await self._refused(connection, place, readables[:half], rows[:half]),
            *await self._refused(connection, place, readables[half:], rows[half:]),
        ]


async def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        await connection.copy_records_to_table(table, columns=list(columns), records=rows)


async def copy_in(connection: Connection, data: bytes) -> None:
    """Copy what `copy_format.copy_bytes` made into the log."""
    # A view, as the driver takes bytes for the name of a file; its stubs know of no buffers.
    source: Any = memoryview(data)
    await connection.copy_to_table("log", columns=COPY_COLUMNS, format="binary", source=source)
