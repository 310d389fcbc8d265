"""`lastseen lag`: how far the log writer is behind Kafka."""

import json
from dataclasses import asdict, dataclass

import click

from service.cli.servers import Servers, answer, with_servers


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. Kafka holds `[first, next)`; the Postgres log reaches up to `written` (exclusive).

    `void`, `quarantined` and `lost` count the offsets below `written` that are not rows, and why; `absent`
    those that held no record. A negative `lag`: Kafka has lost what the log holds.
    """

    partition: int
    first: int
    next: int
    written: int
    lag: int
    void: int
    quarantined: int
    lost: int
    absent: int


COLUMNS = ("partition", "first", "next", "written", "lag", "void", "quarantined", "lost")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@with_servers
def lag(servers: Servers, as_json: bool) -> None:
    """How far the log writer is behind Kafka, and what it passed over, per partition."""
    if servers.database_url is None:
        raise click.UsageError("--kafka needs --database-url beside it")
    epoch, partitions = answer(_read(servers.kafka, servers.topic, servers.database_url))
    total = sum(one.lag for one in partitions)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "topic": servers.topic,
                    "epoch": epoch,
                    "lag": total,
                    "partitions": [asdict(one) for one in partitions],
                }
            )
        )
        return
    click.echo(f"{servers.topic}, epoch {epoch}: {total} behind")
    click.echo("".join(name.rjust(12) for name in COLUMNS))
    for one in partitions:
        click.echo("".join(str(getattr(one, name)).rjust(12) for name in COLUMNS))


async def _read(kafka: str, topic: str, database_url: str) -> tuple[str, list[PartitionLag]]:
    from service.adapters.kafka.log import open_log
    from service.adapters.postgres.epochs import Epochs
    from service.adapters.postgres.pool import open_pool
    from service.adapters.postgres.progress import Progress, read_progress

    async with open_log(kafka, topic) as log, open_pool(database_url, size=1) as pool:
        epoch = await Epochs(pool).current(log.topic_id, log.partitions)
        # Postgres first: what is written meanwhile must not make the lag negative.
        progress = await read_progress(pool, epoch.number)
        bounds = await log.bounds()
    found = []
    for partition, (first, next_) in sorted(bounds.items()):
        of = progress.get(partition, Progress(0, 0, 0, 0, 0))
        # What Kafka no longer holds is nobody's to catch up with.
        behind = next_ - max(of.next, first)
        found.append(
            PartitionLag(partition, first, next_, of.next, behind, of.void, of.quarantined, of.lost, of.absent)
        )
    return epoch.name, found
