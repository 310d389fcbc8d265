"""How far the log writer and the projection of rights have come, and what they passed over."""

from collections.abc import Mapping
from typing import NamedTuple

import asyncpg

from service.adapters.postgres.history import LOG_PROJECTION
from service.adapters.postgres.pool import answering
from service.adapters.postgres.rights_store import RIGHTS_PROJECTION

_PROGRESS = """
    SELECT o.partition, o.next_offset, o.absent,
        (SELECT count(*) FROM void v WHERE v.epoch = o.epoch AND v.partition = o.partition
         AND v."offset" >= o.first_offset),
        (SELECT count(*) FROM quarantine q WHERE q.epoch = o.epoch AND q.partition = o.partition
         AND q."offset" >= o.first_offset),
        (SELECT coalesce(sum(h.next_offset - h.first_offset), 0)::bigint FROM hole h
         WHERE h.epoch = o.epoch AND h.partition = o.partition)
    FROM projection_offset o WHERE o.projection = $2 AND o.epoch = $1
"""
_RIGHTS = """
    SELECT o.partition, o.next_offset,
        (SELECT coalesce(sum(h.next_offset - h.first_offset), 0)::bigint FROM projection_hole h
         WHERE h.projection = o.projection AND h.epoch = o.epoch AND h.partition = o.partition)
    FROM projection_offset o WHERE o.projection = $2 AND o.epoch = $1
"""


class Progress(NamedTuple):
    """Of one partition: the next offset to be copied, and how many offsets below it are not rows, by reason.

    Those of dropped days are not counted.
    """

    next: int
    absent: int
    """Kafka passed them without a record."""
    void: int
    quarantined: int
    lost: int
    """They lie in holes."""


class RightsProgress(NamedTuple):
    """Of one partition: the next offset to be projected, and how many below it were held nowhere any more."""

    next: int
    lost: int


async def read_progress(pool: asyncpg.Pool, epoch: int) -> Mapping[int, Progress]:
    """The log writer's progress in each partition that it has begun. Raises HistoryUnavailable."""
    with answering():
        rows = await pool.fetch(_PROGRESS, epoch, LOG_PROJECTION)
    return {partition: Progress(*numbers) for partition, *numbers in rows}


async def read_rights_progress(pool: asyncpg.Pool, epoch: int) -> Mapping[int, RightsProgress]:
    """The progress of the projection of rights in each partition that it has begun. Raises HistoryUnavailable."""
    with answering():
        rows = await pool.fetch(_RIGHTS, epoch, RIGHTS_PROJECTION)
    return {partition: RightsProgress(*numbers) for partition, *numbers in rows}
