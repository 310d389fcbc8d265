"""The day partitions of `log`: made ahead of their day, dropped when nobody wants them any more."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import TypeVar

import asyncpg
from lastseen.names import TERMINAL_TYPES

from service.adapters.postgres.pool import Connection, answering
from service.adapters.postgres.rights_store import RIGHTS_PROJECTION
from service.domain.duplicates import LOOK_BACK
from service.domain.errors import BadRequest

logger = logging.getLogger(__name__)
T = TypeVar("T")

DAYS_AHEAD = 3
TRIES = 5
_LOCK = 7_243_002
"""Any number, as long as nothing else of ours takes an advisory lock by it."""

_MISSING = """
    SELECT day FROM unnest($1::date[]) day
    WHERE NOT EXISTS (
        SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'log'::regclass AND c.relname = 'log_' || to_char(day, 'YYYYMMDD')
    )
    ORDER BY day
"""

_HELD = r"""
    SELECT c.relname, to_date(substr(c.relname, 5), 'YYYYMMDD') AS day
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'log'::regclass AND c.relname ~ '^log_\d{8}$'
    AND substr(c.relname, 5) < to_char($1::date, 'YYYYMMDD')
    ORDER BY 2
"""
# In the order of the log writer, which waits from here on: what it has not committed yet might be of such a day.
_FENCE = """
    SELECT FROM projection_offset WHERE projection = 'log' ORDER BY epoch, partition FOR UPDATE
"""
_MOVE_FIRST = """
    WITH moved AS (
        SELECT o.epoch, o.partition, o.first_offset AS before, coalesce(b.first_offset, o.next_offset) AS first
        FROM projection_offset o
        LEFT JOIN LATERAL (
            SELECT first_offset FROM log_bucket
            WHERE epoch = o.epoch AND partition = o.partition AND bucket >= $1 ORDER BY bucket LIMIT 1
        ) b ON true
        WHERE o.projection = 'log'
    ), counted AS (
        SELECT m.*,
            (SELECT count(*) FROM log l WHERE l.epoch = m.epoch AND l.partition = m.partition
             AND l."offset" >= m.before AND l."offset" < m.first AND l.bucket < $1)
            + (SELECT count(*) FROM void v WHERE v.epoch = m.epoch AND v.partition = m.partition
               AND v."offset" >= m.before AND v."offset" < m.first)
            + (SELECT count(*) FROM quarantine q WHERE q.epoch = m.epoch AND q.partition = m.partition
               AND q."offset" >= m.before AND q."offset" < m.first)
            + (SELECT coalesce(sum(h.next_offset - h.first_offset), 0)::bigint FROM hole h
               WHERE h.epoch = m.epoch AND h.partition = m.partition
               AND h.first_offset >= m.before AND h.next_offset <= m.first) AS held
        FROM moved m WHERE m.first > m.before
    )
    UPDATE projection_offset o SET first_offset = c.first, absent = o.absent - (c.first - c.before - c.held)
    FROM counted c WHERE o.projection = 'log' AND o.epoch = c.epoch AND o.partition = c.partition
"""
_KEEP_IDS = """
    INSERT INTO void (epoch, partition, "offset", id, why, ended_task)
    SELECT l.epoch, l.partition, l."offset", l.id, 'dropped', CASE WHEN l.type = ANY($3) THEN l.task END
    FROM projection_offset o
    JOIN log l ON l.epoch = o.epoch AND l.partition = o.partition AND l."offset" >= o.next_offset - $2
    WHERE o.projection = 'log' AND l.bucket < $1
"""
_FORGET = (
    """
    DELETE FROM void v USING projection_offset o
    WHERE o.projection = 'log' AND v.epoch = o.epoch AND v.partition = o.partition
    AND v."offset" < o.first_offset AND v."offset" < o.next_offset - $1
    """,
    """
    DELETE FROM quarantine q USING projection_offset o
    WHERE o.projection = 'log' AND q.epoch = o.epoch AND q.partition = o.partition
    AND q."offset" < o.first_offset AND (q.id IS NULL OR q."offset" < o.next_offset - $1)
    """,
    """
    DELETE FROM hole h USING projection_offset o
    WHERE o.projection = 'log' AND h.epoch = o.epoch AND h.partition = o.partition
    AND h.next_offset <= o.first_offset AND $1::bigint IS NOT NULL
    """,
)


_ANY_BEFORE = "SELECT EXISTS (SELECT FROM log_bucket WHERE bucket < $1)"
# Where the projection of rights has nothing to read any more, none.
_UNREAD = """
    SELECT min(b.bucket) FROM log_bucket b
    LEFT JOIN projection_offset r ON r.projection = $1 AND r.epoch = b.epoch AND r.partition = b.partition
    WHERE b.epoch = (SELECT max(number) FROM epoch) AND b.last_offset >= coalesce(r.next_offset, 0)
"""


async def ensure_days(connection: Connection, days: Iterable[date] = ()) -> None:
    """Make the partitions of today, of the next DAYS_AHEAD days and of `days`, where they aren't there.

    Several at once are fine. Attaching waits for whoever holds the table, so it gives up soon and tries again.
    """
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    wanted = sorted({today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)} | set(days))
    if await connection.fetch(_MISSING, wanted):
        await _again_while_locked(lambda: _make(connection, wanted))


async def drop_days(pool: asyncpg.Pool, before: date, *, look_back: int = LOOK_BACK) -> list[date]:
    """Retention: forget the days of the log before the day `before` (UTC), of all epochs; returns them.

    In one transaction their partitions go, what covered them, and the void and quarantined records and holes
    that lie in them, so that coverage begins behind them; the log writer waits meanwhile. The ids of the last
    `look_back` offsets stay, in `void`, for the void rule: it has to be the W of the deployment. Raises
    BadRequest where `before` lies after the present day, which is never dropped; HistoryUnavailable.
    """
    with answering():
        async with pool.acquire() as connection:
            today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
            if before > today:
                raise BadRequest(f"days up to {today} (UTC), the present one, can't be dropped: {before} is too late")
            return await _again_while_locked(lambda: _drop(connection, before, look_back))


async def keep_days(pool: asyncpg.Pool, days: int, *, look_back: int = LOOK_BACK) -> list[date]:
    """Drop what is older than `days` days (at least 1) before the present one, as `drop_days`; returns the days.

    What the projection of rights has yet to read of the present epoch stays: Kafka may have dropped it already. Several
    at once are fine. Raises HistoryUnavailable.
    """
    with answering():
        async with pool.acquire() as connection:
            today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
            before = today - timedelta(days=days)
            unread: date | None = await connection.fetchval(_UNREAD, RIGHTS_PROJECTION)
            if unread is not None and unread < before:
                logger.warning(
                    "the days of the log from %s on stay until the projection of rights has read them: "
                    "consumers.projections has to run",
                    unread,
                )
                before = unread
            # Dropping makes the log writer wait, also where there is nothing to be dropped.
            if not await connection.fetch(_HELD, before) and not await connection.fetchval(_ANY_BEFORE, before):
                return []
    return await drop_days(pool, before, look_back=look_back)


async def _again_while_locked(change: Callable[[], Awaitable[T]]) -> T:
    for tried in range(1, TRIES + 1):
        try:
            return await change()
        except asyncpg.LockNotAvailableError:
            if tried == TRIES:
                raise
            logger.warning("the log's table is locked by somebody; trying again to change its days")
    raise AssertionError("TRIES is at least 1")


async def _drop(connection: Connection, before: date, look_back: int) -> list[date]:
    async with _changing(connection):
        await connection.execute(_FENCE)
        held = await connection.fetch(_HELD, before)
        await connection.execute(_MOVE_FIRST, before)
        await connection.execute(_KEEP_IDS, before, look_back, list(TERMINAL_TYPES))
        for statement in _FORGET:
            await connection.execute(statement, look_back)
        await connection.execute("DELETE FROM log_bucket WHERE bucket < $1", before)
        for row in held:
            await connection.execute(f"ALTER TABLE log DETACH PARTITION {row['relname']}")
            await connection.execute(f"DROP TABLE {row['relname']}")
    logger.info("dropped %d days of the log, those before %s", len(held), before)
    return [row["day"] for row in held]


@asynccontextmanager
async def _changing(connection: Connection) -> AsyncIterator[None]:
    """One transaction, the only one that changes days; it waits for no lock longer than two seconds."""
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        yield


async def _make(connection: Connection, wanted: list[date]) -> None:
    async with _changing(connection):
        for row in await connection.fetch(_MISSING, wanted):
            day: date = row["day"]
            name = f"log_{day:%Y%m%d}"
            await connection.execute(
                f"CREATE TABLE {name} (LIKE log INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"
            )
            await connection.execute(
                f"ALTER TABLE log ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            )
            logger.info("added the day %s to the log", day)
