"""Pages of the log from a position back: the newest days first."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg
from lastseen.channels import parse_channel

from service.adapters.postgres.looking import gone, last_seen
from service.adapters.postgres.missing import with_missing_back
from service.adapters.postgres.page_back_query import back_query
from service.adapters.postgres.pool import Connection
from service.adapters.postgres.rows import records_of
from service.ports import HistoryPage

MOST_DAYS = 64
"""Day partitions that one query opens at most."""

_DAYS = """
    SELECT w.partition, b.bucket, b.first_offset, b.last_offset
    FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS w(partition, upto, down_to)
    CROSS JOIN LATERAL (
        SELECT bucket, first_offset, last_offset FROM log_bucket
        WHERE epoch = $1 AND partition = w.partition AND first_offset <= w.upto AND last_offset >= w.down_to
        AND to_regclass('log_' || to_char(bucket, 'YYYYMMDD')) IS NOT NULL
        ORDER BY bucket DESC LIMIT $5
    ) b
"""


class _Slice(NamedTuple):
    """What one query looks through: some days, and per partition the offsets `[down_to, upto]` in them."""

    first_day: date
    last_day: date
    ranges: dict[int, tuple[int, int]]


async def read_back(
    connection: Connection,
    epoch: int,
    channels: Sequence[str],
    upto: Mapping[int, int],
    down_to: Mapping[int, int],
    limit: int,
    types: Collection[str],
    most_looked_at: int,
) -> HistoryPage:
    """As `History.page_back`. Raises ValueError for a name that is no channel."""
    query, ids = back_query([parse_channel(name) for name in channels], types)
    served = {partition: offset + 1 for partition, offset in upto.items()}
    looked_at = most_looked_at if types else limit
    days = 1
    rows: list[asyncpg.Record] = []
    while not rows and (slice_ := await _next_slice(connection, epoch, served, down_to, days)):
        rows = await connection.fetch(
            query,
            epoch,
            limit,
            list(slice_.ranges),
            [upto_ for _, upto_ in slice_.ranges.values()],
            [down_to_ for down_to_, _ in slice_.ranges.values()],
            slice_.first_day,
            slice_.last_day,
            looked_at,
            list(types) or None,
            *ids,
        )
        of_partition = {partition: list(found) for partition, found in groupby(rows, key=itemgetter(0))}
        for partition, (lowest, _) in slice_.ranges.items():
            cut = last_seen(of_partition.get(partition, ()), limit, looked_at)
            served[partition] = lowest if cut is None else cut["offset"]
        # Days without a match are passed in growing strides.
        days = min(2 * days, MOST_DAYS)
    return await with_missing_back(connection, epoch, channels, upto, HistoryPage(records_of(rows), served), limit)


async def _next_slice(
    connection: Connection, epoch: int, served: Mapping[int, int], down_to: Mapping[int, int], days: int
) -> _Slice | None:
    open_ = sorted(partition for partition, lowest in served.items() if lowest > down_to[partition])
    if not open_:
        return None
    rows = await connection.fetch(
        _DAYS, epoch, open_, [served[p] - 1 for p in open_], [down_to[p] for p in open_], days
    )
    held = {partition: list(found) for partition, found in groupby(rows, key=itemgetter(0))}
    chosen = sorted({row["bucket"] for row in rows}, reverse=True)[:days]
    ranges: dict[int, tuple[int, int]] = {}
    for partition in open_:
        lowest = served[partition]
        for _, bucket, first, last in held.get(partition, ()):
            # A partition's days leave out no offset, so what lies between this one and the one before is gone.
            if last < lowest - 1:
                break
            lowest = max(first, down_to[partition])
            if bucket >= chosen[-1]:
                ranges[partition] = (lowest, served[partition] - 1)
        if lowest == served[partition]:
            raise gone(partition, down_to[partition] - 1)
    return _Slice(chosen[-1], chosen[0], ranges)
