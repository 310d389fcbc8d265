"""The log writer: copies the topic into the Postgres log, every record exactly once.

Run it as `python -m consumers.log_writer`, as often as you like: the instances share the partitions by a
consumer group, and the fence in Postgres (see `LogStore`) holds even where the group is mistaken. Beside it the process
looks for losses of Kafka's (`consumers.loss_detector`) and drops what is old (`consumers.tending`).
"""

import logging
from collections.abc import Mapping, Sequence

from consumers.loss_detector import detect_loss
from consumers.reader import KAFKA_SECONDS, Reader, Start, open_member
from consumers.runner_loop import run
from consumers.tending import tend
from service.adapters.kafka.topic_id import check_topic, read_topic
from service.adapters.postgres.batches import Batch
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.fence import FENCED_SESSION
from service.adapters.postgres.history import PostgresHistory
from service.adapters.postgres.log_store import LogStore
from service.adapters.postgres.pool import open_pool
from service.domain.duplicates import LookBack
from service.domain.errors import LogUnavailable
from service.ports import Bounds
from service.settings import Settings

logger = logging.getLogger(__name__)


async def write_log(settings: Settings) -> None:
    """Copy until cancelled. Raises Unavailable when Kafka or Postgres is away, or the epoch is not this topic's."""
    info = await read_topic(settings.kafka, settings.topic, timeout=KAFKA_SECONDS)
    if info is None:
        raise LogUnavailable(f"Kafka at {settings.kafka} has no topic {settings.topic}")
    url = settings.database_url.get_secret_value()
    async with open_pool(url, size=2, settings=FENCED_SESSION, keeps_state=False) as pool:
        epochs = Epochs(pool)
        epoch = await epochs.current(info.id, info.partitions)
        sink = LogSink(LogStore(pool, epoch.number), PostgresHistory(pool, epoch.number), settings.look_back)
        await sink.tend()

        async def check() -> None:
            await check_topic(settings.kafka, settings.topic, info, timeout=KAFKA_SECONDS)
            await epochs.check(epoch)

        async with (
            open_member(settings, "log-writer") as consumer,
            Reader(consumer, settings.topic, sink, check) as reader,
        ):
            logger.info("writing %s, epoch %s", settings.topic, epoch.name)
            await reader.run()


class LogSink:
    """The Postgres log, as where a `Reader`'s batches go."""

    def __init__(self, store: LogStore, history: PostgresHistory, look_back: int) -> None:
        self._store = store
        self._history = history
        self._look_back = look_back

    async def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return await self._store.next_offsets(partitions)

    async def begin(self, partition: int, next_: int, held: Bounds) -> Start:
        """As `Sink.begin`: what Kafka no longer holds is a hole; the look-back is in Postgres."""
        if next_ < held.first:
            await self._store.write_hole(partition, next_, held.first, "retention")
            logger.error("partition %d: Kafka no longer holds [%d, %d)", partition, next_, held.first)
            next_ = held.first
        look_back = LookBack(self._look_back)
        for seen in await self._history.look_back(partition, max(0, next_ - self._look_back), next_):
            look_back.load(seen)
        return Start(next_, look_back, next_)

    def prepare(self, batch: Batch) -> None:
        batch.make_rows()

    async def write(self, batches: Sequence[Batch]) -> None:
        await self._store.write(batches)
        for batch in batches:
            for entry in batch.quarantined:
                logger.warning(
                    "partition %d, offset %d is in the quarantine (%s): %s",
                    batch.partition,
                    entry.raw.offset,
                    entry.reason,
                    entry.detail,
                )

    async def tend(self) -> None:
        await self._store.ensure_days()


if __name__ == "__main__":
    run("log-writer", write_log, detect_loss, tend)
