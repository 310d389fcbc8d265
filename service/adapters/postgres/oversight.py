"""The port `Oversight`, on the tables of the consumers."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from service.adapters.postgres.history import LOG_PROJECTION
from service.adapters.postgres.pool import answering
from service.adapters.postgres.rights_store import RIGHTS_PROJECTION
from service.ports import LivingRunner, Progress, QuarantinedRecord, QuarantinePlace

PREVIEW_BYTES: Final = 2048
"""Of a value, a key or a detail; of headers either all is shown or nothing."""
_SECONDS: Final = 3.0

_PROGRESS: Final = "SELECT projection, partition, next_offset FROM projection_offset WHERE epoch = $1"
_RUNNERS: Final = """
    SELECT r.name, r.incarnation, r.renewed_at,
        (SELECT count(*) FROM task_claim c WHERE c.runner = r.incarnation AND c.ended_at IS NULL)
    FROM runner r WHERE r.lost_at IS NULL ORDER BY r.name, r.incarnation
"""
_QUARANTINED: Final = """
    SELECT epoch, partition, "offset", at, appended_at, reason, left(detail, $2::int), channels,
        substring(key FOR $2::int), substring(value FOR $2::int), coalesce(length(value), 0),
        CASE WHEN length(headers) <= 8 * $2::int THEN headers END
    FROM quarantine {where}
    ORDER BY at DESC, epoch DESC, partition DESC, "offset" DESC LIMIT $1
"""
_NEWEST: Final = _QUARANTINED.format(where="")
_BELOW: Final = _QUARANTINED.format(where='WHERE (at, epoch, partition, "offset") < ($3, $4, $5, $6)')


class PostgresOversight:
    """Of the epoch with this number; the quarantine is of all."""

    def __init__(self, pool: asyncpg.Pool, epoch: int) -> None:
        self._pool = pool
        self._epoch = epoch

    async def progress(self) -> Progress:
        """As `Oversight.progress`."""
        with answering():
            rows = await self._pool.fetch(_PROGRESS, self._epoch, timeout=_SECONDS)
        of = {name: {row[1]: row[2] for row in rows if row[0] == name} for name in (LOG_PROJECTION, RIGHTS_PROJECTION)}
        return Progress(of[LOG_PROJECTION], of[RIGHTS_PROJECTION])

    async def runners(self) -> Sequence[LivingRunner]:
        """As `Oversight.runners`."""
        with answering():
            rows = await self._pool.fetch(_RUNNERS, timeout=_SECONDS)
        return [LivingRunner(*row) for row in rows]

    async def quarantined(self, limit: int, before: QuarantinePlace | None) -> Sequence[QuarantinedRecord]:
        """As `Oversight.quarantined`."""
        with answering():
            if before is None:
                rows = await self._pool.fetch(_NEWEST, limit, PREVIEW_BYTES, timeout=_SECONDS)
            else:
                rows = await self._pool.fetch(_BELOW, limit, PREVIEW_BYTES, *before, timeout=_SECONDS)
        return [QuarantinedRecord(*row) for row in rows]
