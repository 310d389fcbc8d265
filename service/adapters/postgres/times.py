"""From a time to the offsets that were appended then."""

from datetime import timedelta

from service.adapters.postgres.pool import Connection
from service.adapters.postgres.rows import time_of

_SKEW = timedelta(days=1)
"""How far the database's clock may lie behind Kafka's. A bucket is the day of copying, by the database's clock,
and copying comes after appending: so what was appended at a time lies in no bucket before that day."""
_SET_BACK = timedelta(hours=1)
"""How far a broker's clock may be set back. Whatever was appended so long before a time lies before the first record
that reached it, wherever a search finds it: so it may be halved for, and only what is left has to be looked through."""

_DAYS = "SELECT DISTINCT bucket FROM log_bucket WHERE epoch = $1 AND bucket >= $2 ORDER BY bucket"
_FIRST = """
    WITH RECURSIVE halved(partition, before, stop) AS (
        SELECT partition, min(first_offset) - 1, max(last_offset) + 1 FROM log_bucket
        WHERE epoch = $1 AND bucket BETWEEN $2 AND $3 AND partition <> ALL($6)
        GROUP BY partition
        UNION ALL
        SELECT h.partition, CASE WHEN probe.appended_at < $5 THEN probe."offset" ELSE h.before END,
            CASE WHEN probe.appended_at < $5 THEN h.stop ELSE m.middle END
        FROM halved h
        CROSS JOIN LATERAL (SELECT (h.before + h.stop) / 2 AS middle) m
        LEFT JOIN LATERAL (
            SELECT "offset", appended_at FROM log
            WHERE epoch = $1 AND partition = h.partition AND bucket BETWEEN $2 AND $3
            AND "offset" >= m.middle AND "offset" < h.stop
            ORDER BY "offset" LIMIT 1
        ) probe ON true
        WHERE h.stop - h.before > 1
    )
    SELECT h.partition, f."offset"
    FROM (SELECT partition, max(before) AS before FROM halved GROUP BY partition) h
    CROSS JOIN LATERAL (
        SELECT "offset" FROM log
        WHERE epoch = $1 AND partition = h.partition AND bucket BETWEEN $2 AND $3
        AND "offset" > h.before AND appended_at >= $4
        ORDER BY "offset" LIMIT 1
    ) f
"""

# Of those that their readers are told of. Some of before what is held stay, for the void rule.
_QUARANTINED = """
    SELECT q.partition, min(q."offset") AS "offset" FROM quarantine q
    JOIN projection_offset o ON o.projection = $3 AND o.epoch = q.epoch AND o.partition = q.partition
    WHERE q.epoch = $1 AND q.channels IS NOT NULL AND q."offset" >= o.first_offset
    AND coalesce(q.appended_at, q.at) >= $2
    GROUP BY q.partition
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
        rows = await connection.fetch(_FIRST, epoch, chosen[0], chosen[-1], time, time - _SET_BACK, list(found))
        found |= {row["partition"]: row["offset"] for row in rows}
        at, stride = at + stride, min(2 * stride, 64)
    for row in await connection.fetch(_QUARANTINED, epoch, time, "log"):
        found[row["partition"]] = min(row["offset"], found.get(row["partition"], row["offset"]))
    return found
