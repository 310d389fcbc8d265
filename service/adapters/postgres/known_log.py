"""What Postgres knows of the Kafka topic: how far it was read, and which records were where."""

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from service.adapters.postgres.pool import answering
from service.adapters.postgres.rows import ms_of
from service.domain.loss import Entry

_NEXT: Final = "SELECT partition, max(next_offset) FROM projection_offset WHERE epoch = $1 GROUP BY partition"
_DAYS: Final = """
    SELECT min(bucket), max(bucket) FROM log_bucket
    WHERE epoch = $1 AND partition = $2 AND last_offset >= $3 AND first_offset < $4
"""
_ENTRIES: Final = """
    SELECT "offset", id, appended_at FROM log
    WHERE epoch = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 AND bucket BETWEEN $5 AND $6
    ORDER BY "offset"
"""


class PostgresKnownLog:
    """What the log writer and the projections have read in one epoch, as the loss detector's `KnownLog`.

    Every call raises HistoryUnavailable while the database does not answer.
    """

    def __init__(self, pool: asyncpg.Pool, epoch: int) -> None:
        self._pool = pool
        self._epoch = epoch

    async def next_offsets(self) -> Mapping[int, int]:
        with answering():
            return {row[0]: row[1] for row in await self._pool.fetch(_NEXT, self._epoch)}

    async def entries(self, partition: int, start: int, stop: int) -> Sequence[Entry]:
        range_ = (self._epoch, partition, start, stop)
        with answering():
            async with self._pool.acquire() as connection:
                ((first_day, last_day),) = await connection.fetch(_DAYS, *range_)
                rows = await connection.fetch(_ENTRIES, *range_, first_day, last_day)
        return [Entry(row["offset"], row["id"], ms_of(row["appended_at"])) for row in rows]
