"""A topic's real id, by which a topic made anew under the same name is told apart.

Topic ids came with version 10 of Kafka's Metadata request; aiokafka speaks up to version 5. This is version
12, which every broker from 3.9 on speaks.
"""

import asyncio
from collections.abc import Mapping
from io import BytesIO
from typing import NamedTuple
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    LeaderNotAvailableError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from service.adapters.kafka.errors import answering
from service.cancellation import heed_cancellation
from service.domain.errors import LogUnavailable, OffsetsGone


class TopicInfo(NamedTuple):
    """A topic as the brokers know it."""

    id: UUID
    partitions: int


class Leader(NamedTuple):
    """Who leads a partition, -1 for nobody, and its leader epoch, which rises whenever that may have changed."""

    broker: int
    epoch: int


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition_index", Int32),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("replica_nodes", CompactArray(Int32)),
                        ("isr_nodes", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV12]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> _MetadataRequestV12:
        return request_struct_class([(UUID(int=0), self._topic, {})], False, False, {})


async def read_topic(bootstrap: str, topic: str, *, timeout: float = 10.0) -> TopicInfo | None:
    """The topic's id and partition count, or None where there is no such topic. Raises LogUnavailable."""
    found = await _describe(bootstrap, topic, timeout)
    return None if found is None else TopicInfo(found[0], len(found[1]))


async def read_leaders(bootstrap: str, topic: str, known: TopicInfo, *, timeout: float = 10.0) -> Mapping[int, Leader]:
    """The present leader of each partition. Raises as `check_topic`, and LogUnavailable where one has no leader."""
    found = await _describe(bootstrap, topic, timeout)
    _check(bootstrap, topic, known, None if found is None else TopicInfo(found[0], len(found[1])))
    leaders = found[1] if found is not None else {}
    if without := sorted(partition for partition, leader in leaders.items() if leader.broker < 0):
        raise LogUnavailable(f"partition {without[0]} of topic {topic} has no leader")
    return leaders


async def _describe(bootstrap: str, topic: str, timeout: float) -> tuple[UUID, dict[int, Leader]] | None:
    with answering(f"Kafka at {bootstrap}"):
        async with asyncio.timeout(timeout):
            client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout * 1000))
            try:
                await client.bootstrap()
                answer = await client.send(client.get_random_node(), _MetadataRequest(topic))
            finally:
                await client.close()
            heed_cancellation()
    ((code, _name, topic_id, _internal, partitions, _operations, _tags),) = answer.topics
    error = for_code(code)
    if error is UnknownTopicOrPartitionError:
        return None
    if code and error is not LeaderNotAvailableError:
        raise LogUnavailable(f"Kafka at {bootstrap} does not describe topic {topic}: {error.__name__}")
    return topic_id, {index: Leader(leader, epoch) for _, index, leader, epoch, *_rest in partitions}


async def check_topic(bootstrap: str, topic: str, known: TopicInfo, *, timeout: float = 10.0) -> None:
    """Raises OffsetsGone where the topic is no longer as it was `known`, LogUnavailable where there is none now."""
    _check(bootstrap, topic, known, await read_topic(bootstrap, topic, timeout=timeout))


def _check(bootstrap: str, topic: str, known: TopicInfo, found: TopicInfo | None) -> None:
    if found is None:
        raise LogUnavailable(f"Kafka at {bootstrap} has no topic {topic} any more")
    if found.id != known.id:
        raise OffsetsGone(
            f"topic {topic} was made anew (its id was {known.id} and is {found.id}): "
            "what reads it has to begin afresh, in the topic's new epoch"
        )
    if found.partitions != known.partitions:
        raise OffsetsGone(
            f"topic {topic} has {found.partitions} partitions and had {known.partitions}: "
            "what reads it has to begin afresh, in the topic's new epoch"
        )
