"""`lastseen topics`: Kafka's topics, made and shown."""

import click

from service.cli.servers import Servers, answer, with_servers

DAY_MS = 86_400_000


@click.group()
def topics() -> None:
    """Make and show topics in Kafka."""


@topics.command("list")
@with_servers
def list_(servers: Servers) -> None:
    """The names of all topics."""
    from service.adapters.kafka.topics import list_topics

    for name in answer(list_topics(servers.kafka)):
        click.echo(name)


@topics.command()
@click.argument("name", required=False)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    envvar="LASTSEEN_PARTITIONS",
    default=12,
    show_default=True,
    show_envvar=True,
)
@click.option("--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Copies of each record.")
@click.option("--retention-days", type=click.IntRange(1, 3650), default=7, show_default=True, help="Kept in Kafka.")
@with_servers
def create(servers: Servers, name: str | None, partitions: int, replication: int, retention_days: int) -> None:
    """Make the topic NAME (the instance's events if left out) as the log needs it.

    Without NAME those of commands and presence as well; for the topic of the events the epoch in Postgres is
    started, where its database is known.
    """
    answer(_create(servers, name or servers.topic, partitions, replication, retention_days * DAY_MS))
    if name is None:
        answer(_create_beside(servers, replication))


async def _create_beside(servers: Servers, replication: int) -> None:
    from service.adapters.kafka.instance_topics import TopicNames, ensure_beside
    from service.settings import read_settings

    settings = read_settings()
    names = TopicNames(servers.topic, settings.commands_topic, settings.presence_topic)
    await ensure_beside(servers.kafka, names, replication=replication)
    click.echo(f"{names.commands} and {names.presence} are there")


async def _create(servers: Servers, name: str, partitions: int, replication: int, retention_ms: int) -> None:
    from service.adapters.kafka.topics import create_topic, ensure_topic
    from service.adapters.postgres.epochs import Epochs
    from service.adapters.postgres.pool import open_pool

    made = await create_topic(
        servers.kafka, name, partitions=partitions, replication=replication, retention_ms=retention_ms
    )
    info = await ensure_topic(servers.kafka, name)
    state = "created" if made else "was there already, and was left as it is"
    click.echo(f"{name} ({info.partitions} partitions, id {info.id}) {state}")
    if name == servers.topic and servers.database_url is not None:
        async with open_pool(servers.database_url, size=1) as pool:
            epoch = await Epochs(pool).ensure(info.id, info.partitions)
        click.echo(f"epoch {epoch.name}, number {epoch.number}")


@topics.command()
@click.argument("name", required=False)
@with_servers
def describe(servers: Servers, name: str | None) -> None:
    """Partitions and settings of the topic NAME (the instance's events if left out)."""
    answer(_describe(servers, name or servers.topic))


async def _describe(servers: Servers, name: str) -> None:
    from service.adapters.kafka.topic_id import read_topic
    from service.adapters.kafka.topics import describe_topic

    found, info = await describe_topic(servers.kafka, name), await read_topic(servers.kafka, name)
    if found is None or info is None:
        raise click.ClickException(f"There is no topic {name}: make it with `lastseen topics create`.")
    click.echo(f"{name}  id {info.id}")
    for key, value in sorted(found.config.items()):
        click.echo(f"  {key} = {value}")
    for one in found.partitions:
        leader = "no leader" if one.leader < 0 else f"leader {one.leader}"
        click.echo(f"  partition {one.partition}: {leader}, copies {_ids(one.replicas)}, in sync {_ids(one.in_sync)}")


def _ids(nodes: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(nodes))) or "none"
