"""The table `epoch`: which stretch of offsets is the present one."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from service.adapters.postgres.pool import Connection, answering
from service.adapters.postgres.rights_store import RIGHTS_PROJECTION
from service.domain.epochs import Loss, LostRange, Reason, epoch_name
from service.domain.errors import EpochEnded, HistoryUnavailable
from service.ports import Epoch

_CURRENT = """
    SELECT number, name, topic_id, partitions, reason, started_at, announced_at,
        1 + coalesce((SELECT max(number) FROM epoch e WHERE e.topic_id <> c.topic_id), 0) AS first_of_topic
    FROM epoch c ORDER BY number DESC LIMIT 1
"""
_LOSSES = """
    SELECT number, lost FROM epoch WHERE number > $1 AND number <= $2 AND lost IS NOT NULL ORDER BY number
"""
_BEGIN = """
    INSERT INTO epoch (number, name, topic_id, partitions, reason, lost) VALUES ($1, $2, $3, $4, $5, $6)
"""
# Facts outlive an epoch, and a topic that goes on keeps its records: what was folded of them need not be read again.
_RIGHTS_GO_ON = """
    INSERT INTO projection_offset (projection, epoch, partition, next_offset)
    SELECT o.projection, $2 + 1, o.partition, least(o.next_offset, l.first)
    FROM projection_offset o
    LEFT JOIN unnest($3::int[], $4::bigint[]) AS l(partition, first) ON l.partition = o.partition
    WHERE o.projection = $1 AND o.epoch = $2
"""
_ANNOUNCED = "UPDATE epoch SET announced_at = now() WHERE number = $1"


class Begun(NamedTuple):
    """How the present epoch began. `reason` is None where it was not kept yet."""

    name: str
    at: datetime
    reason: Reason | None
    announced: bool
    """Whether users were told of the loss that it began with."""


class Epochs:
    """Reads and starts epochs. Every call raises HistoryUnavailable while the database does not answer."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ensure(self, topic_id: UUID, partitions: int) -> Epoch:
        """The present epoch, or a new one where the topic or its partition count is not the present one's.

        For topic administration only; everyone else calls `current`.
        """
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await _locked(connection)
                present = await _epoch(connection, row, topic_id, partitions)
                if present is None:
                    reason = Reason.CREATED
                    if row is not None:
                        reason = Reason.PARTITIONS if row["topic_id"] == topic_id else Reason.TOPIC
                    present = await _begin(connection, row, topic_id, partitions, reason, ())
                return present

    async def start_after_loss(self, epoch: Epoch, lost: Sequence[LostRange]) -> Epoch | None:
        """Start the epoch after `epoch`, whose topic has lost these ranges: one for each partition.

        None where `epoch` is not the present one any more. For the loss detector only.
        """
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await _locked(connection)
                if row is None or row["number"] != epoch.number:
                    return None
                return await _begin(connection, row, row["topic_id"], epoch.partitions, Reason.LOST, lost)

    async def current(self, topic_id: UUID, partitions: int) -> Epoch:
        """The present epoch, checked to be that of this topic.

        Raises HistoryUnavailable too while the topic and the epoch don't belong together, which topic
        administration has to mend.
        """
        with answering():
            async with self._pool.acquire() as connection:
                row = await connection.fetchrow(_CURRENT)
                present = await _epoch(connection, row, topic_id, partitions)
        if present is not None:
            return present
        held = f"of topic {row['topic_id']} with {row['partitions']} partitions" if row else "missing"
        raise HistoryUnavailable(
            f"the present epoch is {held}, Kafka's topic is {topic_id} with {partitions}: "
            "start a new epoch with `lastseen topics create`",
            retry_after=5.0,
        )

    async def check(self, epoch: Epoch) -> None:
        """Raises EpochEnded where `epoch` is not the present one any more."""
        with answering():
            row = await self._pool.fetchrow(_CURRENT)
        if row is None or row["number"] != epoch.number:
            now = f"{row['name']} is the present one ({row['reason']})" if row else "there is none"
            raise EpochEnded(f"the epoch {epoch.name} has ended, {now}: what reads the topic has to begin afresh")

    async def begun(self) -> Begun:
        """How the present epoch began. Raises HistoryUnavailable too where there is none."""
        with answering():
            row = await self._pool.fetchrow(_CURRENT)
        if row is None:
            raise HistoryUnavailable("there is no epoch yet: start one with `lastseen topics create`")
        reason = Reason(row["reason"]) if row["reason"] in [*Reason] else None
        return Begun(row["name"], row["started_at"], reason, row["announced_at"] is not None)

    async def announced(self, epoch: Epoch) -> None:
        """Note that users were told of the loss that it began with."""
        with answering():
            await self._pool.execute(_ANNOUNCED, epoch.number)


async def _locked(connection: Connection) -> asyncpg.Record | None:
    """The present epoch's row, which nobody succeeds before the transaction has ended."""
    await connection.execute("LOCK TABLE epoch IN SHARE ROW EXCLUSIVE MODE")
    return await connection.fetchrow(_CURRENT)


async def _begin(
    connection: Connection,
    before: asyncpg.Record | None,
    topic_id: UUID,
    partitions: int,
    reason: Reason,
    lost: Sequence[LostRange],
) -> Epoch:
    number = before["number"] + 1 if before is not None else 1
    as_json = json.dumps(lost) if reason is Reason.LOST else None
    await connection.execute(_BEGIN, number, epoch_name(topic_id, number), topic_id, partitions, reason, as_json)
    if before is not None and before["topic_id"] == topic_id:
        firsts = [one.first for one in lost]
        numbers = [one.partition for one in lost]
        await connection.execute(_RIGHTS_GO_ON, RIGHTS_PROJECTION, before["number"], numbers, firsts)
    begun = await _epoch(connection, await connection.fetchrow(_CURRENT), topic_id, partitions)
    assert begun is not None
    return begun


async def _epoch(connection: Connection, row: asyncpg.Record | None, topic_id: UUID, partitions: int) -> Epoch | None:
    """The present epoch, where it is this topic's."""
    if row is None or (row["topic_id"], row["partitions"]) != (topic_id, partitions):
        return None
    losses = await connection.fetch(_LOSSES, row["first_of_topic"], row["number"])
    return Epoch(
        row["number"],
        row["name"],
        row["partitions"],
        row["first_of_topic"],
        tuple(Loss(loss["number"], _ranges(loss["lost"])) for loss in losses),
    )


def _ranges(lost: str) -> tuple[LostRange, ...]:
    return tuple(LostRange(*one) for one in json.loads(lost))
