"""The topics of one instance: events, and beside them commands and presence."""

import asyncio
from typing import Final, NamedTuple

from service.adapters.kafka.topic_id import TopicInfo
from service.adapters.kafka.topics import ensure_topic

COMMAND_PARTITIONS: Final = 4
COMMAND_RETENTION_MS: Final = 86_400_000
"""A day: long past the deadline of any command."""


class TopicNames(NamedTuple):
    """As the settings have them."""

    events: str
    commands: str
    presence: str


async def ensure_instance_topics(bootstrap: str, names: TopicNames, *, partitions: int, replication: int) -> TopicInfo:
    """Make those that are missing; the events' topic, once all have leaders. Raises as `ensure_topic`."""
    made = await asyncio.gather(
        ensure_topic(bootstrap, names.events, partitions=partitions, replication=replication),
        ensure_beside(bootstrap, names, replication=replication),
        return_exceptions=True,
    )
    for one in made:
        if isinstance(one, BaseException):
            raise one
    info = made[0]
    assert isinstance(info, TopicInfo)
    return info


async def ensure_beside(bootstrap: str, names: TopicNames, *, replication: int) -> None:
    """Make the topics of commands and presence where they are missing."""
    made = await asyncio.gather(
        ensure_topic(
            bootstrap,
            names.commands,
            partitions=COMMAND_PARTITIONS,
            replication=replication,
            retention_ms=COMMAND_RETENTION_MS,
        ),
        ensure_topic(bootstrap, names.presence, partitions=1, replication=replication, compacted=True),
        return_exceptions=True,
    )
    for one in made:
        if isinstance(one, BaseException):
            raise one
