"""The table `epoch`: which stretch of offsets is the present one."""

from uuid import UUID

import asyncpg

from service.adapters.postgres.pool import answering
from service.domain.epochs import epoch_name
from service.domain.errors import HistoryUnavailable
from service.ports import Epoch

_CURRENT = """
    SELECT number, name, topic_id, partitions,
        1 + coalesce((SELECT max(number) FROM epoch e WHERE e.topic_id <> c.topic_id), 0) AS first_of_topic
    FROM epoch c ORDER BY number DESC LIMIT 1
"""


class Epochs:
    """Reads and starts epochs. Every call raises HistoryUnavailable while the database does not answer."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ensure(self, topic_id: UUID, partitions: int) -> Epoch:
        """The present epoch, or a new one where the topic or its partition count is not the present one's.

        For topic administration and the loss detector only; everyone else calls `current`.
        """
        with answering():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("LOCK TABLE epoch IN SHARE ROW EXCLUSIVE MODE")
                row = await connection.fetchrow(_CURRENT)
                if present := _epoch(row, topic_id, partitions):
                    return present
                number = row["number"] + 1 if row else 1
                same = row is not None and row["topic_id"] == topic_id
                first = row["first_of_topic"] if row is not None and same else number
                epoch = Epoch(number, epoch_name(topic_id, number), partitions, first)
                await connection.execute(
                    "INSERT INTO epoch (number, name, topic_id, partitions) VALUES ($1, $2, $3, $4)",
                    epoch.number,
                    epoch.name,
                    topic_id,
                    partitions,
                )
                return epoch

    async def current(self, topic_id: UUID, partitions: int) -> Epoch:
        """The present epoch, checked to be that of this topic.

        Raises HistoryUnavailable too while the topic and the epoch don't belong together, which topic
        administration has to mend.
        """
        with answering():
            row = await self._pool.fetchrow(_CURRENT)
        if present := _epoch(row, topic_id, partitions):
            return present
        held = f"of topic {row['topic_id']} with {row['partitions']} partitions" if row else "missing"
        raise HistoryUnavailable(
            f"the present epoch is {held}, Kafka's topic is {topic_id} with {partitions}: "
            "start a new epoch with `lastseen topics create`",
            retry_after=5.0,
        )


def _epoch(row: asyncpg.Record | None, topic_id: UUID, partitions: int) -> Epoch | None:
    if row is None or (row["topic_id"], row["partitions"]) != (topic_id, partitions):
        return None
    return Epoch(row["number"], row["name"], row["partitions"], row["first_of_topic"])
