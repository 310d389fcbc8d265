"""Topic administration: the one place of kafka-python-ng's admin client, which blocks and so runs in a thread."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from service.adapters.kafka.topic_id import TopicInfo, read_topic
from service.domain.errors import BadRequest, LogUnavailable

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
"""Room for a batch of several of the largest events with their headers."""
DEFAULT_RETENTION_MS = 7 * 86_400_000
TIMESTAMPS = "message.timestamp.type"
SHOWN_CONFIGS = (
    "retention.ms",
    "retention.bytes",
    "min.insync.replicas",
    "max.message.bytes",
    TIMESTAMPS,
    "cleanup.policy",
)

_COMPACTED = {
    "cleanup.policy": "compact",
    # Small and soon cleaned, so that a node that starts reads little.
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "60000",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic: each partition's leader and replicas (node ids), and the settings that matter here."""

    name: str
    partitions: tuple["PartitionDescription", ...]
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """`leader` is -1 while there is none."""

    partition: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


async def list_topics(bootstrap: str) -> list[str]:
    """The names of all topics but Kafka's own, sorted. Raises LogUnavailable."""
    names = await _run(bootstrap, lambda admin: admin.list_topics())
    return sorted(name for name in names if not name.startswith("__"))


async def describe_topic(bootstrap: str, topic: str) -> TopicDescription | None:
    """The topic, or None where there is none. Raises LogUnavailable."""

    def describe(admin: KafkaAdminClient) -> TopicDescription | None:
        (found,) = admin.describe_topics([topic])
        if found["error_code"]:
            return None
        wanted = dict.fromkeys(SHOWN_CONFIGS)
        (answer,) = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)])
        return TopicDescription(
            topic,
            tuple(
                PartitionDescription(p["partition"], p["leader"], tuple(p["replicas"]), tuple(p["isr"]))
                for p in sorted(found["partitions"], key=lambda p: int(p["partition"]))
            ),
            {config[0]: config[1] for config in answer.resources[0][4]},
        )

    return await _run(bootstrap, describe)


async def create_topic(
    bootstrap: str,
    topic: str,
    *,
    partitions: int = 12,
    replication: int = 1,
    retention_ms: int = DEFAULT_RETENTION_MS,
    compacted: bool = False,
) -> bool:
    """Make the topic as the log needs it; False where it is there already (and left as it is).

    A compacted one keeps the newest record of each key instead of the newest days.

    Raises BadRequest with Kafka's own reason when it refuses, LogUnavailable.
    """
    new = NewTopic(
        topic,
        partitions,
        replication,
        topic_configs={
            TIMESTAMPS: "LogAppendTime",
            # With three copies an acknowledged record outlives any one broker.
            "min.insync.replicas": str(max(1, replication - 1)),
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "retention.ms": str(retention_ms),
            **(_COMPACTED if compacted else {"cleanup.policy": "delete"}),
        },
    )

    def create(admin: KafkaAdminClient) -> bool:
        try:
            admin.create_topics([new])
        except TopicAlreadyExistsError:
            return False
        return True

    return await _run(bootstrap, create)


async def ensure_topic(
    bootstrap: str,
    topic: str,
    *,
    partitions: int = 12,
    replication: int = 1,
    retention_ms: int = DEFAULT_RETENTION_MS,
    compacted: bool = False,
    timeout: float = 15.0,
) -> TopicInfo:
    """The topic, made where it isn't there, once all its partitions have a leader.

    Raises BadRequest where it is there and can't carry the log, LogUnavailable.
    """
    await create_topic(
        bootstrap,
        topic,
        partitions=partitions,
        replication=replication,
        retention_ms=retention_ms,
        compacted=compacted,
    )
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await describe_topic(bootstrap, topic)
                # A broker that has only just heard of it does not know its settings yet.
                if found is not None and found.config:
                    _check_timestamps(found)
                    info = await read_topic(bootstrap, topic)
                    if info is not None and all(partition.leader >= 0 for partition in found.partitions):
                        return info
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise LogUnavailable(
            f"topic {topic} does not show its settings and a leader for each partition after {timeout:g} s"
        ) from error


def _check_timestamps(topic: TopicDescription) -> None:
    found = topic.config.get(TIMESTAMPS)
    if found != "LogAppendTime":
        raise BadRequest(
            f"topic {topic.name} is there with {TIMESTAMPS}={found}, and the log needs LogAppendTime, or producers' "
            f"clocks would decide what is old: set it (kafka-configs.sh --alter --topic {topic.name} --add-config "
            f"{TIMESTAMPS}=LogAppendTime) before anything is appended, or name another topic"
        )


async def _run(bootstrap: str, ask: Callable[[KafkaAdminClient], T]) -> T:
    def run() -> T:
        with _admin(bootstrap) as admin:
            return ask(admin)

    return await asyncio.to_thread(run)


@contextmanager
def _admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap.split(","), client_id="lastseen-topics", request_timeout_ms=10_000
        )
    except KafkaError as error:
        raise LogUnavailable(f"Kafka at {bootstrap} does not answer: {error!r}") from error
    try:
        yield admin
    except KafkaError as error:
        if error.retriable:
            raise LogUnavailable(f"Kafka at {bootstrap} is unavailable: {error!r}") from error
        # kafka-python-ng puts whole requests into the text; the broker's own words are in it, quoted.
        said = re.search(r"error_message=(['\"])(.+?)\1\)", str(error))
        raise BadRequest(f"Kafka refused: {said[2] if said else error.description}") from error
    finally:
        admin.close()
