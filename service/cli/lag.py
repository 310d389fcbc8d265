"""`lastseen lag`: how far the log writer and the projection of rights are behind Kafka."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from service.cli.servers import Servers, answer, with_servers
from service.domain.epochs import LostRange, described

if TYPE_CHECKING:
    from service.adapters.postgres.epochs import Begun
    from service.ports import Epoch


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition. Kafka holds `[first, next)`; the Postgres log reaches up to `written` (exclusive).

    `void`, `quarantined` and `lost` count the offsets below `written` that are not rows, and why; `absent`
    those that held no record. A negative `lag`: Kafka has lost what the log holds. `rights`: how far the projection of
    rights is behind; `rights_lost`: how many offsets neither Kafka nor the log held when it came to them.
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
    rights: int
    rights_lost: int


COLUMNS = ("partition", "first", "next", "written", "lag", "void", "quarantined", "lost", "rights")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@with_servers
def lag(servers: Servers, as_json: bool) -> None:
    """How far the log writer and the rights are behind Kafka, and what was passed over, per partition."""
    if servers.database_url is None:
        raise click.UsageError("--kafka needs --database-url beside it")
    epoch, begun, partitions = answer(_read(servers.kafka, servers.topic, servers.database_url))
    total = sum(one.lag for one in partitions)
    rights = sum(one.rights for one in partitions)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "topic": servers.topic,
                    "epoch": epoch.name,
                    "epoch_began": {
                        "at": begun.at.isoformat(),
                        "reason": begun.reason,
                        "lost": [one._asdict() for one in lost_ranges(epoch)],
                    },
                    "lag": total,
                    "rights": rights,
                    "partitions": [asdict(one) for one in partitions],
                }
            )
        )
        return
    click.echo(f"{servers.topic}, epoch {epoch.name}: {total} behind, rights {rights} behind")
    click.echo("".join(name.rjust(12) for name in COLUMNS))
    for one in partitions:
        click.echo("".join(str(getattr(one, name)).rjust(12) for name in COLUMNS))
    if epoch.loss is not None:
        click.echo(
            f"The epoch began at {begun.at:%Y-%m-%d %H:%M:%S%z} because Kafka had lost {epoch.loss.offsets} offsets: "
            f"{described(epoch.loss.ranges)}",
            err=True,
        )
    if lost := sum(one.rights_lost for one in partitions):
        click.echo(
            f"{lost} offsets were held nowhere any more when rights were projected: check the members of your projects",
            err=True,
        )


def lost_ranges(epoch: "Epoch") -> list[LostRange]:
    """What was lost when the epoch began."""
    return [one for one in epoch.loss.ranges if one.first < one.next] if epoch.loss is not None else []


async def _read(kafka: str, topic: str, database_url: str) -> "tuple[Epoch, Begun, list[PartitionLag]]":
    from service.adapters.kafka.log import open_log
    from service.adapters.postgres.epochs import Epochs
    from service.adapters.postgres.pool import open_pool
    from service.adapters.postgres.progress import Progress, RightsProgress, read_progress, read_rights_progress

    async with open_log(kafka, topic) as log, open_pool(database_url, size=1) as pool:
        epochs = Epochs(pool)
        epoch = await epochs.current(log.topic_id, log.partitions)
        begun = await epochs.begun()
        # Postgres first: what is written meanwhile must not make the lag negative.
        progress = await read_progress(pool, epoch.number)
        rights = await read_rights_progress(pool, epoch.number)
        bounds = await log.bounds()
    found = []
    for partition, (first, next_) in sorted(bounds.items()):
        of = progress.get(partition, Progress(0, 0, 0, 0, 0))
        projected = rights.get(partition, RightsProgress(0, 0))
        # What Kafka no longer holds is nobody's to catch up with.
        behind = next_ - max(of.next, first)
        found.append(
            PartitionLag(
                partition,
                first,
                next_,
                of.next,
                behind,
                of.void,
                of.quarantined,
                of.lost,
                of.absent,
                next_ - max(projected.next, first),
                projected.lost,
            )
        )
    return epoch, begun, found
