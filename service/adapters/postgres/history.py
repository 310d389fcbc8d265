"""The port `History` on the Postgres log."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg
from lastseen.channels import parse_channel
from lastseen.names import TERMINAL_TYPES

from service.adapters.postgres.looking import LOOKED_AT, gone, last_seen
from service.adapters.postgres.missing import with_missing
from service.adapters.postgres.page_back_query import some_types_query
from service.adapters.postgres.page_query import page_query
from service.adapters.postgres.pages_back import read_back
from service.adapters.postgres.pool import Connection, answering, open_pool
from service.adapters.postgres.rows import records_of
from service.adapters.postgres.times import read_offsets_at
from service.domain.duplicates import Seen
from service.ports import Coverage, HistoryPage

LOG_PROJECTION = "log"
"""The log writer's name in `projection_offset`."""
MOST_DAYS = 64
"""Day partitions that one query opens at most."""

# A day whose table somebody dropped by hand covers nothing, whatever `log_bucket` says.
# In one statement: a hole that is committed meanwhile lies above the offsets.
_COVERAGE = """
    SELECT o.partition, greatest(o.first_offset, coalesce(b.first_offset, o.next_offset)) AS first,
        o.next_offset AS next, h.holes
    FROM projection_offset o
    LEFT JOIN LATERAL (
        SELECT first_offset FROM log_bucket
        WHERE epoch = o.epoch AND partition = o.partition
        AND to_regclass('log_' || to_char(bucket, 'YYYYMMDD')) IS NOT NULL
        ORDER BY bucket LIMIT 1
    ) b ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(ARRAY[first_offset, next_offset] ORDER BY first_offset) AS holes FROM hole
        WHERE epoch = o.epoch AND partition = o.partition
    ) h ON true
    WHERE o.projection = $2 AND o.epoch = $1
"""
# What is in quarantine was committed with the days that it lies between or before them: there is no need to ask again.
_DAYS = """
    SELECT w.partition, b.bucket, b.first_offset, b.last_offset, q.is_any AS is_any_missing
    FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS w(partition, after, upto)
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM quarantine
            WHERE epoch = $1 AND partition = w.partition AND "offset" > w.after AND "offset" <= w.upto
            AND channels IS NOT NULL
        ) AS is_any
    ) q
    CROSS JOIN LATERAL (
        SELECT bucket, first_offset, last_offset FROM log_bucket
        WHERE epoch = $1 AND partition = w.partition AND last_offset > w.after
        AND to_regclass('log_' || to_char(bucket, 'YYYYMMDD')) IS NOT NULL
        ORDER BY bucket LIMIT $5
    ) b
"""
# In one statement: the log writer may move both meanwhile.
_WITHOUT_DAYS = """
    SELECT min(o.partition) FROM projection_offset o
    JOIN unnest($3::int[], $4::bigint[]) AS w(partition, after) ON w.partition = o.partition
    WHERE o.projection = $2 AND o.epoch = $1 AND o.next_offset > w.after + 1 AND NOT EXISTS (
        SELECT FROM log_bucket
        WHERE epoch = $1 AND partition = w.partition AND last_offset > w.after
        AND to_regclass('log_' || to_char(bucket, 'YYYYMMDD')) IS NOT NULL
    )
"""
_DAYS_OF_RANGE = """
    SELECT min(bucket), max(bucket) FROM log_bucket
    WHERE epoch = $1 AND partition = $2 AND last_offset >= $3 AND first_offset < $4
"""
_SEEN_ELSEWHERE = """
    SELECT "offset", id, ended_task FROM void
    WHERE epoch = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
    UNION ALL
    SELECT "offset", id, ended_task FROM quarantine
    WHERE epoch = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 AND id IS NOT NULL
"""
# The two parts are constants.
_SEEN = f"""
    SELECT "offset", id, CASE WHEN type = ANY($7) THEN task END AS ended_task FROM log
    WHERE epoch = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 AND bucket BETWEEN $5 AND $6
    UNION ALL {_SEEN_ELSEWHERE} ORDER BY "offset"
"""  # noqa: S608


class _Slice(NamedTuple):
    """What one query looks through: some days, and per partition the offsets `(after, upto]` in them."""

    first_day: date
    last_day: date
    ranges: dict[int, tuple[int, int]]
    is_any_missing: bool
    """Whether something in quarantine lies between where it begins and `upto`."""


class PostgresHistory:
    """`History` of one epoch. Rows are committed together with how far they reach, so `served` is exact."""

    def __init__(self, pool: asyncpg.Pool, epoch: int, *, looked_at: int = LOOKED_AT) -> None:
        self._pool = pool
        self._epoch = epoch
        self.looked_at = looked_at
        """Rows of a channel that one query for some types looks at."""

    async def coverage(self) -> Mapping[int, Coverage]:
        with answering():
            async with self._pool.acquire() as connection:
                rows = await connection.fetch(_COVERAGE, self._epoch, LOG_PROJECTION)
        return {
            row["partition"]: Coverage(row["first"], row["next"], tuple(map(tuple, row["holes"] or ()))) for row in rows
        }

    async def page(
        self,
        channels: Sequence[str],
        after: Mapping[int, int],
        upto: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
        *,
        offline: bool = False,
    ) -> HistoryPage:
        """As `History.page`. Raises ValueError for a name that is no channel."""
        wanted = [parse_channel(name) for name in channels]
        query, ids = some_types_query(wanted) if types else page_query(wanted, offline=offline)
        looking = (self.looked_at, list(types)) if types else ()
        served = {partition: after.get(partition, -1) for partition in upto}
        days = 1
        is_any_missing = False
        with answering():
            async with self._pool.acquire() as connection:
                rows: list[asyncpg.Record] = []
                while not rows and (slice_ := await self._next_slice(connection, served, upto, after.keys(), days)):
                    rows = await connection.fetch(
                        query,
                        self._epoch,
                        limit,
                        list(slice_.ranges),
                        [after_ for after_, _ in slice_.ranges.values()],
                        [upto_ for _, upto_ in slice_.ranges.values()],
                        slice_.first_day,
                        slice_.last_day,
                        *looking,
                        *ids,
                    )
                    cut = last_seen(rows, limit, self.looked_at) if types else _last_given(rows, limit)
                    _serve(served, slice_, cut)
                    is_any_missing |= slice_.is_any_missing
                    # Days without a match are passed in growing strides.
                    days = min(2 * days, MOST_DAYS)
                page = HistoryPage(records_of(rows), served)
                if not is_any_missing:
                    return page
                return await with_missing(connection, self._epoch, channels, after, page, limit)

    async def _next_slice(
        self,
        connection: Connection,
        served: Mapping[int, int],
        upto: Mapping[int, int],
        begun: Collection[int],
        days: int,
    ) -> _Slice | None:
        open_ = sorted(partition for partition in upto if served[partition] < upto[partition])
        if not open_:
            return None
        reached = [served[partition] for partition in open_]
        wanted = [upto[partition] for partition in open_]
        rows = await connection.fetch(_DAYS, self._epoch, open_, reached, wanted, days)
        if not rows:
            dropped = await connection.fetchval(_WITHOUT_DAYS, self._epoch, LOG_PROJECTION, open_, reached)
            if dropped is not None:
                raise gone(dropped, served[dropped])
            return None
        for partition, of_partition in groupby(rows, key=itemgetter(0)):
            # The days of a partition leave out no offset, so what lies before the first one is gone.
            if partition in begun and next(of_partition)["first_offset"] > served[partition] + 1:
                raise gone(partition, served[partition])
        chosen = sorted({row["bucket"] for row in rows})[:days]
        ranges: dict[int, tuple[int, int]] = {}
        for partition, bucket, _, last, _ in rows:
            if bucket <= chosen[-1]:
                end = ranges.get(partition, (0, -1))[1]
                ranges[partition] = (served[partition], min(upto[partition], max(last, end)))
        return _Slice(chosen[0], chosen[-1], ranges, any(row["is_any_missing"] for row in rows))

    async def page_back(
        self,
        channels: Sequence[str],
        upto: Mapping[int, int],
        down_to: Mapping[int, int],
        limit: int,
        types: Collection[str] = (),
    ) -> HistoryPage:
        """As `History.page_back`. Raises ValueError for a name that is no channel."""
        with answering():
            async with self._pool.acquire() as connection:
                return await read_back(connection, self._epoch, channels, upto, down_to, limit, types, self.looked_at)

    async def offsets_at(self, ms: int) -> Mapping[int, int]:
        with answering():
            async with self._pool.acquire() as connection:
                return await read_offsets_at(connection, self._epoch, ms)

    async def look_back(self, partition: int, start: int, stop: int) -> Sequence[Seen]:
        with answering():
            async with self._pool.acquire() as connection:
                range_ = (self._epoch, partition, start, stop)
                ((first_day, last_day),) = await connection.fetch(_DAYS_OF_RANGE, *range_)
                rows = await connection.fetch(_SEEN, *range_, first_day, last_day, list(TERMINAL_TYPES))
        return [Seen(*row) for row in rows]


def _last_given(rows: Sequence[asyncpg.Record], limit: int) -> asyncpg.Record | None:
    """The row at which the query was cut."""
    return rows[-1] if len(rows) >= limit else None


def _serve(served: dict[int, int], slice_: _Slice, cut: asyncpg.Record | None) -> None:
    """Raise `served` by what one query looked through: all of it, or up to the row at which it was cut."""
    for partition, (_, upto) in sorted(slice_.ranges.items()):
        if cut is not None and partition == cut[0]:
            served[partition] = cut[1]
            return
        served[partition] = upto


@asynccontextmanager
async def open_history(url: str, epoch: int) -> AsyncIterator[PostgresHistory]:
    """The history of an epoch, by its number. The database may be away: calls then raise HistoryUnavailable."""
    async with open_pool(url, keeps_state=False) as pool:
        yield PostgresHistory(pool, epoch)
