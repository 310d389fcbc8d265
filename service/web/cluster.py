"""`GET /api/v1/cluster`: the nodes, the consumers and the servers, for whoever looks after them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request

from service.domain.errors import HistoryUnavailable, Unavailable
from service.domain.messages import rfc3339
from service.domain.presence_records import About
from service.node.node import Node
from service.ports import Bounds, LivingRunner, Progress
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem

router = APIRouter(prefix="/api/v1")

_SECONDS: Final = 3.0
"""How long a server may take to answer."""
_COUNT: Final = {"type": "integer", "minimum": 0}
_COUNT_OR_NULL: Final = {"type": ["integer", "null"]}
_COUNTERS: Final[Mapping[str, str]] = {
    "connections": "Clients that are connected.",
    "event_streams": "Readers of Server-Sent Events.",
    "users": "Users that are connected.",
    "channels": "Channels that somebody has subscribed to.",
    "catch_ups": "Subscriptions that are catching up together.",
    "buffered_bytes": "Written to clients that have not taken it yet.",
    "window_bytes": "Memory of the newest records.",
    "ended": "Counter: connections and streams that were, and are over.",
    "read_records": "Counter: records read from the log and delivered.",
    "void_records": "Counter: duplicates and fenced records.",
    "unreadable_records": "Counter: records that no reader can use.",
    "appended_events": "Counter: events that this node has appended.",
}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*properties],
        "additionalProperties": False,
        "properties": properties,
    }


_SCHEMA: Final[dict[str, Any]] = {
    **_object(
        at={"type": "string", "format": "date-time", "description": "When this was, by the node's clock."},
        node={"type": "string", "description": "The node that answers."},
        epoch={"type": "string"},
        counters={
            **_object(**{name: {**_COUNT, "description": text} for name, text in _COUNTERS.items()}),
            "description": "Of the node that answers; counters begin at 0 when it starts, and only rise.",
        },
        nodes={
            "type": "array",
            "items": _object(
                node={"type": "string"},
                connections=_COUNT,
                users=_COUNT,
                channels=_COUNT_OR_NULL,
                answering={"type": "boolean", "description": "False: its numbers are those that it wrote last."},
                incarnation={
                    "type": "string",
                    "description": "A node that was killed and started again is there twice until the lease of the "
                    "first has run out; the greater one joined later.",
                },
                lease_until={
                    "type": ["string", "null"],
                    "format": "date-time",
                    "description": "Until when one that does not answer counts as there; else null.",
                },
            ),
        },
        kafka=_object(reachable={"type": "boolean"}),
        postgres=_object(reachable={"type": "boolean"}),
        partitions={
            "type": "array",
            "description": "Each offset is the one that comes next; null where the server that knows it is away.",
            "items": _object(
                partition=_COUNT,
                first={**_COUNT_OR_NULL, "description": "The oldest offset that Kafka holds."},
                end={**_COUNT_OR_NULL, "description": "What is appended next. Its sum is a counter of all events."},
                read={**_COUNT, "description": "What this node's tail reads next."},
                copied={**_COUNT_OR_NULL, "description": "What the log writer copies next."},
                projected={**_COUNT_OR_NULL, "description": "What the projection of rights comes to next."},
            ),
        },
        lag=_object(
            tail={**_COUNT_OR_NULL, "description": "Offsets that this node's tail is behind Kafka."},
            log_writer={**_COUNT_OR_NULL, "description": "The same of the log writer."},
            projections={**_COUNT_OR_NULL, "description": "The same of the projection of rights."},
        ),
        runners={
            "type": ["array", "null"],
            "description": "Those that nobody has said to be lost; null while Postgres is away.",
            "items": _object(
                name={"type": "string"},
                incarnation={"type": "string"},
                renewed_at={"type": "string", "format": "date-time", "description": "By the database's clock."},
                tasks={**_COUNT, "description": "Tasks that it runs."},
            ),
        },
    ),
    "title": "Cluster",
}
_EXAMPLE: Final = {
    "at": "2026-01-31T12:00:00.000Z",
    "node": "node-1",
    "epoch": "k3f9",
    "counters": dict.fromkeys(_COUNTERS, 3),
    "nodes": [
        {
            "node": "node-1",
            "connections": 3,
            "users": 2,
            "channels": 7,
            "answering": True,
            "incarnation": "019c12a4b3001f2e3d4c",
            "lease_until": None,
        }
    ],
    "kafka": {"reachable": True},
    "postgres": {"reachable": True},
    "partitions": [{"partition": 0, "first": 0, "end": 1524, "read": 1524, "copied": 1520, "projected": 1524}],
    "lag": {"tail": 0, "log_writer": 4, "projections": 0},
    "runners": [{"name": "runner", "incarnation": "r1", "renewed_at": "2026-01-31T11:59:59.500Z", "tasks": 1}],
}


@router.get(
    "/cluster",
    summary="Nodes, consumers and servers",
    response_model=None,
    **documented(403, schema=_SCHEMA, example=_EXAMPLE, description="What is so now"),
)
async def read_cluster(request: Request) -> dict[str, object]:
    """How far everybody is, and what the node that answers has done; it answers while servers are away, too.

    Rates are made of two answers of one node. Needs the role admin.
    """
    node: Node = request.app.state.node
    identity = await identify(request)
    if not identity.is_admin:
        raise Problem(403, "the cluster is for the role admin", code="forbidden")
    services = node.services
    bounds, seen, total = await asyncio.gather(_kafka(node), _postgres(node), services.presence.stats(About()))
    progress, runners = seen if seen is not None else (None, None)
    partitions = [_partition(node, one, bounds, progress) for one in sorted(services.window.partitions)]
    return {
        "at": rfc3339(services.clock.now_ms()),
        "node": services.settings.instance_id,
        "epoch": node.epoch.name,
        "counters": _counters(node),
        "nodes": [
            {
                "node": one.node,
                "connections": one.connections,
                "users": one.users,
                "channels": one.channels,
                "answering": one.answering,
                "incarnation": one.incarnation,
                "lease_until": None if one.lease_ms is None else rfc3339(services.clock.now_ms() + one.lease_ms),
            }
            for one in total.nodes
        ],
        "kafka": {"reachable": bounds is not None},
        "postgres": {"reachable": seen is not None},
        "partitions": partitions,
        "lag": {
            "tail": _lag(partitions, "read"),
            "log_writer": _lag(partitions, "copied"),
            "projections": _lag(partitions, "projected"),
        },
        "runners": None if runners is None else [_runner(one) for one in runners],
    }


async def _kafka(node: Node) -> Mapping[int, Bounds] | None:
    try:
        async with asyncio.timeout(_SECONDS):
            return await node.sources.bounds()
    except (Unavailable, TimeoutError):
        return None


async def _postgres(node: Node) -> tuple[Progress, Sequence[LivingRunner]] | None:
    oversight = node.services.oversight

    async def both() -> tuple[Progress, Sequence[LivingRunner]]:
        return await oversight.progress(), await oversight.runners()

    try:
        return await node.services.patience.within(_SECONDS, both())
    except HistoryUnavailable:
        return None


def _partition(
    node: Node, partition: int, bounds: Mapping[int, Bounds] | None, progress: Progress | None
) -> dict[str, int | None]:
    held = bounds.get(partition) if bounds is not None else None
    return {
        "partition": partition,
        "first": None if held is None else held.first,
        "end": None if held is None else held.next,
        "read": node.services.window.next(partition),
        "copied": None if progress is None else progress.log_writer.get(partition, 0),
        "projected": None if progress is None else progress.projections.get(partition, 0),
    }


def _lag(partitions: list[dict[str, int | None]], name: str) -> int | None:
    """How far behind Kafka, over all partitions. What Kafka no longer holds is nobody's to catch up with."""
    behind = 0
    for one in partitions:
        first, end, come_to = one["first"], one["end"], one[name]
        if first is None or end is None or come_to is None:
            return None
        # What was read meanwhile is no negative lag.
        behind += max(end - max(come_to, first), 0)
    return behind


def _counters(node: Node) -> dict[str, int]:
    services, counts = node.services, node.tail.counts
    return {
        "connections": len(services.connections),
        "event_streams": len(node.streams),
        "users": len(services.connections.users),
        "channels": len(services.connections.channels),
        "catch_ups": node.puller.running,
        "buffered_bytes": sum(connection.buffered for connection in services.connections),
        "window_bytes": services.window.bytes,
        "ended": node.ended,
        "read_records": counts.delivered,
        "void_records": counts.void,
        "unreadable_records": counts.unreadable,
        "appended_events": node.publisher.appended,
    }


def _runner(runner: LivingRunner) -> dict[str, object]:
    return {
        "name": runner.name,
        "incarnation": runner.incarnation,
        "renewed_at": rfc3339(int(runner.renewed_at.timestamp() * 1000)),
        "tasks": runner.tasks,
    }
