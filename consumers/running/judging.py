"""Looking after the runners from outside: where there is but one, no other would notice that it stands still."""

from consumers.running.judge import Judge
from service.adapters.kafka.log import open_log
from service.adapters.postgres.epochs import Epochs
from service.adapters.postgres.leases import PostgresLeases
from service.adapters.postgres.pool import open_pool
from service.adapters.postgres.rights_loader import PostgresRights
from service.settings import Settings

NOBODY = ""
"""It is no runner itself."""


async def judge_runners(settings: Settings) -> None:
    """Judge until cancelled. Raises Unavailable when Kafka or Postgres is away at its beginning; later it waits."""
    url, seconds = settings.database_url.get_secret_value(), settings.kafka_timeout_seconds
    async with open_log(settings.kafka, settings.topic, timeout=seconds) as log, open_pool(url, size=1) as pool:
        epoch = await Epochs(pool).current(log.topic_id, log.partitions)
        rights = PostgresRights(pool, epoch.number)
        await Judge(PostgresLeases(pool), rights, log, NOBODY, settings.runner_lease_seconds).run()
