"""The records of a range of one partition, out of the Postgres log."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final, NamedTuple

import asyncpg

from service.adapters.postgres.pool import answering
from service.adapters.postgres.rows import given, records_of
from service.domain.errors import HistoryUnavailable
from service.domain.records import Record
from service.ports import History

PAGE_ROWS: Final = 2_000

_DAYS = """
    SELECT min(bucket), max(bucket) FROM log_bucket
    WHERE epoch = $1 AND partition = $2 AND last_offset >= $3 AND first_offset < $4
"""
# Of most records it is enough to know that they were: what they say would be most of the bytes.
_COLUMNS = given("log", "CASE WHEN type = ANY($7) THEN payload ELSE '{}' END")
_PAGE = f"""
    SELECT {_COLUMNS} FROM log
    WHERE epoch = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 AND bucket BETWEEN $5 AND $6
    ORDER BY "offset" LIMIT {PAGE_ROWS}
"""  # noqa: S608


class RangePage(NamedTuple):
    """Records that follow, ascending, and the offset up to which (exclusive) these are all."""

    records: Sequence[Record]
    next: int


class LogRange:
    """Reads the log of one epoch by its offsets. Every call raises HistoryUnavailable."""

    def __init__(self, pool: asyncpg.Pool, epoch: int, history: History) -> None:
        self._pool = pool
        self._epoch = epoch
        self._history = history

    async def read(
        self, partition: int, start: int, stop: int, payload_of: Collection[str]
    ) -> AsyncIterator[RangePage]:
        """The records of `[start, stop)`, which coverage has to hold; those of other types than `payload_of` as `{}`.

        Raises HistoryUnavailable too where retention takes what is being read: coverage tells what is left.
        """
        types = list(payload_of)
        while start < stop:
            with answering():
                async with self._pool.acquire() as connection:
                    range_ = (self._epoch, partition, start, stop)
                    ((first_day, last_day),) = await connection.fetch(_DAYS, *range_)
                    rows = await connection.fetch(_PAGE, *range_, first_day, last_day, types)
            # Asked afterwards: a day that was dropped in between looks like one without records.
            held = (await self._history.coverage()).get(partition)
            if held is None or held.first > start:
                raise HistoryUnavailable(f"the log of partition {partition} was dropped while it was read from {start}")
            records = records_of(rows)
            start = records[-1].offset + 1 if len(records) == PAGE_ROWS else stop
            yield RangePage(records, start)
