"""The day partitions of `log`, made ahead of their day."""

import logging
from collections.abc import Iterable
from datetime import date, timedelta

import asyncpg

from service.adapters.postgres.pool import Connection

logger = logging.getLogger(__name__)

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


async def ensure_days(connection: Connection, days: Iterable[date] = ()) -> None:
    """Make the partitions of today, of the next DAYS_AHEAD days and of `days`, where they aren't there.

    Several at once are fine. Attaching waits for whoever holds the table, so it gives up soon and tries again.
    """
    today: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    wanted = sorted({today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)} | set(days))
    for tried in range(1, TRIES + 1):
        try:
            if await connection.fetch(_MISSING, wanted):
                await _make(connection, wanted)
            return
        except asyncpg.LockNotAvailableError:
            if tried == TRIES:
                raise
            logger.warning("the log's table is locked by somebody; trying again to add days to it")


async def _make(connection: Connection, wanted: list[date]) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
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
