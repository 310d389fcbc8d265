"""`GET /api/v1/websocket/info` and `…/stats`: what a client has to know, and who is connected over all nodes."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from lastseen.channels import ID_PATTERN, parse_channel
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from service.domain.messages import PROTOCOL_VERSION
from service.domain.presence_counts import Total
from service.domain.presence_records import About
from service.domain.protocol import SUBPROTOCOL
from service.node.node import Node
from service.web.documented import documented
from service.web.identified import identify
from service.web.problems import Problem

router = APIRouter(prefix="/api/v1/websocket")

_COUNT: Final = {"type": "integer", "minimum": 0}
_INFO: Final[dict[str, Any]] = {
    "type": "object",
    "title": "WebSocket",
    "required": ["endpoint", "protocols", "max_connections"],
    "properties": {
        "endpoint": {"type": "string", "description": "The path of the WebSocket on this node."},
        "protocols": {"type": "array", "items": {"type": "string"}, "description": "Subprotocols that it speaks."},
        "protocol": {"type": "integer", "description": "The version of the messages."},
        "node": {"type": "string"},
        "max_connections": {**_COUNT, "description": "Of one node."},
        "max_message_bytes": _COUNT,
        "max_subscriptions": {**_COUNT, "description": "Of one connection."},
        "heartbeat_seconds": {**_COUNT, "description": "Between two pings of the server."},
        "heartbeat_timeout_seconds": {**_COUNT, "description": "Silence after which it closes with 4408."},
    },
}
_STATS: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Stats",
    "required": ["total_connections", "online_users", "active_channels", "nodes"],
    "properties": {
        "user": {"type": "string", "description": "The user whose connections alone are counted, where asked for."},
        "channel": {"type": "string", "description": "The channel whose subscribers alone are counted, likewise."},
        "total_connections": _COUNT,
        "online_users": {**_COUNT, "description": "A user on several nodes counts once."},
        "active_channels": {**_COUNT, "description": "Channels with a subscriber; one on several nodes counts once."},
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["node", "connections", "users", "channels", "answering"],
                "properties": {
                    "node": {"type": "string"},
                    "connections": _COUNT,
                    "users": _COUNT,
                    "channels": {"type": ["integer", "null"], "description": "Null of a node that does not answer."},
                    "answering": {
                        "type": "boolean",
                        "description": "False: its numbers are those that it wrote last; it is slow, or was lost.",
                    },
                },
            },
        },
    },
}

_INFO_EXAMPLE: Final = {
    "endpoint": "/ws",
    "protocols": [SUBPROTOCOL],
    "protocol": PROTOCOL_VERSION,
    "node": "node-1",
    "max_connections": 100_000,
    "max_message_bytes": 65_536,
    "max_subscriptions": 10_000,
    "heartbeat_seconds": 30,
    "heartbeat_timeout_seconds": 90,
}
_STATS_EXAMPLE: Final = {
    "total_connections": 3,
    "online_users": 2,
    "active_channels": 7,
    "nodes": [{"node": "node-1", "connections": 3, "users": 2, "channels": 7, "answering": True}],
}


def _channel(name: str) -> str:
    return str(parse_channel(name))


class StatsQuery(BaseModel):
    """The parameters of `GET /websocket/stats`."""

    model_config = ConfigDict(extra="forbid")

    user: Annotated[str | None, Field(pattern=ID_PATTERN, description="Count the connections of this user.")] = None
    channel: Annotated[
        str | None,
        AfterValidator(lambda name: name and _channel(name)),
        WithJsonSchema({"type": "string", "examples": ["project:shop"]}),
        Field(description="Count the connections that are subscribed to this channel."),
    ] = None


@router.get(
    "/info", summary="What a client has to know", **documented(schema=_INFO, example=_INFO_EXAMPLE, is_open=True)
)
async def info(request: Request) -> dict[str, object]:
    """Where the WebSocket is, what it speaks, and its limits."""
    settings = request.app.state.node.services.settings
    return {
        "endpoint": request.app.url_path_for("websocket"),
        "protocols": [SUBPROTOCOL],
        "protocol": PROTOCOL_VERSION,
        "node": settings.instance_id,
        "max_connections": settings.max_connections,
        "max_message_bytes": settings.max_message_bytes,
        "max_subscriptions": settings.max_subscriptions,
        "heartbeat_seconds": settings.heartbeat_seconds,
        "heartbeat_timeout_seconds": settings.heartbeat_timeout_seconds,
    }


@router.get("/stats", summary="Who is connected", **documented(403, 422, schema=_STATS, example=_STATS_EXAMPLE))
async def stats(request: Request, query: Annotated[StatsQuery, Query()]) -> dict[str, object]:
    """Connections, users and channels over all nodes, and of each node.

    With `user` or `channel` only the connections of that user, or those subscribed to that channel, are counted;
    with both, those that are both. Needs the role admin or the scope `publish`, or is about oneself.
    """
    node: Node = request.app.state.node
    identity = await identify(request)
    if not (identity.may_publish or query.user == identity.user_id):
        raise Problem(
            403,
            "who is connected is for the role admin, the scope publish, and for oneself "
            f"(?user={identity.user_id}) with any token",
            code="forbidden",
        )
    total = await node.services.presence.stats(About(query.user, query.channel))
    return {**query.model_dump(exclude_none=True), **_stats(total)}


def _stats(total: Total) -> dict[str, object]:
    return {
        "total_connections": total.connections,
        "online_users": total.users,
        "active_channels": total.channels,
        "nodes": [
            {
                "node": one.node,
                "connections": one.connections,
                "users": one.users,
                "channels": one.channels,
                "answering": one.answering,
            }
            for one in total.nodes
        ],
    }
