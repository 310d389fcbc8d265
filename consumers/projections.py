"""The projections: what is computed from the log exactly once. So far there is one, rights.

Run it as `python -m consumers.projections`, as often as you like: as with the log writer, the instances share the
partitions by a consumer group, and the fence in Postgres (see `RightsStore`) holds even where the group is mistaken.
Beside it the process looks after the runners, so that the only one there is can be found to be lost.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from consumers.reader import KAFKA_SECONDS, Reader, Start, open_member
from consumers.runner_loop import run
from consumers.running.judging import judge_runners
from service.adapters.kafka.topic_id import check_topic, read_topic
from service.adapters.postgres.batches import Batch
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.fence import FENCED_SESSION
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.log_range import LogRange
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_store import RightsStore, Stretch
from service.domain.duplicates import LookBack
from service.domain.errors import LogUnavailable
from service.domain.ranges import Coverage
from service.domain.rights import PARSED_TYPES
from service.ports import Bounds
from service.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""How long the log writer is waited for, where Kafka no longer holds what it has not copied either."""
POLL_SECONDS = 0.5


async def project(settings: Settings) -> None:
    """Project until cancelled. Raises Unavailable when Kafka or Postgres is away, or the epoch is not this topic's."""
    info = await read_topic(settings.kafka, settings.topic, timeout=KAFKA_SECONDS)
    if info is None:
        raise LogUnavailable(f"Kafka at {settings.kafka} has no topic {settings.topic}")
    url = settings.database_url.get_secret_value()
    async with open_pool(url, size=3, settings=FENCED_SESSION) as pool:
        epochs = Epochs(pool)
        epoch = await epochs.current(info.id, info.partitions)
        history = PostgresHistory(pool, epoch.number)
        log = LogRange(pool, epoch.number, history)
        store = RightsStore(pool, epoch.number, epoch.first_of_topic, epoch.losses)
        sink = RightsSink(store, history, log, settings.look_back)

        async def check() -> None:
            await check_topic(settings.kafka, settings.topic, info, timeout=KAFKA_SECONDS)
            await epochs.check(epoch)

        async with (
            open_member(settings, "projections") as consumer,
            Reader(consumer, settings.topic, sink, check) as reader,
        ):
            logger.info("projecting %s, epoch %s", settings.topic, epoch.name)
            await reader.run()


class RightsSink:
    """The projection of rights, as where a `Reader`'s batches go."""

    def __init__(
        self,
        store: RightsStore,
        history: PostgresHistory,
        log: LogRange,
        look_back: int,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._history = history
        self._log = log
        self._look_back = look_back
        self._patience = patience

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return await self._store.next_offsets(partitions)

    async def begin(self, partition: int, next_: int, held: Bounds) -> Start:
        """As `Sink.begin`: what Kafka no longer holds is read from the Postgres log; what neither holds is a hole."""
        while next_ < held.first:
            next_ = await self._catch_up(partition, next_, held.first)
        return await self._start(partition, next_, held)

    def prepare(self, batch: Batch) -> None:
        """Nothing is to be done."""

    async def write(self, batches: Sequence[Batch]) -> None:
        """As `Sink.write`. Void and unreadable records count for no right: the log writer keeps them aside."""
        await self._store.write(
            [
                Stretch(batch.partition, batch.first, batch.next, [readable.record for readable in batch.readable])
                for batch in batches
            ]
        )

    async def tend(self) -> None:
        """Nothing is to be done."""

    async def _catch_up(self, partition: int, next_: int, stop: int) -> int:
        """Get further from `next_`, at most to `stop`; returns how far."""
        copied = await self._coverage(partition)
        hole = copied.hole_at(next_)
        if hole is not None:
            return await self._lose(partition, next_, min(hole[1], stop))
        if next_ < copied.first:
            return await self._lose(partition, next_, min(copied.first, stop))
        if next_ < copied.next:
            upto = min(stop, copied.next, *(first for first, _ in copied.holes if first > next_))
            logger.warning("partition %d: reading [%d, %d) from Postgres, Kafka has dropped it", partition, next_, upto)
            async for page in self._log.read(partition, next_, upto, PARSED_TYPES):
                await self._store.write([Stretch(partition, next_, page.next, page.records)])
                next_ = page.next
            return next_
        # The log writer may have read it before it was dropped, and be about to write it.
        if self._patience > 0:
            self._patience -= POLL_SECONDS
            await asyncio.sleep(POLL_SECONDS)
            return next_
        return await self._lose(partition, next_, stop)

    async def _lose(self, partition: int, first: int, next_: int) -> int:
        await self._store.write_hole(partition, first, next_)
        logger.error(
            "partition %d: neither Kafka nor Postgres holds [%d, %d): who was added or removed there is not known",
            partition,
            first,
            next_,
        )
        return next_

    async def _start(self, partition: int, next_: int, held: Bounds) -> Start:
        """The look-back from Postgres as far as the log writer has come, the rest of it from Kafka."""
        copied = await self._coverage(partition)
        start = max(0, next_ - self._look_back)
        reading = next_ if copied.next >= next_ else max(start, held.first, copied.next)
        if max(start, copied.next) < reading and copied.next < next_:
            logger.warning(
                "partition %d: neither Kafka nor Postgres holds [%d, %d): a repetition of what was there may count",
                partition,
                max(start, copied.next),
                reading,
            )
        look_back = LookBack(self._look_back)
        for seen in await self._history.look_back(partition, start, min(reading, next_)):
            look_back.load(seen)
        return Start(next_, look_back, reading)

    async def _coverage(self, partition: int) -> Coverage:
        return (await self._history.coverage()).get(partition, Coverage(0, 0))


if __name__ == "__main__":
    run("projections", project, judge_runners)
