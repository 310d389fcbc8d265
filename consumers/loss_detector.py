"""The loss detector, beside the log writer in its process: a new epoch where Kafka has lost what Postgres knows of it.

All log writers have one; whichever is first starts the epoch. Whoever notices also tells the users.
"""

import logging
from typing import Final

from lastseen.envelope import Event
from lastseen.names import Category, SystemEvents
from lastseen.record import encode
from pydantic import JsonValue

from consumers.reader import KAFKA_SECONDS
from service.adapters.kafka.log import KafkaLog, open_log
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.known_log import PostgresKnownLog
from service.adapters.postgres.pool import open_pool
from service.domain.epochs import Loss
from service.loss_detector import LossDetector
from service.ports import Epoch
from service.settings import Settings

logger = logging.getLogger(__name__)

_PRIORITY: Final = 9
"""High enough for everybody to be told."""
_MOST_RANGES: Final = 1_000


async def detect_loss(settings: Settings) -> None:
    """Look for losses until cancelled. Raises Unavailable when Kafka or Postgres is away, and when an epoch ends."""
    url = settings.database_url.get_secret_value()
    async with (
        open_log(settings.kafka, settings.topic, timeout=KAFKA_SECONDS) as log,
        open_pool(url, size=1) as pool,
    ):
        epochs = Epochs(pool)
        epoch = await epochs.current(log.topic_id, log.partitions)
        await _announce(log, epochs, epoch)
        known = PostgresKnownLog(pool, epoch.number)
        await LossDetector(log, log.leaders, known, epochs, epoch, settings.loss_seconds).run()


async def _announce(log: KafkaLog, epochs: Epochs, epoch: Epoch) -> None:
    """Tell the users of the loss that the epoch began with; its id makes a repetition void."""
    if epoch.loss is None or (begun := await epochs.begun()).announced:
        return
    event = Event(
        id=f"epoch-{epoch.name}",
        type=SystemEvents.SERVICE_DISRUPTION,
        category=Category.SYSTEM,
        priority=_PRIORITY,
        timestamp=begun.at,
        data=_told(epoch, epoch.loss),
    )
    await log.append([encode(event)])
    await epochs.announced(epoch)
    logger.info("told everybody of the loss that epoch %s began with", epoch.name)


def _told(epoch: Epoch, loss: Loss) -> dict[str, JsonValue]:
    ranges: list[JsonValue] = [
        {"partition": one.partition, "first": one.first, "next": one.next}
        for one in loss.ranges[:_MOST_RANGES]
        if one.first < one.next
    ]
    return {"reason": "data_lost", "epoch": epoch.name, "offsets": loss.offsets, "lost": ranges}
