"""Tending Postgres, beside the log writer in its process: what is too old is dropped, now and every hour."""

import asyncio
import logging
from typing import Final, NoReturn

import asyncpg

from service.adapters.postgres.cursors import sweep_cursors
from service.adapters.postgres.days import keep_days
from service.adapters.postgres.pool import open_pool
from service.cancellation import heed_cancellation
from service.settings import Settings

logger = logging.getLogger(__name__)

TEND_SECONDS: Final = 3_600.0
STATEMENT_SECONDS: Final = 600.0
"""How long one statement may take: a day has many rows."""


async def tend(settings: Settings) -> NoReturn:
    """Tend until cancelled. Raises Unavailable when Postgres is away. Several at once are fine."""
    url = settings.database_url.get_secret_value()
    async with open_pool(url, size=1, seconds=STATEMENT_SECONDS) as pool:
        while True:
            await _tend_once(pool, settings)
            heed_cancellation()
            await asyncio.sleep(TEND_SECONDS)


async def _tend_once(pool: asyncpg.Pool, settings: Settings) -> None:
    if settings.retention_days:
        await keep_days(pool, settings.retention_days, look_back=settings.look_back)
    if settings.cursor_rest is not None and (swept := await sweep_cursors(pool, settings.cursor_rest)):
        logger.info("forgot %d durable cursors that had not moved for %d days", swept, settings.cursor_days)
