"""From a time to the offsets that were appended then."""

from datetime import timedelta

from service.adapters.postgres.pool import Connection
from service.adapters.postgres.rows import time_of

_SKEW = timedelta(days=1)
"""How far the database's clock may lie behind Kafka's. A bucket is the day of copying, by the database's clock,
and copying comes after appending: so what was appended at a time lies in no bucket before that day."""

_DAYS = "SELECT DISTINCT bucket FROM log_bucket WHERE epoch = $1 AND bucket >= $2 ORDER BY bucket"
_FIRST = """
    SELECT p.partition, f."offset"
    FROM (
        SELECT DISTINCT partition FROM log_bucket
        WHERE epoch = $1 AND bucket BETWEEN $2 AND $3 AND partition <> ALL($5)
    ) p
    CROSS JOIN LATERAL (
        SELECT "offset" FROM log
        WHERE epoch = $1 AND partition = p.partition AND bucket BETWEEN $2 AND $3 AND appended_at >= $4
        ORDER BY "offset" LIMIT 1
    ) f
"""


async def read_offsets_at(connection: Connection, epoch: int, ms: int) -> dict[int, int]:
    """As `History.offsets_at`."""
    time = time_of(ms)
    found: dict[int, int] = {}
    # A partition's bucket never decreases, so its first row is in the first of its days that has one.
    days = [row["bucket"] for row in await connection.fetch(_DAYS, epoch, (time - _SKEW).date())]
    at, stride = 0, 3
    while at < len(days):
        chosen = days[at : at + stride]
        rows = await connection.fetch(_FIRST, epoch, chosen[0], chosen[-1], time, list(found))
        found |= {row["partition"]: row["offset"] for row in rows}
        at, stride = at + stride, min(2 * stride, 64)
    return found
