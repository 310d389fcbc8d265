"""The fence of a projection: how far it has come, moved by whoever writes it, in the same transaction.

It is the transaction's first statement: it moves `next_offset` away from where a batch begins, and finds no
row when anyone has moved it since. So every offset is written once, whoever competes or dies.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from service.adapters.postgres.pool import Connection
from service.domain.errors import LastseenError

logger = logging.getLogger(__name__)

FENCED_SESSION: Final[Mapping[str, str]] = {"idle_in_transaction_session_timeout": "2s", "lock_timeout": "3s"}
"""Settings of a writer's sessions: how long it holds the fence doing nothing, and how long it waits for another's."""

_BEGIN = """
    INSERT INTO projection_offset (projection, epoch, partition)
    SELECT $1, $2, unnest($3::int[]) ON CONFLICT DO NOTHING
"""
_NEXT = """
    SELECT partition, next_offset FROM projection_offset
    WHERE projection = $1 AND epoch = $2 AND partition = ANY($3)
"""
# Locked in the order of partitions, so that two writers of the same ones don't deadlock.
ADVANCE = """
    WITH batch AS (
        SELECT * FROM unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) AS b(partition, first, next, absent)
    ), held AS (
        SELECT o.partition, b.next, b.absent FROM projection_offset o
        JOIN batch b ON b.partition = o.partition AND b.first = o.next_offset
        WHERE o.projection = $1 AND o.epoch = $2
        ORDER BY o.partition FOR UPDATE OF o
    )
    UPDATE projection_offset o SET next_offset = held.next, absent = o.absent + held.absent FROM held
    WHERE o.projection = $1 AND o.epoch = $2 AND o.partition = held.partition
    RETURNING o.partition
"""
"""Projection, epoch, and arrays of the partitions and of where each begins and ends, and what is absent in it."""

# Within COPY the server waits for its client under no time-out of its own (nothing but an end of the session is heeded
# there), so whoever was frozen in the middle of one would hold the fence for ever.
_FREE = """
    SELECT a.pid, pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
    AND a.application_name = current_setting('application_name')
    AND a.wait_event = 'ClientRead' AND a.xact_start < clock_timestamp() - interval '2 seconds'
    AND EXISTS (
        SELECT FROM pg_locks l
        WHERE l.pid = a.pid AND l.granted AND l.mode = 'RowExclusiveLock' AND l.relation = 'projection_offset'::regclass
    )
"""


class Fenced(LastseenError):
    """Another writer has moved a partition of the batch; nothing was written. Read `next_offsets` again."""


class Range(Protocol):
    """Offsets `[first, next)` of a partition."""

    @property
    def partition(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def next(self) -> int: ...


async def next_offsets(
    connection: Connection, projection: str, epoch: int, partitions: Sequence[int]
) -> Mapping[int, int]:
    """The offset that each partition's next batch must begin at; 0 for one never written.

    Waits for nobody who holds the fence: an INSERT would, even where it has nothing to do.
    """
    wanted = list(partitions)
    rows = await connection.fetch(_NEXT, projection, epoch, wanted)
    if len(rows) < len(wanted):
        await connection.execute(_BEGIN, projection, epoch, wanted)
        rows = await connection.fetch(_NEXT, projection, epoch, wanted)
    return {row["partition"]: row["next_offset"] for row in rows}


async def free_fence(connection: Connection) -> None:
    """End the sessions that hold the fence and wait for their writer, which seems to be frozen.

    It finds what it was writing rolled back, and begins anew; one that is only slow does too, and loses nothing.
    """
    for row in await connection.fetch(_FREE):
        logger.warning("ended the session %d of a writer that holds the fence and does not go on", row["pid"])


def check_moved(who: str, ranges: Sequence[Range], moved: Collection[int]) -> None:
    """Raises Fenced where the partition of a range is not among those that ADVANCE has moved."""
    if lost := [range_ for range_ in ranges if range_.partition not in moved]:
        named = ", ".join(f"{range_.partition} at {range_.first}" for range_ in lost)
        raise Fenced(f"another {who} has moved partition {named}")
